"""The true values of what a recipe's text configs ask for: from the spectra, or from tables that the recipe joins."""

from collections import Counter
from pathlib import Path

import pyarrow as pa

from specdata.errors import SpecdataError, one_line
from specdata.inputs import check_ecsv, check_regular, read_bytes
from specdata.spectra.spectrum import Spectrum

_MOST_BYTES, _MOST_ROWS = 4 * 2**30, 20_000_000  # of a table
_READERS = (".csv", ".ecsv", ".parquet")


class AskedValues:
    """Finds the values of all targets of a recipe.

    Raises
    ------
    SpecdataError
        If a table cannot be read, or a column of a target is nowhere.
    """

    def __init__(self, recipe):
        self._configs = recipe.configs.items()
        wanted = {config.asks.column for _, config in self._configs} - {"z"}
        self._tables, found = [], set()
        for section in recipe.tables:
            columns = read_table(section.path, section.join, wanted - found)
            found |= set(columns)
            self._tables.append((section.join, columns))
        for column in wanted - found:
            if column not in Spectrum.__dataclass_fields__:
                name = next(name for name, config in self._configs if config.asks.column == column)
                raise SpecdataError(
                    f"configs.{name}.target: neither a spectrum nor a table of the recipe has the column {column!r}; "
                    "name another column, or the table under tables"
                )

    def of(self, spectrum) -> dict:
        """For each config the value, a float or a str, or None where it is missing or cannot be an answer."""
        known = {}
        for join, columns in self._tables:
            key = str(getattr(spectrum, join))
            known |= {name: rows.get(key) for name, rows in columns.items()}
        found = {}
        for name, config in self._configs:
            column = config.asks.column
            found[name] = config.asks.accept(known[column] if column in known else getattr(spectrum, column))
        return found


def read_table(path, join, columns) -> dict[str, dict]:
    """Those of some columns that a table has, each as a dict from the text of its column `join` to the value."""
    path = Path(path)
    if path.suffix.lower() not in _READERS:
        raise SpecdataError(f"{path}: is no table that can be joined; give one that ends in {', '.join(_READERS)}")
    try:
        check_regular(path)
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
        names, rows, column = _READ[path.suffix.lower()](path, join)
        if rows > _MOST_ROWS:
            raise ValueError(f"it has more than {_MOST_ROWS:,} rows")
        keys = [str(key).strip() for key in column(join)] if join in names else []
        found = {name: column(name) for name in columns if name in names}
    except FileNotFoundError:
        raise SpecdataError(f"{path}: there is no such table; give the path of one") from None
    except Exception as error:  # astropy and Arrow raise many kinds
        raise SpecdataError(f"{path}: cannot be read as a table ({one_line(error)}); mend it") from None
    if join not in names:
        raise SpecdataError(f"{path}: has no column {join!r} to join by; the columns are {', '.join(names[:20])}")
    if len(set(keys)) != len(keys):
        twice = Counter(keys).most_common(1)[0][0]
        raise SpecdataError(f"{path}: {join} {twice} stands there twice; leave one row for each")
    return {name: dict(zip(keys, values, strict=True)) for name, values in found.items()}


# Each of these returns the names of the columns, the number of rows, and what reads the values of a column.


def _csv(path, join):
    from pyarrow import csv

    # A specobjid has more digits than a float or a signed integer holds.
    table = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types={join: pa.string()}))
    return table.column_names, len(table), lambda name: table[name].to_pylist()


def _ecsv(path, join):
    from astropy.table import Table

    text = read_bytes(path).decode("utf-8")
    check_ecsv(text)
    table = Table.read(text, format="ascii.ecsv")
    return table.colnames, len(table), lambda name: table[name].tolist()


def _parquet(path, join):
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    return file.schema_arrow.names, file.metadata.num_rows, lambda name: file.read([name])[name].to_pylist()


_READ = {".csv": _csv, ".ecsv": _ecsv, ".parquet": _parquet}
