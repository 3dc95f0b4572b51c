"""What every scheme asks of its input, and how it says what is wrong with it."""

import numpy as np
import pyarrow as pa

from specdata.errors import SpecdataError


def series_array(values, dimensions):
    """Numbers as float64, masked ones as NaN.

    Raises
    ------
    SpecdataError
        If they are not of that many dimensions.
    """
    values = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
    if values.ndim != dimensions:
        if dimensions == 1:
            raise SpecdataError(f"a series has one dimension, not {values.ndim}: encode row by row or use encode_batch")
        raise SpecdataError(f"a batch has two dimensions, not {values.ndim}: use encode for one row")
    return values


def out_of_range(values, wrong, fix, first_row):
    """The error that names the first value of `values` where `wrong` is True."""
    *row, at = map(int, np.argwhere(wrong)[0])
    where = f"row {first_row + row[0]}, value {at}" if row else f"value {at}"
    return SpecdataError(f"{where} is {values[(*row, at)]}: {fix}")


def string_array(texts):
    """Texts as one Arrow array of strings."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    return texts.cast(pa.string()) if isinstance(texts, pa.Array) else pa.array(list(texts), pa.string())


def decode_rows(scheme, texts):
    """Decode one by one, for what is wrong with a batch; ndarray of shape (rows, n).

    Raises
    ------
    SpecdataError
        With the row of the text that is malformed or has another number of values than the first.
    """
    rows = []
    for i, text in enumerate(texts.to_pylist()):
        if text is None:
            raise SpecdataError(f"row {i}: there is no text")
        try:
            rows.append(scheme.decode(text))
        except SpecdataError as error:
            raise SpecdataError(f"row {i}, {error}") from None
        if len(rows[i]) != len(rows[0]):
            raise SpecdataError(
                f"row {i} has {len(rows[i])} values and row 0 has {len(rows[0])}: decode rows of one length together"
            )
    return np.array(rows, dtype=np.float64) if rows else np.empty((0, 0))
