"""What headers and tables say of an object, under the names that `Spectrum` has for it."""

import math

import numpy as np

from specdata.errors import SpecdataError
from specdata.spectra.spectrum import Spectrum

NAMES = {
    "z": ("z", "redshift", "z_spec", "zspec", "z_best", "zbest"),
    "zerr": ("zerr", "z_err", "redshift_error", "z_error"),
    "zwarning": ("zwarning", "zwarn"),
    "spectype": ("spectype", "class", "z_spectype"),
    "subclass": ("subclass", "subtype"),
    "ra": ("ra", "target_ra", "ra_target", "ra_deg", "plug_ra"),
    "dec": ("dec", "target_dec", "dec_target", "dec_deg", "plug_dec"),
    "specobjid": ("specobjid", "targetid", "object_id", "specid", "spec_id", "obsid", "object", "objid", "id", "name"),
    "survey": ("survey",),
    "instrument": ("instrument", "instrume"),
    "vdisp": ("vdisp", "velocity_dispersion"),
    "teff": ("teff",),
    "logg": ("logg",),
    "feh": ("feh", "fe_h", "[fe/h]"),
    "dered_i": ("dered_i",),
    "bestobjid": ("bestobjid",),
    "mjd": ("mjd",),
    "is_mock": ("is_mock", "mock"),
}
_TEXT = ("spectype", "subclass", "specobjid", "survey", "instrument", "bestobjid")


def metadata(*sources) -> dict:
    """Attributes of a `Spectrum` out of mappings, such as FITS headers and rows of tables; the first one counts.

    What has the right name and the wrong kind, such as a declination in sexagesimal form, is left out.
    """
    found = {}
    for source in sources:
        values = {str(name).strip().lower(): value for name, value in source.items()}
        for field, names in NAMES.items():
            for name in names:
                value = None if field in found else _value(field, values.get(name))
                if value is not None:
                    found[field] = value
    return found


def make(wavelength, flux, ivar=None, *, source, **options) -> Spectrum | SpecdataError:
    """`Spectrum.from_arrays`, or, instead of raising it, the error of a spectrum that cannot be used."""
    try:
        return Spectrum.from_arrays(wavelength, flux, ivar, source=source, **options)
    except SpecdataError as error:
        return SpecdataError(f"{source}: {error}")


def _value(field, value):
    if value is None or value is np.ma.masked:
        return None
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if field in _TEXT:
        text = clean_text(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        return text or None
    if field == "is_mock":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) and field == "zwarning":  # MultimodalUniverse keeps whether there is a warning
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if field in ("zwarning", "mjd") else float(value)


def clean_text(value) -> str:
    """Text without the blanks around it, and without the ``b'...'`` that some tables of identifiers have."""
    text = str(value).strip()
    if text[:2] in ("b'", 'b"') and text[-1:] == text[1:2]:
        text = text[2:-1].strip()
    return text
