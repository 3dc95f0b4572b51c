"""A mock galaxy in its rest frame: a history of star formation, dust, gas that shines, and what moves inside it."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from specdata.spectra.mock.dust import transmission
from specdata.spectra.mock.instrument import CALIBRATION
from specdata.spectra.mock.stars import LOGLAM_START, METALLICITIES, STEP, population_light, variety
from specdata.spectra.portable import LN_10, exp, exp10, gaussian, log10

Z_MAX = 0.8  # the population model begins at 1905 A, and the observed spectra at 3550 A
PIXEL_VELOCITY = 299792.458 * LN_10 * STEP  # km/s
REACH = 24  # pixels; nothing is broadened farther
# Kinds by their 4000 A break, and their shares at z = 0.1 and below, and at z = 0.35 and above, where only massive
# galaxies are brighter than i = 18
KINDS = {"quiescent": (1.65, 9.0), "star-forming": (0.0, 1.4), "green valley": (1.4, 1.65)}
SHARES_NEAR, SHARES_FAR = np.array([0.48, 0.39, 0.13]), np.array([0.86, 0.03, 0.11])
# Columns of `galaxies.csv` after the break: log10 of the light at 5500 A of each age relative to that of 10 Gyr;
# [Fe/H]; log10 of E(B-V) and of the velocity dispersion of the stars; sodium; log10 of H alpha, of three lines relative
# to it and of two relative to H beta; log10 of E(B-V) and of the velocity dispersion of the gas. Then `continuum` at
# each of `KNOTS`, and `depths`
COLUMNS = ("5 Myr", "60 Myr", "300 Myr", "1 Gyr", "3 Gyr", "feh", "ebv_stars", "sigma_stars", "sodium", "H alpha",
           "[N II]", "[S II]", "[O I]", "[O III]", "[O II]", "ebv_gas", "sigma_gas")  # fmt: skip
KNOTS = CALIBRATION[0, :17]  # A at rest, of `Galaxy.continuum`: 3560 to 8800
NEIGHBOURS = 25  # galaxies of nearest break, on each side, with which one is blended

# Vacuum wavelengths (A) of the nebular lines (NIST; the wavelengths of the SDSS pipeline's SPZLINE table).
LINES = {
    "[O II] 3727": 3727.09, "[O II] 3730": 3729.88, "H10": 3798.98, "H9": 3836.47, "[Ne III] 3870": 3869.86,
    "H8": 3890.15, "[Ne III] 3969": 3968.59, "H epsilon": 3971.20, "[S II] 4070": 4069.75, "H delta": 4102.89,
    "H gamma": 4341.69, "[O III] 4364": 4364.44, "He I 4473": 4472.73, "H beta": 4862.69,
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
    depths: np.ndarray  # of each shape of `stars.variety`, by which the lines of real galaxies differ; shape (64,)
    continuum: np.ndarray  # natural logarithm of what the galaxy is brighter at `KNOTS` than the populations say
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
        return (stars + self._gas(loglam, rest, wdisp, z)) * exp(np.interp(rest, KNOTS, self.continuum))

    def _stars(self, loglam, wdisp, z):
        """Light of the stars, broadened by their motion and by the instrument."""
        part, fraction = part_of_rest(loglam, z)
        shares, populations = self.light.reshape(-1, 1), population_light().reshape(self.light.size, -1)
        light = (shares * populations[:, part]).sum(axis=0)
        light *= exp(-(self.depths[:, None] * variety()[:, part]).sum(axis=0))
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


@cache
def fitted() -> np.ndarray:
    """The 4000 A break, the numbers of `COLUMNS`, `continuum` and `depths` of real galaxies, by break; one row each.

    `benchmarks/galaxies.py` drew them from what the spectra of every other one of 810 SDSS galaxies allow. No two of
    these numbers vary alone: at equal break, those with more metals have younger stars, and those with more dust more
    gas.
    """
    return np.loadtxt(Path(__file__).with_name("galaxies.csv"), delimiter=",", skiprows=1)


def draw_galaxy(rng, z=0.0, kind=None) -> Galaxy:
    """One galaxy from the numbers of `rng`, of one of `KINDS`, how common each of which is depends on the redshift.

    It is a real galaxy's row blended with that of another, so that their deviations from the mean of the galaxies with
    about their break add up in quadrature: all numbers keep their scatter, and how they follow each other.
    """
    far = min(1.0, max(0.0, (z - 0.1) / 0.25))
    if kind is None:
        kind = str(rng.choice(list(KINDS), p=SHARES_NEAR + far * (SHARES_FAR - SHARES_NEAR)))
    table = fitted()
    row = int(rng.integers(*np.searchsorted(table[:, 0], KINDS[kind])))
    near = table[max(0, row - NEIGHBOURS) : row + NEIGHBOURS + 1]
    mean, other, share = near.sum(axis=0) / len(near), near[rng.integers(len(near))], rng.uniform(0.0, 0.3)
    own = mean + np.sqrt(1.0 - share * share) * (table[row] - mean) + share * (other - mean)
    return from_numbers(rng, own[1:])


def from_numbers(rng, numbers) -> Galaxy:
    """The galaxy that a row of `fitted` after the break describes; `rng` draws the densities of its gas."""
    number = dict(zip(COLUMNS, numbers, strict=False))
    power = {name: float(exp10(value)) for name, value in number.items() if name not in ("feh", "sodium")}

    ages = np.append([power[name] for name in COLUMNS[:5]], 1.0)
    feh = float(np.clip(number["feh"], METALLICITIES[0], METALLICITIES[-1]))
    metals = np.array([[np.interp(feh, METALLICITIES, row)] for row in np.eye(len(METALLICITIES))])
    moving = {name: float(np.clip(power[name], 60.0, 350.0)) for name in ("sigma_stars", "sigma_gas")}
    dust = {name: min(power[name], 0.8) for name in ("ebv_stars", "ebv_gas")}
    continuum, depths = np.split(numbers[len(COLUMNS) :], [KNOTS.size])
    lines = _lines(rng, power, feh)
    return Galaxy(
        metals * (ages / ages.sum()), depths, continuum, **moving, **dust, lines=lines, sodium=number["sodium"]
    )


def _lines(rng, power, feh):
    """Flux of each of `LINES` before dust (dict, in A times the continuum at 5500 A)."""
    ha = power["H alpha"]
    hb = ha / CASE_B["H alpha"]
    n2, s2, o1 = (ha * power[name] for name in ("[N II]", "[S II]", "[O I]"))
    o3, o2 = (hb * power[name] for name in ("[O III]", "[O II]"))
    sulfur = rng.uniform(1.15, 1.42)  # 6718 over 6733: electron density
    oxygen = rng.uniform(1.15, 1.45)  # 3730 over 3727: likewise
    hot = 0.012 * o3 * exp10(-0.9 * (feh + 0.7))  # [O III] 4364 shows in gas that is hot for lack of metals
    return {name: hb * ratio for name, ratio in CASE_B.items()} | {
        "[O II] 3727": o2 / (1 + oxygen), "[O II] 3730": o2 * oxygen / (1 + oxygen),
        "[Ne III] 3870": 0.075 * o3, "[Ne III] 3969": 0.075 * o3 / 3.32, "[S II] 4070": 0.06 * s2 / CASE_B["H alpha"],
        "[O III] 4364": hot, "He I 4473": 0.040 * hb,
        "[O III] 4960": o3 / 2.98, "[O III] 5008": o3, "[N I] 5201": 0.1 * o1 / CASE_B["H alpha"],
        "He I 5877": 0.12 * hb, "[O I] 6302": o1, "[O I] 6366": o1 / 3.05,
        "[N II] 6550": n2 / 3.05, "[N II] 6585": n2, "He I 6680": 0.034 * hb,
        "[S II] 6718": s2 * sulfur / (1 + sulfur), "[S II] 6733": s2 / (1 + sulfur),
        "He I 7067": 0.023 * hb, "[Ar III] 7138": (0.1 if o3 > 0.5 * hb else 0.05) * hb,
        "[O II] 7322": 0.012 * o2, "[O II] 7332": 0.010 * o2, "[S III] 9071": 0.3 * hb,
    }  # fmt: skip
