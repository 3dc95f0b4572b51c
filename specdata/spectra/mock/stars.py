"""Light of the stars in a mock galaxy: stellar types from their physics, summed into populations of six ages.

No library of stars is read. A star is a black body of its effective temperature, seen through
the Balmer series with its jump, the strong atomic lines and molecular bands that every spectrum of a galaxy shows, and
a forest of weak metal lines. The forest is random but the same in every star, as the atoms are the same; only its
strength follows temperature and metallicity. Optical depths were set by hand; `absorption.csv` holds what these miss in
the mean spectra of quiescent and of star-forming galaxies of SDSS, one depth for cool and one for hot stars. All
wavelengths are in vacuum.
"""

from functools import cache
from pathlib import Path

import numpy as np

from specdata.spectra.portable import LN_10, exp, exp10, gaussian, log10

STEP = 1e-4  # dex, the pixel of SDSS spectra (69 km/s)
LOGLAM_START = 3.28  # 1905 A
NPIX = 8192  # up to 12,560 A
AGES = ("5 Myr", "60 Myr", "300 Myr", "1 Gyr", "3 Gyr", "10 Gyr")
METALLICITIES = (-0.7, 0.0, 0.3)  # [Fe/H]

# Share of each stellar temperature in the light at 5500 A, one row an age: the turn-off fades from O to G stars, and
# giants (below 5000 K) take over. Supergiants stand in for the red stars of the two youngest populations.
TEMPERATURES = (35000.0, 20000.0, 13000.0, 9700.0, 8400.0, 7300.0, 6500.0, 5900.0, 5300.0, 4750.0, 4250.0, 3600.0)
LIGHT_SHARES = (
    (0.55, 0.30, 0.05, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.04, 0.06),
    (0.06, 0.26, 0.38, 0.12, 0.02, 0.00, 0.00, 0.00, 0.02, 0.06, 0.05, 0.03),
    (0.00, 0.00, 0.20, 0.43, 0.12, 0.04, 0.02, 0.00, 0.06, 0.08, 0.03, 0.02),
    (0.00, 0.00, 0.00, 0.12, 0.28, 0.20, 0.05, 0.03, 0.09, 0.17, 0.03, 0.03),
    (0.00, 0.00, 0.00, 0.00, 0.01, 0.07, 0.28, 0.20, 0.10, 0.19, 0.10, 0.05),
    (0.00, 0.00, 0.00, 0.00, 0.00, 0.02, 0.08, 0.20, 0.14, 0.23, 0.19, 0.14),
)

# Wavelength (A, vacuum), optical depth in a star of the species' best temperature at solar metallicity, and the scale
# (A, a Gaussian sigma) of the profile to the blue and to the red. A molecular band is sharp at its head and fades away
# from it: CN, C2 and MgH to the blue, TiO to the red.
FEATURES = {
    "ca2": [(3934.78, 1.25, 4.3, 4.3), (3934.78, 0.38, 9.5, 9.5), (3969.59, 1.00, 4.1, 4.1), (3969.59, 0.32, 9, 9)],
    "ca2_infrared": [(8500.36, 0.28, 2.1, 2.1), (8544.44, 0.58, 2.7, 2.7), (8664.52, 0.48, 2.5, 2.5)],
    "cn": [(3884.5, 0.55, 16, 1.5), (4217.2, 0.17, 30, 3.0), (3591.0, 0.40, 20, 2.0), (7900.0, 0.02, 40, 40)],
    "ch": [(4304.5, 0.52, 9, 6), (4313.5, 0.28, 2.5, 2.0), (4324.5, 0.14, 4.0, 3.0)],
    "mg": [
        *[(5168.74, 0.50, 2.0, 2.0), (5174.13, 0.66, 2.1, 2.1), (5185.05, 0.68, 2.3, 2.3), (5175.0, 0.12, 9, 12)],
        *[(5212.0, 0.10, 60, 2.0), (5110.0, 0.07, 40, 25), (3833.4, 0.65, 4.5, 4.5), (3839.4, 0.75, 4.0, 4.0)],
        *[(2852.97, 1.40, 6.0, 6.0), (5529.9, 0.16, 1.8, 1.8), (4572.4, 0.10, 1.8, 1.8), (8809.2, 0.22, 1.7, 1.7)],
    ],
    "na": [(5891.58, 0.90, 2.1, 2.1), (5897.56, 0.76, 2.1, 2.1), (8185.5, 0.10, 1.8, 1.8), (8197.1, 0.14, 1.8, 1.8)],
    "tio": [
        *[(4763.0, 0.14, 2, 40), (4956.0, 0.16, 2, 50), (5168.0, 0.22, 2, 60), (5449.0, 0.12, 2, 50)],
        *[(5849.0, 0.20, 2, 35), (6150.0, 0.18, 3, 60), (6220.0, 0.32, 16, 50), (6653.0, 0.16, 3, 70)],
        *[(6717.0, 0.14, 3, 90), (7056.0, 0.24, 3, 60), (7089.0, 0.20, 6, 50), (7127.0, 0.32, 8, 110)],
        *[(7610.0, 0.24, 8, 60), (7672.0, 0.20, 4, 60), (8260.0, 0.05, 30, 90), (8432.0, 0.12, 4, 40)],
    ],
    "fe": [
        *[(3582.0, 0.45, 4, 4), (3620.0, 0.3, 4, 4), (3720.9, 0.40, 3, 3), (3736.0, 0.50, 4, 4), (3749.6, 0.45, 3, 3)],
        *[(3759.3, 0.35, 3, 3), (3821.5, 0.45, 3, 3), (3826.9, 0.3, 3, 3), (3861.0, 0.45, 3, 3), (3887.0, 0.2, 3, 3)],
        *[(4046.9, 0.30, 2, 2), (4064.7, 0.25, 2, 2), (4072.9, 0.25, 2, 2), (4133.2, 0.15, 2, 2), (4144.9, 0.2, 2, 2)],
        *[(4227.92, 0.45, 1.8, 1.8), (4251.5, 0.18, 2, 2), (4261.7, 0.2, 2, 2), (4272.6, 0.25, 2, 2)],
        *[(4326.98, 0.15, 2, 2), (4384.77, 0.42, 2.6, 3.2), (4406.0, 0.26, 2.3, 2.3), (4416.4, 0.18, 2, 2)],
        *[(4456.5, 0.16, 4.0, 4.0), (4532.5, 0.18, 8, 8), (4669.5, 0.12, 18, 18), (4892.5, 0.09, 3, 3)],
        *[(4921.9, 0.14, 2.2, 2.2), (4958.8, 0.10, 2.2, 2.2), (5016.5, 0.15, 10, 14), (5080.0, 0.08, 4, 4)],
        *[(5207.5, 0.20, 2.5, 2.5), (5228.6, 0.14, 2, 2), (5271.3, 0.34, 3.6, 3.6), (5329.6, 0.28, 2.2, 2.2)],
        *[(5342.5, 0.22, 2.5, 2.5), (5372.9, 0.15, 2, 2), (5406.8, 0.15, 4, 4), (5456.9, 0.12, 2, 2)],
        *[(5710.5, 0.09, 4, 4), (5783.9, 0.08, 4, 4), (6104.5, 0.06, 2, 2), (6123.9, 0.08, 2, 2), (6138.4, 0.08, 2, 2)],
        *[(6163.9, 0.11, 2, 2), (6192.0, 0.06, 2, 2), (6232.5, 0.06, 2, 2), (6395.5, 0.07, 2, 2), (6497.5, 0.13, 3, 3)],
    ],
    "mg2": [(2796.35, 2.0, 6, 6), (2803.53, 1.8, 6, 6), (2600.2, 0.9, 5, 5), (2586.7, 0.7, 4, 4), (2383.0, 0.8, 6, 6)],
    "he": [(4027.3, 0.16, 3, 3), (4472.7, 0.16, 3, 3), (4922.3, 0.08, 2.5, 2.5), (5877.2, 0.08, 2, 2)],
}
# Mean optical depth of the metal line forest in a solar-metallicity K giant: wavelength (A), depth. The step at 4000 A
# (with Ca II and CN) is the break; those at 2640 and 2900 A are the breaks of the near ultraviolet.
FOREST_DEPTH = np.array([
    *[(1990, 2.0), (2620, 1.7), (2650, 1.1), (2880, 1.2), (2920, 0.8), (3120, 1.2), (3250, 0.75), (3500, 0.75)],
    *[(3580, 0.75), (3660, 0.58), (3720, 0.68), (3800, 0.82), (3850, 1.02), (3890, 0.90), (3915, 0.76), (3980, 0.78)],
    *[(4000, 0.32), (4120, 0.29), (4220, 0.32)],
    *[(4400, 0.23), (4560, 0.11), (4900, 0.10), (5200, 0.15), (5420, 0.09), (5800, 0.045), (6500, 0.03)],
    *[(7500, 0.015), (13200, 0.01)],
])  # fmt: skip
_FOREST_SEED = 4000  # which forest of lines; a constant of these mocks, never a choice
# Where a species shows: below this temperature (K), and how sharply it sets in ...
_BELOW = {"ca2": (8500, 9), "ca2_infrared": (8500, 6), "mg": (5000, 7), "na": (4700, 6), "tio": (3800, 16)}
_BELOW |= {"fe": (5700, 6), "mg2": (9000, 6)}
_AROUND = {"ch": (4950, 0.25), "cn": (4450, 0.15), "he": (19000, 0.30)}  # ... or around this one, width in ln T
_METAL_POWER = {"ca2": 0.25, "ca2_infrared": 0.3, "ch": 0.15, "cn": 0.8, "he": 0.0, "mg": 0.45, "fe": 0.1}
# of the others 0.5


def rest_wavelength() -> np.ndarray:
    """Vacuum wavelength (A) of the pixels of `population_light`; shape (NPIX,)."""
    return exp10(LOGLAM_START + STEP * np.arange(NPIX))


def _ln(x):
    return LN_10 * log10(x)


def strength(species, temperature, feh) -> float:
    """Optical depth of a species relative to its value in the star that shows it best, at solar metallicity."""
    where, width = _BELOW.get(species) or _AROUND[species]
    away = _ln(temperature / where)
    seen = 1.0 / (1.0 + exp(width * away)) if species in _BELOW else gaussian(away / width)
    return seen * exp10(_METAL_POWER.get(species, 0.5) * feh)


def black_body(wavelength, temperature) -> np.ndarray:
    """Flux density per A of a black body of a temperature (K), in an arbitrary unit; shape as `wavelength` (A)."""
    micron = wavelength / 1e4
    return 1.0 / (micron * micron * micron * micron * micron * (exp(14387.77 / (micron * temperature)) - 1.0))


def profile(wavelength, features) -> np.ndarray:
    """Optical depth of a species in the star that shows it best; shape as `wavelength`."""
    depth = np.zeros(wavelength.size)
    for centre, height, blue, red in features:
        distance = wavelength - centre
        depth += height * gaussian(distance / np.where(distance < 0, blue, red))
    return depth


def hydrogen_depth(wavelength, temperature, pressure=1.0, edge=1.0) -> np.ndarray:
    """Optical depth of the Balmer series and its jump, which the merging high members reach without a gap.

    `pressure` widens the lines and `edge` raises the jump, both relative to a dwarf.
    """
    around_a_stars = _ln(temperature / 9400.0)
    lines = pressure * gaussian(around_a_stars / (0.27 if around_a_stars < 0 else 0.55))
    jump = edge * 1.05 * gaussian(around_a_stars / (0.33 if around_a_stars < 0 else 0.62))
    half_width = 2.0 + 5.0 * lines
    depth = np.where(wavelength < 3680.0, jump, 0.0)
    for n in range(3, 26):
        centre = 3647.05 * n * n / (n * n - 4)
        spacing = 3647.05 * 8 * n / (n * n - 4) ** 2
        area = min(20.0 * lines, jump * spacing)  # A; a saturated line, or its share of the merged series
        distance = wavelength - centre
        shape = half_width / (np.pi * (distance * distance + half_width * half_width))
        depth += area * np.where(wavelength < 3680.0, 0.0, shape)
    return depth


def _star(wavelength, profiles, temperature, feh):
    """Flux density per A of one star, 1 at 5500 A; shape as `wavelength`."""
    if temperature < 7000.0:  # a more metal-rich population has cooler giants and a cooler turn-off
        temperature = temperature * exp10(-0.035 * feh)
    depth = hydrogen_depth(wavelength, temperature)
    for species, depth_of_species in profiles.items():
        depth += strength(species, temperature, feh) * depth_of_species
    cool, hot = measured_depth()
    depth += strength("fe", temperature, feh) * cool + (1.0 - strength("fe", temperature, 0.0)) * hot
    flux = black_body(wavelength, temperature) * exp(-depth)
    return flux / np.mean(flux[np.abs(wavelength - 5500.0) < 50.0])


@cache
def measured_depth() -> np.ndarray:
    """Optical depth to add in cool and in hot stars; shape (2, NPIX).

    `absorption.csv` has it in thousandths for each pixel from 3710 to 8780 A, made by `benchmarks/absorption.py`: that
    of cool stars was fitted until the median of mock quiescent galaxies was that of 235 real ones, lines of hot stars
    likewise with 42 galaxies whose 4000 A break is below 1.45. Beyond, it runs to zero.
    """
    pixel, *depths = np.loadtxt(Path(__file__).with_name("absorption.csv"), dtype=int, delimiter=",", skiprows=1).T
    return np.array([np.interp(np.arange(NPIX), [0, *pixel, NPIX - 1], [0, *depth, 0]) for depth in depths]) / 1000.0


@cache
def species_profiles() -> dict[str, np.ndarray]:
    """Optical depth of each species in the star that shows it best; each of shape (NPIX,)."""
    wavelength = rest_wavelength()
    profiles = {species: profile(wavelength, features) for species, features in FEATURES.items()}
    # Exponentially distributed depths: most pixels hold little, a few hold a strong line.
    forest = np.random.default_rng(_FOREST_SEED).standard_exponential(NPIX).round(5)
    profiles["fe"] += np.interp(wavelength, *FOREST_DEPTH.T) * forest
    return profiles


@cache
def variety() -> np.ndarray:
    """Optical depths by which real galaxies differ most from those of these stars; shape (64, NPIX).

    `variety.csv` has them in ten thousandths for every other pixel from 3671 to 8870 A, made by
    `benchmarks/galaxies.py`: principal components of what fits left of 405 galaxies, 24 of fits without any of them
    and 40 of fits with those, each scaled to a typical size of 1.
    """
    pixel, *depths = np.loadtxt(Path(__file__).with_name("variety.csv"), dtype=int, delimiter=",", skiprows=1).T
    return np.array([np.interp(np.arange(NPIX), pixel, depth) for depth in depths]) / 10_000.0


@cache
def population_light() -> np.ndarray:
    """Light of every population, 1 at 5500 A; shape (3 metallicities, 6 ages, NPIX)."""
    wavelength, profiles = rest_wavelength(), species_profiles()
    light = np.zeros((len(METALLICITIES), len(AGES), NPIX))
    for of_metallicity, feh in zip(light, METALLICITIES, strict=True):
        for shares, temperature in zip(np.transpose(LIGHT_SHARES), TEMPERATURES, strict=True):
            of_metallicity += shares[:, None] * _star(wavelength, profiles, temperature, feh)
    return light
