"""The rows of the training split, altered: more noise, another broad shape, answers that vary in the last digit.

Each spectrum is altered by random numbers of its own, which depend on the seed, its name and the number of its
realisation, so they are the same whichever other spectra are there.
"""

import hashlib

import numpy as np
import pyarrow as pa

from specdata.dataset.rows import stored_pixels
from specdata.errors import SpecdataError
from specdata.spectra.binning import median_scale
from specdata.spectra.mock.instrument import BESIDE, resampled
from specdata.spectra.portable import exp, exp10, gaussian, normal
from specdata.spectra.spectrum import spectrum_name

SMOOTH = 0.06  # dex of wavelength, 15 %: over about so much the factor of `shape` stays alike


def augment_spectra(table, augment, realisation) -> pa.Table:
    """Alter rows of the `spectra` config.

    Parameters
    ----------
    table : pyarrow.Table
    augment : specdata.dataset.recipe.Augment
    realisation : int
        From 0; to that one no noise is added.

    Returns
    -------
    pyarrow.Table
        With other `flux` and `ivar`, both multiplied as a wrong flux calibration would, and `ivar` with what the noise
        that was added costs.
    """
    noise = augment.noise if realisation else 0.0
    fluxes, ivars = [], []
    rows = zip(_generators(table, augment, realisation), stored_pixels(table), table["instrument"], strict=True)
    for rng, pixels, instrument in rows:
        flux, ivar = pixels.flux.astype(np.float64), pixels.ivar.astype(np.float64)
        if augment.shape:
            factor = exp(augment.shape * _smooth_field(rng, pixels.loglam))
            flux, ivar = flux * factor, ivar / (factor * factor)
        if noise:
            known = ivar > 0
            sigma = np.sqrt(np.divide(1.0, ivar, out=np.zeros_like(ivar), where=known))
            flux += noise * sigma * _pixel_noise(rng, pixels.loglam, instrument.as_py())
            ivar /= 1.0 + noise * noise
        fluxes.append(flux.astype(np.float32))
        ivars.append(ivar.astype(np.float32))
    for name, values in (("flux", fluxes), ("ivar", ivars)):
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.array(values, table.schema.field(name).type))
    return table


def augment_scale(table, encoding, scale) -> np.ndarray:
    """Scale of altered rows, as a build finds it for any spectrum; `scale` where that would not be above zero."""
    if encoding.normalisation == "none":
        return scale
    found = scale.copy()
    for row, pixels in enumerate(stored_pixels(table)):
        try:
            found[row] = median_scale(pixels, encoding.edges[0], encoding.edges[-1])
        except SpecdataError:  # noise has moved the median of a faint spectrum below zero
            continue
    return found


def augment_answers(values, table, target, augment, realisation) -> list:
    """What the answers of rows say: `values`, or with `dither` numbers beside them, whose rounded mean they are."""
    if not augment.dither or not target.is_number:
        return values
    shifts = [rng.random() - 0.5 for rng in _generators(table, augment, realisation, "answer")]
    moved = np.asarray(values, dtype=np.float64) + target.step * np.array(shifts)
    return np.clip(moved, target.low, target.high).tolist()


def describe(augment) -> str:
    """What was done to the training rows of a data set, in a sentence; `augment` is that section of its recipe."""
    parts = []
    if augment["noise"]:
        left = 1 / np.sqrt(1 + augment["noise"] ** 2)
        parts.append(
            f"all but the first with noise of {augment['noise']:g} times its own added, which leaves {left:.0%} "
            "of its signal-to-noise ratio"
        )
    if augment["shape"]:
        parts.append(f"multiplied by a smooth factor with an rms of {augment['shape']:.1%}")
    if augment["dither"]:
        parts.append("with the last digit of a number drawn so that its mean is the true value")
    count = augment["realisations"]
    copies = "is one copy" if count == 1 else f"are {count} copies"
    return f"there {copies} of each training spectrum, {'; '.join(parts)}"


def _generators(table, augment, realisation, what="pixels"):
    """Yield a generator of random numbers for each row."""
    names = zip(*(table[name].to_pylist() for name in ("plate", "mjd", "fiberid", "specobjid")), strict=True)
    for name in names:
        key = f"{augment.seed}:{realisation}:{what}:{spectrum_name(*name)}"
        yield np.random.default_rng(list(hashlib.sha256(key.encode()).digest()))


def _smooth_field(rng, loglam):
    """A random function of wavelength with mean 0 and rms 1, which varies over `SMOOTH`; shape as `loglam`."""
    knots = np.arange(np.floor(loglam[0] / SMOOTH) - 3, np.ceil(loglam[-1] / SMOOTH) + 4)
    coarse = np.linspace(loglam[0], loglam[-1], 256)
    weights = gaussian(coarse / SMOOTH - knots[:, None])
    field = (weights * normal(rng, size=(len(knots), 1))).sum(axis=0) / np.sqrt((weights * weights).sum(axis=0))
    return np.interp(loglam, coarse, field)


def _pixel_noise(rng, loglam, instrument):
    """Noise with rms 1 whose neighbours are correlated as those of the spectrograph, where that is known."""
    white = normal(rng, size=len(loglam) + 4)
    if instrument not in BESIDE:
        return white[2:-2]
    return resampled(white, np.interp(exp10(loglam), *zip(*BESIDE[instrument], strict=True)))
