"""Rows of Parquet files as spectra: MultimodalUniverse and OmniSky, and the config `spectra` of our own data sets.

MultimodalUniverse (https://github.com/MultimodalUniverse) and OmniSky (https://huggingface.co/datasets/kshitijd/
mmu-norm-sdss), which took it over, keep a spectrum in the column `spectrum` with the lists `flux`, `ivar`, `lambda`
(vacuum, Angstrom), `lsf_sigma` (pixels) and `mask` (true = bad), in plain Parquet or as a HATS catalogue. Lists are
padded with wavelengths of -1. `object_id` is the SPECOBJID of SDSS, or the TARGETID of DESI. Of DESI, the
bool ZWARN is true where there is NO warning: the builder, scripts/desi/desi.py, writes ``not bool(flag)``; the rows of
SDSS on the Hub have a ZWARNING that is false where the redshift is good.
"""

from collections.abc import Iterator

import numpy as np

from specdata.errors import SpecdataError, one_line
from specdata.inputs import check_ecsv
from specdata.spectra.readers import tables
from specdata.spectra.readers.metadata import make, metadata
from specdata.spectra.spectrum import UNKNOWN_UGRIZ, Spectrum

_LISTS = ("flux", "ivar", "lambda", "lsf_sigma", "mask")
_MOST_VALUES = 10**8  # of a column, which equal values can make of a few bytes; 5,000 spectra have 2 * 10**7
_OURS = ("loglam", "flux", "ivar", "and_mask", "or_mask", "wdisp")


def read(path, axis) -> Iterator | None:
    """Spectra of a Parquet file, a row group at a time, or None where it has no lists of flux and wavelength."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise SpecdataError(f"the Parquet file is damaged ({one_line(error)}); download it again") from error
    groups = [file.metadata.row_group(number) for number in range(file.num_row_groups)]
    if any(group.column(number).num_values > _MOST_VALUES for group in groups for number in range(group.num_columns)):
        raise SpecdataError(f"a row group has more than {_MOST_VALUES:,} values in a column; write smaller ones")
    if axis.is_sky and holds_spectra(file.schema_arrow):
        return _read_groups(file, path.name)
    return _read_columns(file, path.name, axis)


def _read_columns(file, name, axis):
    """Spectra of columns that `tables` knows, with the units that astropy writes; None where there are none."""
    from astropy.table import Table, meta

    names = file.schema_arrow.names
    if not {"flux", "wavelength"} <= set(tables.find_columns(names, axis)):
        return None
    table = Table({column: file.read([column])[column].combine_chunks().to_numpy(False) for column in names})
    if header := (file.schema_arrow.metadata or {}).get(b"table_meta_yaml"):
        lines = header.decode().splitlines()
        check_ecsv("\n".join(f"# {line}" for line in lines))
        for column in meta.get_header_from_yaml(lines)["datatype"]:
            table[column["name"]].unit = column.get("unit")
    return tables.read_table(table, name, None, axis)


def holds_spectra(schema) -> bool:
    """Whether an Arrow schema has lists of flux and wavelength that `spectra_of` understands."""
    import pyarrow as pa

    if set(_OURS) <= set(schema.names):
        return True
    kind = schema.field("spectrum").type if "spectrum" in schema.names else pa.null()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return pa.types.is_struct(kind) and {"flux", "lambda"} <= {kind.field(i).name for i in range(kind.num_fields)}


def _read_groups(file, name):
    first = 0
    for group in range(file.num_row_groups):
        table = file.read_row_group(group)
        yield from spectra_of(table, name, first)
        first += len(table)


def spectra_of(table, name, first=0, **known) -> Iterator:
    """Spectra of the rows of an Arrow table; `name` of the file and number of the row, from `first` on, are the source.

    `known` holds attributes for what the columns do not say.
    """
    if set(_OURS) <= set(table.column_names):
        yield from _own_rows(table)
        return
    rest = [column for column in table.column_names if column != "spectrum"]
    for number, row in enumerate(table.select(rest).to_pylist(), start=first):
        arrays = _arrays(table["spectrum"][number - first])
        found = known | {"specobjid": f"{name}[{number}]"} | metadata(row)
        own = {key.upper(): value for key, value in row.items()}
        flux = tuple(own.get(f"SPECTROFLUX_{band}", np.nan) for band in "UGRIZ")
        found["spectroflux"] = UNKNOWN_UGRIZ if None in flux else flux
        if isinstance(own.get("ZWARN"), bool):
            found["zwarning"] = int(not own["ZWARN"])
        if not own.get("VDISP_ERR", 1) or own.get("VDISP_ERR", 1) <= 0:
            found.pop("vdisp", None)  # the fit did not work
        found["source"] = f"{name}[{number}]"
        yield make(arrays.pop("lambda"), **arrays, **found)


def _arrays(spectrum):
    """The lists of a spectrum, which is a struct of lists, or a list of structs, as arrays."""
    import pyarrow as pa

    if isinstance(spectrum, pa.StructScalar):
        lists = {name: spectrum[name].values for name in _LISTS if name in spectrum}
    else:
        names = [field.name for field in spectrum.values.type]
        lists = {name: spectrum.values.field(name) for name in _LISTS if name in names}
    return {name: values.to_numpy(zero_copy_only=False) for name, values in lists.items() if values is not None}


def _own_rows(table):
    """Rows of our config `spectra`."""
    pixels = {name: table[name].to_numpy(zero_copy_only=False) for name in _OURS}
    fields = [name for name in Spectrum.__dataclass_fields__ if name not in _OURS and name in table.column_names]
    for number, row in enumerate(table.select(fields).to_pylist()):
        own = {name: arrays[number] for name, arrays in pixels.items()}
        own["loglam"] = own["loglam"].astype(np.float64)
        if {len(values) for values in own.values()} != {len(own["flux"])} or not (np.diff(own["loglam"]) > 0).all():
            raise SpecdataError(f"spectrum {row['specobjid']} is damaged; build or download the data set again")
        yield Spectrum(**own, **row)
