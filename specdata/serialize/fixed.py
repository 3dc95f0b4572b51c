"""Schemes that give every value the same number of characters and need no separators."""

import numpy as np
import pyarrow as pa

from specdata.errors import SpecdataError
from specdata.serialize.series import check_size, check_text, decode_rows, out_of_range, series_array, string_array

_ZERO = ord("0")


class AffineScheme:
    """A code of fixed width for every value, an affine function of it, without separators.

    The code of a value is ``np.rint(value / step)``, half to even, plus `offset`, written with leading zeros: value =
    (code - offset) x step. Inside the range the error is at most half a step.

    Parameters
    ----------
    name : str
    width : int
        Digits of a code.
    step : tuple of int
        Numerator and denominator of the step, which may have no exact binary form.
    offset : int
        Code of the value 0.

    Attributes
    ----------
    name : str
    step : float
        Distance of two values that can be written.
    low, high : float
        Values of the first and the last code. What rounds to a value outside is an error here; a build clips to them
        and counts it.
    """

    def __init__(self, name, *, width, step, offset):
        self.name, self.width, self.step = name, width, step[0] / step[1]
        self._numerator, self._denominator = step
        self._offset = offset
        self._codes = 10**width
        self._missing = "NaN"[:width]
        self.low, self.high = self._values(np.array([0, self._codes - 1])).tolist()
        words = [*(f"{code:0{width}d}" for code in range(self._codes)), self._missing]
        self._words = np.array(words, dtype=f"S{width}")

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
            If a value lies outside the range; the message has its position.
        """
        return self._characters(series_array(values, 1)).tobytes().decode("ascii")

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
        characters = self._characters(array)
        check_size(characters.nbytes)
        offsets = np.arange(len(array) + 1, dtype=np.int32) * np.int32(self.width * array.shape[1])
        texts = pa.StringArray.from_buffers(len(array), pa.py_buffer(offsets), pa.py_buffer(characters))
        return texts if arrow else texts.to_pylist()

    def decode(self, text):
        """Read a series back: the exact inverse of `encode`.

        Parameters
        ----------
        text : str

        Returns
        -------
        ndarray, shape (n,), float64
            The values rounded to the step; NaN where one is missing.

        Raises
        ------
        SpecdataError
            If the text is not exactly of the form that `encode` writes; the message has the position.
        """
        check_text(text)
        numbers = []
        for at in range(0, len(text), self.width):
            word = text[at : at + self.width]
            if word == self._missing:
                numbers.append(np.nan)
            elif len(word) == self.width and word.isascii() and word.isdigit():
                numbers.append(int(word))
            else:
                what = f"a value has {self.width} digits or is {self._missing}"
                raise SpecdataError(f"position {at}: {word!r} is not a value; {what}")
        return self._values(np.array(numbers, dtype=np.float64))

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
        characters = _equally_long(texts)
        if characters is None or characters.shape[1] % self.width:
            return decode_rows(self, texts)
        words = characters.reshape(len(texts), -1, self.width)
        digits = words - _ZERO  # below "0" wraps around to something large
        codes = digits[..., 0].astype(np.float64)
        for place in range(1, self.width):
            codes = 10 * codes + digits[..., place]
        if (digits > 9).any():
            missing = (words == np.frombuffer(self._missing.encode(), np.uint8)).all(axis=-1)
            if (digits[~missing] > 9).any():
                return decode_rows(self, texts)  # finds which, with its position
            codes[missing] = np.nan
        return self._values(codes)

    def _values(self, codes):
        return (codes - self._offset) * self._numerator / self._denominator

    def _characters(self, values):
        """The words of all values; ndarray of bytes strings of `width`, of the shape of `values`."""
        with np.errstate(over="ignore"):
            codes = np.rint(values * self._denominator / self._numerator) + self._offset
        missing = np.isnan(codes)
        wrong = ~((codes >= 0) & (codes < self._codes)) & ~missing
        if wrong.any():
            fix = f"{self.name} writes {self.low} to {self.high}; clip the values or choose another normalisation"
            raise out_of_range(values, wrong, fix)
        codes[missing] = self._codes
        return self._words[codes.astype(np.intp)]


def _equally_long(texts):
    """The bytes of texts that are equally long; ndarray of shape (rows, characters), or None if they are not."""
    _, offsets, data = texts.buffers()
    if len(texts) == 0 or texts.null_count or data is None:
        return None
    offsets = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    lengths = np.diff(offsets)
    if (lengths != lengths[0]).any():
        return None
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].reshape(len(texts), -1)
