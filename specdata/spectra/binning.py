"""From the log-wavelength pixels of a spectrum to the bins of any grid, and to numbers of order one.

The grid and the scale are both chosen without looking at the redshift: the wavelengths stay in the observed frame.
"""

import functools
from dataclasses import dataclass

import numpy as np

from specdata.errors import SpecdataError

MIN_COVERED = 0.1  # share of a bin that good pixels have to cover, or it is interpolated
SDSS_PIXELS = 1e4  # pixels per dex, at whole multiples of 1e-4
DISAGREE = 3.0  # standard deviations of chi2 above which the pixels of a bin do not measure one value


@dataclass(frozen=True, eq=False, kw_only=True)
class BinnedSpectrum:
    """A spectrum in wavelength bins.

    Attributes
    ----------
    edges : ndarray, shape (m + 1,), float64
        Bin edges, vacuum Angstrom, observed frame.
    flux : ndarray, shape (m,), float64
        Mean flux density in each bin, 1e-17 erg/s/cm2/A; interpolated where `mask` is True.
    ivar : ndarray, shape (m,), float64
        Inverse variance of `flux`; 0 where `mask` is True.
    by_width : ndarray, shape (m,), bool
        True where the pixels disagree, so that they were weighted by their widths and not by inverse variance.
    mask : ndarray, shape (m,), bool
        True where good pixels cover less than `MIN_COVERED` of the bin.
    """

    edges: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    by_width: np.ndarray
    mask: np.ndarray

    @property
    def n_interpolated(self):
        """Number of bins whose flux had to be interpolated."""
        return int(self.mask.sum())


def linear_edges(start, stop, bins):
    """Edges of `bins` equal bins from `start` to `stop`, in Angstrom; ndarray of shape (bins + 1,)."""
    if not 0 < start < stop < np.inf:
        raise SpecdataError(f"grid {start} to {stop}: give 0 < start < stop in Angstrom")
    if bins < 1:
        raise SpecdataError(f"bins = {bins}: give at least 1")
    return np.linspace(start, stop, bins + 1)


def log_edges(start, stop, bins):
    """Edges of `bins` bins from `start` to `stop` that are equal in log wavelength, so that a line is as wide anywhere.

    Angstrom; ndarray of shape (bins + 1,).
    """
    linear_edges(start, stop, bins)  # which checks them
    return np.geomspace(start, stop, bins + 1)


def pixel_edges(loglam):
    """Edges of pixels that are evenly spaced in log10 wavelength.

    Parameters
    ----------
    loglam : ndarray, shape (n,)
        log10 of the vacuum wavelength in Angstrom of the pixel centres, increasing.

    Returns
    -------
    left, right : ndarray, shape (n,), float64
        Edges in Angstrom. Neighbours share an edge, unless pixels are missing between them.
    """
    step = np.diff(loglam)
    if len(step) == 0 or not np.all(step > 0):
        raise SpecdataError("loglam has to hold at least two values, in increasing order")
    width = np.median(step)
    left = 10.0 ** np.concatenate([[loglam[0] - width / 2], 0.5 * (loglam[1:] + loglam[:-1])])
    right = np.append(left[1:], 10.0 ** (loglam[-1] + width / 2))
    gap = np.flatnonzero(step > 1.5 * width)
    left[gap + 1], right[gap] = 10.0 ** (loglam[gap + 1] - width / 2), 10.0 ** (loglam[gap] + width / 2)
    return left, right


def bin_spectrum(spectrum, edges):
    """Average a spectrum over wavelength bins, conserving flux density.

    The flux of a bin is the mean over the good pixels i that overlap it by o_i Angstrom, with weights
    w_i = o_i x ivar_i as long as those pixels agree within their errors. Where they do not (chi2 about that mean is
    more than `DISAGREE` standard deviations above its expectation), the spectrum changes inside the bin, by a line, a
    break or its slope, and the weights are w_i = o_i: the flux is then the integral over the bin divided by its width.
    Inverse-variance weights are for measurements of one and the same value; a bright line has a low ivar from its own
    photons, and would lose up to half of its flux.

    The inverse variance, for independent pixels, is (sum w_i)^2 / (sum w_i^2 / ivar_i). A pixel that two bins share
    correlates their errors slightly; this is ignored. A bin of which good pixels cover less than `MIN_COVERED` is
    interpolated linearly between its neighbours, or takes the nearest one's flux at an end, and is marked in `mask`.

    Parameters
    ----------
    spectrum : Spectrum
        Or any object with `loglam`, `flux`, `ivar` and `good`, each of shape (n,).
    edges : array_like, shape (m + 1,)
        Increasing bin edges in vacuum Angstrom, observed frame.

    Returns
    -------
    BinnedSpectrum

    Raises
    ------
    SpecdataError
        If an edge lies outside the spectrum, if the edges do not increase, or if no bin has a good pixel.
    """
    edges = np.asarray(edges, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise SpecdataError("edges have to be one-dimensional, at least two, and increasing")
    pixel, bin_, overlap = _overlaps(np.asarray(spectrum.loglam, dtype=np.float64), edges)
    good = spectrum.good
    if not good.all():
        inside = good[pixel]
        pixel, bin_, overlap = pixel[inside], bin_[inside], overlap[inside]

    def per_bin(values=None):
        return np.bincount(bin_, weights=values, minlength=len(edges) - 1)

    mask = per_bin(overlap) < MIN_COVERED * np.diff(edges)
    if mask.all():
        raise SpecdataError("no bin holds enough good pixels: ivar is 0 or masked between the first and the last edge")
    pixel_flux, pixel_ivar = (np.asarray(values, dtype=np.float64)[pixel] for values in (spectrum.flux, spectrum.ivar))
    with np.errstate(divide="ignore", invalid="ignore"):  # in bins without a pixel
        weight = overlap * pixel_ivar
        weighted = per_bin(weight * pixel_flux) / per_bin(weight)
        freedom = np.maximum(per_bin() - 1, 0)
        chi2 = per_bin((pixel_flux - weighted[bin_]) ** 2 * pixel_ivar)
        disagree = chi2 > freedom + DISAGREE * np.sqrt(2 * freedom)
        weight = np.where(disagree[bin_], overlap, weight)
        flux = per_bin(weight * pixel_flux) / per_bin(weight)
        ivar = per_bin(weight) ** 2 / per_bin(weight**2 / pixel_ivar)
    middle = 0.5 * (edges[1:] + edges[:-1])
    flux[mask] = np.interp(middle[mask], middle[~mask], flux[~mask])
    ivar[mask] = 0.0
    return BinnedSpectrum(edges=edges, flux=flux, ivar=ivar, by_width=disagree & ~mask, mask=mask)


def _overlaps(loglam, edges):
    """Pieces of the wavelength axis, each in one pixel of a spectrum and in one bin.

    Returns
    -------
    pixel, bin_ : ndarray, shape (k,), int
        What a piece lies in.
    overlap : ndarray, shape (k,), float64
        Its width in Angstrom. What lies in a gap between two pixels is left out.
    """
    steps = loglam * SDSS_PIXELS
    first = round(steps[0])
    on_grid = np.abs(steps - np.arange(first, first + len(steps))).max() < 0.01
    if on_grid:  # of which float32 wavelengths in a file are off by 0.002 pixels
        check_span(first, len(loglam), edges)
    else:
        left, right = pixel_edges(loglam)
        _check_ends(left[0], right[-1], edges)
        return _cut(left, right, edges)
    start, pixel, bin_, overlap = cut_sdss_grid(edges.tobytes())
    own = slice(*np.searchsorted(pixel, [first - start, first - start + len(loglam)]))
    return pixel[own] - (first - start), bin_[own], overlap[own]


def check_span(first, pixels, edges):
    """Check that bins lie inside so many pixels of the SDSS grid from the number `first` on."""
    _check_ends(*(10.0 ** (np.array([first - 0.5, first + pixels - 0.5]) / SDSS_PIXELS)), edges)


def _check_ends(start, stop, edges):
    if edges[0] < start * (1 - 1e-12) or edges[-1] > stop * (1 + 1e-12):
        raise SpecdataError(
            f"the bins span {edges[0]:.1f} to {edges[-1]:.1f} A but the spectrum {start:.1f} to {stop:.1f} A: "
            "choose bins inside the spectrum"
        )


@functools.lru_cache(maxsize=16)
def cut_sdss_grid(edges):
    """All SDSS spectra have pixels of one grid in log wavelength, which is cut once for all of them.

    Returns its first pixel in units of 1e-4 dex, and what `_cut` returns.
    """
    edges = np.frombuffer(edges)
    start, stop = np.floor(np.log10(edges[0]) * SDSS_PIXELS) - 1, np.ceil(np.log10(edges[-1]) * SDSS_PIXELS) + 2
    bounds = 10.0 ** ((np.arange(start, stop + 1) - 0.5) / SDSS_PIXELS)
    return int(start), *_cut(bounds[:-1], bounds[1:], edges)


def _cut(left, right, edges):
    """Cut the axis at every edge of pixels and bins; see `_overlaps`."""
    cuts = np.stack([left, right], axis=1).ravel()  # in order; where pixels touch, the same number twice
    at = np.searchsorted(cuts, edges)
    starts = np.insert(np.tile([1, -1], len(left)), at, 0)  # a pixel begins, or ends
    begun = np.insert(np.zeros(len(cuts), int), at, 1)  # a bin begins
    cuts = np.insert(cuts, at, edges)
    pixel, bin_, overlap = np.cumsum(starts == 1) - 1, np.cumsum(begun) - 1, np.diff(cuts, append=cuts[-1])
    real = (overlap > 0) & (np.cumsum(starts) > 0) & (bin_ >= 0) & (bin_ < len(edges) - 1)
    return pixel[real], bin_[real], overlap[real]


def pixels_between(loglam, start, stop):
    """Pixels whose centres lie between two wavelengths, both ends included; slice."""
    return slice(np.searchsorted(loglam, np.log10(start)), np.searchsorted(loglam, np.log10(stop), side="right"))


def median_scale(spectrum, start, stop):
    """Median flux of the good pixels between two wavelengths, the number by which a spectrum is divided.

    It is robust against lines and spikes, it does not depend on the bins, and it knows nothing of the redshift or of
    other spectra.

    Parameters
    ----------
    spectrum : Spectrum
    start, stop : float
        Vacuum Angstrom, observed frame.

    Returns
    -------
    float
        1e-17 erg/s/cm2/A, exact in float32.

    Raises
    ------
    SpecdataError
        If there is no good pixel, or the median is not above zero: such a spectrum has no scale.
    """
    inside = pixels_between(spectrum.loglam, start, stop)
    flux = spectrum.flux[inside][spectrum.good[inside]]
    if not len(flux):
        raise SpecdataError(f"no good pixel lies between {start:.0f} and {stop:.0f} A: leave this spectrum out")
    scale = float(np.float32(np.median(flux)))
    if not scale > 0:
        raise SpecdataError(f"the median flux is {scale:.3g}, not above 0: leave this spectrum out")
    return scale
