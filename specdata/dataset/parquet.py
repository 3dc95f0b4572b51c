"""The Parquet files of a data set."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from specdata.dataset import rows
from specdata.dataset.augment import augment_answers, augment_scale, augment_spectra
from specdata.errors import SpecdataError, one_line
from specdata.inputs import check_regular

_ERRORS = (OSError, pa.ArrowException, UnicodeDecodeError)  # of a damaged file
ROWS_PER_FILE = 5000  # about 150 MB of spectra; the Hub advises against files of more than some hundred megabytes
BATCH = 250  # rows of a row group: little memory while it is made, and small enough for the viewer to page through


def split_into_files(sizes, realisations=1) -> list[dict]:
    """Divide each split into files of nearly equal size; the training split has them once for each realisation.

    Returns
    -------
    list of dict
        Each with the `name` of a text config's file, its first spectrum `start` and the end `stop`; `spectra`, the name
        of the file of the config `spectra`, or None where that has been written; and `realisation`, None in the splits
        that are never altered.
    """
    files, first = [], 0
    for split, size in sizes.items():
        count, times = -(-size // ROWS_PER_FILE), realisations if split == "train" else 1
        for realisation, part in itertools.product(range(times), range(count)):
            name, own = (f"{split}-{{:05d}}-of-{{:05d}}.parquet".format(*of) for of in (
                (realisation * count + part, times * count), (part, count)))  # fmt: skip
            files.append({
                "name": name,
                "spectra": None if realisation else own,
                "start": first + part * size // count,
                "stop": first + (part + 1) * size // count,
                "realisation": realisation if split == "train" else None,
            })  # fmt: skip
        first += size
    return files


def write_parquet(folder, spectra, objects, encodings, advance, augment=None, realisation=None) -> dict[str, dict]:
    """Write one Parquet file of each config, ``CONFIG.parquet``, a row group at a time.

    `spectra` are the rows of the file (`specdata.dataset.stages.StoredSpectra`) and `objects` their `position_id`, as
    an Arrow array; `encodings` says for each text config how it is written, with the scale and the target's value of
    each row. With `augment`, a section of a recipe, and the number of a `realisation`, the text is that of altered
    spectra; the config `spectra` is as observed, and written with the first realisation only. `advance` is called with
    the number of rows written, again and again. Returns for each text config the numbers of values written,
    interpolated and clipped.
    """
    axis = next(iter(encodings.values()))[0].axis
    schema = rows.schema("spectra", axis=axis)
    values = {config: dict.fromkeys(("all", "interpolated", "clipped"), 0) for config in encodings}
    writers = {} if realisation else {"spectra": _writer(folder / "spectra.parquet", schema)}
    alters = augment is not None and realisation is not None
    for config, (encoding, *_) in encodings.items():
        writers[config] = _writer(folder / f"{config}.parquet", rows.schema("text", encoding.target, axis))
    for start in range(0, len(spectra), BATCH):
        here = slice(start, start + BATCH)
        table = spectra.take(here).append_column("position_id", objects[here]).select(schema.names).cast(schema)
        if not realisation:
            writers["spectra"].write_table(table)
        if alters:
            table = augment_spectra(table, augment, realisation)
        for config, (encoding, scale, targets) in encodings.items():
            binned, scale, values_here, answers = rows.bin_rows(table, encoding.edges), scale[here], targets[here], None
            if alters:
                scale = augment_scale(table, encoding, scale)
                answers = augment_answers(values_here, table, encoding.target, augment, realisation)
            text, clipped = rows.text_table(table, binned, scale, encoding, values_here, answers)
            writers[config].write_table(text)
            counts = binned.mask.size, binned.mask.sum(), clipped.sum()
            for key, count in zip(values[config], counts, strict=True):
                values[config][key] += int(count)
        advance(len(table))
        del table, binned, text  # before the next ones are there
        pa.default_memory_pool().release_unused()
    for writer in writers.values():
        writer.close()
    return values


def _writer(path, schema):
    """A Parquet writer for the Hub, its viewer, and numbers that repeat or vary smoothly."""
    # All spectra have their pixels at the same wavelengths, so that a dictionary holds them; of other floats, the bytes
    # of equal weight are alike. The element's name in a list column is Parquet's own.
    lists = [f for f in schema if pa.types.is_list(f.type)]
    floats = [f"{f.name}.list.element" for f in lists if f.type.value_type == pa.float32()]
    repeated = [name for name in floats if name.startswith(("loglam", "wavelength"))]
    flags = [f"{f.name}.list.element" for f in schema if f.name in ("and_mask", "or_mask")]
    plain = [f.name for f in schema if not pa.types.is_nested(f.type) and not pa.types.is_floating(f.type)]
    # Page index and content-defined chunks: the viewer reads part of a file, an upload sends only what changed.
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        write_page_index=True,
        use_content_defined_chunking=True,
        use_dictionary=[*repeated, *flags, *plain],
        use_byte_stream_split=[name for name in floats if name not in repeated],
    )


def split_files(files, config, split) -> list[str]:
    """Parquet files of a config and split, in order, out of those that a manifest lists."""
    return sorted(file for file in files if file.startswith(f"{config}/{split}-"))


def open_file(folder, name) -> pq.ParquetFile:
    """Open one Parquet file of a data set; SpecdataError if it is missing, damaged or has other columns."""
    try:
        path = Path(folder, name)
        check_regular(path)
        file = pq.ParquetFile(path)
    except _ERRORS as error:
        raise _damaged(name, one_line(error)) from None
    for field in rows.schema(name.partition("/")[0]):
        if field.name not in file.schema_arrow.names or file.schema_arrow.field(field.name).type != field.type:
            raise _damaged(name, f"it has no column {field.name} of the type {field.type}")
    return file


def read_columns(folder, names, columns) -> pa.Table:
    """Read columns of some Parquet files of a data set, one after the other."""
    if not names:
        raise SpecdataError("the manifest names no files of a split; build or download the data set again")
    tables = []
    for name in names:
        try:
            tables.append(open_file(folder, name).read(columns=columns))
            tables[-1].validate(full=True)  # that its texts are UTF-8, too
        except _ERRORS as error:
            raise _damaged(name, one_line(error)) from None
    return pa.concat_tables(tables)


def read_rows(files, start, stop, columns=None) -> Iterator[pa.Table]:
    """Yield tables with the rows from `start` to before `stop`, counted through all files, a row group at a time."""
    first = 0
    for file in files:
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            if first < stop and end > start:
                try:
                    table = file.read_row_group(group, columns=columns)
                    table.validate(full=True)  # that its texts are UTF-8, too
                except _ERRORS as error:
                    raise _damaged("a Parquet file of the data set", one_line(error)) from None
                yield table.slice(max(start - first, 0), min(stop, end) - max(start, first))
            first = end


def _damaged(name, why):
    return SpecdataError(f"{name}: cannot be read ({why}); build or download the data set again")
