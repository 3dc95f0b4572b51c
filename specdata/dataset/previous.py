"""Spectra from a data set that was built before: its config `spectra`, so that other text needs no FITS files."""

import itertools
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from specdata.dataset.parquet import BATCH
from specdata.dataset.rows import METADATA, PIXELS, features
from specdata.errors import SpecdataError
from specdata.spectra.spectrum import Spectrum

_READ = 100  # rows that are in memory at a time


def dataset_items(folder):
    """List the rows of the config `spectra`: split by split, file by file.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    items : list of str
        ``FILE#ROW``.
    sizes : list of int
        Bytes of the file of each.

    Raises
    ------
    SpecdataError
        If there are none.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("spectra/*.parquet"))
    if not paths:
        raise SpecdataError(f"{folder}: holds no spectra/*.parquet; give the folder of a data set of `specdata build`")
    items, sizes = [], []
    for path in paths:
        count = pq.read_metadata(path).num_rows
        items += [f"{path.name}#{row}" for row in range(count)]
        sizes += [path.stat().st_size] * count
    return items, sizes


def dataset_spectra(folder, items):
    """Read rows of `dataset_items`, in their order.

    The data set has no `or_mask` and no `wdisp`; they become a copy of `and_mask`, whose bits it holds by definition,
    and NaN.

    Yields
    ------
    Spectrum
    """
    for name, found in itertools.groupby((item.rpartition("#") for item in items), key=lambda item: item[0]):
        numbers = [int(row) for _, _, row in found]  # without a gap
        file, offset = pq.ParquetFile(Path(folder, "spectra", name)), 0
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if offset <= numbers[-1] and numbers[0] < offset + size:
                first = offset
                for batch in file.iter_batches(batch_size=_READ, row_groups=[group]):
                    start = max(0, numbers[0] - first)
                    yield from _spectra(batch.slice(start, max(0, numbers[-1] + 1 - first - start)))
                    first += len(batch)
            offset += size


def same_file(folder, items, objects):
    """Find the file that holds just these rows, in this order, as a build would write them again.

    Parameters
    ----------
    folder : str or Path
    items : list of str
        From `dataset_items`.
    objects : pyarrow.Array of str
        The `object_id` that each row is to have.

    Returns
    -------
    Path or None
    """
    name = items[0].rpartition("#")[0]
    if items != [f"{name}#{row}" for row in range(len(items))]:
        return None
    file = pq.ParquetFile(Path(folder, "spectra", name))
    groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    if groups != [min(BATCH, len(items) - at) for at in range(0, len(items), BATCH)]:
        return None
    schema = features("spectra").arrow_schema
    same = file.schema_arrow.equals(schema) and file.schema_arrow.metadata == schema.metadata
    same = same and file.read(columns=["object_id"])["object_id"].combine_chunks().equals(objects)
    return Path(folder, "spectra", name) if same else None


def _spectra(batch):
    """The spectra of a part of a Parquet file."""
    columns = ["plate", "mjd", "fiberid", "run2d", "specobjid", "z", "is_mock", *METADATA]
    plain = batch.select(columns).to_pylist()
    pixels = {name: batch[name] for name in PIXELS}
    offsets = {name: array.offsets.to_numpy() for name, array in pixels.items()}
    values = {name: array.values.to_numpy() for name, array in pixels.items()}
    for number, row in enumerate(plain):
        own = {name: values[name][offsets[name][number] : offsets[name][number + 1]] for name in PIXELS}
        own["loglam"] = own["loglam"].astype(np.float64)
        nothing = np.broadcast_to(np.float32(np.nan), own["flux"].shape)
        yield Spectrum(**own, or_mask=own["and_mask"], wdisp=nothing, **row)
