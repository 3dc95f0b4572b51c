"""Template fits: the redshift at which rest-frame spectra and a smooth curve fit best, in the sense of chi-square.

Templates come from the training spectra (`pca_templates`) or from a file (`read_templates`). Two fits use them:

- `fit_pixels`: pixels that are equal in log wavelength, with their inverse variances. There a redshift is a shift, and
  the sums over pixels that the normal equations need are cross-correlations, for all shifts at once by FFT.
- `fit_bins`: the numbers of a text, turned back into flux, on bins of any kind. The templates are averaged over these
  bins at each trial redshift, so no text is resampled. A text has no errors: all bins weigh the same, and one
  orthogonal basis for each trial redshift serves all spectra.

Both refine the best trial redshift by a parabola through chi-square there and at its two neighbours.
"""

import math
from typing import NamedTuple

import numpy as np

from specdata.errors import SpecdataError, one_line
from specdata.inputs import check_regular
from specdata.spectra.binning import SDSS_PIXELS

STEP = 1 / SDSS_PIXELS  # of templates, and of the smallest step in redshift, in dex
MARGIN = (
    0.05  # by which the redshifts that are tried reach beyond those of the training rows, as a share of their range
)
FLOOR = 0.02  # error of a template, as a share of the median flux, that is added to the noise of a training spectrum
ROUNDS = 12  # of the weighted PCA
PER_BIN = 16  # trial redshifts in the width of a bin
TERMS = 3  # Legendre polynomials, of degree 0 and up, that are fitted beside the templates
COUNTS = (1, 2, 3, 5, 8, 12)  # of templates from training spectra


class Templates(NamedTuple):
    """Rest-frame spectra `flux`, shape (templates, n), in pixels of `STEP` dex; `first` is the number of the first one.

    Pixel i is centred on 10 ** (i * STEP) Angstrom, in vacuum.
    """

    first: int
    flux: np.ndarray


def trial_range(z_train) -> tuple[float, float]:
    """Lowest and highest redshift to try: those of the training rows, and `MARGIN` of their range beyond."""
    low, high = float(np.min(z_train)), float(np.max(z_train))
    margin = max(MARGIN * (high - low), 0.001)
    return low - margin, high + margin


def candidates(spectra, bins=None) -> list[int]:
    """Numbers of templates to choose from: a quarter of the training spectra, and half of the bins, are enough."""
    most = min(spectra // 4, math.inf if bins is None else bins // 2 - TERMS)
    return [count for count in COUNTS if count <= most]


def rest_pixels(start, stop, z_range) -> tuple[int, int]:
    """Numbers of the first and last template pixel that wavelengths from `start` to `stop` (Angstrom) can fall on."""
    low, high = np.log10([start / (1 + z_range[1]), stop / (1 + z_range[0])]) / STEP
    return int(np.floor(low)) - 3, int(np.ceil(high)) + 3


def read_templates(path, first, last) -> Templates:
    """Read templates in the format of redrock, on the pixels from `first` to `last`.

    That is a FITS image ``BASIS_VECTORS`` with a row for each template, on rest wavelengths CRVAL1 + CDELT1 i in
    Angstrom, vacuum, or in log10 of it where LOGLAM is true (https://github.com/desihub/redrock-templates).

    Raises
    ------
    SpecdataError
        If the file is missing or of another format, or does not cover half of the pixels.
    """
    from astropy.io import fits

    try:
        check_regular(path)
        with fits.open(path) as hdus:
            hdu = hdus["BASIS_VECTORS"]
            wavelength = hdu.header["CRVAL1"] + hdu.header["CDELT1"] * np.arange(hdu.header["NAXIS1"])
            if hdu.header.get("LOGLAM", 0):
                wavelength = 10**wavelength
            flux = np.atleast_2d(np.array(hdu.data, dtype=np.float64))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise SpecdataError(
            f"{path}: holds no templates in redrock's format, a FITS image BASIS_VECTORS with CRVAL1 and CDELT1 "
            f"({one_line(error)}); give another file"
        ) from None
    edges = _pixel_edges(first, last)
    inside = (edges > wavelength[0]) & (edges < wavelength[-1])
    if inside.mean() < 0.5:
        raise SpecdataError(
            f"{path}: covers {wavelength[0]:.0f} to {wavelength[-1]:.0f} A, and the fit needs {edges[0]:.0f} to "
            f"{edges[-1]:.0f} A; give templates of galaxies"
        )
    return Templates(first, _unit(average(wavelength, flux, edges)))


def pca_templates(loglam, flux, ivar, z, count, first, last) -> Templates:
    """Principal components of spectra at rest, about zero, weighted by inverse variance, so that pixels may be missing.

    Parameters
    ----------
    loglam : ndarray, shape (m,)
        log10 of the wavelength in Angstrom, observed frame.
    flux, ivar : ndarray, shape (rows, m)
        Flux over the median of each spectrum, and its inverse variance.
    z : ndarray, shape (rows,)
    count : int
    first, last : int
        Pixels of the templates. Where no spectrum lies, they have the value of the nearest pixel that has one.
    """
    grid = np.arange(first, last + 1) * STEP
    data, weight = np.zeros((2, len(z), len(grid)))
    ivar = ivar / (1 + ivar * FLOOR**2)
    for row, shift in enumerate(np.log10(1 + z)):
        data[row] = np.interp(grid, loglam - shift, flux[row])
        weight[row] = np.interp(grid, loglam - shift, ivar[row], left=0, right=0)
        weight[row, np.interp(grid, loglam - shift, ivar[row] > 0) < 1] = 0  # beside a missing pixel
    known = (weight > 0).sum(axis=0) >= min(5, len(z))
    data, weight = data[:, known], weight[:, known]
    # Begin with the components of what is left when missing values are those of the mean, then improve in turn the
    # coefficients of each spectrum and the templates in each pixel (Bailey 2012, PASP 124, 1015).
    mean = (weight * data).sum(axis=0) / weight.sum(axis=0)
    filled = np.where(weight > 0, data, mean)
    flux = np.linalg.svd(filled @ filled.T, hermitian=True)[0][:, :count].T @ filled
    for _ in range(ROUNDS):
        flux = np.linalg.qr(flux.T)[0].T
        coefficients = _weighted_fits(flux, data, weight)
        flux = _weighted_fits(coefficients.T, data.T, weight.T).T
    # From the largest component to the smallest
    _, axes = np.linalg.svd(coefficients @ np.linalg.qr(flux.T)[1].T, full_matrices=False)[1:]
    flux = axes @ np.linalg.qr(flux.T)[0].T
    at = np.arange(len(grid))
    return Templates(first, _unit(np.array([np.interp(at, at[known], row) for row in flux])))


def fit_bins(templates, edges, flux, z_range, counts=None) -> np.ndarray:
    """Redshifts of spectra in bins, all of the same weight.

    Parameters
    ----------
    templates : Templates
    edges : ndarray, shape (m + 1,)
        Of the bins, Angstrom, observed frame.
    flux : ndarray, shape (n, m)
    z_range : tuple of float
    counts : sequence of int, optional
        Fit with the first so many templates, for each of these numbers; by default with all of them.

    Returns
    -------
    ndarray, shape (counts, n)
    """
    step = max(STEP, np.diff(np.log10(edges)).min() / PER_BIN)
    shifts = np.arange(np.log10(1 + z_range[0]), np.log10(1 + z_range[1]) + step, step)
    wavelength = 10 ** ((templates.first + np.arange(templates.flux.shape[1])) * STEP)
    smooth = _legendre(0.5 * (edges[1:] + edges[:-1]))
    counts = np.array(counts or [len(templates.flux)])
    explained = np.empty((len(counts), len(flux), len(shifts)))
    for start in range(0, len(shifts), 64):
        some = slice(start, start + 64)
        means = (average(wavelength, templates.flux, edges / 10**shift) for shift in shifts[some])
        # An orthogonal basis, of which the first columns are one for the first functions
        basis = np.linalg.qr(np.array([np.vstack([smooth, mean]).T for mean in means]))[0]
        found = np.tensordot(flux, basis, axes=(1, 1))  # shape (spectra, shifts, functions)
        explained[..., some] = np.moveaxis(np.cumsum(found**2, axis=2)[..., TERMS - 1 + counts], 2, 0)
    return _best_redshift(explained, shifts)


def fit_pixels(templates, first, flux, ivar, z_range, counts=None) -> np.ndarray:
    """Redshifts of spectra in pixels of `STEP` dex.

    Parameters
    ----------
    templates : Templates
    first : int
        Number of the first pixel.
    flux, ivar : ndarray, shape (n, m)
        `ivar` is 0 where a pixel is missing.
    z_range : tuple of float
    counts : sequence of int, optional
        See `fit_bins`.

    Returns
    -------
    ndarray, shape (counts, n)
    """
    from scipy.fft import irfft, next_fast_len, rfft

    bins = flux.shape[1]
    low, high = (round(math.log10(1 + z) / STEP) for z in z_range)
    rest = templates.flux[:, first - high - templates.first : first - low - templates.first + bins]
    size, trials = next_fast_len(rest.shape[1], real=True), high - low + 1
    smooth, pairs = _legendre(10 ** ((first + np.arange(bins)) * STEP)), np.tril_indices(len(rest))
    of_templates, of_pairs = rfft(rest, size), rfft(rest[pairs[0]] * rest[pairs[1]], size)

    def correlate(values, spectrum):
        """Sum over pixels of values x template, at each shift; shape (..., trials)."""
        return irfft(np.conj(rfft(values, size)) * spectrum, size)[..., :trials]

    counts = np.array(counts or [len(rest)])
    explained = np.empty((len(counts), len(flux), trials))
    ends = TERMS, TERMS + len(rest)  # of the rows of the normal equations: polynomials, templates, and the spectrum
    matrix = np.zeros((trials, ends[1] + 1, ends[1] + 1))  # the lower triangle, which is all that is read
    for row, (values, weight) in enumerate(zip(flux, ivar, strict=True)):
        weighted = weight * smooth
        matrix[:, :TERMS, :TERMS] = weighted @ smooth.T
        matrix[:, TERMS : ends[1], :TERMS] = correlate(weighted[:, None], of_templates).T
        matrix[:, TERMS + pairs[0], TERMS + pairs[1]] = correlate(weight, of_pairs).T
        matrix[:, ends[1], :TERMS] = weighted @ values
        matrix[:, ends[1], TERMS : ends[1]] = correlate(weight * values, of_templates).T
        matrix[:, ends[1], ends[1]] = 2 * np.sum(weight * values**2)
        diagonal = np.einsum("tff->tf", matrix)
        diagonal += 1e-9 * diagonal.max(axis=1, keepdims=True)  # so that no matrix is singular
        # The last row of the Cholesky factor holds what each function explains beyond those before it.
        factor = np.linalg.cholesky(matrix)[:, -1, :-1]
        explained[:, row] = np.cumsum(factor**2, axis=1)[:, TERMS - 1 + counts].T
    # Index 0 is the largest shift: the first pixel then falls on the bluest one of the templates.
    return _best_redshift(explained[..., ::-1], np.arange(low, high + 1) * STEP)


def average(wavelength, flux, edges) -> np.ndarray:
    """Means of spectra between edges, which lie much further apart than wavelengths; beyond the ends, the last values.

    Parameters
    ----------
    wavelength, edges : ndarray, shape (n,) and (m + 1,)
    flux : ndarray, shape (k, n)

    Returns
    -------
    ndarray, shape (k, m)
    """
    ends = np.array([min(edges[0], wavelength[0]) - 1, max(edges[-1], wavelength[-1]) + 1])
    wavelength = np.concatenate([ends[:1], wavelength, ends[1:]])
    flux = np.concatenate([flux[:, :1], flux, flux[:, -1:]], axis=1)
    total = np.zeros_like(flux)
    total[:, 1:] = np.cumsum(0.5 * (flux[:, 1:] + flux[:, :-1]) * np.diff(wavelength), axis=1)
    return np.diff([np.interp(edges, wavelength, row) for row in total]) / np.diff(edges)


def _weighted_fits(functions, data, weight):
    """Coefficients of functions, shape (k, m), in each row of data, shape (n, m), by weighted least squares; (n, k)."""
    count, pairs = len(functions), np.triu_indices(len(functions))
    matrix = np.empty((len(data), count, count))
    matrix[:, *pairs] = weight @ (functions[pairs[0]] * functions[pairs[1]]).T
    matrix[:, pairs[1], pairs[0]] = matrix[:, *pairs]
    matrix += 1e-6 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] * np.eye(count) / count + 1e-30 * np.eye(count)
    return np.linalg.solve(matrix, ((weight * data) @ functions.T)[..., None])[..., 0]


def _pixel_edges(first, last):
    return 10 ** ((np.arange(first, last + 2) - 0.5) * STEP)


def _unit(flux):
    return flux / np.sqrt(np.mean(flux**2, axis=1, keepdims=True))


def _legendre(wavelength):
    """The first `TERMS` Legendre polynomials over wavelengths; shape (TERMS, m)."""
    x = np.interp(wavelength, [wavelength[0], wavelength[-1]], [-1, 1])
    return np.polynomial.legendre.legvander(x, TERMS - 1).T


def _best_redshift(explained, shifts):
    """Redshift at which most of chi-square is explained, by a parabola through its neighbours; shape (..., n)."""
    best = np.clip(np.argmax(explained, axis=-1), 1, len(shifts) - 2)[..., None]
    left, middle, right = (np.take_along_axis(explained, best + side, axis=-1)[..., 0] for side in (-1, 0, 1))
    bend = 2 * middle - left - right
    offset = np.divide(0.5 * (right - left), bend, out=np.zeros_like(bend), where=bend > 0)
    return 10 ** (shifts[best[..., 0]] + np.clip(offset, -1, 1) * (shifts[1] - shifts[0])) - 1
