"""From the log-wavelength pixels of a spectrum to a linear grid, and to numbers of order one.

The grid and the scale are both chosen without looking at the redshift: the wavelengths stay in the observed frame.
"""

from dataclasses import dataclass

import numpy as np

from specdata.errors import SpecdataError

MIN_COVERED = 0.1  # share of a bin that good pixels have to cover, or it is interpolated
DISAGREE = 3.0  # standard deviations of chi2 above which the pixels of a bin do not measure one value


@dataclass(frozen=True, eq=False, kw_only=True)
class BinnedSpectrum:
    """A spectrum on a linear wavelength grid.

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
    middle = 0.5 * (loglam[1:] + loglam[:-1])
    gap = step > 1.5 * width
    left = np.concatenate([[loglam[0] - width / 2], np.where(gap, loglam[1:] - width / 2, middle)])
    right = np.concatenate([np.where(gap, loglam[:-1] + width / 2, middle), [loglam[-1] + width / 2]])
    return 10.0**left, 10.0**right


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
    left, right = pixel_edges(np.asarray(spectrum.loglam, dtype=np.float64))
    if edges[0] < left[0] or edges[-1] > right[-1]:
        raise SpecdataError(
            f"the bins span {edges[0]:.1f} to {edges[-1]:.1f} A but the spectrum {left[0]:.1f} to {right[-1]:.1f} A: "
            "choose bins inside the spectrum"
        )
    # Cut the axis at every edge of both grids: each piece then lies in one pixel (or in a gap) and in one bin.
    cuts = np.unique(np.concatenate([left, right, edges]))
    cuts = cuts[(cuts >= edges[0]) & (cuts <= edges[-1])]
    centre = 0.5 * (cuts[1:] + cuts[:-1])
    pixel = np.searchsorted(left, centre, side="right") - 1
    bin_ = np.searchsorted(edges, centre, side="right") - 1
    inside = (centre < right[pixel]) & spectrum.good[pixel]
    pixel, bin_, overlap = pixel[inside], bin_[inside], np.diff(cuts)[inside]

    def per_bin(values):
        return np.bincount(bin_, weights=values, minlength=len(edges) - 1)

    mask = per_bin(overlap) < MIN_COVERED * np.diff(edges)
    if mask.all():
        raise SpecdataError("no bin holds enough good pixels: ivar is 0 or masked between the first and the last edge")
    pixel_flux, pixel_ivar = (np.asarray(values, dtype=np.float64)[pixel] for values in (spectrum.flux, spectrum.ivar))
    with np.errstate(divide="ignore", invalid="ignore"):  # in bins without a pixel
        weight = overlap * pixel_ivar
        weighted = per_bin(weight * pixel_flux) / per_bin(weight)
        freedom = np.maximum(per_bin(np.ones(len(bin_))) - 1, 0)
        chi2 = per_bin((pixel_flux - weighted[bin_]) ** 2 * pixel_ivar)
        disagree = chi2 > freedom + DISAGREE * np.sqrt(2 * freedom)
        weight = np.where(disagree[bin_], overlap, weight)
        flux = per_bin(weight * pixel_flux) / per_bin(weight)
        ivar = per_bin(weight) ** 2 / per_bin(weight**2 / pixel_ivar)
    middle = 0.5 * (edges[1:] + edges[:-1])
    flux[mask] = np.interp(middle[mask], middle[~mask], flux[~mask])
    ivar[mask] = 0.0
    return BinnedSpectrum(edges=edges, flux=flux, ivar=ivar, by_width=disagree & ~mask, mask=mask)


def median_scale(binned):
    """Median flux of the bins that were observed, the number by which a spectrum is divided.

    It is robust against lines and spikes, and it knows nothing of the redshift or of other spectra.

    Raises
    ------
    SpecdataError
        If the median is not above zero: such a spectrum has no scale.
    """
    scale = float(np.median(binned.flux[~binned.mask]))
    if not scale > 0:
        raise SpecdataError(f"the median flux is {scale:.3g}, not above 0: leave this spectrum out")
    return scale
