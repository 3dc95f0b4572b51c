#!/usr/bin/env python3
"""The template fit to all pixels beside redrock itself, which needs an environment of its own (`pip install redrock`).

    python benchmarks/redrock_check.py export DATASET CONFIG TEMPLATES spectra.npz
    REDROCK/bin/python benchmarks/redrock_check.py fit TEMPLATES spectra.npz

Both use the same templates, a FITS file of redrock, on the first 40 spectra of the test split.
"""

import sys
import time

import numpy as np

ROWS = 40


def export(dataset, config, templates, path):
    """Write pixels, redshifts, and what our own fit says, for redrock's environment."""
    from specdata.evaluation.baselines.templates import STEP, fit_pixels, read_templates, rest_pixels, trial_range
    from specdata.evaluation.split import open_split

    data = open_split(dataset, config)
    first, flux, ivar = next(data.pixels("rows", ROWS))
    z_range, edges = trial_range(data.train["z"].to_numpy()), data.encoding.edges
    read = read_templates(templates, *rest_pixels(edges[0], edges[-1], z_range))
    wavelength = 10 ** ((first + np.arange(flux.shape[1])) * STEP)
    ours = fit_pixels(read, first, flux, ivar, z_range)[0]
    z = data.rows["z"].to_numpy()[:ROWS]
    np.savez(path, wavelength=wavelength, flux=flux, ivar=ivar, z=z, z_range=z_range, ours=ours)


def fit(templates, path):
    """Fit with redrock, and compare."""
    from astropy.io import fits
    from redrock.targets import DistTargetsCopy, Spectrum, Target
    from redrock.templates import DistTemplate, Template
    from redrock.zfind import zfind
    from scipy.sparse import identity

    data, hdu = np.load(path), fits.open(templates)["BASIS_VECTORS"]
    rest = hdu.header["CRVAL1"] + hdu.header["CDELT1"] * np.arange(hdu.header["NAXIS1"])
    trials = 10 ** np.arange(*np.log10(1 + data["z_range"]), 3e-4) - 1
    template = Template(  # from a file it would want the absorption by the intergalactic medium, which needs more data
        spectype="GALAXY", subtype="", redshifts=trials, wave=rest, flux=np.array(hdu.data, dtype=float),
        igm_model="None", version="1",
    )  # fmt: skip
    exact = identity(len(data["wavelength"]), format="dia")  # the resolution: as it is in the templates
    targets = DistTargetsCopy([
        Target(str(number), [Spectrum(data["wavelength"], flux, ivar, exact)], coadd=True)
        for number, (flux, ivar) in enumerate(zip(data["flux"], data["ivar"], strict=True))
    ])  # fmt: skip
    begin = time.process_time()
    table = zfind(targets, [DistTemplate(template, targets.wavegrids())])[1]
    seconds = time.process_time() - begin
    found = {int(row["targetid"]): row["z"] for row in table if row["znum"] == 0}
    z = np.array([found[number] for number in range(len(data["z"]))])
    print(f"redrock takes {1000 * seconds / len(z):.0f} ms of a core for each of {len(z)} spectra")
    for name, error in (
        ("redrock", z - data["z"]), ("ours", data["ours"] - data["z"]), ("redrock less ours", z - data["ours"]),
    ):  # fmt: skip
        error = np.abs(error)
        print(f"{name}: median {np.median(error):.6f}, largest {error.max():.6f}, over 0.01: {(error > 0.01).sum()}")


if __name__ == "__main__":
    {"export": export, "fit": fit}[sys.argv[1]](*sys.argv[2:])
