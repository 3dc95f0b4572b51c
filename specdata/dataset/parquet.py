"""The Parquet files of a data set."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq

from specdata.dataset import rows
from specdata.errors import SpecdataError, one_line

ROWS_PER_SHARD = 50_000
BATCH = 250  # rows of a row group: little memory while it is made, and small enough for the viewer to page through


def output_shards(sizes):
    """Divide splits into Parquet files.

    Parameters
    ----------
    sizes : dict of str to int
        Rows of each split, which follow on each other.

    Returns
    -------
    list of dict
        For each file its `name` and the rows from `start` to before `stop`.
    """
    found, first = [], 0
    for split, size in sizes.items():
        count = -(-size // ROWS_PER_SHARD)
        for number in range(count):
            name = f"{split}-{number:05d}-of-{count:05d}.parquet"
            start, stop = first + number * ROWS_PER_SHARD, first + min(size, (number + 1) * ROWS_PER_SHARD)
            found.append({"name": name, "start": start, "stop": stop})
        first += size
    return found


def write_shard(folder, spool, index, objects, encodings, advance, *, there=None):
    """Write one Parquet file of each config, a row group at a time.

    Parameters
    ----------
    folder : Path
        The files are named ``CONFIG.parquet`` there.
    spool : specdata.dataset.spool.Spool
    index : ndarray of int, shape (n,)
        Its rows that go into the file, in order.
    objects : pyarrow.Array of str, length n
    encodings : dict of str to (Encoding, ndarray)
        For each text config how it is written, and the scale of each of the n rows.
    advance : callable
        Called with the number of rows written, again and again.
    there : Path, optional
        A Parquet file that holds the config `spectra` of just these rows already: it is copied.

    Returns
    -------
    dict of str to dict
        For each text config the numbers of values written, interpolated, weighted by width and clipped.
    """
    schema = rows.features("spectra").arrow_schema
    values = {config: dict.fromkeys(("all", "interpolated", "by_width", "clipped"), 0) for config in encodings}
    writers = {} if there else {"spectra": _writer(folder / "spectra.parquet", schema)}
    if there:
        shutil.copyfile(there, folder / "spectra.parquet")
    writers |= {c: _writer(folder / f"{c}.parquet", rows.features("text").arrow_schema) for c in encodings}
    for start in range(0, len(index), BATCH):
        here = slice(start, start + BATCH)
        spectra = spool.take(index[here]).append_column("object_id", objects[here])
        spectra = spectra.select(schema.names).cast(schema)
        if not there:
            writers["spectra"].write_table(spectra)
        for config, (encoding, scale) in encodings.items():
            binned = rows.bin_rows(spectra, encoding.edges)
            text, clipped = rows.text_table(spectra, binned, scale[here], encoding)
            writers[config].write_table(text)
            found = binned.mask.size, binned.mask.sum(), binned.by_width.sum(), clipped.sum()
            for key, n in zip(values[config], found, strict=True):
                values[config][key] += int(n)
        advance(len(spectra))
        del spectra, binned, text  # before the next ones are there
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
    flags = [f"{f.name}.list.element" for f in schema if f.name == "and_mask"]
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


def shard_names(files, config, split):
    """Parquet files of a config and split, in order, out of those that a manifest lists."""
    return sorted(file for file in files if file.startswith(f"{config}/{split}-"))


def open_shard(folder, name):
    """Open one Parquet file of a data set; `pyarrow.parquet.ParquetFile`.

    Raises
    ------
    SpecdataError
        If it is missing or damaged.
    """
    try:
        return pq.ParquetFile(folder / name)
    except (OSError, pa.ArrowInvalid) as error:
        reason = one_line(error)
        raise SpecdataError(f"{name}: cannot be read ({reason}); build or download the data set again") from None
