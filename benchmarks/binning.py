"""Noise and faint lines under three weights inside a bin: python benchmarks/binning.py FOLDER

FOLDER holds `spec` files. For each grid: how much noisier each kind of weight is than weights of inverse variance, and
how much of a line's flux the bins return, for lines of three standard deviations in the middle pixel, put anywhere or
within 15 A of the sky line at 5577 A. "test" is what specdata did before: inverse variance where the pixels of a bin
agree within their errors, the width of each pixel where they do not.
"""

import sys
from pathlib import Path

import numpy as np

from specdata import read_spectrum
from specdata.spectra.binning import linear_edges, log_edges, pixel_edges

LOGLAM = np.arange(35830, 39641) / 1e4  # of the SDSS grid, which holds the pixels of all files
GRIDS = {f"{n} log": log_edges(3840, 9160, n) for n in (16, 64, 172, 514)} | {"80 linear": linear_edges(3840, 9160, 80)}


def on_grid(spectrum):
    """Flux and inverse variance of the good pixels at `LOGLAM`, 0 elsewhere."""
    flux, ivar = np.zeros((2, len(LOGLAM)))
    at = np.rint((spectrum.loglam - LOGLAM[0]) * 1e4).astype(int)
    use = spectrum.good & (at >= 0) & (at < len(LOGLAM))
    flux[at[use]], ivar[at[use]] = spectrum.flux[use], spectrum.ivar[use]
    return flux, ivar


def binned(flux, ivar, overlap):
    """Flux and its variance in each bin, for each kind of weight."""
    good = ivar > 0
    variance = np.divide(1, ivar, where=good, out=np.zeros_like(ivar))
    found = {}
    for name, weight in (("ivar", overlap * ivar), ("width", overlap * good)):
        total = weight.sum(1)
        found[name] = np.stack([weight @ flux / total, weight**2 @ variance / total**2])
    freedom = np.maximum(((overlap > 0) & good).sum(1) - 1, 0)
    chi2 = ((overlap > 0) * ivar * (flux - found["ivar"][0][:, None]) ** 2).sum(1)
    disagree = (freedom > 0) & (chi2 > freedom + 3 * np.sqrt(2 * freedom))
    return found | {"test": np.where(disagree, found["width"], found["ivar"])}


def main():
    """Print one line for each grid and kind of weight."""
    rng = np.random.default_rng(0)
    spectra = [on_grid(read_spectrum(path)) for path in sorted(Path(sys.argv[1]).rglob("*.fits*"))]
    left, right = pixel_edges(LOGLAM)
    print("grid,weight,spectra,noise,returned_anywhere_rms,returned_at_sky_line_rms,returned_at_sky_line_least")
    for grid, edges in GRIDS.items():
        overlap = np.clip(np.minimum(right, edges[1:, None]) - np.maximum(left, edges[:-1, None]), 0, None)
        width = overlap.sum(1)
        noise, returned = {}, {}
        for flux, ivar in spectra:
            plain = binned(flux, ivar, overlap)
            use = overlap @ (ivar > 0) > width / 2
            for weight, (_, variance) in plain.items():
                noise.setdefault(weight, []).extend(np.sqrt(variance / plain["ivar"][1])[use])
            for where, place in (("any", rng.uniform(3900, 9000)), ("sky", rng.uniform(5562, 5592))):
                pixel = np.searchsorted(LOGLAM, np.log10(place))
                around = ivar[pixel - 50 : pixel + 50]
                if not ivar[pixel - 5 : pixel + 6].all():
                    continue
                line = 3 / np.sqrt(np.median(around[around > 0]))
                line = line * np.exp(-0.5 * ((np.arange(len(LOGLAM)) - pixel) / 1.2) ** 2)
                more = binned(flux + line, ivar, overlap)
                for weight, (values, _) in more.items():
                    gained = (values - plain[weight][0])[use] @ width[use]
                    returned.setdefault((weight, where), []).append(gained / (overlap.sum(0) @ line))
        for weight, ratios in noise.items():
            rms = [np.sqrt(np.mean((np.array(returned[weight, where]) - 1) ** 2)) for where in ("any", "sky")]
            least = np.percentile(returned[weight, "sky"], 5)
            print(f"{grid},{weight},{len(spectra)},{np.mean(ratios):.4f},{rms[0]:.3f},{rms[1]:.3f},{least:.2f}")


if __name__ == "__main__":
    main()
