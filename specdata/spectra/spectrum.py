"""One observed spectrum with its units and what is known of the object."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from specdata.spectra.axis import SKY

# SPPIXMASK bits of `and_mask` that make a pixel unusable although its ivar may be above zero: NOPLUG, BADTRACE,
# BADFLAT, BADARC, LOWFLAT, FULLREJECT, SCATTEREDLIGHT, NOSKY, BRIGHTSKY, NODATA, COMBINEREJ, BADFLUXFACTOR, BADSKYCHI
# and REDMONSTER (https://www.sdss4.org/dr17/algorithms/bitmasks/#SPPIXMASK). The other bits warn about the fibre or
# about a single exposure; the pipeline has already put what they cost into ivar.
BAD_PIXEL = sum(1 << bit for bit in (0, 1, 2, 3, 17, 18, 20, 22, 23, 24, 25, 26, 27, 28))

UNKNOWN_UGRIZ = (math.nan,) * 5


def good_pixels(flux, ivar, and_mask) -> np.ndarray:
    """True where a pixel carries information: ivar above 0, both finite, no bit of `BAD_PIXEL`."""
    return (ivar > 0) & np.isfinite(ivar) & np.isfinite(flux) & (and_mask & BAD_PIXEL == 0)


def spectrum_name(plate, mjd, fiberid, specobjid) -> str:
    """``plate-mjd-fiberid`` as in SDSS file names; `specobjid` where there is no fibre number."""
    return f"{plate:04d}-{mjd}-{fiberid:04d}" if fiberid else specobjid


@dataclass(frozen=True, eq=False, kw_only=True)
class Spectrum:
    """One observed spectrum; names and units are those of the SDSS `spec` data model.

    `from_arrays` makes one of your own arrays, `specdata.read_spectra` reads files.

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
        Identity of an SDSS observation; 0 where there is none.
    run2d, specobjid : str
        Reduction version and unique name of the spectrum: for SDSS a number that needs an unsigned 64-bit integer.
    ra, dec : float
        ICRS coordinates in degrees.
    survey, instrument : str
        For example ``sdss`` and ``SDSS``, or ``boss`` and ``BOSS``. Empty where the file does not say.
    snmedian : float
        Median signal-to-noise ratio per pixel (`SN_MEDIAN_ALL`, or `SN_MEDIAN` where there is no such column).
    vdisp : float
        Velocity dispersion of the stars in km/s; NaN where it was not measured.
    teff, logg, feh : float
        Effective temperature of a star in K, log10 of its surface gravity in cm/s2, and [Fe/H] in dex; NaN where
        unknown. From an SDSS `spec` file they are those of the best fitting star of the ELODIE library.
    bestobjid : str
        Number of the photometric object, as text.
    spectroflux, modelmag, extinction : sequence of 5 floats
        In u, g, r, i, z: the spectrum's own flux in nanomaggies, the model magnitude of the image, and the extinction
        of the Milky Way in mag; NaN where unknown.
    target_bits : str
        Why it was observed: the target bit masks that are not 0, such as ``BOSS_TARGET1=3 EBOSS_TARGET0=4``.
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
    z: float = math.nan
    zerr: float = math.nan
    zwarning: int = 0
    spectype: str = ""
    subclass: str = ""
    plate: int = 0
    mjd: int = 0
    fiberid: int = 0
    run2d: str = ""
    specobjid: str = ""
    ra: float = math.nan
    dec: float = math.nan
    survey: str = ""
    instrument: str = ""
    snmedian: float = math.nan
    dered_i: float = math.nan
    vdisp: float = math.nan
    teff: float = math.nan
    logg: float = math.nan
    feh: float = math.nan
    bestobjid: str = ""
    spectroflux: Sequence[float] = UNKNOWN_UGRIZ
    modelmag: Sequence[float] = UNKNOWN_UGRIZ
    extinction: Sequence[float] = UNKNOWN_UGRIZ
    target_bits: str = ""
    is_mock: bool = False
    source: str = ""

    @classmethod
    def from_arrays(
        cls, wavelength, flux, ivar=None, *, sigma=None, medium="vacuum", mask=None, lsf_sigma=None, axis=SKY,
        **metadata,
    ) -> "Spectrum":  # fmt: skip
        """Make a spectrum of arrays, with or without astropy units.

        Parameters
        ----------
        wavelength : array_like or Quantity, shape (n,)
            Of the pixel centres, observed frame, in any order; Angstrom, unless a unit says otherwise. Frequencies,
            energies and wave numbers are converted.
        flux : array_like or Quantity, shape (n,)
            Flux density; 1e-17 erg/s/cm2/A, unless a unit says otherwise. One per frequency is converted. Flux without
            physical units (`dimensionless_unscaled`, `adu`, `electron`, ...) is taken as it is.
        ivar, sigma : array_like or Quantity, shape (n,), optional
            Inverse variance, or standard deviation, of `flux`; give one. 0, or what is not finite, is no information.
            Without either, the noise is estimated as one number from the differences of neighbouring pixels.
        medium : {"vacuum", "air"}
            What the wavelengths are measured in. Those in air are converted, above 2000 Angstrom.
        mask : array_like of bool, shape (n,), optional
            True where a pixel must not be used.
        lsf_sigma : float or array_like, optional
            Sigma of the line spread function in pixels.
        axis : specdata.spectra.axis.Axis, optional
            What the first two arguments are where this is no spectrum of the sky: `wavelength` holds x, above 0, and
            `flux` holds y, both in the units that the axis names.
        **metadata
            Any other attributes, such as `z`, `spectype`, `ra`, `dec`, `specobjid` and `source`.

        Returns
        -------
        Spectrum

        Raises
        ------
        SpecdataError
            If the arrays do not fit together, a unit cannot be converted, or no pixel holds information.

        Examples
        --------
        >>> import astropy.units as u
        >>> from specdata import Spectrum
        >>> spectrum = Spectrum.from_arrays(
        ...     [500.0, 500.1, 500.2] * u.nm, [1.0, 1.1, 0.9] * u.Jy, sigma=[0.1, 0.1, 0.1] * u.Jy, medium="air", z=0.1
        ... )
        >>> spectrum.wavelength.round(2).tolist()
        [5001.39, 5002.4, 5003.4]
        """
        from specdata.spectra.arrays import convert

        options = {"sigma": sigma, "medium": medium, "mask": mask, "lsf_sigma": lsf_sigma, "axis": axis}
        arrays = convert(wavelength, flux, ivar, **options)
        if math.isnan(metadata.get("snmedian", math.nan)):
            metadata["snmedian"] = arrays.pop("snmedian")
        return cls(**{"and_mask": np.zeros_like(arrays["or_mask"])} | arrays | metadata)

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
        """The spectrum's name, which no two spectra share: see `spectrum_name`."""
        return spectrum_name(self.plate, self.mjd, self.fiberid, self.specobjid)
