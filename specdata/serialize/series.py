"""What every scheme asks of its input, and how it says what is wrong with it."""

import numpy as np
import pyarrow as pa

from specdata.errors import SpecdataError


def series_array(values, dimensions):
    """Numbers as float64, masked ones as NaN.

    Raises
    ------
    SpecdataError
        If they are no numbers, or not of that many dimensions.
    """
    try:
        given = np.ma.asarray(values)
        if given.dtype.kind not in "biuf":
            raise TypeError(f"they are of type {given.dtype}")
        values = np.ma.filled(given.astype(np.float64), np.nan)
    except (TypeError, ValueError, AttributeError) as error:
        raise SpecdataError(f"these are no numbers ({error}): give an array of real numbers without a unit") from None
    if values.ndim != dimensions:
        if dimensions == 1:
            raise SpecdataError(f"a series has one dimension, not {values.ndim}: encode row by row or use encode_batch")
        raise SpecdataError(f"a batch has two dimensions, not {values.ndim}: use encode for one row")
    return values


def out_of_range(values, wrong, fix, first_row=0):
    """The error that names the first value of `values` where `wrong` is True."""
    *row, at = map(int, np.argwhere(wrong)[0])
    where = f"row {first_row + row[0]}, value {at}" if row else f"value {at}"
    return SpecdataError(f"{where} is {values[(*row, at)]}: {fix}")


def check_text(text):
    """Refuse what is no text, which might be taken for one: bytes, or None."""
    if not isinstance(text, str):
        raise SpecdataError(f"{text!r:.40} is no text: give a str")


def check_size(characters):
    """Refuse more text than the offsets of one Arrow string array can point at."""
    if characters > np.iinfo(np.int32).max:
        raise SpecdataError(f"a batch of {characters:,} characters: encode fewer than 2^31 at a time")


def string_array(texts):
    """Texts as one Arrow array of strings.

    Parameters
    ----------
    texts : sequence of str, pyarrow.Array or pyarrow.ChunkedArray

    Raises
    ------
    SpecdataError
        If they are no texts, or only one.
    """
    if isinstance(texts, (str, bytes)):
        raise SpecdataError(f"{texts!r:.40} is one text: give a list of them, or use decode")
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    try:
        if not isinstance(texts, pa.Array):
            return pa.array(list(texts), pa.string())
        if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type) or pa.types.is_null(texts.type)):
            raise pa.ArrowTypeError(f"they are of type {texts.type}")
        return texts.cast(pa.string())
    except (pa.ArrowException, TypeError, UnicodeEncodeError) as error:
        raise SpecdataError(f"these are no texts ({error}): give a list of str, or an Arrow array of strings") from None


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
