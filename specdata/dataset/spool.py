"""The spectra that passed the cuts, in one Arrow file for each shard of the source."""

import mmap

import numpy as np
import pyarrow as pa

from specdata.dataset import rows

SPOOL_BATCH = 100  # rows of a batch in the file: little enough to hold as Python objects beside the same as Arrow


class SpoolWriter:
    """Write spectra to a spool; a context manager.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path):
        self._batch = []
        self._writer = pa.ipc.new_file(str(path), rows.spectra_batch([]).schema)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._flush()
        self._writer.close()

    def write(self, spectrum):
        """Append one `Spectrum`."""
        self._batch.append(spectrum)
        if len(self._batch) == SPOOL_BATCH:
            self._flush()

    def _flush(self):
        if self._batch:
            self._writer.write_batch(rows.spectra_batch(self._batch))
            self._batch.clear()


class Spool:
    """Spools one after the other, as one table of which only the rows asked for are in memory.

    Parameters
    ----------
    paths : sequence of Path
    starts : array_like of int
        The number that the first row of each has.
    """

    def __init__(self, paths, starts):
        self._starts = np.asarray(starts)
        self._maps = []
        for path in paths:
            with path.open("rb") as stream:
                self._maps.append(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        self._readers = [pa.ipc.open_file(pa.py_buffer(found)) for found in self._maps]

    def take(self, index):
        """Rows of the `spectra` config, without `object_id`.

        Parameters
        ----------
        index : ndarray of int

        Returns
        -------
        pyarrow.Table
            In the order of `index`, in one chunk.
        """
        order = np.argsort(index, kind="stable")
        index = np.asarray(index)[order]
        shard = np.searchsorted(self._starts, index, side="right") - 1
        batch, row = np.divmod(index - self._starts[shard], SPOOL_BATCH)
        plain, lists = [], {name: [None] * len(order) for name in rows.PIXELS}
        cuts = np.flatnonzero((np.diff(shard) != 0) | (np.diff(batch) != 0)) + 1
        for part in np.split(np.arange(len(index)), cuts):
            found = self._readers[shard[part[0]]].get_batch(int(batch[part[0]]))
            for name, arrays in lists.items():
                offsets, values = found[name].offsets.to_numpy(), found[name].values.to_numpy()
                for number in part:
                    arrays[order[number]] = values[offsets[row[number]] : offsets[row[number] + 1]].copy()
            plain.append(found.drop_columns(list(lists)).take(pa.array(row[part])))
            # Or all that was ever asked for, and the pages beside it, would stay in the process's memory.
            self._maps[shard[part[0]]].madvise(mmap.MADV_DONTNEED)
        back = np.empty(len(order), dtype=np.int64)
        back[order] = np.arange(len(order))
        table = pa.Table.from_batches(plain).combine_chunks().take(pa.array(back))
        for field in self._readers[0].schema:
            if field.name in lists:
                table = table.append_column(field, rows.list_array(lists.pop(field.name), field.type))
        return table.combine_chunks()


def write_table(path, table):
    """Write a table as an Arrow file."""
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)
