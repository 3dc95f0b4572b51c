"""The recipe of a data set: a YAML file, checked key by key before any work begins.

``python -m specdata.dataset.recipe`` prints the reference of all keys.
"""

import itertools
import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml
from pydantic import Field

from specdata.errors import SpecdataError, one_line
from specdata.files import recipe_names
from specdata.serialize import SCHEMES
from specdata.text.conversation import KINDS
from specdata.text.encoding import MOST_BINS, NORMALISATIONS


class Section(pydantic.BaseModel):
    """A section of a recipe; a key that it does not know is an error, and so is a value of another type."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _keys(cls, content):
        keys = f"the keys there are {', '.join(cls.model_fields)}"
        if isinstance(content, cls):
            return content
        if not isinstance(content, dict):
            raise ValueError(f"{content!r} is not a section; {keys}")
        for key in content:
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {key!r}; {keys}")
        for key, field in cls.model_fields.items():
            if field.is_required() and key not in content:
                raise ValueError(f"the key {key!r} is missing; {keys}")
        return content


class FolderSource(Section):
    """SDSS `spec` files in a folder and the folders below it."""

    kind: Literal["folder"]
    path: str = Field(description="The folder; a relative path counts from where the command is run.")


class DatasetSource(Section):
    """The spectra of a data set that was built before, for other text from the same spectra."""

    kind: Literal["dataset"]
    path: str = Field(description="The data set's folder.")


class MockSource(Section):
    """Synthetic galaxies, which stay labelled as such."""

    kind: Literal["mock"]
    size: int = Field(ge=1, description="How many spectra to make.")
    seed: int = Field(default=0, ge=0, description="Seed of the random numbers.")
    z_min: float = Field(default=0.01, ge=0, description="Lowest redshift.")
    z_max: float = Field(default=0.5, gt=0, description="Highest redshift.")
    snr_min: float = Field(default=8.0, gt=0, description="Lowest median signal-to-noise ratio per pixel.")
    snr_max: float = Field(default=40.0, gt=0, description="Highest median signal-to-noise ratio per pixel.")

    @pydantic.model_validator(mode="after")
    def _can_be_made(self):
        from specdata.spectra.mock.spectrum import check_limits

        check_limits(self.seed, self.z_min, self.z_max, self.snr_min, self.snr_max)
        return self


class SdssSource(Section):
    """Galaxies of the SDSS archive, selected by `cuts` and `sample`, and downloaded or found in the cache."""

    kind: Literal["sdss"]
    data_release: int = Field(default=16, description="SDSS data release, from 8 to 17.")
    catalogue: str = Field(
        default="sdss-catalogue.parquet",
        description="CSV or Parquet file with plate, mjd, fiberid, run2d and z; a file that is missing is made from "
        "SkyServer.",
    )
    cache: str | None = Field(
        default=None,
        description="Folder for the spectra, with the layout of the archive; by default $SAS_BASE_DIR, or else sas.",
    )
    on_missing: Literal["replace", "stop"] = Field(
        default="replace",
        description="Whether the next galaxy of the same redshift bin replaces a spectrum that the archive lacks, or "
        "the build stops.",
    )
    connections: int = Field(default=8, ge=1, le=32, description="How many files are downloaded at the same time.")
    skyserver_url: str = Field(default="https://skyserver.sdss.org", description="Root of the SkyServer.")
    sas_url: str = Field(default="https://data.sdss.org/sas", description="Root of the archive of files.")

    @pydantic.model_validator(mode="after")
    def _has_lite_files(self):
        from specdata.archive.sas import check_release

        check_release(self.data_release)
        return self


class Cuts(Section):
    """What a spectrum has to be. The card counts what each cut rejects, by the names in `selection`."""

    spectype: Literal["GALAXY"] = Field(default="GALAXY", description="Class of the pipeline's best fit.")
    zwarning_allowed: int = Field(
        default=0, ge=0, description="Sum of the bits of zwarning that are tolerated; 0 for none."
    )
    z_min: float = Field(default=0.0, ge=0, description="The redshift has to be above this.")
    z_max: float = Field(default=0.5, gt=0, le=99, description="The redshift has to be below this.")
    dered_i_max: float | None = Field(
        default=18.0,
        description="The dereddened i magnitude, where it is known, has to be below this; null for no cut.",
    )
    good_fraction_min: float = Field(
        default=0.9, ge=0, le=1, description="Least share of good pixels between the ends of each wavelength grid."
    )


class Sample(Section):
    """Equal numbers from equal steps in redshift; a step with too few spectra gives what it has."""

    size: int = Field(default=10_000, ge=1, description="How many spectra to take, over all steps.")
    redshift_bins: int = Field(default=20, ge=1, description="Number of steps between cuts.z_min and cuts.z_max.")
    seed: int = Field(default=0, ge=0, description="Another seed takes other spectra and splits them otherwise.")


class Splits(Section):
    """Rows of the training and the validation split; the rest is the test split."""

    train: int = Field(default=3000, ge=1, description="Rows of the training split.")
    validation: int = Field(default=1000, ge=1, description="Rows of the validation split.")


_TOKENIZER = "What counts `tokens`: llama-3.1, smollm2-135m, a file, a folder or a Hub name."


class Grid(Section):
    """Wavelength bins, vacuum Angstrom, observed frame: a number of bins, or as many as a number of tokens allows."""

    kind: Literal["linear", "log", "edges"] = Field(
        default="linear", description="Bins of equal width in wavelength, in log wavelength, or with given edges."
    )
    start: float | None = Field(default=None, gt=100, description="First edge; not for the kind edges.")
    stop: float | None = Field(default=None, gt=100, lt=1e6, description="Last edge; not for the kind edges.")
    bins: int | None = Field(default=None, ge=1, le=MOST_BINS, description="Number of bins; give it or `tokens`.")
    tokens: int | None = Field(
        default=None,
        ge=1,
        description="Instead of `bins`: take the most bins with which no row has more tokens, chat template included.",
    )
    tokenizer: str = Field(default="llama-3.1", description=_TOKENIZER)
    edges: list[float] | None = Field(
        default=None, min_length=2, description="All edges, increasing; for the kind edges alone."
    )

    @pydantic.model_validator(mode="after")
    def _one_way(self):
        given = {name for name in ("start", "stop", "bins", "tokens", "edges") if getattr(self, name) is not None}
        if self.kind == "edges":
            if given != {"edges"}:
                raise ValueError("a grid of kind edges has the key edges, and neither start, stop, bins nor tokens")
            if not all(100 < low < high < 1e6 for low, high in itertools.pairwise(self.edges)):
                raise ValueError("edges have to increase, and to lie between 100 and 1e6 Angstrom")
        elif not ({"start", "stop"} <= given and len(given & {"bins", "tokens"}) == 1 and "edges" not in given):
            raise ValueError(f"a grid of kind {self.kind} has the keys start, stop, and either bins or tokens")
        elif self.start >= self.stop:
            raise ValueError(f"start {self.start} has to be below stop {self.stop}")
        return self

    @property
    def span(self) -> tuple[float, float]:
        """First and last edge in Angstrom."""
        return (self.edges[0], self.edges[-1]) if self.kind == "edges" else (self.start, self.stop)


class Conversation(Section):
    """Questions about the galaxy after its redshift, see `specdata.text.conversation`."""

    turns: int = Field(default=3, ge=1, le=len(KINDS), description="Most questions of a row.")
    tokens: int | None = Field(
        default=None,
        ge=1,
        description="Most tokens of a row, chat template included; the build stops at a longer row.",
    )
    tokenizer: str = Field(default="llama-3.1", description=_TOKENIZER)


class TextConfig(Section):
    """One way to write the spectra as text: grid, normalisation and scheme, and what is asked after the redshift."""

    grid: Grid = Field(description="The wavelength bins.")
    normalisation: Literal[*NORMALISATIONS] = Field(
        default="median",
        description="Divide the flux by its median; take asinh(flux / (0.2 median)); or leave the flux as it is.",
    )
    scheme: Literal[*SCHEMES] = Field(default="paper", description="How numbers are written, see `specdata.serialize`.")
    like: str | None = Field(
        default=None,
        description="Another config whose grid, normalisation and scheme this one has, too; needs `conversation`.",
    )
    conversation: Conversation | None = Field(
        default=None, description="Ask more questions after the redshift; by default the redshift is all there is."
    )

    @pydantic.model_validator(mode="after")
    def _differs(self):
        if self.like is not None and self.conversation is None:
            raise ValueError(f"the config is the same as {self.like}; add the key conversation, or leave it out")
        return self


SOURCES = {"folder": FolderSource, "dataset": DatasetSource, "mock": MockSource, "sdss": SdssSource}
_NAME = r"^[a-z0-9]([a-z0-9._-]{0,94}[a-z0-9])?$"
_CONFIG_NAME = r"^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$"
_TAKEN = ("spectra", "figures", "default")  # names that the spectra, the card and `datasets` use
_SHARED = ("grid", "normalisation", "scheme")


class DataRecipe(Section):
    """Everything that decides the bytes of a data set, save the source files and the versions of the software."""

    name: str = Field(pattern=_NAME, description="Name of the data set; of mocks it has to contain the word mock.")
    title: str = Field(min_length=1, description="Title of the card.")
    source: Annotated[
        FolderSource | DatasetSource | MockSource | SdssSource,
        Field(discriminator="kind", description="Where the spectra come from."),
    ]
    cuts: Cuts = Field(default=Cuts(), description="Which spectra are good enough.")
    sample: Sample = Field(default=Sample(), description="Which of those are taken.")
    splits: Splits = Field(default=Splits(), description="Sizes of the splits.")
    configs: dict[Annotated[str, Field(pattern=_CONFIG_NAME)], TextConfig] = Field(
        min_length=1, description="The ways to write the spectra as text, each under a name."
    )
    tokenizers: list[str] = Field(
        default=["llama-3.1", "smollm2-135m"],
        description="Tokenizers of the card's table of tokens; an empty list for no table.",
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _resolve_like(cls, content):
        """Give a config with the key `like` the grid, normalisation and scheme of the one that it names."""
        configs = content.get("configs") if isinstance(content, dict) else None
        if not isinstance(configs, dict):
            return content
        own = {name: config for name, config in configs.items() if isinstance(config, dict) and not config.get("like")}
        resolved = {}
        for name, config in configs.items():
            resolved[name] = config
            if not isinstance(config, dict) or config.get("like") is None:
                continue
            like = config["like"]
            if not isinstance(like, str) or like not in own:
                others = ", ".join(map(str, own))
                raise ValueError(
                    f"configs.{name}.like = {like!r}: name a config with a grid of its own, one of {others}"
                )
            shared = {key: own[like][key] for key in _SHARED if key in own[like]}
            if any(key in config and config[key] != shared.get(key) for key in _SHARED):
                raise ValueError(f"configs.{name}: grid, normalisation and scheme are those of {like}; leave them out")
            resolved[name] = config | shared
        return content | {"configs": resolved}

    @property
    def span(self) -> tuple[float, float]:
        """First and last wavelength that a spectrum has to reach, Angstrom."""
        spans = [config.grid.span for config in self.configs.values()]
        return min(start for start, _ in spans), max(stop for _, stop in spans)

    @property
    def says_mock(self) -> bool:
        """Whether the name holds the word mock, as that of a data set of mocks has to."""
        return bool(re.search(r"(^|[._-])mocks?([._-]|$)", self.name))

    @pydantic.model_validator(mode="after")
    def _consistent(self):
        if self.cuts.z_min >= self.cuts.z_max:
            raise ValueError(f"cuts: z_min {self.cuts.z_min} has to be below z_max {self.cuts.z_max}")
        for name in _TAKEN:
            if name in self.configs:
                raise ValueError(f"configs: the name {name} is taken; choose another")
        if self.splits.train + self.splits.validation >= self.sample.size:
            raise ValueError(
                f"splits: train {self.splits.train} and validation {self.splits.validation} leave nothing of "
                f"sample.size {self.sample.size} for the test split"
            )
        if self.sample.redshift_bins > self.sample.size:
            raise ValueError(
                f"sample.redshift_bins = {self.sample.redshift_bins}: give at most sample.size, {self.sample.size}"
            )
        if self.source.kind == "mock" and not self.says_mock:
            raise ValueError(f"name: {self.name!r} holds mock spectra and has to say so; put 'mock' into the name")
        return self


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader takes the last of two equal keys in silence; here they are an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} stands twice in one section")
        return super().construct_mapping(node, deep)


def load_data_recipe(path, *, source=None) -> DataRecipe:
    """Read and check the recipe of a data set.

    Parameters
    ----------
    path : path-like
        A YAML file.
    source : path-like, optional
        A folder of spectra in place of that of a recipe with a folder source, or a data set in place of any source.

    Returns
    -------
    DataRecipe

    Raises
    ------
    SpecdataError
        If the file cannot be read, or a key or value is not allowed; the sentence names it and what is allowed.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, UnicodeDecodeError) as error:
        raise SpecdataError(f"{path}: cannot be read ({one_line(error)}): give the path of a recipe") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # an impossible date is a ValueError
        raise SpecdataError(f"{path}: not valid YAML ({one_line(error)})") from None
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
        elif isinstance(content.get("source"), dict) and content["source"].get("kind") == "folder":
            content["source"] = {**content["source"], "path": str(source)}
        else:
            raise SpecdataError(f"{path}: --source replaces the path of a folder source, and this recipe has none")
    try:
        return DataRecipe.model_validate(content)
    except pydantic.ValidationError as error:
        raise SpecdataError(f"{path}: {_sentence(error.errors()[0])}") from None


def _sentence(problem) -> str:
    """What pydantic found, as a sentence with the key, the value and what is allowed."""
    # pydantic puts the kind of the source after "source", and "[key]" after a bad name of a config.
    parts = [part for part in problem["loc"] if part != "[key]"]
    key = ".".join(map(str, [*parts[:1], *parts[2:]] if parts[:1] == ["source"] else parts))
    message = problem["msg"][0].lower() + problem["msg"][1:]
    if problem["type"] == "value_error":
        return f"{key}: {problem['ctx']['error']}" if key else str(problem["ctx"]["error"])
    if problem["type"].startswith("union_tag"):
        return f"{key}.kind = {problem['input'].get('kind')!r}: give one of {', '.join(SOURCES)}"
    if problem["type"] == "string_pattern_mismatch":
        message = "give lower-case letters, digits, - and _ only, with a letter or digit first and last"
    return f"{key} = {problem['input']!r}: {message}"


def recipe_reference() -> str:
    """Describe every key of a data recipe: Markdown tables with name, type, default and meaning."""
    sections = {"The recipe": DataRecipe}
    sections |= {f"`source`, kind `{kind}`": source for kind, source in SOURCES.items()}
    sections |= {"`cuts`": Cuts, "`sample`": Sample, "`splits`": Splits, "`configs.NAME`": TextConfig}
    sections |= {"`configs.NAME.grid`": Grid, "`configs.NAME.conversation`": Conversation}
    lines = []
    for heading, section in sections.items():
        lines += [f"## {heading}", "", section.__doc__.strip(), ""]
        lines += ["| key | values | default | meaning |", "|---|---|---|---|"]
        for key, schema in section.model_json_schema()["properties"].items():
            field = section.model_fields[key]
            default = (
                "(required)" if field.is_required() else "(see there)" if isinstance(field.default, Section) else None
            )
            default = default or f"`{yaml.safe_dump(field.default, default_flow_style=True).splitlines()[0]}`"
            meaning = "Says what the source is." if key == "kind" and field.is_required() else schema["description"]
            lines.append(f"| `{key}` | {_values(schema)} | {default} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def _values(schema) -> str:
    """The type of a key in words, and what its values are limited to, from its JSON schema."""
    if "anyOf" in schema:
        return " or ".join(_values(part) for part in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if "items" in schema:
        return f"list: {_values(schema['items'])}"
    if "type" not in schema or schema["type"] == "object":
        return "section"
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    words = {"integer": "whole number", "string": "text"}.get(schema["type"], schema["type"])
    return " ".join([words, *(f"{sign} {schema[key]:g}" for key, sign in limits.items() if key in schema)])


if __name__ == "__main__":
    print(recipe_reference())
