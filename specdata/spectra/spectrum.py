"""One observed spectrum with its units and its SpecObj metadata."""

import functools
from dataclasses import dataclass

import numpy as np

# SPPIXMASK bits of `and_mask` that make a pixel unusable although its ivar may be above zero: NOPLUG, BADTRACE,
# BADFLAT, BADARC, LOWFLAT, FULLREJECT, SCATTEREDLIGHT, NOSKY, BRIGHTSKY, NODATA, COMBINEREJ, BADFLUXFACTOR, BADSKYCHI
# and REDMONSTER (https://www.sdss4.org/dr17/algorithms/bitmasks/#SPPIXMASK). The other bits warn about the fibre or
# about a single exposure; the pipeline has already put what they cost into ivar.
BAD_PIXEL = sum(1 << bit for bit in (0, 1, 2, 3, 17, 18, 20, 22, 23, 24, 25, 26, 27, 28))


def good_pixels(flux, ivar, and_mask) -> np.ndarray:
    """True where a pixel carries information: ivar above 0, both finite, no bit of `BAD_PIXEL`."""
    return (ivar > 0) & np.isfinite(ivar) & np.isfinite(flux) & (and_mask & BAD_PIXEL == 0)


@dataclass(frozen=True, eq=False, kw_only=True)
class Spectrum:
    """One observed spectrum, as the SDSS `spec` data model describes it.

    Attributes
    ----------
    loglam : ndarray, shape (n,), float64
        log10 of the vacuum wavelength in Angstrom, observed frame, increasing.
    flux : ndarray, shape (n,), float32
        Flux density in 1e-17 erg/s/cm2/A.
    ivar : ndarray, shape (n,), float32
        Inverse variance of `flux`; 0 means that the pixel holds no information.
    and_mask, or_mask : ndarray, shape (n,), int32
        SPPIXMASK bits set in all, or in any, of the exposures.
    wdisp : ndarray, shape (n,), float32
        Sigma of the line spread function in pixels.
    z, zerr : float
        Redshift and its error: `Z_NOQSO` for BOSS galaxy targets, where it is the better one, otherwise `Z`.
    zwarning : int
        Bit mask of redshift warnings, 0 = good; it belongs to the same fit as `z`.
    spectype, subclass : str
        `CLASS` (GALAXY, QSO or STAR) and `SUBCLASS` of the pipeline's fit.
    plate, mjd, fiberid : int
        Identity of the observation.
    run2d, specobjid : str
        Reduction version and unique number; text, because the latter needs an unsigned 64-bit integer.
    ra, dec : float
        ICRS coordinates in degrees.
    survey, instrument : str
        For example ``sdss`` and ``SDSS``, or ``boss`` and ``BOSS``. Empty where the file does not say.
    snmedian : float
        Median signal-to-noise ratio per pixel (`SN_MEDIAN_ALL`, or `SN_MEDIAN` where there is no such column).
    dered_i : float
        Dereddened i magnitude; NaN when unknown, as it is for the files of SDSS-I/II.
    is_mock : bool
        True for a synthetic spectrum, which must never be published as an SDSS one.
    source : str
        Where it came from: the name of its file, or the generator and its seed.
    """

    loglam: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    and_mask: np.ndarray
    or_mask: np.ndarray
    wdisp: np.ndarray
    z: float
    zerr: float
    zwarning: int
    spectype: str
    subclass: str
    plate: int
    mjd: int
    fiberid: int
    run2d: str
    specobjid: str
    ra: float
    dec: float
    survey: str
    instrument: str
    snmedian: float
    dered_i: float
    is_mock: bool
    source: str

    @property
    def wavelength(self) -> np.ndarray:
        """Vacuum wavelength in Angstrom, observed frame; ndarray of shape (n,), float64."""
        return 10.0**self.loglam

    @functools.cached_property
    def good(self) -> np.ndarray:
        """True where a pixel carries information, see `good_pixels`; ndarray of shape (n,)."""
        return good_pixels(self.flux, self.ivar, self.and_mask)

    @property
    def name(self) -> str:
        """The observation's name, ``plate-mjd-fiberid`` as in SDSS file names."""
        return f"{self.plate:04d}-{self.mjd}-{self.fiberid:04d}"
