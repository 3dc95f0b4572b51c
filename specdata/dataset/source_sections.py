"""The sections of a data recipe that say where the spectra come from, and what all sections have in common."""

from typing import Literal

import pydantic
from pydantic import Field

MOST = 10_000_000  # spectra; SDSS has half as many
_LONGEST = 120  # characters of a value in a sentence


def shown(value) -> str:
    """A value for a sentence, in which a long one is cut."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


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
            raise ValueError(f"{shown(content)} is not a section; {keys}")
        for key in content:
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {shown(key)}; {keys}")
        for key, field in cls.model_fields.items():
            if field.is_required() and key not in content:
                raise ValueError(f"the key {key!r} is missing; {keys}")
        return content


class FolderSource(Section):
    """SDSS `spec` files in a folder and the folders below it."""

    kind: Literal["folder"] = Field(description="Says what the source is.")
    path: str = Field(description="The folder; a relative path counts from where the command is run.")


class FilesSource(Section):
    """Files of any format that `specdata.spectra.readers` knows, which are told apart by what they hold."""

    kind: Literal["files"] = Field(description="Says what the source is.")
    path: str = Field(description="One file, or a folder; a relative path counts from where the command is run.")
    pattern: str = Field("*", description="Which files of the folder and of those below it, such as `*.csv`.")
    medium: Literal["vacuum", "air"] = Field(
        "vacuum", description="What the wavelengths are measured in, where the file does not say."
    )
    catalogue: str | None = Field(
        None,
        description="Table (csv, ecsv, fits, parquet) of what the files do not say, such as `z` and `spectype`, with "
        "a column `source` (names of files) or `specobjid`.",
    )
    spectype: str = Field("", description="Class of the spectra, where neither file nor catalogue says it.")


class MultimodalUniverseSource(Section):
    """Spectra of MultimodalUniverse or OmniSky: Parquet files or a HATS catalogue with the column `spectrum`."""

    kind: Literal["multimodal_universe"] = Field(description="Says what the source is.")
    path: str = Field(description="The folder, or the Hub name, such as MultimodalUniverse/sdss.")
    spectype: str = Field("", description="Class of the spectra, which these data sets do not say.")


class DatasetSource(Section):
    """The spectra of a data set that was built before, for other text from the same spectra."""

    kind: Literal["dataset"] = Field(description="Says what the source is.")
    path: str = Field(description="The data set's folder.")


class MockSource(Section):
    """Synthetic galaxies, stars and quasars, which stay labelled as such."""

    kind: Literal["mock"] = Field(description="Says what the source is.")
    size: int = Field(ge=1, le=MOST, description="How many spectra to make.")
    seed: int = Field(0, ge=0, description="Seed of the random numbers.")
    kinds: dict[Literal["galaxy", "star", "quasar"], float] = Field(
        {"galaxy": 1.0}, description="How common each kind is; only the ratios count: {galaxy: 2, star: 1, quasar: 1}."
    )
    z_min: float = Field(0.01, ge=0, description="Lowest redshift of galaxies; quasars have 0.1 to 3.2.")
    z_max: float = Field(0.5, gt=0, description="Highest redshift of galaxies.")
    snr_min: float = Field(8.0, gt=0, description="Lowest median signal-to-noise ratio per pixel.")
    snr_max: float = Field(40.0, gt=0, description="Highest median signal-to-noise ratio per pixel.")
    boss_share: float = Field(0.2, ge=0, le=1, description="Share seen by BOSS; the rest by SDSS-I.")

    @pydantic.model_validator(mode="after")
    def _can_be_made(self):
        from specdata.spectra.mock.spectrum import check_limits

        limits = self.z_min, self.z_max, self.snr_min, self.snr_max
        check_limits(self.seed, *limits, self.boss_share, self.kinds)
        return self


class SdssSource(Section):
    """Galaxies of the SDSS archive, selected by `cuts` and `sample`, and downloaded or found in the cache."""

    kind: Literal["sdss"] = Field(description="Says what the source is.")
    data_release: int = Field(16, description="SDSS data release, from 8 to 17.")
    catalogue: str = Field(
        "sdss-catalogue.parquet",
        description="CSV or Parquet file of galaxies; a missing one is made by asking SkyServer.",
    )
    cache: str | None = Field(None, description="Folder laid out as the archive; null for $SAS_BASE_DIR or else sas.")
    on_missing: Literal["replace", "stop"] = Field(
        "replace",
        description="Take another galaxy of the same redshift for one that the archive lacks, or stop the build.",
    )
    connections: int = Field(8, ge=1, le=32, description="How many files are downloaded at the same time.")
    skyserver_url: str = Field("https://skyserver.sdss.org", description="Root of the SkyServer.")
    sas_url: str = Field("https://data.sdss.org/sas", description="Root of the archive of files.")

    @pydantic.model_validator(mode="after")
    def _has_lite_files(self):
        from specdata.archive.sas import check_release

        check_release(self.data_release)
        return self


SOURCES = {"folder": FolderSource, "files": FilesSource, "multimodal_universe": MultimodalUniverseSource}
SOURCES |= {"dataset": DatasetSource, "mock": MockSource, "sdss": SdssSource}
