"""The recipe of a data set: a YAML file, checked key by key before any work begins."""

import re
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml

from specdata.dataset.sentences import one_sentence
from specdata.dataset.textconfig import Section, TextConfig
from specdata.errors import SpecdataError, one_line


class FolderSource(Section):
    """SDSS `spec` files below a folder; a relative path counts from where the command is run."""

    kind: Literal["folder"]
    path: str


class DatasetSource(Section):
    """The spectra of a data set that was built before, for other text from the same spectra."""

    kind: Literal["dataset"]
    path: str


class MockSource(Section):
    """Synthetic galaxies, which stay labelled as such."""

    kind: Literal["mock"]
    size: int = pydantic.Field(ge=1)
    seed: int = pydantic.Field(default=0, ge=0)
    z_min: float = pydantic.Field(default=0.01, ge=0)
    z_max: float = pydantic.Field(default=0.5, gt=0)
    snr_min: float = pydantic.Field(default=8.0, gt=0)
    snr_max: float = pydantic.Field(default=40.0, gt=0)

    @pydantic.model_validator(mode="after")
    def _can_be_made(self):
        from specdata.spectra.mock.spectrum import check_limits

        try:
            check_limits(self.seed, self.z_min, self.z_max, self.snr_min, self.snr_max)
        except SpecdataError as error:
            raise ValueError(f"source.{error}") from None
        return self


class SdssSource(Section):
    """Galaxies of the SDSS archive, selected by `cuts` and `sample` and downloaded, or found in the cache."""

    kind: Literal["sdss"]
    data_release: int = 16
    catalogue: str = pydantic.Field(default="sdss-catalogue.parquet", description="selected if it is not there")
    cache: str | None = pydantic.Field(default=None, description="laid out as the SAS; $SAS_BASE_DIR, or sas")
    on_missing: Literal["replace", "stop"] = "replace"
    connections: int = pydantic.Field(default=8, ge=1, le=32)
    skyserver_url: str = "https://skyserver.sdss.org"
    sas_url: str = "https://data.sdss.org/sas"

    @pydantic.model_validator(mode="after")
    def _has_lite_files(self):
        from specdata.archive.sas import check_release

        try:
            check_release(self.data_release)
        except SpecdataError as error:
            raise ValueError(f"source.{error}") from None
        return self


class Cuts(Section):
    """What a spectrum has to be; each cut is counted in the card under the name that `selection` gives it."""

    spectype: Literal["GALAXY"] = "GALAXY"  # the prompt speaks of a galaxy
    zwarning_allowed: int = pydantic.Field(default=0, ge=0, description="bits of zwarning that are tolerated")
    z_min: float = pydantic.Field(default=0.0, ge=0, description="exclusive")
    z_max: float = pydantic.Field(default=0.5, gt=0, le=99, description="exclusive")
    dered_i_max: float | None = pydantic.Field(default=18.0, description="exclusive; only where dered_i is known")
    good_fraction_min: float = pydantic.Field(default=0.9, ge=0, le=1, description="good pixels inside the grid")


class Sample(Section):
    """Equal numbers from equal steps in redshift."""

    size: int = pydantic.Field(default=10_000, ge=1)
    redshift_bins: int = pydantic.Field(default=20, ge=1)
    seed: int = pydantic.Field(default=0, ge=0)


class Splits(Section):
    """Rows of the training and the validation split; the rest is the test split."""

    train: int = pydantic.Field(default=3000, ge=1)
    validation: int = pydantic.Field(default=1000, ge=1)


_SHARED = ("grid", "normalisation", "scheme")


class DataRecipe(Section):
    """Everything that decides the bytes of a data set, save the source files and the versions of the software."""

    name: str = pydantic.Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,94}[a-z0-9]$")
    title: str = pydantic.Field(min_length=1)
    source: Annotated[FolderSource | MockSource | SdssSource | DatasetSource, pydantic.Field(discriminator="kind")]
    cuts: Cuts = Cuts()
    sample: Sample = Sample()
    splits: Splits = Splits()
    configs: dict[Annotated[str, pydantic.Field(pattern=r"^[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?$")], TextConfig] = (
        pydantic.Field(min_length=1)
    )
    tokenizers: list[str] = pydantic.Field(default=["llama-3.1", "smollm2-135m"], description="of the card's table")

    @pydantic.model_validator(mode="before")
    @classmethod
    def _alike(cls, content):
        """Give a config with the key `like` the grid, normalisation and scheme of the one that it names."""
        configs = content.get("configs") if isinstance(content, dict) else None
        if not isinstance(configs, dict):
            return content
        made = {}
        for name, config in configs.items():
            made[name] = config
            if not isinstance(config, dict) or config.get("like") is None:
                continue
            other = configs.get(config["like"]) if isinstance(config["like"], str) else None
            if not isinstance(other, dict) or other.get("like") is not None:
                grids = [key for key, found in configs.items() if isinstance(found, dict) and not found.get("like")]
                raise ValueError(
                    f"configs.{name}.like = {config['like']!r}: name a config with a grid of its own, one of "
                    f"{', '.join(map(str, grids))}"
                )
            shared, own = ({key: part[key] for key in _SHARED if key in part} for part in (other, config))
            if not own.items() <= shared.items():
                raise ValueError(
                    f"configs.{name}: grid, normalisation and scheme are those of {config['like']}; leave them out"
                )
            made[name] = config | shared
        return content | {"configs": made}

    @property
    def span(self):
        """First and last wavelength that a spectrum has to reach, Angstrom."""
        spans = [config.grid.span for config in self.configs.values()]
        return min(start for start, _ in spans), max(stop for _, stop in spans)

    @property
    def says_mock(self):
        """Whether the name holds the word mock, as that of a data set of mocks has to."""
        return bool(re.search(r"(^|[._-])mocks?([._-]|$)", self.name))

    @pydantic.model_validator(mode="after")
    def _consistent(self):
        if self.cuts.z_min >= self.cuts.z_max:
            raise ValueError(f"cuts: the lower end {self.cuts.z_min} has to be below the upper end {self.cuts.z_max}")
        for name in ("spectra", "figures", "default"):  # by the spectra, by the card, by `datasets`
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
    """PyYAML's safe loader, which lets the last of two equal keys win without a word; here that is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"the key {key!r} stands twice in one section")
        return super().construct_mapping(node, deep)


def load_data_recipe(path, *, source=None):
    """Read and check the recipe of a data set.

    Parameters
    ----------
    path : path-like
        A YAML file.
    source : path-like, optional
        A folder that takes the place of the recipe's source path, or of its source, if it is a data set's.

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
        problem = one_line(error)
        raise SpecdataError(f"{path}: not valid YAML ({problem})") from None
    if not isinstance(content, dict):
        raise SpecdataError(f"{path}: a recipe is a mapping with the keys {', '.join(DataRecipe.model_fields)}")
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
        raise SpecdataError(f"{path}: {one_sentence(error.errors()[0], content, DataRecipe)}") from None
