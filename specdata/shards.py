"""The Parquet files of a data set."""

import pyarrow as pa
import pyarrow.parquet as pq

from specdata import rows

ROWS_PER_SHARD = 50_000
BATCH = 1000  # rows of a row group: small enough for the Hub's viewer to page through


def write_split(folder, split, spool, index, objects, encodings, values, progress):
    """Write the shards of one split in all configs, a row group at a time.

    Parameters
    ----------
    folder : Path
    split : str
    spool : pyarrow.Table
        All rows of the `spectra` config, without `object_id`.
    index : ndarray of int
        Rows of the split, in order.
    objects : ndarray of str
        Object of each row of `spool`.
    encodings : dict of str to (Encoding, ndarray)
        For each text config how it is written, and the scale of each row of `spool`.
    values : dict of str to dict
        For each text config the numbers of values written, interpolated, weighted by width and clipped; added to.
    progress : tqdm.tqdm
        Advanced by the rows written.
    """
    shards = -(-len(index) // ROWS_PER_SHARD)
    schema = rows.features("spectra").arrow_schema
    for shard in range(shards):
        name = f"{split}-{shard:05d}-of-{shards:05d}.parquet"
        writers = {"spectra": _writer(folder / "spectra" / name, schema)}
        writers |= {c: _writer(folder / c / name, rows.features("text").arrow_schema) for c in encodings}
        for start in range(shard * ROWS_PER_SHARD, min(len(index), (shard + 1) * ROWS_PER_SHARD), BATCH):
            here = index[start : min(start + BATCH, (shard + 1) * ROWS_PER_SHARD)]
            spectra = spool.take(pa.array(here)).append_column("object_id", pa.array(objects[here], pa.string()))
            spectra = spectra.select(schema.names).cast(schema)
            writers["spectra"].write_table(spectra)
            for config, (encoding, scale) in encodings.items():
                binned = rows.bin_rows(spectra, encoding.edges)
                text, clipped = rows.text_table(spectra, binned, scale[here], encoding)
                writers[config].write_table(text)
                found = binned.mask.size, binned.mask.sum(), binned.by_width.sum(), clipped.sum()
                for key, n in zip(values[config], found, strict=True):
                    values[config][key] += int(n)
            progress.update(len(here))
        for writer in writers.values():
            writer.close()


def _writer(path, schema):
    """A Parquet writer for the Hub, its viewer, and numbers that repeat or vary smoothly."""
    path.parent.mkdir(exist_ok=True)
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
