"""The two kinds of scheme: whole numbers with separators between them, and codes of a fixed number of digits."""

import re
from abc import ABC, abstractmethod

import numpy as np
import pyarrow as pa

from specdata.errors import SpecdataError


class Scheme(ABC):
    """One way to write numbers as text, and its exact inverse.

    Attributes
    ----------
    name : str
    step : float
        Distance of two values that can be written.
    low, high : float
        Ends of the range. A value that rounds to one outside is an error here; a data set build clips and counts it.
    """

    name: str
    step: float
    low: float
    high: float

    def __repr__(self) -> str:
        return f"<scheme {self.name}>"

    def encode(self, values) -> str:
        """Write a series of numbers.

        Parameters
        ----------
        values : array_like, shape (n,)
            Dimensionless numbers, for example flux over its median. NaN or a masked value is a missing one.

        Raises
        ------
        SpecdataError
            If a value is out of range; the message has its position.
        """
        return self._write(self._codes(series_array(values, 1))[None])[0]

    def encode_batch(self, array, *, arrow=False) -> "list[str] | pa.StringArray":
        """Write each row of an array of shape (rows, n), the same as `encode` row by row.

        With `arrow`, the texts come in an Arrow array.
        """
        texts = self._write(self._codes(series_array(array, 2)))
        return pa.array(texts, pa.string()) if arrow else texts

    def decode(self, text) -> np.ndarray:
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
        if not isinstance(text, str):
            raise SpecdataError(f"{text!r:.40} is no text: give a str")
        return self._read(text)

    def decode_batch(self, texts) -> np.ndarray:
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
        rows = []
        for number, text in enumerate(text_list(texts)):
            try:
                rows.append(self._read(text))
            except SpecdataError as error:
                raise SpecdataError(f"row {number}, {error}") from None
            if len(rows[number]) != len(rows[0]):
                raise SpecdataError(
                    f"row {number} has {len(rows[number])} values and row 0 has {len(rows[0])}: decode rows of one "
                    "length together"
                )
        return np.array(rows, dtype=np.float64) if rows else np.empty((0, 0))

    @abstractmethod
    def _codes(self, values):
        """Whole numbers that stand for float64 values, as float64; NaN stays."""

    @abstractmethod
    def _write(self, codes):
        """Codes of shape (rows, n) as a list of texts."""

    @abstractmethod
    def _read(self, text):
        """A text as values, shape (n,)."""


class SeparatedScheme(Scheme):
    """Hundredths as whole numbers of any length, with separators.

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
    """

    step = 0.01
    max_digits = 15  # the whole numbers of so many digits are exact in float64
    low, high = -9_999_999_999_999.99, 9_999_999_999_999.99

    def __init__(self, name, between_digits, separator, end):
        self.name = name
        self._between, self._separator, self._end = between_digits, separator, end
        digits = rf"(?:{re.escape(between_digits)}[0-9]){{0,{self.max_digits - 1}}}"
        self._value = re.compile(rf"NaN|0|-?[1-9]{digits}")

    def _codes(self, values):
        with np.errstate(over="ignore"):
            hundredths = np.rint(values * 100.0)  # 4.56 * 100 is 455.99999999999994: round, never floor
        wrong = ~(np.abs(hundredths) < 10.0**self.max_digits) & ~np.isnan(hundredths)
        return hundredths if not wrong.any() else _refuse(values, wrong, "scale the series to below 1e13")

    def _write(self, codes):
        if codes.shape[1] == 0:
            return [""] * len(codes)
        distinct, index = np.unique(codes, return_inverse=True)  # spectra repeat few numbers: each is written once
        words = np.array([self._word(code) for code in distinct.tolist()], dtype=object)
        return [self._separator.join(row) + self._end for row in words[index.reshape(codes.shape)].tolist()]

    def _word(self, code):
        if code != code:
            return "NaN"
        return "-" * (code < 0) + self._between.join(str(abs(int(code))))

    def _read(self, text):
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


class FixedScheme(Scheme):
    """A code with a fixed number of digits for every value, without separators.

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
    """

    def __init__(self, name, *, width, step, offset):
        self.name, self.width, self.step = name, width, step[0] / step[1]
        (self._numerator, self._denominator), self._offset, self._missing = step, offset, "NaN"[:width]
        self.low, self.high = self._values(np.array([0, 10**width - 1])).tolist()
        self._words = np.array([*(f"{code:0{width}d}" for code in range(10**width)), self._missing], dtype=f"S{width}")

    def decode_batch(self, texts) -> np.ndarray:
        """See `Scheme.decode_batch`; equally long texts are read at once, which is ten times as fast."""
        texts = text_list(texts)
        joined, lengths = "".join(texts), {len(text) for text in texts}
        if len(lengths) == 1 and joined and joined.isascii() and not lengths.pop() % self.width:
            words = np.frombuffer(joined.encode(), np.uint8).reshape(len(texts), -1, self.width)
            digits = words - ord("0")  # what stands before "0" wraps around to something large
            codes = sum(digits[..., place] * 10.0 ** (self.width - 1 - place) for place in range(self.width))
            odd = (digits > 9).any(axis=-1)
            if (words[odd] == np.frombuffer(self._missing.encode(), np.uint8)).all():
                codes[odd] = np.nan
                return self._values(codes)
        return super().decode_batch(texts)  # finds what is wrong, and its position

    def _values(self, codes):
        return (codes - self._offset) * self._numerator / self._denominator

    def _codes(self, values):
        with np.errstate(over="ignore"):
            codes = np.rint(values * self._denominator / self._numerator) + self._offset
        wrong = ~((codes >= 0) & (codes < 10**self.width)) & ~np.isnan(codes)
        fix = f"{self.name} writes {self.low} to {self.high}; clip the values or choose another normalisation"
        return codes if not wrong.any() else _refuse(values, wrong, fix)

    def _write(self, codes):
        words = self._words[np.where(np.isnan(codes), 10**self.width, codes).astype(np.intp)]
        return [row.tobytes().decode("ascii") for row in words]

    def _read(self, text):
        codes = []
        for at in range(0, len(text), self.width):
            word = text[at : at + self.width]
            if word == self._missing:
                codes.append(np.nan)
            elif len(word) == self.width and word.isascii() and word.isdigit():
                codes.append(int(word))
            else:
                what = f"a value has {self.width} digits or is {self._missing}"
                raise SpecdataError(f"position {at}: {word!r} is not a value; {what}")
        return self._values(np.array(codes, dtype=np.float64))


def series_array(values, dimensions) -> np.ndarray:
    """Numbers as float64, masked ones as NaN; SpecdataError if they are no numbers or not of that many dimensions."""
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


def text_list(texts) -> list[str]:
    """Texts, of an Arrow array or another sequence; SpecdataError if one is missing or is no text."""
    if isinstance(texts, (str, bytes)):
        raise SpecdataError(f"{texts!r:.40} is one text: give a list of them, or use decode")
    texts = texts.to_pylist() if isinstance(texts, (pa.Array, pa.ChunkedArray)) else list(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise SpecdataError(f"row {row}: {text!r:.40} is no text: give a list of str, or an Arrow array of strings")
    return texts


def _refuse(values, wrong, fix):
    """Raise the error that names the first value where `wrong` is True."""
    *row, at = map(int, np.argwhere(wrong)[0])
    where = f"row {row[0]}, value {at}" if row else f"value {at}"
    raise SpecdataError(f"{where} is {values[(*row, at)]}: {fix}")
