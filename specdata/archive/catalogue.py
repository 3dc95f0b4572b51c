"""Catalogues of galaxies: which spectra there are to fetch, as a Parquet or CSV file that a person can edit.

Neither the order of the rows nor the number of a row means anything: whoever deletes rows, adds some or sorts them
changes only which galaxies there are to choose from. The choice goes by `shuffle`, in SQL and here alike.
"""

import contextlib
import hashlib
from pathlib import Path

import numpy as np

from specdata.archive.sas import check_run2d
from specdata.errors import SpecdataError, one_line

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
}
REQUIRED = ("plate", "mjd", "fiberid", "run2d", "z")
_RANGES = {"plate": (1, 99_999), "mjd": (10_000, 99_999), "fiberid": (1, 9_999), "z": (-0.1, 10)}

# A pseudo-random number below the prime for each observation: the cube, which is one-to-one modulo a prime that leaves
# 2 when divided by 3, of a sum of multiples. No product exceeds 63 bits, so SQL Server, SQLite and numpy agree on every
# digit. Plates, nights and fibres all enter, so the smallest numbers favour no part of the sky.
PRIME = 2_147_483_579
MULTIPLIERS = {"plate": 1_481_765_933, "mjd": 1_085_377_743, "fiberid": 1_812_433_253}


def seed_term(seed):
    """What a seed adds to the sum that `shuffle` takes the cube of."""
    return int.from_bytes(hashlib.sha256(f"shuffle:{seed}".encode()).digest()[:8]) % PRIME


def shuffle(plate, mjd, fiberid, seed):
    """Number observations so that ascending order is a reproducible random order; int64 array of shape (n,)."""
    columns = {"plate": plate, "mjd": mjd, "fiberid": fiberid}
    total = sum(np.asarray(columns[name], dtype=np.int64) * factor for name, factor in MULTIPLIERS.items())
    x = (total + seed_term(seed)) % PRIME
    return x * x % PRIME * x % PRIME


def redshift_steps(size, redshift_bins, z_min, z_max) -> list[tuple[float, float, int]]:
    """Share `size` spectra out to equally wide redshift bins; list of (lower edge, upper edge, number asked for)."""
    edges = np.linspace(z_min, z_max, redshift_bins + 1)
    asked = [size // redshift_bins + (i < size % redshift_bins) for i in range(redshift_bins)]
    return [(float(low), float(high), n) for low, high, n in zip(edges[:-1], edges[1:], asked, strict=True)]


def read_catalogue(path):
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
    import pyarrow as pa

    path = Path(path)
    try:
        found = _read(path)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        problem = one_line(error).removesuffix(".")
        raise SpecdataError(f"{path}: cannot be read as a catalogue ({problem}); give a Parquet or CSV file") from None
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
    table = pa.table(columns, schema=pa.schema([(name, column.type) for name, column in columns.items()]))
    if not len(table):
        raise SpecdataError(f"{path}: there is no row in this catalogue; give at least one galaxy")
    _check_twins(path, table)
    return table.replace_schema_metadata(found.schema.metadata)


def _read(path):
    """Arrow table of a Parquet or CSV file; every column of the latter is text."""
    import pyarrow as pa
    import pyarrow.csv as arrow_csv
    import pyarrow.parquet as pq

    with path.open("rb") as stream:
        start = stream.read(16)
    if start.startswith(b"PAR1"):
        return pq.read_table(path)
    skip = 1 if start.lstrip(b"\xef\xbb\xbf").startswith(b"#") else 0
    options = arrow_csv.ReadOptions(skip_rows=skip)
    with arrow_csv.open_csv(path, read_options=options) as stream:
        names = stream.schema.names
    # As text: a run2d of 26 is no number, and a specobjid is too large for one.
    convert = arrow_csv.ConvertOptions(column_types={name: pa.string() for name in names}, strings_can_be_null=False)
    return arrow_csv.read_csv(path, read_options=options, convert_options=convert)


def _column(path, name, values):
    """One column in its own type, every value checked."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = COLUMNS[name][0]
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type) and kind == "string":
        raise SpecdataError(f"{path}: the column {name!r} holds floating-point numbers; write it as text")
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = pc.utf8_trim_whitespace(values)
        if kind != "string" and name not in REQUIRED:  # as databases write what they do not know
            values = pc.if_else(pc.is_in(pc.utf8_lower(values), pa.array(["", "null", "nan"])), None, values)
    try:
        values = _cast(values, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        row, value = next((i, v) for i, v in enumerate(values, start=1) if not _casts(v, kind))
        raise SpecdataError(f"{path}: row {row}, column {name!r}: {value.as_py()!r} is not {_KIND[kind]}") from None
    if name in REQUIRED:
        if values.null_count:
            row = values.is_null().to_pylist().index(True) + 1
            raise SpecdataError(f"{path}: row {row}, column {name!r}: there is no value; fill it in or delete the row")
        if name == "run2d":
            for value in values.unique().to_pylist():
                if problem := check_run2d(value):
                    row = values.to_pylist().index(value) + 1
                    raise SpecdataError(f"{path}: row {row}, column {name!r}: {value!r}; {problem}")
        else:
            low, high = _RANGES[name]
            numbers = values.to_numpy()
            outside = np.flatnonzero(~((numbers >= low) & (numbers <= high)))
            if len(outside):
                row, value = outside[0] + 1, numbers[outside[0]]
                raise SpecdataError(f"{path}: row {row}, column {name!r}: {value} is not between {low} and {high}")
    return values


_KIND = {"int32": "a whole number", "float64": "a number", "string": "text"}


def _cast(values, kind):
    """Arrow's safe cast; other software writes 266 as 266.0."""
    import pyarrow as pa

    if kind == "int32" and pa.types.is_string(values.type):
        with contextlib.suppress(pa.ArrowInvalid):
            return values.cast("float64").cast(kind)
    return values.cast(kind)


def _casts(value, kind):
    import pyarrow as pa

    try:
        _cast(value, kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def _check_twins(path, table):
    """Refuse a catalogue that names an observation twice."""
    keys = np.column_stack([table[name].to_numpy() for name in ("plate", "mjd", "fiberid")])
    order = np.lexsort(keys.T)
    same = np.flatnonzero((keys[order][1:] == keys[order][:-1]).all(axis=1))
    if len(same):
        first, second = sorted(order[same[0] : same[0] + 2] + 1)
        name = "{:04d}-{}-{:04d}".format(*keys[first - 1])
        raise SpecdataError(f"{path}: row {first} and row {second} are both {name}; delete one of them")


def write_catalogue(table, path, *, about=None):
    """Write a catalogue as Parquet, each column with its unit and meaning; it appears whole or not at all.

    Parameters
    ----------
    table : pyarrow.Table
        Columns of `COLUMNS`.
    path : path-like
    about : bytes, optional
        Where the rows come from, as JSON; the key ``specdata`` of the file's metadata.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from specdata.files import new_file

    fields = []
    for name in table.column_names:
        kind, unit, description = COLUMNS[name]
        fields.append(pa.field(name, kind, metadata={"unit": unit, "description": description}))
    schema = pa.schema(fields, metadata={"specdata": about} if about else None)
    with new_file(path) as partial:
        pq.write_table(table.cast(schema), partial, compression="zstd")
