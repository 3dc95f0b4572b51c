"""Schemes that put separators between whole numbers of any length: `paper` and `csv`."""

import functools
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from specdata.errors import SpecdataError
from specdata.serialize.series import check_size, check_text, decode_rows, out_of_range, series_array, string_array

_COMMON = range(-1000, 25_000)  # hundredths whose words are looked up; others are written one by one
_BLOCK = 1 << 16  # values that go through at once, so that what is between input and text stays in the cache


class SeparatedScheme:
    """Hundredths as whole numbers, with separators.

    A value x is written as the digits of the whole number ``np.rint(100 * x)``, half to even.

    Parameters
    ----------
    name : str
    between_digits : str
        What stands between the digits of one number.
    separator : str
        What stands between two numbers.
    end : str
        What follows the last number. A series without numbers is the empty text.

    Attributes
    ----------
    name : str
    step : float
        Distance of two values that can be written.
    low, high : float
        Ends of the range, which is that of the whole numbers exact in float64.
    """

    step = 0.01
    max_digits = 15
    low, high = -9_999_999_999_999.99, 9_999_999_999_999.99

    def __init__(self, name, between_digits, separator, end):
        self.name = name
        self._between, self._separator, self._end = between_digits, separator, end
        digits = rf"(?:{re.escape(between_digits)}[0-9]){{0,{self.max_digits - 1}}}"
        self._value = re.compile(rf"NaN|0|-?[1-9]{digits}")

    def __repr__(self):
        return f"<scheme {self.name}>"

    def encode(self, values):
        """Write a series of numbers.

        Parameters
        ----------
        values : array_like, shape (n,)
            Dimensionless numbers, for example flux over its median. NaN or a masked value is a missing one.

        Returns
        -------
        str

        Raises
        ------
        SpecdataError
            If a value is infinite or too large; the message has its position.
        """
        values = series_array(values, 1)
        words = [self._word(value) for value in self._hundredths(values).tolist()]
        return self._separator.join(words) + self._end if words else ""

    def encode_batch(self, array, *, arrow=False):
        """Write each row of an array, the same as `encode` row by row.

        Parameters
        ----------
        array : array_like, shape (rows, n)
        arrow : bool
            Return the text as it is made, in an Arrow array.

        Returns
        -------
        list of str or pyarrow.StringArray
        """
        array = series_array(array, 2)
        rows = max(1, _BLOCK // max(1, array.shape[1]))
        blocks = [self._block(array[at : at + rows], at) for at in range(0, len(array), rows)]
        check_size(sum(block.nbytes for block in blocks))
        texts = pa.concat_arrays(blocks) if blocks else pa.array([], pa.string())
        return texts if arrow else texts.to_pylist()

    def decode(self, text):
        """Read a series back: the exact inverse of `encode`.

        Parameters
        ----------
        text : str

        Returns
        -------
        ndarray, shape (n,), float64
            The values rounded to hundredths; NaN where one is missing.

        Raises
        ------
        SpecdataError
            If the text is not exactly of the form that `encode` writes; the message has the position.
        """
        check_text(text)
        if text == "":
            return np.empty(0)
        if not text.endswith(self._end):
            raise SpecdataError(f'position {len(text)}: the text has to end in "{self._end}"')
        numbers, position = [], 0
        for word in text[: len(text) - len(self._end)].split(self._separator):
            if not self._value.fullmatch(word):
                such = self._between.join("456")
                raise SpecdataError(f"position {position}: {word[:24]!r} is not a value such as {such}, -7, 0 or NaN")
            numbers.append(np.nan if word == "NaN" else int(word.replace(self._between, "")))
            position += len(word) + len(self._separator)
        return np.array(numbers, dtype=np.float64) / 100.0

    def decode_batch(self, texts):
        """Read many series of the same length back.

        Parameters
        ----------
        texts : sequence of str or pyarrow.StringArray

        Returns
        -------
        ndarray, shape (rows, n), float64

        Raises
        ------
        SpecdataError
            As `decode`, with the row; or if the rows differ in length.
        """
        texts = string_array(texts)
        try:
            body = pc.binary_slice(texts.cast(pa.binary()), 0, -len(self._end)) if self._end else texts
            plain = pc.replace_substring(body, self._between, "") if self._between else body
            words = pc.split_pattern(plain.cast(pa.string()), self._separator)
            values = words.flatten().cast(pa.float64()).to_numpy().reshape(len(texts), -1) / 100.0
            # Arrow reads numbers loosely; what is written back the same was of the exact form.
            if self.encode_batch(values, arrow=True).equals(texts):
                return values
        except (pa.ArrowInvalid, ValueError, SpecdataError):
            pass  # found below, with its position
        return decode_rows(self, texts)

    def _hundredths(self, values, first_row=0):
        with np.errstate(over="ignore"):
            hundredths = np.rint(values * 100.0)  # 4.56 * 100 is 455.99999999999994: round, never floor
        wrong = ~(np.abs(hundredths) < 10.0**self.max_digits) & ~np.isnan(hundredths)
        if wrong.any():
            raise out_of_range(values, wrong, f"scale the series to below 1e{self.max_digits - 2}", first_row)
        return hundredths

    def _word(self, hundredths):
        if hundredths != hundredths:
            return "NaN"
        whole = int(hundredths)
        return "-" * (whole < 0) + self._between.join(str(abs(whole)))

    @functools.cached_property
    def _words(self):
        """Common words with the separator after them, then the same as the last of a series."""
        words = [*map(self._word, _COMMON), "NaN"]
        return pa.array([word + after for after in (self._separator, self._end) for word in words], pa.string())

    def _block(self, array, first_row):
        hundredths = self._hundredths(array, first_row)
        rows, n = hundredths.shape
        if n == 0:
            return pa.array([""] * rows, pa.string())
        index = hundredths - _COMMON.start
        missing = np.isnan(index)
        rare = ~((index >= 0) & (index < len(_COMMON))) & ~missing
        index[missing | rare] = len(_COMMON)
        index[:, -1] += len(_COMMON) + 1
        words = self._words.take(pa.array(index.ravel().astype(np.int32)))
        if rare.any():
            after = np.broadcast_to([self._separator] * (n - 1) + [self._end], (rows, n))[rare].tolist()
            written = [self._word(value) + end for value, end in zip(hundredths[rare].tolist(), after, strict=True)]
            words = pc.replace_with_mask(words, pa.array(rare.ravel()), pa.array(written, pa.string()))
        # The words stand one after the other in memory: a series begins where its first word does.
        _, offsets, data = words.buffers()
        starts = np.frombuffer(offsets, np.int32)[words.offset :][: rows * n + 1 : n]
        return pa.StringArray.from_buffers(rows, pa.py_buffer(np.ascontiguousarray(starts)), data)
