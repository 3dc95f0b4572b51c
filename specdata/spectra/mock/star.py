"""A mock star of known effective temperature, surface gravity and metallicity, from the ingredients of `mock.stars`.

A population's metal lines vary little with its metallicity, as its stars vary with it, too; those of one star vary in
proportion where they are weak. What shows the gravity: the pressure that widens the Balmer lines of hot stars and the
magnesium, sodium, calcium and hydride lines of cool dwarfs, the Balmer jump and the CN bands of giants.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

from specdata.spectra.mock import stars
from specdata.spectra.mock.dust import transmission
from specdata.spectra.mock.galaxy import broaden, part_of_rest
from specdata.spectra.portable import exp, exp10, log10, normal

KINDS = ("dwarf", "giant", "M dwarf", "hot star", "white dwarf")
SHARES = np.array([0.55, 0.22, 0.12, 0.08, 0.03])
VELOCITY = 100.0  # km/s, the scatter of the velocities along the line of sight
# Bands of CaH, which only dwarfs show, as `stars.FEATURES`, and Ca I 4228, which grows with pressure and cold
FEATURES = {"cah": [(6385.0, 0.25, 25, 12), (6830.0, 0.40, 40, 60)], "ca1": [(4227.92, 0.9, 5, 5)]}
# How the depth of a species follows log g: the power of ten per dex, below 6500 K
GRAVITY = {
    "mg": 0.16,
    "na": 0.16,
    "cah": 0.45,
    "ca1": 0.25,
    "cn": -0.25,
    "ch": -0.06,
    "ca2_infrared": -0.10,
    "fe": -0.04,
}
# Lower end of the temperatures (K) of each spectral type, in steps from 0 to 9
TYPES = (("O", 30000.0), ("B", 9900.0), ("A", 7350.0), ("F", 6000.0), ("G", 5250.0), ("K", 3900.0), ("M", 2300.0))


@dataclass(frozen=True, eq=False)
class Star:
    """What one mock star is made of."""

    kind: str  # one of `KINDS`
    teff: float  # K
    logg: float  # log10 of the surface gravity in cm/s2
    feh: float  # [Fe/H]; NaN for a white dwarf, which shows hydrogen alone
    ebv: float = 0.0  # colour excess E(B-V) in mag, of dust beyond that of `instrument.Exposure`

    @property
    def subclass(self) -> str:
        """Spectral type by temperature, such as ``G2``, or ``WD``."""
        if self.kind == "white dwarf":
            return "WD"
        highest = 50000.0
        for letter, lowest in TYPES:
            if self.teff >= lowest:
                return f"{letter}{min(9, int(10 * (highest - self.teff) / (highest - lowest)))}"
            highest = lowest
        return "M9"

    def light(self) -> np.ndarray:
        """Flux density per A, 1 at 5500 A, at `stars.rest_wavelength`; shape (NPIX,)."""
        wavelength = stars.rest_wavelength()
        hot = float(np.clip((self.teff - 6000.0) / 2500.0, 0.0, 1.0))
        pressure = exp10(0.13 * hot * (self.logg - 4.0))
        edge = exp10(-0.10 * (1.0 - abs(2.0 * hot - 1.0)) * (self.logg - 4.0))
        depth = stars.hydrogen_depth(wavelength, self.teff, pressure, edge)
        if self.kind != "white dwarf":
            depth += self._metals(wavelength)
        flux = stars.black_body(wavelength, self.teff) * exp(-depth)
        return flux / np.mean(flux[np.abs(wavelength - 5500.0) < 50.0])

    def _metals(self, wavelength):
        # In proportion to the metals at low metallicity, and less near that of the sun, where the lines are saturated
        metals = 0.35 * max(self.feh, -0.5) + 0.65 * min(self.feh + 0.5, 0.0) - 0.08
        cool = float(np.clip((6500.0 - self.teff) / 1000.0, 0.0, 1.0))
        depth = np.zeros(wavelength.size)
        for species, profile in (stars.species_profiles() | _own_profiles()).items():
            if species in FEATURES:
                shown = 1.0 / (1.0 + exp10(16.0 * log10(self.teff / 3950.0)))
            else:
                shown = stars.strength(species, self.teff, 0.0)
            if species == "tio":  # the bands deepen without end towards cooler stars
                shown *= 1.0 + max(0.0, 3900.0 - self.teff) / 350.0
            power = 0.5 if species in ("ca2", "ca2_infrared", "tio") else 1.0
            power *= 0.0 if species == "he" else metals
            depth += shown * exp10(power + cool * GRAVITY.get(species, 0.0) * (self.logg - 4.0)) * profile
        return depth + stars.strength("fe", self.teff, 0.0) * exp10(metals) * stars.measured_depth()[0]

    def observed(self, loglam, wdisp, z) -> np.ndarray:
        """Noiseless flux density per A on observed pixels, in an arbitrary unit; as `Galaxy.observed`."""
        part, fraction = part_of_rest(loglam, z)
        light = broaden(self.light()[part], fraction, wdisp, 10.0)
        return light * transmission(exp10(loglam), self.ebv)


@cache
def _own_profiles():
    """As `stars.species_profiles`, of the species in `FEATURES`."""
    wavelength = stars.rest_wavelength()
    return {species: stars.profile(wavelength, features) for species, features in FEATURES.items()}


def draw_star(rng, kind=None) -> Star:
    """One star from the numbers of `rng`, of one of `KINDS`."""
    if kind is None:
        kind = str(rng.choice(KINDS, p=SHARES))
    # Thin disk, thick disk and halo
    mean, scatter = ((-0.1, 0.22), (-0.6, 0.3), (-1.5, 0.45))[int(rng.choice(3, p=[0.5, 0.3, 0.2]))]
    feh = float(np.clip(normal(rng, mean, scatter), -2.5, 0.5))
    place, scatter, ebv = rng.random(), normal(rng), min(0.3, abs(normal(rng, 0.0, 0.07)))
    if kind == "dwarf":
        teff = 3800.0 * exp10(log10(8000.0 / 3800.0) * place)
        evolved = float(np.clip((teff - 4800.0) / 1200.0, 0.0, 1.0))  # the turn-off: some have left the main sequence
        logg = 4.65 - 0.45 * evolved + (0.05 + 0.25 * evolved) * scatter
    elif kind == "giant":
        teff = 3800.0 + 1500.0 * place
        logg = 1.0 + 2.0 * place - 0.25 * feh + 0.3 * scatter
    elif kind == "M dwarf":
        teff = 2900.0 + 900.0 * place
        logg, feh = 4.9 + 0.08 * scatter, max(feh, -1.0)
    elif kind == "hot star":
        teff = 8000.0 * exp10(log10(20000.0 / 8000.0) * place * place)
        logg = 3.8 + 0.3 * scatter
    else:
        teff = 8000.0 * exp10(log10(30000.0 / 8000.0) * place)
        logg, feh = 8.0 + 0.2 * scatter, np.nan
    return Star(kind, float(teff), float(np.clip(logg, 0.2, 8.8)), feh, float(ebv))
