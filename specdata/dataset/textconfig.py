"""The part of a data recipe that says how the spectra are written as text, checked key by key."""

import itertools
from typing import Literal

import pydantic

from specdata.serialize import SCHEMES
from specdata.text.conversation import KINDS
from specdata.text.encoding import MOST_BINS, NORMALISATIONS


class Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


def _counted_by(content):
    """A section with the tokenizer that counts its tokens, if it names none."""
    if isinstance(content, dict) and content.get("tokens") is not None and content.get("tokenizer") is None:
        return content | {"tokenizer": "llama-3.1"}
    return content


class Grid(Section):
    """Wavelength bins, vacuum Angstrom, observed frame: so many, or as many as a number of tokens has room for."""

    kind: Literal["linear", "log", "edges"] = "linear"
    start: float | None = pydantic.Field(default=None, gt=100)
    stop: float | None = pydantic.Field(default=None, gt=100, lt=1e6)
    bins: int | None = pydantic.Field(default=None, ge=1, le=MOST_BINS)
    tokens: int | None = pydantic.Field(default=None, ge=1, description="most tokens of a row, chat template included")
    tokenizer: str | None = pydantic.Field(default=None, description="what counts the tokens; llama-3.1")
    edges: list[float] | None = pydantic.Field(default=None, min_length=2)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _counted(cls, content):
        return _counted_by(content)

    @pydantic.model_validator(mode="after")
    def _one_way(self):
        given = {name for name in ("start", "stop", "bins", "tokens", "edges") if getattr(self, name) is not None}
        if self.tokenizer is not None and self.tokens is None:
            raise ValueError("the key tokenizer belongs to the key tokens; give both or neither")
        if self.kind == "edges":
            if given != {"edges"}:
                raise ValueError("a grid of kind edges has the key edges, and neither start, stop, bins nor tokens")
            if not all(100 < low < high < 1e6 for low, high in itertools.pairwise(self.edges)):
                raise ValueError("edges have to increase, and to lie between 100 and 1e6 Angstrom")
        elif not ({"start", "stop"} <= given and len(given & {"bins", "tokens"}) == 1 and "edges" not in given):
            raise ValueError(f"a grid of kind {self.kind} has the keys start, stop, and either bins or tokens")
        elif self.start >= self.stop:
            raise ValueError(f"the lower end {self.start} has to be below the upper end {self.stop}")
        return self

    @property
    def span(self):
        """First and last edge in Angstrom."""
        return (self.edges[0], self.edges[-1]) if self.kind == "edges" else (self.start, self.stop)


class Conversation(Section):
    """Questions about the galaxy after its redshift, see `specdata.text.conversation`."""

    turns: int = pydantic.Field(default=3, ge=1, le=len(KINDS), description="most questions of a row")
    tokens: int | None = pydantic.Field(default=None, ge=1, description="no row is longer; the build counts them all")
    tokenizer: str | None = pydantic.Field(default=None, description="what counts the tokens; llama-3.1")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _counted(cls, content):
        return _counted_by(content)

    @pydantic.model_validator(mode="after")
    def _both(self):
        if self.tokenizer is not None and self.tokens is None:
            raise ValueError("the key tokenizer belongs to the key tokens; give both or neither")
        return self


class TextConfig(Section):
    """One way to write the spectra as text: three independent choices, and what is asked after the redshift."""

    grid: Grid
    normalisation: Literal[*NORMALISATIONS] = "median"
    scheme: Literal[*SCHEMES] = "paper"
    like: str | None = pydantic.Field(default=None, description="another config, in place of the three: its text")
    conversation: Conversation | None = None

    @pydantic.model_validator(mode="after")
    def _says_more(self):
        if self.like is not None and self.conversation is None:
            raise ValueError(f"the config is that of {self.like} again; give it the key conversation, or leave it out")
        return self
