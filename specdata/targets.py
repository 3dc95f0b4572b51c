"""What a model can be asked about a spectrum: for each target the question, the form of its answer, and the way back.

A target is a number on a grid, such as the redshift to four decimals, or one of some labels, such as the class. All
that depends on which target it is stands in this file; a data set, its evaluation and an adapter carry the `Target`.
"""

import math
import re
from dataclasses import asdict, dataclass

import numpy as np

from specdata.errors import SpecdataError

MOST_ANSWERS = 100_000  # on the grid of a number; more are read only up to a limit that the data give
MOST_LABELS = 1000
_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,9}(\.\d{1,9})?", re.ASCII)
_TOKEN = "<|"  # with which the special tokens of tokenizers begin
_SPACE = " \t\n\r\f\v"
_QUESTION = "Spectrum is rescaled and encoded to an input series; give its {}: "


@dataclass(frozen=True, kw_only=True)
class Target:
    """One thing that can be asked: a number from `low` to `high`, or, where these are None, one of `labels`.

    Attributes
    ----------
    name : str
        In recipes and results.
    column : str
        Where its values stand: an attribute of `specdata.Spectrum`, or a column of a table that the recipe joins.
    words : str
        The quantity in words; the answer begins with them.
    symbol : str
        The quantity in a formula, such as ``z`` in p(z).
    instruction : str
        What the prompt begins with, before the encoded flux.
    unit : str
        Of the number; it ends the answer.
    low, high : float or None
        Least and greatest number of an answer.
    decimals : int
        Of the number; -1 means tens.
    outlier : float or None
        An error larger than this is an outlier; by default a tenth of the range.
    relative : bool
        Whether the error is divided by 1 + the true value, as that of a redshift is.
    labels : tuple of str
        All answers that there are. Empty until a build has found those of its data.
    if_empty : str
        The label of a spectrum whose column holds an empty text; without it, such a spectrum has no label.
    """

    name: str
    column: str
    words: str
    symbol: str
    instruction: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    decimals: int = 0
    outlier: float | None = None
    relative: bool = False
    labels: tuple[str, ...] = ()
    if_empty: str = ""

    def __post_init__(self):
        texts = (self.name, self.column, self.words, self.symbol, self.instruction, self.unit, self.if_empty)
        for text in (*texts, *self.labels):
            if not isinstance(text, str) or len(text) > 500 or not text.isprintable() or _TOKEN in text:
                raise SpecdataError(f"target {str(self.name)[:60]!r}: {str(text)[:60]!r} is not one line of plain text")
        if not _NAME.fullmatch(self.name) or not all((self.column, self.words, self.symbol, self.instruction)):
            raise SpecdataError(
                f"target {self.name!r}: its name has lower-case letters and digits, and no text is empty"
            )
        if not self.is_number:
            if len(set(self.labels)) != len(self.labels) or len(self.labels) > MOST_LABELS:
                raise SpecdataError(f"target {self.name!r}: give at most {MOST_LABELS} labels, each once")
            for label in self.labels:
                if not label.strip() == label != "" or set("[]") & set(label):
                    raise SpecdataError(f"target {self.name!r}: {label!r} cannot be a label; leave out [ and ]")
        elif not (math.isfinite(self.low) and math.isfinite(self.high) and -6 <= self.decimals <= 9):
            raise SpecdataError(f"target {self.name!r}: low and high have to be finite, and decimals from -6 to 9")
        elif not self.low < self.high < 1e9 or self.low < -1e9:
            raise SpecdataError(f"target {self.name!r}: low {self.low:g} has to be below high {self.high:g}")
        elif self.high - self.low > self.step:
            for end in (self.low, self.high):
                if round(end, self.decimals) != end:
                    raise SpecdataError(
                        f"target {self.name!r}: {end:g} is no multiple of {self.step:g}, an answer's step"
                    )

    @property
    def is_number(self) -> bool:
        """Whether it is a number, and not a label."""
        return self.low is not None

    @property
    def loss(self) -> str:
        """Name of the score that says how large the errors are; less is better."""
        return "mae" if self.is_number else "error_rate"

    @property
    def loss_words(self) -> str:
        """That score in words."""
        return "mean absolute error" if self.is_number else "error rate"

    @property
    def step(self) -> float:
        """Distance between two numbers of the grid."""
        return 10.0**-self.decimals

    @property
    def far(self) -> float:
        """An error larger than this is an outlier."""
        return self.outlier or (self.high - self.low) / 10

    @property
    def stored_in(self) -> str:
        """Column of a text config with the true value of each row."""
        return "z" if self.column == "z" else "target"

    @property
    def key(self) -> str:
        """What columns of predictions begin with."""
        return "z" if self.column == "z" else self.name

    @property
    def label(self) -> str:
        """The quantity with its unit, for the axis of a figure."""
        return f"{self.words} ({self.unit})" if self.unit else self.words

    @property
    def is_wide(self) -> bool:
        """Whether the grid is too fine to be read as a whole, so that the data have to say how far."""
        return self.is_number and (self.high - self.low) / self.step > MOST_ANSWERS

    @property
    def template_fits(self) -> bool:
        """Whether fits of shifted templates find it."""
        return self.column == "z"

    @property
    def longest(self) -> int:
        """Bytes of the longest answer; it has no more tokens."""
        ends = (self.low, self.high) if self.is_number else self.labels
        return max(len(self.format(value).encode()) for value in ends)

    def show(self, value) -> str:
        """A number, or a label, as it stands in an answer, where a zero has no sign."""
        return f"{value:z.{max(self.decimals, 0)}f}" if self.is_number else str(value)

    def format(self, value) -> str:
        """Write the answer for a value, such as ``Redshift: [0.1234]``; the inverse of `parse`.

        Raises
        ------
        SpecdataError
            If the value cannot be an answer.
        """
        if self.is_number:
            if not self.low <= value < self.high + self.step / 2:
                low, high = f"{self.low:g}", f"{self.high:g}"
                raise SpecdataError(
                    f"{self.symbol} = {value}: a {self.words} in a prompt lies between {low} and {high}; "
                    "cut this spectrum"
                )
            value = self.show(round(float(value), self.decimals))
        elif value not in self.labels:
            raise SpecdataError(f"{self.symbol} = {value!r}: give one of {', '.join(self.labels[:20])}")
        return f"{self._head}[{value}]{self._tail}"

    def parse(self, answer) -> float | str | None:
        """Read the value from a model's answer.

        Parameters
        ----------
        answer : str
            The generated text, without the prompt. Space around it is ignored, and the brackets around the value may be
            missing; anything else makes it no answer.

        Returns
        -------
        float, str or None
            None if the answer does not parse, which counts as a failure and is never dropped.
        """
        text = answer.strip(_SPACE)
        if not text.startswith(self._head) or not text.endswith(self._tail):
            return None
        inner = text[len(self._head) : len(text) - len(self._tail)]
        if inner[:1] == "[" and inner[-1:] == "]":
            inner = inner[1:-1]
        if not self.is_number:
            return inner if inner in self.labels else None
        value = float(inner) if _NUMBER.fullmatch(inner) else math.nan
        inside = self.low <= value < self.high + self.step / 2
        return value if inside and self.format(value) == f"{self._head}[{inner}]{self._tail}" else None

    def may_become(self, text) -> bool:
        """Whether a text that is still being written may become an answer to this, and nothing else."""
        text, begin = text.strip(_SPACE), f"{self._head}["
        return begin.startswith(text[: len(begin)]) and len(text.encode()) <= self.longest

    @property
    def _head(self):
        return f"{self.words[0].upper()}{self.words[1:]}: "

    @property
    def _tail(self):
        return f" {self.unit}" if self.unit else ""

    def accept(self, found) -> float | str | None:
        """The value in a catalogue's column as it can be asked for; None where it is missing or cannot be an answer."""
        if not self.is_number:
            text = "" if found is None else str(found).strip() or self.if_empty
            known = text in self.labels if self.labels else not set("[]") & set(text)
            return text if text and known and text.isprintable() and _TOKEN not in text else None
        try:
            value = float(found)
        except (TypeError, ValueError):
            return None
        return value if self.low <= value < self.high + self.step / 2 else None

    def answers(self, top=None) -> list:
        """All values that an answer may have, in their order.

        Parameters
        ----------
        top : float, optional
            Only numbers below this.

        Returns
        -------
        list of str, or ndarray of float64
        """
        if not self.is_number:
            return list(self.labels)
        ends = [round(end / self.step) for end in (self.low, self.high if top is None else top)]
        return np.arange(ends[0], ends[1] + (top is None)) / 10.0**self.decimals

    def code(self, values) -> np.ndarray:
        """Values as numbers, of labels their places in `labels`; NaN for None. ndarray of shape (n,), float64."""
        if not self.is_number:
            places = {label: place for place, label in enumerate(self.labels)} | {None: None}
            if unknown := set(values) - set(places):
                raise SpecdataError(
                    f"target {self.name}: {unknown.pop()!r} is none of its labels; build the data again"
                )
            values = [places[value] for value in values]
        return np.array(values, dtype=np.float64)

    def decode(self, codes) -> list:
        """The inverse of `code`: a list of float or str, None for NaN."""
        known = (
            (float(code) if self.is_number else self.labels[int(code)]) if code == code else None for code in codes
        )
        return list(known)

    def to_dict(self) -> dict:
        """What `from_dict` reads, as JSON can hold it."""
        kept = {name: value for name, value in asdict(self).items() if value != _DEFAULTS.get(name)}
        return kept | ({"labels": list(self.labels)} if self.labels else {})

    @classmethod
    def from_dict(cls, stored) -> "Target":
        """The inverse of `to_dict`.

        Raises
        ------
        SpecdataError, TypeError, ValueError
            If it is not all there.
        """
        return cls(**dict(stored) | {"labels": tuple(stored.get("labels", ()))})


_DEFAULTS = {name: field.default for name, field in Target.__dataclass_fields__.items()}


def declared(name, *, column=None, words=None, symbol=None, instruction=None, **rest) -> Target:
    """A target of one's own; the arguments are attributes of `Target`, and what is left out follows from the name."""
    words = words or name.replace("_", " ").replace("-", " ")
    instruction = instruction or _QUESTION.format(words)
    column, symbol = column or name, symbol or name
    return Target(name=name, column=column, words=words, symbol=symbol, instruction=instruction, **rest)


# The paper's wording; whether its brackets are part of the text is left open there, so that both forms are read.
REDSHIFT = Target(
    name="redshift",
    column="z",
    words="redshift",
    symbol="z",
    instruction="Galaxy spectrum is rescaled and encoded to an input series: ",
    low=0.0,
    high=99.9999,
    decimals=4,
    outlier=0.05,  # far above what reads a line right, far below a line taken for another
    relative=True,
)
_DECLARED = (
    REDSHIFT,
    declared(
        "class",
        column="spectype",
        labels=("GALAXY", "QSO", "STAR"),
        instruction=_QUESTION.format("class, which is GALAXY, QSO or STAR"),
    ),
    declared("subclass", if_empty="none"),
    # A dispersion of 0 means that it was not measured.
    declared("vdisp", words="velocity dispersion", symbol="sigma", unit="km/s", low=1.0, high=850.0, outlier=100.0),
    declared(
        "teff",
        words="effective temperature",
        symbol="Teff",
        unit="K",
        low=2000.0,
        high=60000.0,
        decimals=-1,
        outlier=1000.0,
    ),
    declared(
        "logg", words="surface gravity log g", symbol="log g", unit="dex", low=0.0, high=9.99, decimals=2, outlier=1.0
    ),
    declared(
        "feh", words="metallicity [Fe/H]", symbol="[Fe/H]", unit="dex", low=-5.0, high=1.0, decimals=2, outlier=0.5
    ),
)
TARGETS = {target.name: target for target in _DECLARED}
