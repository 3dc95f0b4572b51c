"""A mock quasar in its rest frame: a power law, broad lines, iron, narrow lines, and what absorbs on the way to us.

Strengths, places and widths are those of the composite of Vanden Berk et al. 2001 (AJ 122, 549, tables 2 and 5), around
which each quasar scatters; the mean absorption of the Lyman alpha forest is that of Faucher-Giguere et al. 2008
(ApJ 681, 831).
"""

from dataclasses import dataclass

import numpy as np

from specdata.spectra.mock.dust import transmission
from specdata.spectra.mock.galaxy import PIXEL_VELOCITY, Z_MAX, Galaxy, draw_galaxy
from specdata.spectra.portable import exp, exp10, gaussian, log10, normal

REDSHIFTS = (0.1, 3.2)
LIGHT = 299792.458  # km/s
LY_ALPHA = 1215.67
# Vacuum wavelength (A), equivalent width (A), and width relative to that of most lines
BROAD = {
    "O VI": (1033.8, 9.6, 1.1), "Ly alpha": (LY_ALPHA, 75.0, 1.0), "N V": (1240.1, 17.0, 1.0),
    "O I": (1305.4, 1.7, 0.9), "Si IV": (1398.3, 8.1, 1.2), "C IV": (1549.06, 23.8, 1.0),
    "He II 1640": (1640.4, 5.0, 1.6), "Al III": (1857.8, 1.5, 1.0), "C III]": (1908.7, 21.2, 1.3),
    "Mg II": (2799.1, 32.3, 0.9), "H delta": (4102.9, 5.1, 1.0), "H gamma": (4341.7, 12.6, 1.0),
    "H beta": (4862.7, 46.2, 1.0), "He I": (5877.3, 4.9, 1.2), "H alpha": (6564.6, 194.5, 0.9),
    "He I 7067": (7067.2, 3.0, 1.0),
}  # fmt: skip
HIGH = ("O VI", "N V", "Si IV", "C IV", "He II 1640")  # highly ionised gas, which comes towards us
NARROW = {
    "[Ne V]": (3426.8, 1.2), "[O II]": (3728.5, 1.6), "[Ne III]": (3869.9, 1.4), "H beta": (4862.7, 1.5),
    "[O III] 4960": (4960.3, 4.4), "[O III] 5008": (5008.2, 13.2), "H alpha": (6564.6, 8.0),
    "[N II]": (6585.3, 3.0), "[S II] 6718": (6718.3, 1.7), "[S II] 6733": (6732.7, 1.5),
}  # fmt: skip
# Blends of Fe II lines: centre, sigma (A) and equivalent width (A)
IRON = ((2080, 50, 8), (2380, 75, 30), (2500, 60, 28), (2620, 35, 8), (2950, 60, 8), (4570, 55, 30), (5250, 90, 28))
# Lines of gas in galaxies on the way: wavelength (A), and equivalent width over that of Mg II 2796
ABSORBED = ((2344.2, 0.4), (2382.8, 0.6), (2586.7, 0.35), (2600.2, 0.6), (2796.4, 1.0), (2803.5, 0.8), (2853.0, 0.15))


@dataclass(frozen=True, eq=False)
class Quasar:
    """What one mock quasar is made of."""

    slope: float  # of f_lambda between 1216 and 5000 A, a power of the wavelength
    sigma: float  # of most broad lines, km/s
    broad: np.ndarray  # strength and velocity (km/s) of each of `BROAD`, relative to its own; shape (n, 2)
    narrow: float  # strength of the narrow lines
    sigma_narrow: float  # km/s
    iron: float
    balmer: float  # Balmer continuum at its edge, as a share of the power law
    ebv: float  # colour excess E(B-V) in mag
    systems: np.ndarray  # redshift and equivalent width (A) of each system of Mg II absorption; shape (n, 2)
    outflow: np.ndarray  # first and last velocity (km/s) and depth of broad absorption; empty if there is none
    forest: np.ndarray  # normal numbers, one for each observed pixel at most
    host: Galaxy | None
    host_share: float  # of the light at 5100 A

    subclass = "BROADLINE"

    def observed(self, loglam, wdisp, z) -> np.ndarray:
        """Noiseless flux density per A on observed pixels, in an arbitrary unit; as `Galaxy.observed`."""
        rest = exp10(loglam) / (1.0 + z)
        flux = self._nucleus(rest, wdisp) * transmission(rest, self.ebv)
        if self.host is not None:
            stars = self.host.observed(loglam, wdisp, z)
            near = np.argmin(np.abs(rest - 5100.0))
            flux += stars * (self.host_share / (1.0 - self.host_share) * flux[near] / stars[near])
        return flux * self._passed(rest, wdisp, z)

    def _nucleus(self, rest, wdisp):
        power_law = _power_law(rest, self.slope)
        flux = power_law * self._iron(rest)
        for (centre, width, relative), (strength, velocity) in zip(BROAD.values(), self.broad, strict=True):
            at, sigma = centre * (1.0 + velocity / LIGHT), centre * relative * self.sigma / LIGHT
            area = width * strength * _power_law(np.array([centre]), self.slope)
            for share, wide in ((0.6, 0.75), (0.4, 1.9)):
                near, shape = _line(rest, at, wide * sigma)
                flux[near] += share * area * shape
        for centre, width in NARROW.values():
            near, shape = _line(rest, centre, _together(self.sigma_narrow, wdisp * PIXEL_VELOCITY) / LIGHT * centre)
            flux[near] += width * self.narrow * _power_law(np.array([centre]), self.slope) * shape
        return flux

    def _iron(self, rest):
        """Power law, Fe II and the Balmer continuum, whose edge the high Balmer lines wash out; 1 without the two."""
        ratio = rest / 3646.0
        continuum = ratio * ratio * exp(np.minimum(1.0 - ratio * ratio, 0.5)) / (1.0 + exp((rest - 3720.0) / 45.0))
        more = 1.0 + self.balmer * continuum
        for centre, sigma, width in IRON:
            near, shape = _line(rest, centre, sigma)
            more[near] += self.iron * width * shape
        return more

    def _passed(self, rest, wdisp, z):
        """Share of the light that is not absorbed on the way."""
        share = np.ones(rest.size)
        for redshift, width in self.systems:
            seen = rest * ((1.0 + z) / (1.0 + redshift))  # wavelength in the frame of the gas
            for centre, ratio in ABSORBED:
                near, shape = _line(seen, centre, _together(80.0, wdisp * PIXEL_VELOCITY) / LIGHT * centre)
                share[near] *= np.maximum(1.0 - width * ratio * shape, 0.05)
        if self.outflow.size:
            first, last, depth = self.outflow
            for centre, relative in ((1549.06, 1.0), (1397.0, 0.7), (1240.1, 0.9), (1033.8, 0.9)):
                velocity = LIGHT * (1.0 - rest / centre)
                edges = 1.0 / (1.0 + exp(-np.clip((velocity - first) / 400.0, -30, 30)))
                edges /= 1.0 + exp(np.clip((velocity - last) / 700.0, -30, 30))
                share *= 1.0 - relative * depth * edges
        # The Lyman alpha forest: hydrogen between us and the quasar, clumpy and thicker the farther away it is
        behind = rest < LY_ALPHA
        if behind.any():
            mean = 0.0018 * exp10(3.92 * log10(rest[behind] / LY_ALPHA * (1.0 + z)))
            clumps = _of_three(self.forest[: mean.size], 0.7, 0.5)
            share[behind] *= _of_three(exp(-1.6 * mean * exp(1.2 * clumps - 0.72)), 0.5, 0.25)
            share[rest < 912.0] *= 0.3
        return share


def _line(rest, centre, sigma):
    """Pixels near a Gaussian line of an area of 1 A, and its height there; `sigma` (A) is a number or one a pixel."""
    reach = 6.0 * np.max(sigma)
    near = slice(*np.searchsorted(rest, [centre - reach, centre + reach]))
    sigma = sigma[near] if np.ndim(sigma) else sigma
    return near, gaussian((rest[near] - centre) / sigma) / (np.sqrt(2.0 * np.pi) * sigma)


def _together(one, other):
    """Width of a Gaussian that two others of these widths have broadened."""
    return np.sqrt(one * one + other * other)


def _of_three(values, middle, beside):
    """Weighted sum of each value and its two neighbours."""
    padded = np.pad(values, 1, "edge")
    return middle * values + beside * (padded[:-2] + padded[2:])


def _power_law(rest, slope):
    """Flux density of the power law without dust, 1 at 3000 A: steeper in the far, flatter in the red part."""
    log_rest = log10(rest / 3000.0)
    blue, red = log10(LY_ALPHA / 3000.0), log10(5000.0 / 3000.0)
    inside = np.clip(log_rest, blue, red)
    beyond = (slope + 1.2) * np.minimum(log_rest - blue, 0.0) - 0.7 * np.maximum(log_rest - red, 0.0)
    return exp10(slope * inside + beyond)


def draw_quasar(rng, z) -> Quasar:
    """One quasar at a redshift, from the numbers of `rng`."""
    slope = normal(rng, -1.55, 0.3)
    sigma = float(np.clip(1900.0 * exp(normal(rng, 0.0, 0.35)), 700.0, 5000.0))
    all_lines, each = normal(rng, 0.0, 0.3), normal(rng, 0.0, 0.3, len(BROAD))
    velocity = normal(rng, 0.0, 150.0, len(BROAD))
    velocity += np.where([name in HIGH for name in BROAD], -abs(normal(rng, 500.0, 400.0)), 0.0)
    narrow, sigma_narrow = exp(normal(rng, -0.2, 0.7)), float(np.clip(normal(rng, 250.0, 80.0), 100.0, 500.0))
    iron, balmer = exp(normal(rng, 0.0, 0.4)), 0.12 * exp(normal(rng, 0.0, 0.4))
    ebv = abs(normal(rng, 0.0, 0.025)) + (rng.uniform(0.1, 0.3) if rng.random() < 0.07 else 0.0)
    systems = rng.uniform([0.35, 0.4], [max(z, 0.36), 2.0], (rng.poisson(0.5 * max(z - 0.35, 0.0)), 2))
    outflow = np.array([])
    if rng.random() < 0.12:
        first = rng.uniform(500.0, 9000.0)
        outflow = np.array([first, first + rng.uniform(2500.0, 9000.0), rng.uniform(0.35, 0.95)])
    forest, host, share = normal(rng, size=4700), None, 0.0
    if z < Z_MAX:
        share = rng.uniform(0.0, 0.65) * (1.0 - z / Z_MAX)
        host = draw_galaxy(rng, z, str(rng.choice(("quiescent", "green valley"))))
    broad = np.column_stack([exp(all_lines + each), velocity])
    lines = float(narrow), sigma_narrow
    return Quasar(
        slope, sigma, broad, *lines, float(iron), float(balmer), float(ebv), systems, outflow, forest, host, share
    )
