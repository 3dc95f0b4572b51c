#!/usr/bin/env python3
"""How many spec files a second: `read_spectrum` beside astropy and fitsio, all in one run on the same files.

    python benchmarks/read.py ../shared/sdss/spectra

Every reader runs over the files once before it is timed, so the disk plays no part, and the best of `--repeat` passes
counts. The others read six columns of COADD and eight of HDU 2, less than `read_spectrum` does. fitsio (GPL) is no
dependency of specdata; it is measured where it is installed.
"""

import argparse
import time

from specdata.dataset.sources import folder_paths
from specdata.spectra.specfile import read_spectrum

COLUMNS = ("loglam", "flux", "ivar", "and_mask", "or_mask", "wdisp")
NAMES = ("PLATE", "MJD", "FIBERID", "CLASS", "SUBCLASS", "Z", "ZWARNING", "SPECOBJID")


def by_astropy(path):
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        return [hdus[1].data[name] for name in COLUMNS], [hdus[2].data[name][0] for name in NAMES]


def by_astropy_coadd(path):
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        return [hdus[1].data[name] for name in COLUMNS]


def by_fitsio(path):
    import fitsio

    with fitsio.FITS(path) as hdus:
        return hdus[1].read(columns=COLUMNS), hdus[2].read(columns=NAMES)


def rate(reader, paths, repeat):
    """Files a second, the best of `repeat` passes after a first one that does not count."""
    best = float("inf")
    for number in range(repeat + 1):
        start = time.perf_counter()
        for path in paths:
            reader(path)
        if number:
            best = min(best, time.perf_counter() - start)
    return len(paths) / best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--limit", type=int, default=200, help="read only the first so many files (default 200)")
    parser.add_argument("--repeat", type=int, default=3)
    args = parser.parse_args()
    paths = folder_paths(args.folder)[: args.limit]
    readers = {"astropy, COADD and HDU 2": by_astropy, "astropy, COADD only": by_astropy_coadd}
    try:
        import fitsio  # noqa: F401
    except ImportError:
        print("fitsio is not installed")
    else:
        readers["fitsio, both tables"] = by_fitsio
    ours = rate(read_spectrum, paths, args.repeat)
    print(f"{len(paths)} files\n{'reader':28}{'files/s':>9}{'read_spectrum is':>20}")
    print(f"{'specdata.read_spectrum':28}{ours:9.0f}")
    for name, reader in readers.items():
        other = rate(reader, paths, args.repeat)
        print(f"{name:28}{other:9.0f}{ours / other:14.1f} times")


if __name__ == "__main__":
    main()
