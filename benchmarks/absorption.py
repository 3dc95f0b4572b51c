"""What the stars of the mocks lack in absorption lines, from real galaxies: makes `absorption.csv` of the mocks.

    python benchmarks/absorption.py FOLDER

FOLDER holds SDSS `spec` files of galaxies, of which every other one is used, so that the rest can judge the mocks
(`python benchmarks/mocks.py FOLDER --half 1`). Two medians of their spectra at rest are compared with those of mocks
that have no noise: that of quiescent galaxies, and that of galaxies with a 4000 A break below 1.45, each
beside the mock of the nearest break. What differs becomes an optical depth of cool stars and one of hot stars, in
thousandths per pixel, until nothing differs. Emission lines of young galaxies are left out, and the broad shape of hot
stars. The table in the package was made with the mock galaxies of revision 89aa350; `galaxies.py` came after it and
fits what these stars leave.
"""

import argparse
from pathlib import Path

import numpy as np
from mocks import BREAK, measure
from scipy.ndimage import gaussian_filter1d

from specdata.spectra.mock import stars
from specdata.spectra.mock.dust import transmission
from specdata.spectra.mock.galaxy import draw_galaxy
from specdata.spectra.specfile import read_spectrum

Z = 0.03  # of the mocks; about the median of the real galaxies
FIRST, LAST = 2850, 6680  # pixels of the table of the stars' light: 3673 to 8872 A
LOGLAM = stars.LOGLAM_START + stars.STEP * np.arange(FIRST, LAST)
REST = 10**LOGLAM
EMISSION = (  # A, with lines in young galaxies
    *((3720, 3738), (6540, 6595), (6708, 6742)),
    *((3862, 3878), (3884, 3894), (3962, 3978), (4096, 4110), (4334, 4348), (4856, 4870), (4950, 4970), (4995, 5020)),
    *((5868, 5886), (7130, 7145)),
)


def at_rest(loglam, flux, z):
    """Flux on the pixels of the table, 1 at 5500 A; NaN outside of the spectrum."""
    flux = np.interp(LOGLAM, loglam - np.log10(1 + z), flux, left=np.nan, right=np.nan)
    return flux / np.nanmean(flux[np.abs(REST - 5500) < 50])


def mock_stack(kinds, number):
    """`number` mocks without noise; shape (number, pixels)."""
    loglam = np.arange(FIRST - 30, LAST + 30) * stars.STEP + stars.LOGLAM_START + np.log10(1 + Z)
    wdisp, dust = np.full(loglam.size, 0.95), transmission(10**loglam, 0.03)
    galaxies = (draw_galaxy(np.random.default_rng([0, i]), Z, kinds[i % len(kinds)]) for i in range(number))
    if kinds == ["quiescent"]:  # those with little emission, as `main` takes of the real ones
        galaxies = (galaxy for galaxy in galaxies if galaxy.lines["H alpha"] < 1.15)
    return np.array([at_rest(loglam, galaxy.observed(loglam, wdisp, Z) * dust, Z) for galaxy in galaxies])


def break_of(flux):
    """The 4000 A break; shape (...,)."""
    above, below = (np.abs(REST - centre) < 50 for centre in (4050, 3900))
    return flux[..., above].mean(axis=-1) / flux[..., below].mean(axis=-1)


def nearest(breaks, pool):
    """A row of `pool` for each break, none of them more than three times."""
    distance, chosen = np.abs(break_of(pool) - np.asarray(breaks)[:, None]), []
    for row in distance:
        chosen.append(next(k for k in np.argsort(row) if chosen.count(k) < 3))
    return pool[chosen]


def without(bands, values):
    """`values` interpolated over some bands."""
    keep = ~np.any([np.abs(REST - (low + high) / 2) < (high - low) / 2 for low, high in bands], axis=0)
    return np.interp(LOGLAM, LOGLAM[keep], values[keep])


def fit(quiescent, young):
    """Optical depths to add to cool and to hot stars, shape (2, stars.NPIX), from real galaxies at rest."""
    depths = np.zeros((2, stars.NPIX))
    stars.measured_depth = lambda: depths
    old, gaps = np.nanmedian(quiescent, axis=0), np.nanmedian(young, axis=0)
    breaks = break_of(np.where(np.isfinite(young), young, gaps))
    taper = np.clip((REST - REST[0] - 50) / 60, 0, 1) * np.clip((REST[-1] - 100 - REST) / 150, 0, 1)

    def cool(repeats):
        for _ in range(repeats):
            stars.population_light.cache_clear()
            missing = np.log(np.median(mock_stack(["quiescent"], 120), axis=0) / old)
            missing = without(EMISSION[:1], missing)
            depths[0, FIRST:LAST] += 1.2 * missing
        print(f"quiescent: differs by {missing.std():.4f} (standard deviation over the pixels)")

    cool(4)
    for _ in range(3):
        stars.population_light.cache_clear()
        pool = mock_stack(["star-forming", "star-forming", "green valley"], 200)
        missing = np.log(np.median(nearest(breaks, pool), axis=0) / gaps)
        missing = without(EMISSION, missing)
        missing -= gaussian_filter1d(missing, 150, mode="nearest")
        print(f"young: lines differ by {missing.std():.4f}")
        depths[1, FIRST:LAST] += 0.8 * missing * taper
        cool(2)
    return depths


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    quiescent, young = [], []
    for path in sorted(folder.glob("spec-*.fits"))[::2]:
        spectrum = read_spectrum(path)
        found, good = measure(spectrum), spectrum.good
        flux = at_rest(spectrum.loglam[good], spectrum.flux[good].astype(float), spectrum.z)
        if found[BREAK] > 1.65 and np.sinh(found["H alpha + [N II]"]) < 2 and spectrum.snmedian > 30:
            quiescent.append(flux)
        elif found[BREAK] < 1.45:
            young.append(flux)
    print(f"{len(quiescent)} quiescent galaxies, {len(young)} young ones")
    ends = slice(FIRST + 40, LAST - 40)
    rows = np.rint(1000 * fit(np.array(quiescent), np.array(young))[:, ends]).astype(int)
    rows[:, 0], rows[:, -1] = rows[:, :60].mean(axis=1), rows[:, -60:].mean(axis=1)
    with Path(stars.__file__).with_name("absorption.csv").open("w", newline="\n") as stream:
        stream.write("pixel,cool,hot\n")
        stream.writelines(f"{ends.start + i},{cool},{hot}\n" for i, (cool, hot) in enumerate(rows.T))


if __name__ == "__main__":
    main()
