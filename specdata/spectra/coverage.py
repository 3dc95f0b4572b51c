"""A spectrum of another range, sampling or resolution, made ready for given bins, with what is to be said of it."""

import dataclasses

import numpy as np

from specdata.errors import SpecdataError
from specdata.spectra.axis import SKY
from specdata.spectra.binning import pixel_edges

LEAST_COVERED = 0.5  # share of the bins' range that a spectrum has to cover
ROUNDING = 1e-9  # of a wavelength that was kept as its logarithm
FWHM = 2.3548  # of a Gaussian with sigma 1
SDSS_RESOLUTION = 1500.0  # lowest of the SDSS and BOSS spectrographs (Smee et al. 2013, AJ 146, 32)


def cover(spectrum, edges, axis=SKY) -> tuple:
    """Extend a spectrum to the range of some bins by pixels without information, which become interpolated bins.

    Parameters
    ----------
    spectrum : Spectrum
    edges : ndarray, shape (m + 1,)
        Bin edges in vacuum Angstrom, or values of an axis of its own.
    axis : specdata.spectra.axis.Axis, optional

    Returns
    -------
    spectrum : Spectrum
    warnings : list of str
        How it differs from the spectra of SDSS, as far as the bins can tell, a sentence each.

    Raises
    ------
    SpecdataError
        If it covers less than `LEAST_COVERED` of the range.
    """
    left, right = pixel_edges(spectrum.loglam)
    start, stop = edges[0], edges[-1]
    span, bins = axis.span(left[0], right[-1]), axis.span(start, stop)
    covered = max(0.0, min(stop, right[-1]) - max(start, left[0])) / (stop - start)
    if covered < LEAST_COVERED:
        raise SpecdataError(
            f"{spectrum.source}: spans {span}, but the bins {bins}; give one that covers at least half of that, with "
            f"{axis.name} in {axis.unit or 'plain numbers'} or with its unit"
        )
    warnings = []
    if left[0] > start * (1 + ROUNDING) or right[-1] < stop * (1 - ROUNDING):
        warnings.append(
            f"it spans {span}, {covered:.0%} of the {bins} that the model has seen; the bins beyond are filled with "
            f"their neighbours' {axis.values}"
        )
    middle, width = 0.5 * (edges[1:] + edges[:-1]), np.diff(edges)
    pixel = np.interp(middle, spectrum.wavelength, right - left)
    if (coarse := pixel > width * (1 + 1e-6)).any():
        widest = f"{pixel.max():.3g} {axis.unit}".rstrip()
        warnings.append(f"its pixels, of up to {widest}, are wider than {coarse.sum()} of {len(width)} bins")
    known = axis.is_sky & np.isfinite(spectrum.wdisp) & (spectrum.wdisp > 0)
    if known.any():
        spread = FWHM * np.interp(middle, spectrum.wavelength[known], (spectrum.wdisp * (right - left))[known])
        if (coarse := spread > np.maximum(width, middle / SDSS_RESOLUTION)).any():
            warnings.append(
                f"its resolution, a FWHM of up to {spread.max():.1f} A, is coarser than that of SDSS and than "
                f"{coarse.sum()} of {len(width)} bins"
            )
    first = [np.log10(start)] if left[0] > start * (1 + ROUNDING) else []
    last = [np.log10(stop)] if right[-1] < stop * (1 - ROUNDING) else []
    added = {"flux": 0, "ivar": 0, "and_mask": 0, "or_mask": 0, "wdisp": np.nan}
    arrays = {
        name: np.concatenate([[value] * len(first), getattr(spectrum, name), [value] * len(last)])
        for name, value in added.items()
    }
    arrays = {name: values.astype(getattr(spectrum, name).dtype) for name, values in arrays.items()}
    return dataclasses.replace(spectrum, loglam=np.concatenate([first, spectrum.loglam, last]), **arrays), warnings
