"""The recipe of a data set: a YAML file, checked key by key before any work begins."""

import itertools
import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from specdata.dataset.source_sections import (
    MOST,
    SOURCES,
    DatasetSource,
    FilesSource,
    FolderSource,
    MockSource,
    MultimodalUniverseSource,
    SdssSource,
    Section,
    shown,
)
from specdata.errors import SpecdataError
from specdata.files import recipe_names
from specdata.inputs import read_yaml
from specdata.serialize import SCHEMES
from specdata.spectra.axis import SKY, Axis
from specdata.targets import TARGETS, Target, declared
from specdata.text.conversation import KINDS
from specdata.text.encoding import MOST_BINS, NORMALISATIONS

SpecType = Literal["GALAXY", "QSO", "STAR"]


class Cuts(Section):
    """What a spectrum has to be. The card counts what each cut rejects, by the names in `selection`."""

    spectype: SpecType | Annotated[list[SpecType], Field(min_length=1)] | None = Field(
        "GALAXY", description="Class of the pipeline's best fit, or a list of several; null: any, or none."
    )
    zwarning_allowed: int = Field(
        0, ge=0, le=2**31 - 1, description="Sum of the bits of zwarning that are tolerated; 4: a second fit is as good."
    )
    z_min: float | None = Field(
        0.0,
        ge=-0.1,
        description="The redshift has to be above this; below 0 for stars. null: any redshift, or none.",
    )
    z_max: float = Field(0.5, gt=0, le=99, description="The redshift has to be below this.")
    dered_i_max: float | None = Field(18.0, description="Dereddened i magnitude, where known, below this; null: any.")
    good_fraction_min: float = Field(0.9, ge=0, le=1, description="Least share of good pixels inside each grid.")

    @property
    def classes(self) -> list[str]:
        """The classes of `spectype`, sorted and each once; empty for any."""
        return sorted({self.spectype} if isinstance(self.spectype, str) else set(self.spectype or ()))


class Sample(Section):
    """Equal numbers from equal steps in redshift; a step with too few spectra gives what it has."""

    size: int = Field(10_000, ge=1, le=MOST, description="How many spectra to take, over all steps.")
    redshift_bins: int = Field(20, ge=1, le=10_000, description="Number of steps between cuts.z_min and cuts.z_max.")
    seed: int = Field(
        0, ge=0, le=2**63 - 1, description="Another seed takes other spectra, and puts them into other splits."
    )


class Splits(Section):
    """Rows of the training and the validation split; the rest is the test split."""

    train: int = Field(3000, ge=1, le=MOST, description="Rows of the training split.")
    validation: int = Field(1000, ge=1, le=MOST, description="Rows of the validation split.")


class Augment(Section):
    """Changes to the training split of the text configs. `spectra` and the other splits stay as observed."""

    realisations: int = Field(
        1,
        ge=1,
        le=1000,
        description="How many copies of each training spectrum there are, each altered in another way.",
    )
    noise: float = Field(
        0.0, ge=0, le=10, description="Noise to add to all copies but the first, in units of the spectrum's own noise."
    )
    shape: float = Field(
        0.0, ge=0, le=0.5, description="rms of a smooth factor, as of a wrong flux calibration: 0.05 is 5 per cent."
    )
    dither: bool = Field(
        False, description="Draw the last digit of a number in an answer so that its mean is the true value."
    )
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Seed of the random numbers.")

    @pydantic.model_validator(mode="after")
    def _alters_something(self):
        if not (self.noise or self.shape or self.dither):
            raise ValueError("it changes nothing; give noise, shape or dither, or leave it out")
        if self.noise and self.realisations == 1:
            raise ValueError("noise is added to all copies but the first; give realisations, at least 2")
        return self


_TOKENIZER = "What counts `tokens`: llama-3.1, smollm2-135m, a file, a folder or a Hub name."
_LLAMA = "llama-3.1"


def _counts_something(section):
    """Refuse a tokenizer that is named where no tokens are counted."""
    if section.tokens is None and section.tokenizer != _LLAMA:
        raise ValueError(f"the tokenizer {section.tokenizer} is not used without the key tokens; give both")
    return section


class Grid(Section):
    """Bins: a number of them, or as many as a number of tokens allows.

    Of vacuum wavelength in Angstrom, observed frame, from 100 to 1e6, or of the recipe's own `axis`.
    """

    kind: Literal["linear", "log", "edges"] = Field(
        "linear",
        description="Bins of equal width in wavelength, of equal width in log wavelength, or with given edges.",
    )
    start: float | None = Field(None, gt=0, description="First edge; not for the kind edges.")
    stop: float | None = Field(None, gt=0, description="Last edge; not for the kind edges.")
    bins: int | None = Field(None, ge=1, le=MOST_BINS, description="Number of bins; give it or `tokens`.")
    tokens: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Instead of `bins`: the most bins with so many tokens a row."
    )
    tokenizer: str = Field(_LLAMA, description=_TOKENIZER)
    edges: list[float] | None = Field(None, min_length=2, description="All edges; for the kind edges.")

    _counted = pydantic.model_validator(mode="after")(_counts_something)

    @pydantic.model_validator(mode="after")
    def _one_way(self):
        given = {name for name in ("start", "stop", "bins", "tokens", "edges") if getattr(self, name) is not None}
        if self.kind == "edges":
            if given != {"edges"}:
                raise ValueError("a grid of kind edges has the key edges, and neither start, stop, bins nor tokens")
            if not all(0 < low < high for low, high in itertools.pairwise(self.edges)):
                raise ValueError("edges have to increase, and to be above 0")
        elif not ({"start", "stop"} <= given and len(given & {"bins", "tokens"}) == 1 and "edges" not in given):
            raise ValueError(f"a grid of kind {self.kind} has the keys start, stop, and either bins or tokens")
        elif self.start >= self.stop:
            raise ValueError(f"start {self.start} has to be below stop {self.stop}")
        return self

    @property
    def span(self) -> tuple[float, float]:
        """First and last edge."""
        return (self.edges[0], self.edges[-1]) if self.kind == "edges" else (self.start, self.stop)


class Conversation(Section):
    """Questions about the galaxy after its redshift, see `specdata.text.conversation`."""

    turns: int = Field(3, ge=1, le=len(KINDS), description="Most questions of a row.")
    tokens: int | None = Field(None, ge=1, le=2**31 - 1, description="The build stops if a row has more tokens.")
    tokenizer: str = Field(_LLAMA, description=_TOKENIZER)

    _counted = pydantic.model_validator(mode="after")(_counts_something)


class OwnTarget(Section):
    """A number on a grid, or one of some labels, in a column of the catalogue or of one of `tables`."""

    name: str = Field(description="Name of the target, in lower-case letters and digits.")
    column: str | None = Field(None, description="Column with the true values; by default the name.")
    words: str | None = Field(None, description="The quantity in words, which begin the answer; by default the name.")
    unit: str = Field("", description="Unit of the number, which ends the answer.")
    low: float | None = Field(None, description="Least number of an answer; without it, the answers are labels.")
    high: float | None = Field(None, description="Greatest number of an answer.")
    decimals: int = Field(0, description="Decimals of the number; -1 means tens.")
    outlier: float | None = Field(
        None, gt=0, description="A larger error is an outlier; by default a tenth of the range."
    )
    labels: list[str] | None = Field(None, min_length=2, description="All labels; by default those that the data have.")
    instruction: str | None = Field(None, description="What the prompt begins with, before the encoded flux.")

    @pydantic.model_validator(mode="after")
    def _can_be_asked(self):
        if (self.low is None) != (self.high is None) or (self.labels and self.low is not None):
            raise ValueError(f"target {self.name}: give low and high, and no labels, for a number; neither for labels")
        target = self.target
        if target.is_wide:
            raise ValueError(f"target {self.name}: has too many answers from low to high; give fewer decimals")
        if target.is_number and len(target.answers()) < 2:
            raise ValueError(f"target {self.name}: has only one answer from low to high; give more decimals")
        if target.column == "z" and not target.is_number:
            raise ValueError(f"target {self.name}: the redshift is a number; give low and high")
        return self

    @property
    def target(self) -> Target:
        """What it declares."""
        return declared(**self.model_dump() | {"labels": tuple(self.labels or ())})


class OwnAxis(Section):
    """What is measured along what, for curves that are no spectra of the sky; see docs/other-data.md."""

    name: str = Field(min_length=1, description="The quantity x, such as time; a column with this name, or x, has it.")
    unit: str = Field("", description="Unit of x, such as h.")
    values: str = Field("values", min_length=1, description="The quantity y; a column with this name, or y, has it.")
    values_unit: str = Field("", description="Unit of y.")

    @pydantic.model_validator(mode="after")
    def _can_be_written(self):
        Axis(**self.model_dump())
        return self


class JoinedTable(Section):
    """A table with columns that targets name, a row for each spectrum."""

    path: str = Field(
        description="A file .csv, .ecsv or .parquet; a relative path counts from where the command is run."
    )
    join: Literal["specobjid", "name"] = Field(
        "specobjid", description="Column of the table by which its rows belong to the spectra."
    )


class TextConfig(Section):
    """One way to write the spectra as text, what is asked of them, and what is asked afterwards."""

    grid: Grid | None = Field(None, description="The wavelength bins; give them or `like`.")
    normalisation: Literal[*NORMALISATIONS] = Field(
        "median", description="Write flux / median, or asinh(flux / (0.2 median)), or the flux itself."
    )
    scheme: Literal[*SCHEMES] = Field("paper", description="How numbers are written, see `specdata.serialize`.")
    like: str | None = Field(None, description="Take grid, normalisation and scheme of this other config.")
    target: Annotated[
        Annotated[str, pydantic.Tag("[name]")] | Annotated[OwnTarget, pydantic.Tag("[own]")],
        pydantic.Discriminator(lambda value: "[own]" if isinstance(value, dict | OwnTarget) else "[name]"),
    ] = Field("redshift", description=f"What is asked: {', '.join(TARGETS)}, or a section that declares another one.")
    conversation: Conversation | None = Field(None, description="Questions that follow on the redshift.")

    @pydantic.model_validator(mode="after")
    def _has_grid(self):
        if self.like is None and self.grid is None:
            raise ValueError("the key 'grid' is missing; give it, or the key 'like'")
        if isinstance(self.target, str) and self.target not in TARGETS:
            raise ValueError(f"target = {shown(self.target)}: give one of {', '.join(TARGETS)}, or declare another one")
        if self.like is not None and self.conversation is None and "target" not in self.model_fields_set:
            raise ValueError(
                f"the config is the same as {self.like}; add the key conversation or target, or leave it out"
            )
        if self.conversation is not None and self.target != "redshift":
            raise ValueError("a conversation is about the redshift; leave out the key target or the key conversation")
        return self

    @property
    def asks(self) -> Target:
        """What is asked; without labels where those of the data are meant."""
        return TARGETS[self.target] if isinstance(self.target, str) else self.target.target


_NAME = r"^[a-z0-9]([a-z0-9._-]{0,94}[a-z0-9])?$"
_CONFIG_NAME = r"^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$"
_TAKEN = ("spectra", "figures", "default")  # names that the spectra, the card and `datasets` use
_SHARED = ("grid", "normalisation", "scheme")


class DataRecipe(Section):
    """Everything that decides the bytes of a data set, save the source files and the versions of the software."""

    name: str = Field(pattern=_NAME, description="Name of the data set; of mocks it has to contain the word mock.")
    title: str = Field(min_length=1, description="Title of the card.")
    source: Annotated[
        FolderSource | FilesSource | MultimodalUniverseSource | DatasetSource | MockSource | SdssSource,
        Field(discriminator="kind", description="Where the spectra come from."),
    ]
    axis: OwnAxis | None = Field(
        None, description="For curves that are no spectra of the sky; they need neither class nor redshift."
    )
    tables: list[JoinedTable] = Field([], max_length=20, description="Tables that are joined, for targets in them.")
    cuts: Cuts = Field(Cuts(), description="Which spectra are good enough.")
    sample: Sample = Field(Sample(), description="Which of those are taken.")
    splits: Splits = Field(Splits(), description="Sizes of the splits.")
    augment: Augment | None = Field(None, description="How the rows to train on are altered.")
    configs: dict[Annotated[str, Field(pattern=_CONFIG_NAME)], TextConfig] = Field(
        min_length=1, description="Ways to write the spectra as text, each under a name."
    )
    tokenizers: list[str] = Field(
        ["llama-3.1", "smollm2-135m"], description="Tokenizers of the card's table of tokens; [] for no table."
    )

    @property
    def says_mock(self) -> bool:
        """Whether the name holds the word mock, as that of a data set of mocks has to."""
        return bool(re.search(r"(^|[._-])mocks?([._-]|$)", self.name))

    @property
    def along(self) -> Axis:
        """Along what the values are measured: the declared axis, or vacuum wavelength."""
        return Axis(**self.axis.model_dump()) if self.axis else SKY

    @pydantic.model_validator(mode="before")
    @classmethod
    def _without_sky(cls, content):
        """Curves that are no spectra of the sky have neither class nor redshift to be cut by."""
        if isinstance(content, dict) and content.get("axis") and isinstance(content.get("cuts", {}), dict):
            return content | {"cuts": {"spectype": None, "z_min": None} | content.get("cuts", {})}
        return content

    @pydantic.model_validator(mode="after")
    def _axis_suits(self):
        if self.axis is None:
            for name, config in self.configs.items():
                for key, end in zip(("start", "stop"), config.grid.span, strict=True) if config.grid else ():
                    key = "edges" if config.grid.kind == "edges" else key
                    if not 100 < end < 1e6:
                        raise ValueError(
                            f"configs.{name}.grid.{key} = {end:g}: has to lie between 100 and 1e6 Angstrom"
                        )
            return self
        if self.source.kind not in ("files", "dataset"):
            raise ValueError(f"source.kind = {self.source.kind!r}: with the key axis, give files or dataset")
        for name, config in self.configs.items():
            if config.asks.column == "z":
                raise ValueError(
                    f"configs.{name}.target: with the key axis there is no redshift; declare another target, whose "
                    "column is not called z"
                )
        return self

    @pydantic.model_validator(mode="after")
    def _resolve_like(self):
        """Give a config with the key `like` the grid, normalisation and scheme of the one that it names."""
        own = {name: config for name, config in self.configs.items() if config.like is None}
        for name, config in self.configs.items():
            if config.like is not None and config.like not in own:
                raise ValueError(
                    f"configs.{name}.like = {config.like!r}: name a config with a grid, one of {', '.join(own)}"
                )
            other = own.get(config.like, config)
            if any(getattr(config, key) != getattr(other, key) for key in _SHARED if key in config.model_fields_set):
                raise ValueError(f"configs.{name}: {', '.join(_SHARED)} are those of {config.like}; leave them out")
            self.configs[name] = config.model_copy(update={key: getattr(other, key) for key in _SHARED})
        return self

    @pydantic.model_validator(mode="after")
    def _consistent(self):
        cuts, size, splits, bins = self.cuts, self.sample.size, self.splits, self.sample.redshift_bins
        if cuts.z_min is not None and cuts.z_min >= cuts.z_max:
            raise ValueError(f"cuts: z_min {cuts.z_min} has to be below z_max {cuts.z_max}")
        if self.source.kind == "sdss" and (cuts.z_min is None or not cuts.classes):
            raise ValueError("cuts: a source of kind sdss is selected by class and redshift; give spectype and z_min")
        if taken := set(_TAKEN) & set(self.configs):
            raise ValueError(f"configs: the name {taken.pop()} is taken; choose another")
        if splits.train + splits.validation >= size:
            shares = f"train {splits.train} and validation {splits.validation}"
            raise ValueError(f"splits: {shares} leave nothing of sample.size {size} for the test split")
        if bins > size and cuts.z_min is not None:
            raise ValueError(f"sample.redshift_bins = {bins}: give at most sample.size, {size}")
        for name, config in self.configs.items() if self.augment else ():
            counted = config.grid.tokens or (config.conversation and config.conversation.tokens)
            if counted and config.scheme in ("paper", "csv"):
                raise ValueError(
                    f"configs.{name}: the scheme {config.scheme} may write altered rows with more tokens than the "
                    "observed ones, which are counted; give bins and no tokens, or leave out augment"
                )
        if self.source.kind == "mock" and not self.says_mock:
            raise ValueError(f"name: {self.name!r} holds mock spectra and has to say so; put 'mock' into the name")
        return self


def load_data_recipe(path, *, source=None) -> DataRecipe:
    """Read and check the recipe of a data set, a YAML file.

    `source` is a folder of spectra in place of that of a recipe with a folder source, or a data set in place of any
    source.

    Raises
    ------
    SpecdataError
        If the file cannot be read, or a key or value is not allowed; the sentence names it and what is allowed.
    """
    path = Path(path)
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise SpecdataError(f"{path}: a recipe is a mapping with the keys {', '.join(DataRecipe.model_fields)}")
    if "model_name_or_path" in content:
        ours = ", ".join(name for name in recipe_names() if name.startswith("recipes/data/"))
        raise SpecdataError(
            f"{path}: is a recipe for trl sft; train with `trl sft --config {path}`, or build one of {ours}"
        )
    if source is not None:
        if (Path(source) / "manifest.json").is_file():
            content["source"] = {"kind": "dataset", "path": str(source)}
        elif isinstance(content.get("source"), dict) and content["source"].get("kind") in ("folder", "files"):
            content["source"] = {**content["source"], "path": str(source)}
        else:
            raise SpecdataError(
                f"{path}: --source replaces the path of a source of kind folder or files, and this recipe has none"
            )
    try:
        return DataRecipe.model_validate(content)
    except pydantic.ValidationError as error:
        raise SpecdataError(f"{path}: {_sentence(error.errors()[0])}") from None


def _sentence(problem) -> str:
    """What pydantic found, as a sentence with the key, the value and what is allowed."""
    # pydantic puts the kind of the source after "source", and "[key]" after a bad name of a config.
    parts = [part for part in problem["loc"] if part not in ("[key]", "[name]", "[own]")]
    key = ".".join(map(str, [*parts[:1], *parts[2:]] if parts[:1] == ["source"] else parts))
    message = problem["msg"][0].lower() + problem["msg"][1:]
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    if problem["type"].startswith("union_tag"):
        return f"{key}.kind = {shown(problem['input'].get('kind'))}: give one of {', '.join(SOURCES)}"
    if problem["type"] == "string_pattern_mismatch":
        message = "give lower-case letters, digits, - and _ only, with a letter or digit first and last"
    return f"{key} = {shown(problem['input'])}: {message}"
