"""Numbers to text and back: each scheme is an encoder beside its exact inverse."""

import re

import numpy as np

from specdata.errors import SpecdataError


class PaperScheme:
    """The text form of "Teaching LLMs to Speak Spectroscopy" (arXiv 2508.10075), after LLMTime (arXiv 2310.07820).

    A value is rounded once to hundredths (half to even) and written as the digits of that whole number with ``|``
    between them; values are separated by " , " and the text ends in " ,".

    ========== ============= =======================================================
    value      text          note
    ========== ============= =======================================================
    4.56       ``4|5|6``
    11.2       ``1|1|2|0``
    0.05       ``5``         no leading zeros
    0, -0.004  ``0``         there is no negative zero
    -4.56      ``-4|5|6``    the minus sign stands before the first digit
    NaN        ``NaN``       a missing value
    ========== ============= =======================================================

    Grammar: ``text = "" | (value " , ")* value " ,"``; ``value = "NaN" | "0" | "-"? [1-9] ("|" [0-9])*``.
    Range: the rounded number has at most `max_digits` digits, so that it is exact in float64.
    """

    name = "paper"
    step = 0.01
    max_digits = 15
    _value = re.compile(r"NaN|0|-?[1-9](?:\|[0-9]){0,14}")

    def encode(self, values):
        """Write a series of numbers.

        Parameters
        ----------
        values : array_like, shape (n,)
            Dimensionless numbers, for example flux over its median. NaN stands for a missing value.

        Returns
        -------
        str

        Raises
        ------
        SpecdataError
            If a value is infinite or too large; the message has its position.
        """
        values = np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan)
        if values.ndim != 1:
            raise SpecdataError(f"a series has one dimension, not {values.ndim}: encode row by row or use encode_batch")
        with np.errstate(over="ignore"):
            hundredths = np.rint(values * 100.0)  # 4.56 * 100 is 455.99999999999994: round, never floor
        missing = np.isnan(hundredths)
        wrong = ~missing & ~(np.abs(hundredths) < 10.0**self.max_digits)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise SpecdataError(f"value {at} is {values[at]}: scale the series to below 1e{self.max_digits - 2}")
        integers = np.where(missing, 0, hundredths).astype(np.int64).tolist()
        words = ["-" * (i < 0) + "|".join(str(abs(i))) for i in integers]
        for at in np.flatnonzero(missing):
            words[at] = "NaN"
        return " , ".join(words) + " ," if words else ""

    def encode_batch(self, array):
        """Write each row of an array of shape (rows, n); list of str, the same as `encode` row by row."""
        array = np.asanyarray(array, dtype=np.float64)
        if array.ndim != 2:
            raise SpecdataError(f"a batch has two dimensions, not {array.ndim}: use encode for one row")
        return [self.encode(row) for row in array]

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
        if text == "":
            return np.empty(0)
        if not text.endswith(" ,"):
            raise SpecdataError(f'position {len(text)}: the text has to end in " ,"')
        numbers, position = [], 0
        for word in text[:-2].split(" , "):
            if not self._value.fullmatch(word):
                raise SpecdataError(f"position {position}: {word[:24]!r} is not a value such as 4|5|6, -7, 0 or NaN")
            numbers.append(np.nan if word == "NaN" else int(word.replace("|", "")))
            position += len(word) + len(" , ")
        return np.array(numbers, dtype=np.float64) / 100.0


PAPER = PaperScheme()
