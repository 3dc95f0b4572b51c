"""Spectral features, telluric bands and instruments: the numbers that figures and conversations are drawn from."""

# Rest wavelengths in vacuum, Angstrom, of the features that carry most redshifts; of doublets, pairs and the Mg b
# triplet, the mean. NIST's wavelengths in air, converted with Morton 1991 (ApJS 77, 119); G is a band of CH
# (https://classic.sdss.org/dr6/algorithms/linestable.html, whose Mg and Na are 0.7 and 1.0 A too long).
LINES = {
    "[O II]": 3728.5,
    "Ca H+K": 3952.2,
    "G": 4305.6,
    "H-beta": 4862.7,
    "[O III]": 5008.2,
    "Mg b": 5176.0,
    "Na D": 5894.6,
    "H-alpha": 6564.6,
    "[S II]": 6725.5,
}
# Where the atmosphere absorbs most in the optical, Angstrom: Fraunhofer's bands of molecular oxygen, at 6870 and 7600,
# and the band of water at 9400, each with its wings.
TELLURIC = {"O2 B": (6860, 6950), "O2 A": (7590, 7710), "H2O": (9280, 9700)}
# Wavelengths that spectrographs cover, Angstrom, as stated for them.
INSTRUMENTS = {
    "MUSE": (4800, 9300),  # nominal mode, https://www.eso.org/sci/facilities/paranal/instruments/muse/overview.html
    "DESI": (3600, 9800),  # DESI Collaboration 2022, AJ 164, 207
    "X-shooter": (3000, 25000),  # Vernet et al. 2011, A&A 536, A105
}


def observed(rest, z) -> float:
    """Wavelength at which a redshift shows the rest wavelength `rest`, in the same unit."""
    return rest * (1 + z)
