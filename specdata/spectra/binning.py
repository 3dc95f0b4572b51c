"""From the log-wavelength pixels of a spectrum to the bins of any grid, and the median flux that scales it.

Grid and scale are chosen without a look at the redshift: wavelengths stay in the observed frame.

**Equal bytes.** Sums run in one fixed order, and `specdata.spectra.portable` computes the powers and logarithms. So the
same pixels give the same bits on every processor whose numpy does not merge a product and a sum into one rounding; on
x86-64 that is every numpy wheel, whichever of AVX2, AVX-512 and FMA there are. Elsewhere the last bits may differ.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from specdata.errors import SpecdataError
from specdata.spectra.portable import exp10, log10

MIN_COVERED = 0.5  # share of a bin that good pixels have to cover, or it is interpolated
SDSS_PIXELS = 10_000  # pixels per dex, at whole multiples of 1e-4
ROUNDING = 1e-6  # of a wavelength whose logarithm was stored in float32
COARSE = 0.04  # dex; of narrower pixels the middle is the same in wavelength and in its logarithm
BATCH = 16  # spectra that are binned together: few enough for the cache of a core


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
        Inverse variance of `flux` for independent pixels; 0 where `mask` is True.
    mask : ndarray, shape (m,), bool
        True where good pixels cover less than `MIN_COVERED` of the bin.
    """

    edges: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    mask: np.ndarray


def linear_edges(start, stop, bins) -> np.ndarray:
    """Edges of `bins` equal bins from `start` to `stop`, in Angstrom; ndarray of shape (bins + 1,)."""
    if not 0 < start < stop < np.inf:
        raise SpecdataError(f"grid {start} to {stop}: give 0 < start < stop in Angstrom")
    if bins < 1:
        raise SpecdataError(f"bins = {bins}: give at least 1")
    return np.linspace(start, stop, bins + 1)


def log_edges(start, stop, bins) -> np.ndarray:
    """Edges of `bins` bins from `start` to `stop` that are equal in log wavelength; Angstrom, shape (bins + 1,)."""
    linear_edges(start, stop, bins)  # which checks them
    edges = exp10(np.linspace(log10(start), log10(stop), bins + 1))
    edges[[0, -1]] = start, stop
    return edges


def _spread(steps):
    """How uneven steps are, whatever gaps there may be."""
    low, middle, high = np.percentile(steps, [25, 50, 75])
    return (high - low) / middle


def pixel_edges(loglam) -> tuple[np.ndarray, np.ndarray]:
    """Left and right edges in Angstrom, each of shape (n,), of pixels whose width changes slowly along the spectrum.

    `loglam`, of shape (n,), is log10 of the wavelength in Angstrom of the pixel centres and has to increase.
    Neighbours share an edge, unless pixels are missing between them: a step of more than one and a half times the
    median of the eleven steps around it is a gap. Where steps are wider than `COARSE`, it matters that they may be even
    in wavelength and not in its logarithm.
    """
    from scipy.ndimage import median_filter

    step = np.diff(loglam)
    if len(step) == 0 or not np.all(step > 0):
        raise SpecdataError("loglam has to hold at least two values, in increasing order")
    at, back, linear = loglam, exp10, exp10(loglam)
    if step.max() > COARSE and _spread(np.diff(linear)) < _spread(step):
        at, back, step = linear, np.array, np.diff(linear)
    half = median_filter(step, size=11, mode="mirror") / 2
    left = back(np.append(at[0] - half[0], 0.5 * (at[1:] + at[:-1])))
    right = np.append(left[1:], back(at[-1] + half[-1]))
    gap = np.flatnonzero(step > 3 * half)
    left[gap + 1], right[gap] = back(at[gap + 1] - half[gap]), back(at[gap] + half[gap])
    return left, right


def bin_spectrum(spectrum, edges) -> BinnedSpectrum:
    """Average a spectrum over wavelength bins, conserving flux density.

    The flux of a bin is the mean over its good pixels i, each weighted by the o_i Angstrom of it that lie in the bin:
    the integral over the good part of the bin, divided by the width of that part. Weights of inverse variance suit
    measurements of one value, and the spectrum changes inside a bin. In 816 real spectra they would lower the noise by
    1 % and change the flux of a faint line by 6 to 12 %, at the sky line of 5577 A by up to half
    (`benchmarks/binning.py`).

    The inverse variance is (sum o_i)^2 / sum(o_i^2 / ivar_i), which assumes independent pixels. Neighbouring pixels of
    real spectra correlate by 0.17 (the median of 37 spectra with a signal-to-noise ratio below 30, about the
    pipeline's model), so the error of a bin of many pixels is about 16 % larger than this says. A bin of which good
    pixels cover less than half is interpolated linearly between its neighbours, or takes the nearest one's flux at an
    end, and is marked in `mask`.

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
    binned = bin_spectra([spectrum], edges)
    return BinnedSpectrum(edges=np.array(edges, dtype=np.float64), **{name: rows[0] for name, rows in binned.items()})


def bin_spectra(spectra, edges) -> dict[str, np.ndarray]:
    """Average at least one spectrum over the same bins, each as `bin_spectrum` does; none changes a bit of another.

    Returns
    -------
    dict of str to ndarray, shape (spectra, m)
        `flux` and `ivar` (float64) and `mask` (bool), as in `BinnedSpectrum`.
    """
    edges = np.array(edges, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise SpecdataError("edges have to be one-dimensional, at least two, and increasing")
    parts = []
    numbered = ((_first_pixel(spectrum.loglam), spectrum) for spectrum in spectra)
    for on_grid, run in itertools.groupby(numbered, key=lambda pair: pair[0] is not None):
        while batch := list(itertools.islice(run, BATCH if on_grid else 1)):
            if on_grid:
                pieces = _cut_sdss_grid(edges.tobytes())
                for first, spectrum in batch:
                    ends = np.array([first, first + len(spectrum.loglam)]) - 0.5
                    _check_ends(*10.0 ** (ends / SDSS_PIXELS), edges)
            else:
                left, right = pixel_edges(np.asarray(batch[0][1].loglam, dtype=np.float64))
                _check_ends(left[0], right[-1], edges, ROUNDING)
                pieces = _cut(left, right, edges)
            parts.append(_average(batch, *pieces, edges))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _first_pixel(loglam):
    """Number of the first pixel on the SDSS grid, or None for pixels of another one."""
    steps = np.asarray(loglam, dtype=np.float64) * SDSS_PIXELS
    steps -= np.rint(steps[:1]) + np.arange(len(steps))
    # wavelengths that a file holds in float32 are off by up to 0.002 pixels
    return round(loglam[0] * SDSS_PIXELS) if len(steps) and max(steps.max(), -steps.min()) < 0.01 else None


def _check_ends(start, stop, edges, rounding=1e-12):
    if edges[0] < start * (1 - rounding) or edges[-1] > stop * (1 + rounding):
        raise SpecdataError(
            f"the bins span {edges[0]:.6g} to {edges[-1]:.6g} but the spectrum {start:.6g} to {stop:.6g}: "
            "choose bins inside the spectrum"
        )


@functools.lru_cache(maxsize=16)
def _cut_sdss_grid(edges):
    """The grid of all SDSS spectra, whose pixels are numbered from loglam = 0 on, cut once for all; see `_cut`."""
    edges = np.frombuffer(edges)
    first, last = (round(float(log10(edge)) * SDSS_PIXELS) for edge in (edges[0], edges[-1]))
    bounds = exp10((np.arange(first - 2, last + 4) - 0.5) / SDSS_PIXELS)
    pixel, begins, width = _cut(bounds[:-1], bounds[1:], edges)
    return pixel + first - 2, begins, width


def _cut(left, right, edges):
    """Cut the bins into k pieces that lie in one pixel, or in a gap between two.

    Returns the pixel of each piece, -1 for a gap; the number of the first piece of each bin; and the widths of the
    pieces in Angstrom.
    """
    cuts = np.unique(np.concatenate([left, right, edges]))
    cuts = cuts[(cuts >= edges[0]) & (cuts <= edges[-1])]
    pixel = np.searchsorted(left, cuts[:-1], side="right") - 1
    pixel[cuts[:-1] >= right[pixel]] = -1
    return pixel, np.searchsorted(cuts, edges[:-1]), np.diff(cuts)


def _average(batch, pixel, begins, width, edges):
    """`bin_spectra` for pairs of a first pixel and a spectrum that are cut into the same pieces; see `_cut`."""
    flux, ivar = np.zeros((2, len(batch), len(pixel)))
    for row, (first, spectrum) in enumerate(batch):
        own = pixel - (first or 0)
        good = spectrum.good.take(own, mode="clip")
        good &= (own >= 0) & (own < len(spectrum.good))
        for name, values in (("flux", flux), ("ivar", ivar)):
            np.copyto(values[row], getattr(spectrum, name).take(own, mode="clip"), where=good)
    good = ivar > 0

    def per_bin(values):
        return np.add.reduceat(values, begins, axis=1)

    covered = per_bin(good * width)
    mask = covered < MIN_COVERED * np.diff(edges)
    if mask.all(axis=1).any():
        raise SpecdataError("no bin holds enough good pixels: ivar is 0 or masked between the first and the last edge")
    variance = np.divide(width * width, ivar, out=np.zeros_like(ivar), where=good)
    with np.errstate(divide="ignore", invalid="ignore"):  # in bins without a good pixel
        mean, inverse = per_bin(flux * width) / covered, covered * covered / per_bin(variance)
    middle = 0.5 * (edges[1:] + edges[:-1])
    for row in np.flatnonzero(mask.any(axis=1)):
        lost = mask[row]
        mean[row, lost] = np.interp(middle[lost], middle[~lost], mean[row, ~lost])
    inverse[mask] = 0.0
    return {"flux": mean, "ivar": inverse, "mask": mask}


def pixels_between(loglam, start, stop) -> slice:
    """Pixels whose centres lie between two wavelengths, both ends included."""
    return slice(np.searchsorted(loglam, log10(start)), np.searchsorted(loglam, log10(stop), side="right"))


def median_scale(spectrum, start, stop) -> float:
    """Median flux of the good pixels between two wavelengths in Angstrom, the number by which a spectrum is divided.

    It is robust against lines and spikes, it does not depend on the bins, and it knows nothing of the redshift or of
    other spectra. In 1e-17 erg/s/cm2/A, and exact in float32. Pixels count by their width in log wavelength, which is
    the same for all of SDSS: of evenly spaced ones, more lie in the red, and would shift the scale.

    Raises
    ------
    SpecdataError
        If there is no good pixel, or the median is not above zero: such a spectrum has no scale.
    """
    inside = pixels_between(spectrum.loglam, start, stop)
    good = spectrum.good[inside]
    flux = spectrum.flux[inside][good]
    if not len(flux):
        raise SpecdataError(f"no good pixel lies between {start:.6g} and {stop:.6g}: leave this spectrum out")
    if _first_pixel(spectrum.loglam) is None:
        left, right = pixel_edges(np.asarray(spectrum.loglam, dtype=np.float64))
        scale = float(np.float32(_weighted_median(flux, log10(right / left)[inside][good])))
    else:
        scale = float(np.float32(np.median(flux)))
    if not scale > 0:
        raise SpecdataError(f"the median flux is {scale:.3g}, not above 0: leave this spectrum out")
    return scale


def _weighted_median(values, weights):
    """The value below and above which lies half of the weight; of equal weights the median."""
    order = np.argsort(values, kind="stable")
    values, below = values[order].astype(np.float64), np.cumsum(weights[order])
    return np.interp(0.5 * below[-1], below - 0.5 * weights[order], values)
