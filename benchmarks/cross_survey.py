#!/usr/bin/env python3
"""A model and baselines trained on SDSS-like mocks, scored on those and on DESI-like ones.

    specdata build recipes/data/mock-redshifts.yaml --output mock-redshifts      # and a training: see docs/learning.md
    benchmarks/cross_survey.py mock-redshifts from-scratch-redshift-small --config packed-16

The DESI-like mocks are galaxies of the same population, with the sampling (0.8 A), range (3600 to 9824 A) and
resolution (R = 2000 to 5000) of DESI, the noise of the sky as SDSS sees it at the same signal-to-noise ratio per
Angstrom, and pixels that are independent. They go the way of a spectrum of one's own: `Spectrum.from_arrays`, bins,
text.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from readers import READERS, interval, read

from specdata import Spectrum, prompts
from specdata.dataset import rows
from specdata.dataset.manifest import read_manifest
from specdata.dataset.parquet import read_columns, split_files
from specdata.spectra.coverage import cover
from specdata.spectra.mock.galaxy import PIXEL_VELOCITY, draw_galaxy
from specdata.spectra.mock.instrument import Exposure
from specdata.text.encoding import Encoding, normalise

WAVE = np.arange(3600.0, 9824.1, 0.8)
LOGLAM = np.arange(35560, 39930) / 10_000


def desi_like(n, seed, *, z_min=0.01, z_max=0.5, snr_min=8.0, snr_max=40.0):
    """Yield mock galaxies as DESI would see them; limits as of `specdata.spectra.mock.spectrum.mock_spectra`."""
    resolution = np.interp(10**LOGLAM, [3600, 9824], [2000, 5000])
    wdisp = 299792.458 / (2.3548 * resolution) / PIXEL_VELOCITY
    for index in range(n):
        rng = np.random.default_rng([seed, index])
        z, snr = rng.uniform(z_min, z_max), snr_min * (snr_max / snr_min) ** rng.random()
        model = np.interp(WAVE, 10**LOGLAM, draw_galaxy(rng).observed(LOGLAM, wdisp, z))
        model /= np.median(model)
        seen = Exposure(rng)
        sigma = np.interp(WAVE, seen.wavelength, seen.sigma(np.interp(seen.wavelength, WAVE, model)))
        sigma *= np.median(model / sigma) / (snr * np.sqrt(0.8 / 1.4))  # an SDSS pixel has 1.4 A in the middle
        options = {"z": z, "spectype": "GALAXY", "is_mock": True, "source": f"desi-like {seed} {index}"}
        yield Spectrum.from_arrays(WAVE, rng.normal(model, sigma), sigma**-2.0, **options)


def load(dataset, config, split, n):
    """Flux in bins, scales, redshifts and objects of the first n rows of a split."""
    files = read_manifest(dataset, str(dataset))["files"]
    found = read_columns(dataset, split_files(files, config, split), ["flux", "scale", "z", "position_id"]).slice(0, n)
    flux = np.array(found["flux"].to_pylist(), np.float32)
    return flux, found["scale"].to_numpy(), found["z"].to_numpy(), np.array(found["position_id"].to_pylist())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument(
        "model", nargs="?", help="folder of a model that was trained on it; without it, baselines alone"
    )
    parser.add_argument("--config", default="packed-16")
    parser.add_argument("--n", type=int, default=500, help="spectra of each survey")
    parser.add_argument("--train", type=int, default=8000, help="rows that the baselines are trained on")
    parser.add_argument("--output", type=Path, help="JSON file of the scores")
    args = parser.parse_args()

    manifest = read_manifest(args.dataset, str(args.dataset))
    encoding = Encoding.from_dict(manifest["configs"][args.config], args.config)
    flux, scale, z_train, objects = load(args.dataset, args.config, "train", args.train)
    x_train = normalise(flux, scale[:, None], encoding.normalisation)
    surveys = {"SDSS-like": load(args.dataset, args.config, "test", args.n)[:3]}
    binned, warned = [], 0
    for spectrum in desi_like(args.n, seed=9):
        spectrum, warnings = cover(spectrum, encoding.edges)
        one, scale = rows.bin_one(spectrum, encoding)
        binned.append((one.flux[0], scale[0], spectrum.z))
        warned += bool(warnings)
    surveys["DESI-like"] = [np.array(values) for values in zip(*binned, strict=True)]
    print(f"{warned} of {args.n} DESI-like spectra with a warning")

    scores = {}
    for survey, (flux, scale, z) in surveys.items():
        x, found = (
            normalise(flux, scale[:, None], encoding.normalisation),
            {"constant": np.full(len(z), np.median(z_train))},
        )
        found |= {name: read(name, x_train, z_train, objects, x) for name in READERS}
        if args.model:
            found["language model"] = ask(args.model, encoding.encode(flux, scale.astype(np.float32))[0].to_pylist())
        for name, estimate in found.items():
            mae = interval(np.abs(estimate - z), np.arange(len(z))).tolist()
            outliers = float(np.mean(np.abs(estimate - z) / (1 + z) > 0.05))
            scores.setdefault(name, {})[survey] = {"mae_1000": mae, "outliers_0.05": outliers, "n": len(z)}
    print(f"| reader | {' | '.join(f'{survey}: MAE x 1000, share of abs(dz) over 0.05' for survey in surveys)} |")
    print("|---|" + "---|" * len(surveys))
    for name, found in scores.items():
        numbers = [(*one["mae_1000"], one["outliers_0.05"]) for one in found.values()]
        cells = (f"{mae:.1f} [{low:.1f}, {high:.1f}], {far:.1%}" for mae, low, high, far in numbers)
        print(f"| {name} | {' | '.join(cells)} |")
    if args.output:
        args.output.write_text(json.dumps(scores, indent=1) + "\n")


def ask(model, series):
    """Medians of p(z) that a model reads in some encoded spectra."""
    from specdata.inference.local import Generator

    asked = [prompts.build_row(text, 0.0)["prompt"] for text in series]
    found = np.full(len(asked), np.nan)
    for number, posterior in Generator(model).posteriors(asked, z_max=1):
        found[number] = posterior.median
    return found


if __name__ == "__main__":
    main()
