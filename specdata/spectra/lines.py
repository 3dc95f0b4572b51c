"""Spectral features, telluric bands, instruments and their sites: what figures and conversations are drawn from."""

# Rest wavelengths in vacuum, Angstrom, of the features that carry most redshifts; of doublets, pairs and the Mg b
# triplet, the mean. NIST's wavelengths in air, converted with Morton 1991 (ApJS 77, 119); the G band is one of CH
# (https://classic.sdss.org/dr6/algorithms/linestable.html, whose Mg and Na are 0.7 and 1.0 A too long).
LINES = {
    "[O II]": 3728.5,
    "Ca H+K": 3952.2,
    "G band": 4305.6,
    "H-beta": 4862.7,
    "[O III]": 5008.2,
    "Mg b": 5176.0,
    "Na D": 5894.6,
    "H-alpha": 6564.6,
    "[S II]": 6725.5,
}
# The same of quasars: strong ultraviolet lines, from NIST's wavelengths in vacuum, and those of `LINES` that gas emits;
# the light of the nucleus hides the absorption of stars.
QUASAR_LINES = {"Ly-alpha": 1215.7, "C IV": 1549.5, "C III]": 1908.7, "Mg II": 2799.9}
QUASAR_LINES |= {name: LINES[name] for name in ("[O II]", "H-beta", "[O III]", "H-alpha", "[S II]")}
# Lines by the class of SDSS; stars have those of `LINES` that no thin gas emits.
LINES_OF = {"GALAXY": LINES, "QSO": QUASAR_LINES}
LINES_OF["STAR"] = {name: rest for name, rest in LINES.items() if not name.startswith("[")}
# Where the atmosphere absorbs most between 3000 and 25000 Angstrom, with the wings of each band: molecular oxygen
# (Fraunhofer's B and A), and water, whose last two bands separate the infrared windows J, H and K.
TELLURIC = [
    ("O2", 6860, 6950),
    ("H2O", 7160, 7340),
    ("O2", 7590, 7710),
    ("H2O", 8120, 8350),
    ("H2O", 9280, 9800),
    ("H2O", 11100, 11600),
    ("H2O", 13400, 14700),
    ("H2O", 17900, 19600),
]
# Wavelengths that spectrographs cover, Angstrom, as stated for them, and where they stand.
INSTRUMENTS = {
    "MUSE": (4800, 9300, "Paranal"),  # nominal mode, eso.org/sci/facilities/paranal/instruments/muse/overview.html
    "DESI": (3600, 9800, "Kitt Peak"),  # DESI Collaboration 2022, AJ 164, 207
    "X-shooter": (3000, 25000, "Paranal"),  # Vernet et al. 2011, A&A 536, A105
}
LATITUDES = {"Paranal": -24.6, "Kitt Peak": 32.0}  # degrees
ALTITUDE_MIN = 30  # degrees above the horizon, an airmass of 2; what does not rise so far is called not observable


def observed(rest, z) -> float:
    """Wavelength at which a redshift shows the rest wavelength `rest`, in the same unit."""
    return rest * (1 + z)


def highest(declination, site) -> float:
    """Altitude above the horizon, degrees, at which a declination in degrees crosses the meridian of a site."""
    return 90 - abs(declination - LATITUDES[site])
