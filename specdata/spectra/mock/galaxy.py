"""A mock galaxy in its rest frame: a history of star formation, dust, gas that shines, and what moves inside it."""

from dataclasses import dataclass

import numpy as np

from specdata.spectra.mock.dust import transmission
from specdata.spectra.mock.stars import LOGLAM_START, METALLICITIES, STEP, enhancement, population_light
from specdata.spectra.portable import LN_10, exp, exp10, gaussian, log10, normal

Z_MAX = 0.8  # the population model begins at 1905 A, and the observed spectra at 3550 A
PIXEL_VELOCITY = 299792.458 * LN_10 * STEP  # km/s
REACH = 24  # pixels; nothing is broadened farther
KINDS = ("quiescent", "star-forming", "green valley", "post-starburst")
# Their shares at z = 0.1 and below, and at z = 0.35 and above, where only massive galaxies are brighter than i = 18
SHARES_NEAR, SHARES_FAR = np.array([0.48, 0.385, 0.13, 0.005]), np.array([0.80, 0.10, 0.08, 0.02])
HA_EW_OF_YOUNG_STARS = 430.0  # A, of the 5 Myr population alone and without dust

# Vacuum wavelengths (A) of the nebular lines (NIST; the wavelengths of the SDSS pipeline's SPZLINE table).
LINES = {
    "[O II] 3727": 3727.09, "[O II] 3730": 3729.88, "H10": 3798.98, "H9": 3836.47, "[Ne III] 3870": 3869.86,
    "H8": 3890.15, "[Ne III] 3969": 3968.59, "H epsilon": 3971.20, "[S II] 4070": 4069.75, "H delta": 4102.89,
    "H gamma": 4341.69, "[O III] 4364": 4364.44, "He I 4473": 4472.73, "He II 4687": 4687.02, "H beta": 4862.69,
    "[O III] 4960": 4960.30, "[O III] 5008": 5008.24, "[N I] 5201": 5201.06, "He I 5877": 5877.25,
    "[O I] 6302": 6302.05, "[O I] 6366": 6365.54, "[N II] 6550": 6549.86, "H alpha": 6564.61,
    "[N II] 6585": 6585.27, "He I 6680": 6679.99, "[S II] 6718": 6718.29, "[S II] 6733": 6732.68,
    "He I 7067": 7067.20, "[Ar III] 7138": 7137.77, "[O II] 7322": 7322.0, "[O II] 7332": 7332.2,
    "[S III] 9071": 9071.1,
}  # fmt: skip
SODIUM = (5891.58, 5897.56)
# Case B recombination at 10,000 K and 100 cm-3, relative to H beta: Osterbrock & Ferland 2006, table 4.4.
CASE_B = {"H alpha": 2.863, "H beta": 1.0, "H gamma": 0.468, "H delta": 0.259, "H epsilon": 0.159}
CASE_B |= {"H8": 0.105, "H9": 0.0731, "H10": 0.0530}


@dataclass(frozen=True, eq=False)
class Galaxy:
    """What one mock galaxy is made of."""

    light: np.ndarray  # share of each metallicity and age in the light at 5500 A before dust; shape (3, 6), sum 1
    alpha: float  # how much more magnesium, sodium and TiO its old stars have, and how much less iron, in dex
    sigma_stars: float  # velocity dispersion in km/s
    sigma_gas: float
    ebv_stars: float  # colour excess E(B-V) in mag
    ebv_gas: float
    lines: dict[str, float]  # flux of each of `LINES` before dust, in A times the continuum at 5500 A before dust
    sodium: float  # equivalent width (A) of Na D in interstellar gas, and of what the stars have more than usual

    def emitted(self) -> dict[str, float]:
        """Flux of each line after dust, in the unit of `lines`."""
        passed = transmission(np.array(list(LINES.values())), self.ebv_gas)
        return {name: self.lines[name] * share for name, share in zip(LINES, passed, strict=True)}

    def _absorbed(self):
        """Flux that the gas between the stars takes out in each line of Na D, negative, in the unit of `lines`."""
        return -self.sodium * np.array([0.55, 0.45]) * transmission(SODIUM[0], self.ebv_stars)

    def observed(self, loglam, wdisp, z) -> np.ndarray:
        """Noiseless flux density per A on observed pixels, in an arbitrary unit; shape (n,).

        Parameters
        ----------
        loglam, wdisp : ndarray, shape (n,)
            log10 of the vacuum wavelength in A, in steps of `STEP`; instrumental sigma in pixels.
        z : float
        """
        rest = exp10(loglam) / (1.0 + z)
        stars = self._stars(loglam, wdisp, z) * transmission(rest, self.ebv_stars)
        return stars + self._gas(loglam, rest, wdisp, z)

    def _stars(self, loglam, wdisp, z):
        """Light of the stars, broadened by their motion and by the instrument."""
        part, fraction = part_of_rest(loglam, z)
        shares, populations = self.light.reshape(-1, 1), population_light().reshape(self.light.size, -1)
        light = (shares * populations[:, part]).sum(axis=0)
        light *= 1.0 - 1.6 * self.alpha * self.light[:, 3:].sum() * enhancement()[part]
        return broaden(light, fraction, wdisp, self.sigma_stars)

    def _gas(self, loglam, rest, wdisp, z):
        """Emission lines at the pixel centres; with a sigma above 0.8 pixels, none loses flux between two of them."""
        flux = np.zeros(loglam.size)
        centre = (log10(np.array([*LINES.values(), *SODIUM]) * (1.0 + z)) - loglam[0]) / STEP
        strength = np.array([*self.emitted().values(), *self._absorbed()])
        near = (centre > -20.0) & (centre < loglam.size + 20.0)
        centre, strength = centre[near, None], strength[near, None]
        pixels = np.rint(centre).astype(int) + np.arange(-REACH, REACH + 1)
        motion = self.sigma_gas / PIXEL_VELOCITY
        width = wdisp[np.clip(pixels[:, REACH, None], 0, loglam.size - 1)]
        sigma = np.sqrt(motion * motion + width * width)
        share = gaussian((pixels - centre) / sigma) / (np.sqrt(2.0 * np.pi) * sigma)
        seen = (pixels >= 0) & (pixels < loglam.size)
        np.add.at(flux, pixels[seen], (strength * share)[seen])
        return flux / (rest * LN_10 * STEP)  # per rest-frame A, as the stars are


def part_of_rest(loglam, z) -> tuple[slice, float]:
    """Pixels of `stars.rest_wavelength` that `broaden` needs, and the part of a pixel by which it shifts them."""
    first, fraction = divmod((loglam[0] - log10(1.0 + z) - LOGLAM_START) / STEP, 1.0)
    return slice(int(first) - REACH, int(first) + loglam.size + REACH + 1), fraction


def broaden(light, fraction, wdisp, sigma) -> np.ndarray:
    """Light of the pixels of `part_of_rest`, seen through motions of `sigma` (km/s) and an instrument.

    The instrument's sigma `wdisp` (pixels) varies along the spectrum. A Gaussian obeys the heat equation, so between
    two nearby variances the result is linear in the variance.
    """
    least, most = wdisp.min() * wdisp.min(), wdisp.max() * wdisp.max()
    motion = sigma / PIXEL_VELOCITY
    narrow, broad = (_smear(light, np.sqrt(motion * motion + variance), fraction) for variance in (least, most))
    return narrow + (broad - narrow) * (wdisp * wdisp - least) / max(most - least, 1e-12)


def _smear(light, sigma, shift):
    """Convolve with a Gaussian of `sigma` pixels, and move by a part of one; `REACH` pixels are lost at each end."""
    weights = gaussian((np.arange(-REACH, REACH + 2) - shift) / sigma)
    weights = weights / weights.sum()
    pixels = light.size - 2 * REACH - 1
    return sum(weight * light[at : at + pixels] for at, weight in enumerate(weights))


def draw_galaxy(rng, z=0.0, kind=None) -> Galaxy:
    """One galaxy from the numbers of `rng`, of one of `KINDS`.

    The redshift decides how common each kind is, and how massive and so how rich in metals galaxies with gas are.
    """
    far = min(1.0, max(0.0, (z - 0.1) / 0.25))
    if kind is None:
        kind = str(rng.choice(KINDS, p=SHARES_NEAR + far * (SHARES_FAR - SHARES_NEAR)))
    young, ages = _draw_ages(rng, kind, far)
    usual, scatter = (205.0, 40.0) if kind == "quiescent" else (120.0 + 40.0 * far, 30.0)
    sigma_stars = float(np.clip(normal(rng, usual, scatter), 80.0, 300.0))
    # Galaxies whose stars move faster have more metals, but less iron among them: Thomas et al. 2005 (ApJ 621, 673)
    massive = log10(sigma_stars / usual)
    alpha = float(0.25 * massive + normal(rng, 0.0, 0.025))
    if kind == "quiescent":
        feh, ebv = 0.12 + 0.3 * massive + normal(rng, 0.0, 0.04), abs(normal(rng, 0.0, 0.04))
    else:  # the more a galaxy forms stars for its size, the smaller, poorer in metals and bluer it tends to be
        feh = normal(rng, 0.05 + 0.1 * far - 0.25 * log10(max(young, 2e-3) / 0.03), 0.12)
        ebv = min(0.5, (0.15 if feh > -0.4 and kind == "star-forming" else 0.10) * exp(normal(rng, 0.0, 0.5)))
    feh = float(np.clip(feh, METALLICITIES[0], METALLICITIES[-1]))
    metals = np.array([[np.interp(feh, METALLICITIES, row)] for row in np.eye(len(METALLICITIES))])
    lines = _draw_gas(rng, kind, young, feh)
    sigma_gas = sigma_stars * rng.uniform(0.7, 1.1)
    sodium = float(2.0 * ebv * exp(normal(rng, 0.0, 0.9)) + 2.0 * massive + normal(rng, 0.0, 0.3))
    # The gas sits in dustier places than the stars: Calzetti et al. 2000
    return Galaxy(metals * ages, alpha, sigma_stars, sigma_gas, ebv, ebv / 0.44, lines, sodium)


def _draw_ages(rng, kind, far):
    """Share of the 5 Myr stars in the light at 5500 A, and of all `stars.AGES`."""
    young = {"quiescent": 0.0, "post-starburst": 0.0}.get(kind)
    if young is None:
        young = normal(rng, -1.35 - 0.3 * far, 0.55) if kind == "star-forming" else normal(rng, -2.2, 0.25)
        young = min(0.5, exp10(young))
    scatter = exp(normal(rng, 0.0, 0.45 if kind == "star-forming" else 0.3, 4))
    if kind == "quiescent":
        # With some hot stars, such as blue stragglers and those of the horizontal branch
        ages = np.array([0.008, 0.008, 0.001, 0.004, 0.15, 0.85]) * np.append(scatter[:2], scatter)
        ages[4:] *= scatter[2:]
    elif kind == "post-starburst":  # the star formation stopped some 300 Myr ago
        ages = np.array([0.0, 0.0, 0.35, 0.25, 0.15, 0.25]) * np.append([1.0, 1.0], scatter)
    else:  # a slowly changing star formation rate: the light of the young ages goes together
        recent, at_3_gyr = ([1.0, 0.9, 0.8], 0.6) if kind == "star-forming" else ([1.3, 0.7, 0.3], 0.3)
        recent = young * np.array(recent) * scatter[:3]
        past = np.array([at_3_gyr * rng.uniform(0.2, 0.8), 0.45 * scatter[3]])
        ages = np.concatenate([[young], recent, past * max(0.05, 1.0 - young - recent.sum())])
    young, ages = young / ages.sum(), ages / ages.sum()
    return young, ages


def _draw_gas(rng, kind, young, feh):
    """Flux of each of `LINES` before dust (dict, in A times the continuum at 5500 A): a sum over what ionises the gas.

    So weak lines have the ratios of gas near old stars, strong ones those of star formation, and others lie between.
    """
    # Flux of H alpha, and logarithms of [N II], [S II] and [O I] over H alpha and of [O III] and [O II] over H beta
    sources = []
    # Young stars: the sequence of Kewley et al. 2013 (ApJ 774, 100) at z = 0, along [N II]/H alpha
    n2 = np.clip(-0.42 + 1.1 * min(feh, 0.05) + normal(rng, 0.0, 0.08), -1.6, -0.36)
    s2 = -0.62 + 0.12 * (n2 + 0.5) - 0.25 * max(0.0, -1.0 - n2)
    o3 = 0.61 / (n2 + 0.08) + 1.08 + normal(rng, 0.0, 0.09)
    o2 = 0.47 - 0.75 * (n2 + 0.95) * (n2 + 0.95) + normal(rng, 0.0, 0.08)
    ha = HA_EW_OF_YOUNG_STARS * young * exp(normal(rng, 0.0, 0.25))
    ha *= min(1.0, exp10(0.4 * log10(max(young, 1e-4) / 0.09)))  # little blue light is not that of O stars
    sources.append((ha, [n2, s2, -1.45, o3, o2]))
    # Old stars, as in LINERs; four in ten galaxies have next to no gas around them
    ha = 0.75 * exp(normal(rng, 0.0, 0.6)) if rng.random() < 0.6 else 0.04
    sources.append((ha, normal(rng, np.array([0.08, -0.08, -0.75, 0.30, 0.60]), 0.1, 5)))
    # A nucleus, as in Seyfert galaxies
    chance = {"star-forming": 0.04, "green valley": 0.12}.get(kind, 0.02)
    ha = 5.0 * exp(normal(rng, 0.0, 0.8)) if rng.random() < chance else 0.0
    sources.append((ha, normal(rng, np.array([-0.08, -0.35, -0.95, 0.75, 0.45]), 0.1, 5)))

    fluxes = np.array([ha * np.append(1.0, exp10(np.array(ratios))) for ha, ratios in sources])
    helium = 0.18 * fluxes[-1, 0]
    ha, n2, s2, o1, o3, o2 = fluxes.sum(axis=0)
    hb = ha / CASE_B["H alpha"]
    o3, o2, helium = (x / CASE_B["H alpha"] for x in (o3, o2, helium))
    sulfur = rng.uniform(1.15, 1.42)  # 6718 over 6733: electron density
    oxygen = rng.uniform(1.15, 1.45)  # 3730 over 3727: likewise
    hot = 0.012 * o3 * exp10(-0.9 * (feh + 0.7))  # [O III] 4364 shows in gas that is hot for lack of metals
    return {name: hb * ratio for name, ratio in CASE_B.items()} | {
        "[O II] 3727": o2 / (1 + oxygen), "[O II] 3730": o2 * oxygen / (1 + oxygen),
        "[Ne III] 3870": 0.075 * o3, "[Ne III] 3969": 0.075 * o3 / 3.32, "[S II] 4070": 0.06 * s2 / CASE_B["H alpha"],
        "[O III] 4364": hot, "He I 4473": 0.040 * hb, "He II 4687": helium,
        "[O III] 4960": o3 / 2.98, "[O III] 5008": o3, "[N I] 5201": 0.1 * o1 / CASE_B["H alpha"],
        "He I 5877": 0.12 * hb, "[O I] 6302": o1, "[O I] 6366": o1 / 3.05,
        "[N II] 6550": n2 / 3.05, "[N II] 6585": n2, "He I 6680": 0.034 * hb,
        "[S II] 6718": s2 * sulfur / (1 + sulfur), "[S II] 6733": s2 / (1 + sulfur),
        "He I 7067": 0.023 * hb, "[Ar III] 7138": (0.1 if o3 > 0.5 * hb else 0.05) * hb,
        "[O II] 7322": 0.012 * o2, "[O II] 7332": 0.010 * o2, "[S III] 9071": 0.3 * hb,
    }  # fmt: skip
