"""One-dimensional FITS images whose header says how pixels become wavelengths (FITS WCS, paper III, and IRAF)."""

import re
import warnings

import numpy as np

from specdata.errors import SpecdataError, one_line
from specdata.spectra.readers.metadata import make, metadata
from specdata.spectra.readers.tables import MOST_HDU, parse_unit

_ERRORS = {
    "sigma": ("err", "error", "errs", "errors", "sigma", "std", "stddev", "uncert", "uncertainty", "stat_err", "noise"),
    "ivar": ("ivar", "inverse_variance", "invvar"),
    "variance": ("var", "variance", "stat"),
    "mask": ("mask", "dq", "qual", "quality"),
}


def read(hdus, path, medium) -> list | None:
    """The spectrum of the first image with one axis and a wavelength solution, or None."""
    for hdu in hdus:
        if not hdu.is_image or not hdu.header.get("NAXIS") or hdu.size > MOST_HDU or hdu.data is None:
            continue
        header = hdus[0].header if hdu is hdus[0] else {**hdus[0].header, **hdu.header}
        data = hdu.data
        bands = data.ndim == 3 and data.shape[1] == 1  # of IRAF: the spectrum, and below it background, sigma, ...
        flux = data[0, 0] if bands else data.squeeze()
        if flux.ndim != 1 or len(flux) < 2 or "CRVAL1" not in hdu.header:
            continue
        wavelength, own = _wavelengths(hdu.header, len(flux))
        unit = parse_unit(str(header["BUNIT"])) if header.get("BUNIT") else None
        arrays = {"flux": flux if unit is None else flux * unit}
        if bands:
            band = next((n for n in range(len(data)) if "sigma" in str(header.get(f"BANDID{n + 1}", ""))), None)
            arrays |= {} if band is None else {"sigma": data[band, 0]}
        arrays |= _beside(hdus, flux.shape)
        known = {"specobjid": path.name} | metadata(header) | {"source": path.name}
        return [make(wavelength, **arrays, medium=own or medium or "vacuum", **known)]
    return None


def _wavelengths(header, n):
    """Wavelengths of n pixels, with a unit, and the medium, if the header says it."""
    import astropy.units as u
    from astropy.wcs import WCS

    kind, unit = str(header.get("CTYPE1", "")).strip().upper(), str(header.get("CUNIT1", "")).strip()
    medium = "air" if kind.startswith("AWAV") else None
    word = str(header.get("AIRORVAC", header.get("MEDIUM", ""))).strip().lower()
    medium = medium or {"air": "air", "vac": "vacuum", "vacuum": "vacuum"}.get(word)
    if header.get("VACUUM") is True or (kind.startswith("WAVE") and "-" not in kind and kind != "WAVELENGTH"):
        medium = "vacuum"  # WAVE is the vacuum wavelength in FITS WCS, paper III
    pixels = np.arange(n)
    try:
        if re.fullmatch(r"(WAVE|AWAV|FREQ|ENER|WAVN|VELO|VRAD|VOPT)(-...)?", kind):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wcs = WCS(header, naxis=1)
                values, unit = wcs.wcs_pix2world(pixels, 0)[0], str(wcs.wcs.cunit[0])
        else:
            step = header["CDELT1"] if "CDELT1" in header else header["CD1_1"]
            values = header["CRVAL1"] + step * (pixels + 1 - header.get("CRPIX1", 1))
        if header.get("DC-FLAG") == 1 or kind in ("LOGLAM", "LOG-LAMBDA", "LOG10-WAVELENGTH"):
            values = 10.0**values
    except (KeyError, ValueError, TypeError) as error:
        raise SpecdataError(f"the wavelength solution of the header cannot be read ({one_line(error)})") from error
    unit = parse_unit(unit) if unit else u.AA
    if unit is None:
        raise SpecdataError(f"the unit {header['CUNIT1']!r} of the wavelengths is not known; write one such as nm")
    return values * unit, medium


def _beside(hdus, shape):
    """Errors and masks of images beside the flux, by the names of their HDUs."""
    found = {}
    for hdu in hdus:
        what = next((what for what, names in _ERRORS.items() if hdu.name.lower() in names), None)
        if what is None or not hdu.is_image or hdu.data is None or hdu.data.squeeze().shape != shape:
            continue
        values = hdu.data.squeeze()
        unit = parse_unit(str(hdu.header["BUNIT"])) if hdu.header.get("BUNIT") and what != "mask" else None
        if what == "variance":
            with np.errstate(divide="ignore", invalid="ignore"):
                what, values, unit = "ivar", 1 / values.astype(np.float64), None if unit is None else 1 / unit
        found.setdefault(what, values != 0 if what == "mask" else values if unit is None else values * unit)
    if "ivar" in found:
        found.pop("sigma", None)
    return found
