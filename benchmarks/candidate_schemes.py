"""Ways of writing numbers that `candidates.py` measures beside the shipped schemes, each with its exact inverse.

All have the methods and the range of a scheme of `specdata.serialize`, so that `specdata.text.encoding` can write with
them; what `encode` could not have written is a `SpecdataError` with its position, here, too.
"""

import re

import numpy as np

from specdata.errors import SpecdataError
from specdata.serialize import CSV, PACKED
from specdata.serialize.schemes import FixedScheme, Scheme, SeparatedScheme

_RESERVED = "<|reserved_special_token_{}|>"  # Llama-3 has 248 of them, numbered from 0


class Rewritten(Scheme):
    """Texts of a shipped scheme with something put in, which `back` takes out again."""

    def __init__(self, name, inner, forth, back):
        self.name, self._inner, self._forth, self._back = name, inner, forth, back
        self.step, self.low, self.high = inner.step, inner.low, inner.high

    def _codes(self, values):
        return values

    def _write(self, array):
        return [self._forth(text) for text in self._inner.encode_batch(array)]

    def _read(self, text):
        plain = self._back(text)
        expected = self._forth(plain)
        if text != expected:  # the first character that is another one, or is not there
            pairs = enumerate(zip(text, expected, strict=False))
            at = next((at for at, (one, other) in pairs if one != other), min(len(text), len(expected)))
            raise SpecdataError(f"position {at}: {text[at : at + 12]!r} is not what {self.name} writes there")
        return self._inner.decode(plain)


class Differences(Scheme):
    """The code of `packed` of the first value, then differences to the value before, in a fixed number of digits.

    A missing value is left out of the differences. With three digits they are taken modulo 1000, plus 500: whatever two
    codes follow on each other, nothing overflows, and every text of three-digit words is one of a series. With two
    digits a difference is -0.50 to 0.49, plus 0.50, from what a reader has reached, so that a jump beyond it is made up
    for by the following values: `decode(encode(x))` is then `followed(x)`, and not x rounded.
    """

    def __init__(self, name, width):
        self.name, self.step, self.low, self.high = name, PACKED.step, PACKED.low, PACKED.high
        self._wraps, self._half, self._first = width == 3, 10**width // 2, 3
        self._words = FixedScheme(name, width=width, step=(1, 1), offset=0)
        self._start = FixedScheme(name, width=3, step=(1, 1), offset=0)

    def followed(self, array):
        """What is read back: x rounded, but for jumps that two digits do not hold; ndarray of the shape of `array`."""
        return self._reached(self._codes(np.asarray(array, dtype=np.float64)))[1]

    def _codes(self, values):
        return PACKED._codes(values)

    def _reached(self, codes):
        """Words of all values, and the values that they lead to."""
        words, reached, at = np.full(codes.shape, np.nan), np.full(codes.shape, np.nan), np.full(len(codes), 500.0)
        for n, code in enumerate(codes.T):
            here = ~np.isnan(code)
            if n == 0 and not self._wraps:
                words[:, 0] = code  # in three digits
            elif self._wraps:
                words[:, n] = (code - at + self._half) % 1000
            else:
                words[:, n] = np.clip(code - at, -self._half, self._half - 1) + self._half
            whole = self._wraps or n == 0
            at = np.where(here, code if whole else at + words[:, n] - self._half, at)
            reached[:, n] = np.where(here, at, np.nan)
        return words, (reached - 200) / 100

    def _write(self, codes):
        words = self._reached(codes)[0]
        parts = ((self._start, words[:, :1]), (self._words, words[:, 1:]))
        parts = ((self._words, words),) if self._wraps else parts
        return ["".join(row) for row in zip(*(scheme.encode_batch(part) for scheme, part in parts), strict=True)]

    def _read(self, text):
        if self._wraps:
            steps = self._words.decode(text) - self._half
            codes = (500 + np.cumsum(np.nan_to_num(steps))) % 1000
            return (np.where(np.isnan(steps), np.nan, codes) - 200) / 100
        try:
            first, rest = self._start.decode(text[:3]), self._words.decode(text[3:])
        except SpecdataError as error:
            raise SpecdataError(f"{error}; after the first three digits two belong to a value") from None
        steps = np.concatenate([np.where(np.isnan(first), 500, first), rest - self._half])
        codes = np.cumsum(np.nan_to_num(steps))
        missing = np.isnan(np.concatenate([first, rest]))
        wrong = (codes < 0) | (codes > 999)
        if wrong.any():
            at = int(np.argmax(wrong))
            raise SpecdataError(f"value {at}: the differences lead out of {self.low} to {self.high}")
        return (np.where(missing, np.nan, codes) - 200) / 100


class Codebook(Scheme):
    """One token a value: the number of the nearest of some levels, and a last word where a value is missing.

    Parameters
    ----------
    name : str
    levels : ndarray, shape (n,), float64
        Strictly rising. What lies beyond the first or the last is written as that one.
    word : str
        A token of the tokenizer, with ``{}`` for the number.
    """

    step = 0.0  # no one step: the error depends on the value

    def __init__(self, name, levels, word=_RESERVED):
        self.name, self.levels, self.low, self.high = name, levels, levels[0], levels[-1]
        self.words = [word.format(number) for number in range(len(levels) + 1)]
        self._number = {word: number for number, word in enumerate(self.words)}
        before, after = map(re.escape, word.split("{}"))
        self._word = re.compile(f"{before}[0-9]+{after}")

    @classmethod
    def learn(cls, name, values, size, word=_RESERVED, rounds=0):
        """Take the medians of `size` - 1 parts of `values`, equally many in each; equal ones become one level.

        Each of some rounds of Lloyd's then moves every level to the mean of the values that it is the nearest of, which
        makes the mean squared error smaller.
        """
        values = np.sort(values[~np.isnan(values)])
        sums = np.concatenate([[0], np.cumsum(values)])
        levels = np.unique(np.quantile(values, (np.arange(size - 1) + 0.5) / (size - 1)))
        for _ in range(rounds):
            ends = np.concatenate([[0], np.searchsorted(values, 0.5 * (levels[1:] + levels[:-1])), [len(values)]])
            held = np.diff(ends) > 0
            levels = np.unique(np.diff(sums[ends])[held] / np.diff(ends)[held])
        return cls(name, levels, word)

    def _codes(self, values):
        """The number of each word; ndarray of the shape of `values`, int."""
        nearest = np.searchsorted(0.5 * (self.levels[1:] + self.levels[:-1]), values)
        return np.where(np.isnan(values), len(self.levels), nearest)

    def nearest(self, values):
        """What is read back; ndarray of the shape of `values`."""
        return np.append(self.levels, np.nan)[self._codes(values)]

    def _write(self, codes):
        return ["".join([self.words[code] for code in row]) for row in codes.tolist()]

    def _read(self, text):
        numbers, at = [], 0
        while at < len(text):
            match = self._word.match(text, at)
            if not match or match[0] not in self._number:
                raise SpecdataError(f"position {at}: {text[at : at + 32]!r} is no word of {self.name}")
            numbers.append(self._number[match[0]])
            at = match.end()
        return np.append(self.levels, np.nan)[np.array(numbers, dtype=np.intp)]


def marked(every, centres):
    """`packed` with the wavelength before each `every` values, as ``|5123|``.

    Parameters
    ----------
    every : int
    centres : callable
        Wavelengths in Angstrom, ndarray of shape (n,), of a grid of n bins.
    """
    width = 3 * every

    def forth(text):
        starts = range(0, len(text), width)
        at = centres(-(-len(text) // 3))[::every] if text else []
        return "".join(f"|{mark:.0f}|{text[start : start + width]}" for mark, start in zip(at, starts, strict=True))

    return Rewritten(f"marker{every}", PACKED, forth, lambda text: re.sub(r"\|[^|]*\|", "", text))


SPACED_DIGITS = SeparatedScheme("spaced-digits", between_digits=" ", separator=" , ", end="")
SPACED_VALUES = SeparatedScheme("spaced-values", between_digits="", separator=" ", end="")
# Groups of three digits from the right: with a mark between them, or made whole by zeros, as in 12.345 or 012345.
MARKED_GROUPS = Rewritten(
    "grouped-dot",
    CSV,
    lambda text: re.sub(r"(?<=[0-9])(?=(?:[0-9]{3})+(?![0-9]))", ".", text),
    lambda text: text.replace(".", ""),
)
PADDED_GROUPS = Rewritten(
    "grouped-zeros",
    CSV,
    lambda text: re.sub(r"[0-9]+", lambda digits: digits[0].zfill(-(-len(digits[0]) // 3) * 3), text),
    lambda text: re.sub(r"(?<![0-9])0+(?=[0-9])", "", text),
)
DELTA, DELTA_SHORT = Differences("delta", 3), Differences("delta-2", 2)
PAIRS = FixedScheme("pairs", width=2, step=(1, 10), offset=20)  # two digits a value without differences: -2.0 to 7.9
ALL = (SPACED_DIGITS, SPACED_VALUES, MARKED_GROUPS, PADDED_GROUPS, DELTA, DELTA_SHORT, PAIRS)
