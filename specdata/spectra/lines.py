"""Spectral features, telluric bands and instruments: the numbers that figures and conversations are drawn from."""

# Rest wavelengths in vacuum, Angstrom, of the features that carry most redshifts; of doublets and pairs, the mean
# (https://classic.sdss.org/dr6/algorithms/linestable.html).
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


def observed(rest, z):
    """Where a redshift puts a wavelength, in the unit of `rest`."""
    return rest * (1 + z)
