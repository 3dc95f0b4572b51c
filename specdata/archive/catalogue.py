"""Catalogues: which spectra there are to fetch, as a Parquet or CSV file that a person can edit.

The order of the rows has no meaning: whoever deletes rows, adds some or sorts them changes only which objects there are
to choose from. `shuffle` puts them in the order of the choice, in SQL and here alike.
"""

import dataclasses
import hashlib
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq

from specdata.archive.sas import check_run2d
from specdata.errors import SpecdataError, one_line
from specdata.files import new_file
from specdata.inputs import check_regular

# name -> (Arrow type, unit, what it is); the first five are all that a catalogue of one's own needs
COLUMNS = {
    "plate": ("int32", "", "spectroscopic plate"),
    "mjd": ("int32", "d", "modified Julian date of the observation"),
    "fiberid": ("int32", "", "fibre number"),
    "run2d": ("string", "", "version of the reduction"),
    "z": ("float64", "", "redshift; of BOSS galaxy targets the one without quasar templates, z_noqso"),
    "specobjid": ("string", "", "SpecObj number of the observation, as text: it needs an unsigned 64-bit integer"),
    "ra": ("float64", "deg", "right ascension of the fibre, ICRS"),
    "dec": ("float64", "deg", "declination of the fibre, ICRS"),
    "zwarning": ("int32", "", "bit mask of redshift warnings of the same fit as z, 0 = good"),
    "subclass": ("string", "", "subclass of the pipeline's fit"),
    "snmedian": ("float64", "", "median signal-to-noise ratio per pixel"),
    "dered_i": ("float64", "mag", "dereddened i magnitude of the photometric object"),
    "class": ("string", "", "class of the pipeline's best fit"),
    "teff": ("float64", "K", "effective temperature of a star, from SSPP"),
    "logg": ("float64", "dex", "log10 of a star's surface gravity in cm/s2, from SSPP"),
    "feh": ("float64", "dex", "metallicity [Fe/H] of a star, from SSPP"),
}
REQUIRED = ("plate", "mjd", "fiberid", "run2d", "z")
FOR_SPECTRA = ("dered_i", "teff", "logg", "feh")  # columns that go from a catalogue to the spectra, see `add_known`
_RANGES = {"plate": (1, 99_999), "mjd": (10_000, 99_999), "fiberid": (1, 9_999), "z": (-0.1, 10)}

# A pseudo-random number below the prime for each observation: the cube, which is one-to-one modulo a prime that leaves
# 2 when divided by 3, of a sum of multiples. No product exceeds 63 bits, so SQL Server, SQLite and numpy agree on every
# digit. Plates, nights and fibres all enter, so the smallest numbers favour no part of the sky.
PRIME = 2_147_483_579
MULTIPLIERS = {"plate": 1_481_765_933, "mjd": 1_085_377_743, "fiberid": 1_812_433_253}


def _seed_term(seed):
    """What a seed adds to the sum that `shuffle` takes the cube of."""
    return int.from_bytes(hashlib.sha256(f"shuffle:{seed}".encode()).digest()[:8]) % PRIME


def shuffle(plate, mjd, fiberid, seed) -> np.ndarray:
    """Number observations so that ascending order is a reproducible random order; int64 array of shape (n,)."""
    columns = {"plate": plate, "mjd": mjd, "fiberid": fiberid}
    total = sum(np.asarray(columns[name], dtype=np.int64) * factor for name, factor in MULTIPLIERS.items())
    x = (total + _seed_term(seed)) % PRIME
    return x * x % PRIME * x % PRIME


def shuffle_sql(seed) -> tuple[str, str]:
    """Write `shuffle` in SQL: an expression of the columns of a table `s`, and one of that expression, called `x`."""
    total = " + ".join(f"CAST(s.{name} AS bigint) * {factor}" for name, factor in MULTIPLIERS.items())
    return f"({total} + {_seed_term(seed)}) % {PRIME}", f"x * x % {PRIME} * x % {PRIME}"


def redshift_steps(size, redshift_bins, z_min, z_max) -> list[tuple[float, float, int]]:
    """Share `size` spectra out to equally wide redshift bins; list of (lower edge, upper edge, number asked for)."""
    edges = np.linspace(z_min, z_max, redshift_bins + 1)
    asked = [size // redshift_bins + (i < size % redshift_bins) for i in range(redshift_bins)]
    return [(float(low), float(high), n) for low, high, n in zip(edges[:-1], edges[1:], asked, strict=True)]


def read_catalogue(path) -> pa.Table:
    """Read a catalogue of galaxies.

    Parameters
    ----------
    path : path-like
        A Parquet or CSV file with the columns plate, mjd, fiberid, run2d and z; the other names of `COLUMNS` are read
        where they are there, and any others are left alone. Upper and lower case are the same. The first line
        ``#Table1`` of a file from SkyServer may stay.

    Returns
    -------
    pyarrow.Table
        The columns known, in the order and with the types of `COLUMNS`.

    Raises
    ------
    SpecdataError
        If the file cannot be read, or a value is impossible; the sentence names row and column. Rows are counted
        from 1 and without the header.
    """
    path = Path(path)
    try:
        check_regular(path)
        with path.open("rb") as stream:
            start = stream.read(16)
        if start.startswith(b"PAR1"):
            return check_catalogue(path, pq.read_table(path))
        options = arrow_csv.ReadOptions(skip_rows=1 if start.lstrip(b"\xef\xbb\xbf").startswith(b"#") else 0)
        with arrow_csv.open_csv(path, read_options=options) as stream:
            names = stream.schema.names
        # As text: a run2d of 26 is no number, and a specobjid is too large for one.
        convert = arrow_csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
        return check_catalogue(path, arrow_csv.read_csv(path, read_options=options, convert_options=convert))
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        problem = one_line(error).removesuffix(".")
        raise SpecdataError(f"{path}: cannot be read as a catalogue ({problem}); give a Parquet or CSV file") from None


def check_catalogue(path, found) -> pa.Table:
    """Check a table as `read_catalogue` does, with the same result; sentences begin with `path`."""
    lower = [name.strip().lower() for name in found.column_names]
    for name in REQUIRED:
        if name not in lower:
            raise SpecdataError(
                f"{path}: the column {name!r} is missing; a catalogue has the columns {', '.join(REQUIRED)}, and this "
                f"file has {', '.join(lower) or 'none'}"
            )
    if twice := [name for name in COLUMNS if lower.count(name) > 1]:
        raise SpecdataError(f"{path}: the column {twice[0]!r} is there twice; leave one of them out")
    columns = {name: _column(path, name, found.column(lower.index(name))) for name in COLUMNS if name in lower}
    table = pa.table(columns).replace_schema_metadata(found.schema.metadata)
    if not len(table):
        raise SpecdataError(f"{path}: there is no row in this catalogue; give at least one galaxy")
    rows = {}
    for row, key in enumerate(zip(*(table[name].to_pylist() for name in REQUIRED[:3]), strict=True), start=1):
        if rows.setdefault(key, row) != row:
            name = "{:04d}-{}-{:04d}".format(*key)
            raise SpecdataError(f"{path}: row {rows[key]} and row {row} are both {name}; delete one of them")
    return table


def _column(path, name, values):
    """One column in its own type, every value checked."""
    checked = []
    for row, value in enumerate(values.to_pylist(), start=1):
        try:
            checked.append(_value(name, value))
        except ValueError as error:
            raise SpecdataError(f"{path}: row {row}, column {name!r}: {error}") from None
    return pa.array(checked, COLUMNS[name][0])


def _value(name, value):
    """One value in its own type, None where it is not known; a ValueError says what is wrong with it."""
    kind, text = COLUMNS[name][0], "" if value is None else str(value).strip()
    if text.lower() in ("", "null", "nan"):  # as databases write what they do not know
        if name in REQUIRED:
            raise ValueError("there is no value; fill it in or delete the row")
        return None
    if kind == "string":
        if isinstance(value, float):
            raise ValueError(f"{value!r} is a floating-point number; write the column as text")
        if name == "run2d" and (problem := check_run2d(text)):
            raise ValueError(f"{text!r}; {problem}")
        return text
    try:
        number = float(text)
        if kind == "int32" and number != (number := int(number)):  # other software writes 266 as 266.0
            raise ValueError
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} is not a {'whole ' * (kind == 'int32')}number") from None
    low, high = _RANGES.get(name, (-(2**31), 2**31 - 1) if kind == "int32" else (-math.inf, math.inf))
    if not low <= number <= high:
        raise ValueError(f"{number} is not between {low} and {high}")
    return number


def known_values(catalogue) -> list[dict]:
    """What the rows of a catalogue say for `add_known`: those of `FOR_SPECTRA` that are columns, NaN for no value."""
    names = [name for name in FOR_SPECTRA if name in catalogue.column_names]
    rows = catalogue.select(names).to_pylist()
    return [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]


def add_known(spectrum, known):
    """Give a `Spectrum` what its catalogue says.

    That is the magnitude where the file has none, as those of SDSS-I/II, and the parameters of a star in place of the
    file's own, which are of another pipeline: one column holds values of one.
    """
    replaced = {name: value for name, value in known.items() if name != "dered_i" or math.isnan(spectrum.dered_i)}
    return dataclasses.replace(spectrum, **replaced) if replaced else spectrum


def write_catalogue(table, path, *, about=None) -> None:
    """Write a table of `COLUMNS` as Parquet, with units and meanings, and with `about`, JSON of where it comes from."""
    fields = []
    for name in table.column_names:
        kind, unit, description = COLUMNS[name]
        fields.append(pa.field(name, kind, metadata={"unit": unit, "description": description}))
    schema = pa.schema(fields, metadata={"specdata": about} if about else None)
    with new_file(path) as partial:
        pq.write_table(table.cast(schema), partial, compression="zstd")
