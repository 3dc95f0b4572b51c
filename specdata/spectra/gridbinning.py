"""`specdata.bin_spectrum` for many spectra at once, if their pixels are those of the SDSS grid, as nearly all are."""

import numpy as np

from specdata.spectra import binning

ROWS = 16  # spectra that are binned together: few enough that a core's cache holds them


def bin_spectra(spectra, edges):
    """Average spectra over wavelength bins, each as `specdata.bin_spectrum` does.

    Parameters
    ----------
    spectra : iterable
        Objects with `loglam`, `flux`, `ivar` and `good`, each of shape (n,), n their own.
    edges : array_like, shape (m + 1,)
        Increasing bin edges in vacuum Angstrom, observed frame.

    Returns
    -------
    dict of str to ndarray, shape (spectra, m)
        `flux` and `ivar` (float64), `mask` and `by_width` (bool), as in `BinnedSpectrum`; but for the last few bits,
        which depend on no other spectrum.

    Raises
    ------
    SpecdataError
        As `specdata.bin_spectrum` does.
    """
    edges = np.asarray(edges, dtype=np.float64)
    parts, batch = [], []

    def flush():
        if batch:
            parts.append(_bin_batch(batch, edges))
            batch.clear()

    for spectrum in spectra:
        first = _first_pixel(spectrum.loglam)
        if first is None:
            flush()
            one = binning.bin_spectrum(spectrum, edges)
            parts.append({name: getattr(one, name)[None] for name in ("flux", "ivar", "mask", "by_width")})
            continue
        batch.append((first, spectrum))
        if len(batch) == ROWS:
            flush()
    flush()
    return {name: np.concatenate([part[name] for part in parts]) for name in ("flux", "ivar", "mask", "by_width")}


def _first_pixel(loglam):
    """Number of the first pixel on the SDSS grid, or None for pixels of another one."""
    steps = np.asarray(loglam, dtype=np.float64) * binning.SDSS_PIXELS
    first = round(steps[0])
    steps -= np.arange(first, first + len(steps))
    return first if max(steps.max(), -steps.min()) < 0.01 else None


def _bin_batch(batch, edges):
    """Bin spectra of one grid: their pieces (see `binning._overlaps`) along the second axis, which lie bin by bin."""
    start, pixel, bin_, width = binning.cut_sdss_grid(edges.tobytes())
    begins = np.searchsorted(bin_, np.arange(len(edges) - 1))
    flux, ivar = (np.empty((len(batch), len(pixel))) for _ in range(2))
    good = np.empty(flux.shape, dtype=bool)
    for row, (first, spectrum) in enumerate(batch):
        binning.check_span(first, len(spectrum.loglam), edges)
        own = pixel - (first - start)
        for name, values in (("flux", flux), ("ivar", ivar), ("good", good)):
            values[row] = getattr(spectrum, name).take(own, mode="clip")
        good[row] &= (own >= 0) & (own < len(spectrum.loglam))  # of the rounding that `check_span` allows
    bad = ~good
    flux[bad] = ivar[bad] = 0.0

    def per_bin(values):
        return np.add.reduceat(values, begins, axis=1)

    good = good.astype(np.float64)
    covered = per_bin(good * width)
    mask = covered < binning.MIN_COVERED * np.diff(edges)
    for row in np.flatnonzero(mask.all(axis=1)):
        binning.bin_spectrum(batch[row][1], edges)  # which says so
    with np.errstate(divide="ignore", invalid="ignore"):  # in bins without a pixel
        weight = ivar * width
        total = per_bin(weight)
        value = per_bin(weight * flux) / total
        error = total**2 / per_bin(weight * width)
        freedom = np.maximum(per_bin(good) - 1, 0)
        apart = value.take(bin_, axis=1)
        np.subtract(flux, apart, out=apart)
        apart *= apart
        apart *= ivar
        disagree = per_bin(apart) > freedom + binning.DISAGREE * np.sqrt(2 * freedom)
        flux *= width
        value = np.where(disagree, per_bin(flux) / covered, value)
        variance = np.divide(width**2, ivar, out=np.zeros_like(ivar), where=ivar > 0)
        error = np.where(disagree, covered**2 / per_bin(variance), error)
    middle = 0.5 * (edges[1:] + edges[:-1])
    for row in np.flatnonzero(mask.any(axis=1)):
        known = ~mask[row]
        value[row, mask[row]] = np.interp(middle[mask[row]], middle[known], value[row, known])
    error[mask] = 0.0
    return {"flux": value, "ivar": error, "mask": mask, "by_width": disagree & ~mask}
