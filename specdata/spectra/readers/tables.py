"""Tables with columns of wavelength and flux: FITS, ECSV, CSV, VOTable.

A table holds one spectrum, a pixel in each row, or several, in each row arrays of one. Columns are found by their
names, in upper or lower case; units are those of the columns, or stand in the name: ``wavelength_nm``, ``flux [Jy]``.
Curves of another axis than that of the sky have columns with the names that it gives, or x and y.
"""

import re
import warnings

import numpy as np

from specdata.errors import SpecdataError, one_line
from specdata.inputs import MOST_BYTES, check_ecsv, read_bytes
from specdata.spectra.readers.metadata import make, metadata

COLUMNS = {
    "wavelength": (
        *("wavelength", "wavelengths", "wave", "wl", "wlen", "wavel", "lambda", "lam", "lambda_obs", "wavelength_obs"),
        *("spectral_axis", "awav", "wave_air", "wavelength_air", "air_wavelength", "wave_vac", "wavelength_vac"),
        *("vacuum_wavelength", "frequency", "freq", "nu", "energy", "wavenumber"),
    ),
    "loglam": ("loglam", "log_wave", "loglambda", "log_lambda", "log_wavelength", "logwave"),
    "flux": (
        *("flux", "fluxes", "flux_density", "flam", "f_lambda", "flambda", "fnu", "f_nu", "intensity", "counts"),
        *("spec", "spectrum", "flux_reduced", "data"),
    ),
    "ivar": ("ivar", "inverse_variance", "invvar", "flux_ivar", "ivar_flux"),
    "sigma": (
        *("sigma", "error", "err", "errors", "uncertainty", "unc", "flux_error", "flux_err", "fluxerr", "e_flux"),
        *("flux_unc", "flux_uncertainty", "err_flux", "error_flux", "std", "stddev", "noise", "flux_sigma"),
    ),
    "variance": ("variance", "var", "flux_var", "flux_variance"),
    "mask": ("mask", "bad", "flag", "flags", "dq", "qual", "quality", "andmask", "and_mask"),
    "lsf_sigma": ("lsf_sigma", "wdisp"),
}
MOST_HDU = 2**31  # bytes of a table or an image
_BEGIN = 2**16  # characters of a text by whose first lines it is told whether it is a table with a spectrum
_UNIT_IN_NAME = re.compile(r"(?P<name>.+?)[_ ]?[\[(]?(?P<unit>[^\[\]()_ ]+)[\])]?")
_WRITTEN = {
    **dict.fromkeys(("angstroms", "angstrom", "ang", "aa", "a"), "Angstrom"),
    **{"micron": "um", "microns": "um", "nanometer": "nm", "nanometers": "nm"},
}


def read_text(path, head, medium, axis) -> list | None:
    """Spectra of a table in a text file, or None where it is none."""
    try:
        text = read_bytes(path, MOST_BYTES).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    if "\0" in text:
        return None
    kind = "ascii.ecsv" if head.startswith(b"# %ECSV") else "votable" if b"<VOTABLE" in head[:2000] else "ascii"
    if kind == "ascii" and len(text) > _BEGIN:  # to try all forms on a long text that is no table takes minutes
        if max(map(len, text.splitlines())) > _BEGIN // 2:
            return None
        begin = _parse(text[: text.rfind("\n", 0, _BEGIN)], kind)
        if begin is None or _spectrum_columns(begin, axis) is None:
            return None
    table = _parse(path if kind == "votable" else text, kind)
    return None if table is None else read_table(table, path.name, medium, axis)


def _parse(text, kind):
    """The table of a text, or None where it has none of the forms that astropy can tell apart."""
    from astropy.table import Table

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "ascii.ecsv":
                check_ecsv(text)
            first = text.partition("\n")[0] if kind == "ascii" else ""
            semicolons = {"delimiter": ";"} if ";" in first and "," not in first else {}
            return Table.read(text, format=kind, **semicolons)
    except Exception as error:  # of astropy's readers, of which each has its own
        if kind == "ascii":
            return None
        raise SpecdataError(f"the table is damaged ({one_line(error)})") from error


def read_fits(hdus, path, medium, axis) -> list | None:
    """Spectra of the first table of a FITS file that has columns of wavelength and flux, or None."""
    from astropy.table import Table

    for hdu in hdus[1:]:
        if hdu.is_image or not {"flux", "wavelength"} <= set(find_columns(hdu.columns.names, axis)):
            continue
        if hdu.size > MOST_HDU:
            raise SpecdataError(f"the table in HDU {hdu.name} has more than {MOST_HDU:,} bytes")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of units that are written in other ways
            table = Table.read(hdu)
        table.meta = {**hdus[0].header, **hdu.header}
        return read_table(table, path.name, medium, axis)
    return None


def find_columns(names, axis) -> dict:
    """Which column is what: `flux`, `wavelength`, and those of `COLUMNS` that are there.

    Logarithms of wavelengths stand under `wavelength`, too.
    """
    plain = {}
    for name in names:
        plain.setdefault(name.strip().lower(), name)
    known_names = COLUMNS
    if not axis.is_sky:
        known_names = {"wavelength": (axis.name.lower(), "x"), "flux": (axis.values.lower(), "y")}
        known_names |= {what: COLUMNS[what] for what in ("ivar", "sigma", "mask")}
    for key, name in list(plain.items()) if axis.is_sky else ():
        short, unit = _split_unit(key)
        if unit is not None:
            plain.setdefault(short, name)
    found = {}
    for what, known in known_names.items():
        column = next((plain[name] for name in known if name in plain), None)
        if column is not None and column not in found.values():
            found.setdefault("wavelength" if what == "loglam" else what, column)
    return found


def _split_unit(key):
    """Name and unit of a column with both in its name; None for the unit where there is none."""
    import astropy.units as u

    match = _UNIT_IN_NAME.fullmatch(key)
    unit = parse_unit(match["unit"]) if match else None
    if unit is None or not (
        unit.is_equivalent("AA", u.spectral()) or unit.is_equivalent("Jy", u.spectral_density(1 * u.AA))
    ):
        return key, None
    return match["name"].strip("_ "), unit


def read_table(table, source, medium, axis) -> list | None:
    """Spectra of an astropy Table, or None where it has no columns of wavelength and flux."""
    columns = _spectrum_columns(table, axis)
    if columns is None:
        return None
    if not len(table):
        raise SpecdataError("the table has no rows")
    arrays = {what: _quantity(table, name, what, axis) for what, name in columns.items()}
    medium = _medium(columns["wavelength"], table.meta) or medium or "vacuum"
    shared = _known(axis, table.meta)
    if arrays["flux"].ndim == 1:
        return [_spectrum(arrays, {"specobjid": source} | shared | {"source": source}, medium, axis)]
    rest = [name for name in table.colnames if name not in columns.values() and table[name].ndim == 1]
    found = []
    for number, row in enumerate(table[rest] if rest else [{}] * len(table)):
        name = f"{source}[{number}]" if len(table) > 1 else source
        own = _known(axis, dict(zip(rest, row, strict=True)) if rest else {}, table.meta)
        one = {what: values[number] if values.ndim == 2 else values for what, values in arrays.items()}
        if one["flux"].ndim != 1:
            raise SpecdataError(f"the flux column has {arrays['flux'].ndim} dimensions; give one or two")
        found.append(_spectrum(one, {"specobjid": name} | own | {"source": name}, medium, axis))
    return found


def _known(axis, *sources):
    """What columns and header say of the object; of a curve that is no spectrum of the sky, its name."""
    found = metadata(*sources)
    return found if axis.is_sky else {name: found[name] for name in ("specobjid", "is_mock") if name in found}


def _spectrum_columns(table, axis):
    """As `find_columns`; of two or three columns of numbers without names, by their order; or None."""
    columns = find_columns(table.colnames, axis)
    if {"flux", "wavelength"} <= set(columns):
        return columns
    numbers = [name for name in table.colnames if table[name].dtype.kind in "iuf"]
    nameless = all(re.fullmatch(r"col\d+", name) for name in table.colnames)
    if nameless and 2 <= len(numbers) == len(table.colnames) <= 3:
        return dict(zip(("wavelength", "flux", "sigma"), numbers, strict=False))
    return None


def _spectrum(arrays, known, medium, axis):
    arrays = dict(arrays)
    if (variance := arrays.pop("variance", None)) is not None and not {"ivar", "sigma"} & set(arrays):
        with np.errstate(divide="ignore", invalid="ignore"):
            arrays["ivar"] = 1 / variance
    if "ivar" in arrays:
        arrays.pop("sigma", None)
    if "mask" in arrays:
        arrays["mask"] = np.asarray(arrays["mask"]) != 0
    return make(**arrays, medium=medium, axis=axis, **known)


def _quantity(table, name, what, axis):
    """Values of a column, with its unit; masked ones are not a number."""
    import astropy.units as u

    column = table[name]
    values = column.filled(np.nan) if isinstance(column, np.ma.MaskedArray) and column.dtype.kind == "f" else column
    if isinstance(values, u.Quantity):
        return values
    values = np.asarray(values)
    if values.dtype.kind == "O" and all(isinstance(row, np.ndarray | list) and np.ndim(row) == 1 for row in values):
        longest = max(map(len, values))  # shorter rows end in pixels without a wavelength, which are left out
        ends = [np.full(longest - len(row), np.nan) for row in values]
        values = np.array([np.concatenate([row, end]) for row, end in zip(values, ends, strict=True)])
    if values.dtype.kind not in "iufb":
        raise SpecdataError(f"the column {name!r} must hold numbers")
    if what in ("mask", "lsf_sigma") or (not axis.is_sky and column.unit is None):
        return values
    unit = None if column.unit is None else parse_unit(str(column.unit))
    key = name.strip().lower()
    if column.unit is None and key not in COLUMNS[what] + COLUMNS["loglam"]:
        unit = _split_unit(key)[1]
    if what == "wavelength" and column.unit is not None and unit is None:
        raise SpecdataError(f"the unit {str(column.unit)!r} of the column {name!r} is not known; write one such as nm")
    if what == "wavelength" and (key in COLUMNS["loglam"] or isinstance(unit, u.LogUnit)):
        values = 10.0 ** values.astype(np.float64)
        unit = getattr(unit, "physical_unit", u.AA)
    return values if unit is None else values * unit


def parse_unit(text):
    """An astropy unit of what files write for it, such as ``1E-17 erg/cm^2/s/Ang``; None where it is none."""
    import astropy.units as u

    text = text.strip()
    written = _WRITTEN.get(text.lower(), re.sub(r"\bAng\b|\bangstroms?\b|\bA\b", "Angstrom", text))
    for name in (written, written.replace("^", "**"), {"jy": "Jy", "mjy": "mJy", "ADU": "adu"}.get(text, written)):
        for style in (None, "fits", "cds"):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return u.Unit(name, format=style)
            except (ValueError, TypeError):
                continue
    return None


def _medium(column, meta):
    """``air`` or ``vacuum`` where the name of the wavelength column, or the header, says so."""
    key = column.strip().lower()
    said = {str(name).strip().lower(): str(value).strip().lower() for name, value in meta.items()}
    if key == "awav" or re.search(r"(^|_)air(_|$)", key):
        return "air"
    if re.search(r"(^|_)vac(uum)?(_|$)", key):
        return "vacuum"
    word = next((said[name] for name in ("medium", "airorvac", "air_or_vac", "wavemedium") if name in said), "")
    if said.get("vacuum") in ("true", "t", "1"):
        return "vacuum"
    for number in range(1, 1000):  # the data format of ESO names it by the column's UCD
        if said.get(f"ttype{number}") == key and "obs.atmos" in said.get(f"tucd{number}", ""):
            return "air"
        if f"ttype{number}" not in said:
            break
    return {"air": "air", "vac": "vacuum", "vacuum": "vacuum"}.get(word)
