"""`manifest.json`: what a data set is made of, and the revision that follows from its files."""

import hashlib
import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from pydantic import AfterValidator, Field

import specdata
from specdata.errors import SpecdataError, one_line
from specdata.hub import public_name
from specdata.inputs import read_json

MANIFEST = "manifest.json"
_FILE = re.compile(r"[a-z0-9][a-z0-9_-]*/(train|validation|test)-\d{5}-of-\d{5}\.parquet")


def make_manifest(recipe, plan, files, values, selection) -> dict:
    """Put together all of a manifest but the table of tokens, without any path of this disk.

    `files` gives the SHA-256 of each Parquet file by its path in the data set, `values` for each file what
    `specdata.dataset.parquet.write_parquet` counted, and `selection` how the source was selected, if it was.
    """
    content = recipe.model_dump()
    source = content["source"]
    for key in ("path", "catalogue"):
        if source.get(key):
            source[key] = public_name(source[key])
    for table in content["tables"]:
        table["path"] = Path(table["path"]).name
    for key in ("cache", "skyserver_url", "sas_url"):
        source.pop(key, None)
    content["tokenizers"] = [public_name(name) for name in recipe.tokenizers]
    configs = {}
    for name, made in plan["configs"].items():
        for part in (content["configs"][name]["grid"], content["configs"][name]["conversation"]):
            if part:
                part["tokenizer"] = public_name(part["tokenizer"])
        for counted in ("fit", "limit"):
            if counted in made:
                made[counted]["tokenizer"] = public_name(made[counted]["tokenizer"])
        keys = values[0][name]
        configs[name] = made | {"values": {key: sum(found[name][key] for found in values) for key in keys}}
    packages = ("astropy", "datasets", "numpy", "pyarrow")
    manifest = {
        "format": 2,
        "revision": files_revision(files),
        "recipe": content,
        "counts": plan["counts"],
        "redshift_bins": plan["redshift_bins"],
        "versions": {"specdata": specdata.__version__, "python": platform.python_version()}
        | {name: version(name) for name in packages},
        "files": dict(sorted(files.items(), key=lambda item: item[0].split("/"))),
    }
    return manifest | ({"selection": selection} if selection else {}) | {"configs": configs}


def files_revision(hashes) -> str:
    """Revision of a data set: SHA-256 over the names and hashes of its Parquet files, as the manifest lists them."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def rows_of(manifest, config, split) -> int:
    """Rows of a split in a config: in the training split of a text config each spectrum may stand several times."""
    counts = manifest["counts"]
    repeated = split == "train" and config != "spectra"
    return counts["splits"][split] * (counts.get("realisations", 1) if repeated else 1)


_Rows = Annotated[int, Field(ge=0, le=2**31)]


class _Loose(pydantic.BaseModel, extra="allow", strict=True):
    """A part of a manifest, which may have other keys, too."""


def _check_files(files):
    for name in files:
        if not _FILE.fullmatch(name):
            raise ValueError(f"{name!r} is no file of a data set")
    return files


class _Augment(_Loose):
    realisations: Annotated[int, Field(ge=1, le=1000)]
    noise: float
    shape: float
    dither: bool


class _Recipe(_Loose):
    name: str
    augment: _Augment | None = None


class _Config(_Loose):
    edges: Annotated[list[float], Field(min_length=2)] = [0.0, 1.0]  # `Encoding.from_dict` tells what is missing
    fit: dict[str, str | int | None] = {}
    limit: dict[str, str | int | None] = {}


class _Counts(_Loose):
    splits: Annotated[dict[Literal["train", "validation", "test"], _Rows], Field(min_length=1)]
    mock: _Rows = 0
    sampled: _Rows = 0
    realisations: Annotated[int, Field(ge=1, le=1000)] = 1


class _Manifest(_Loose):
    revision: str
    recipe: _Recipe
    counts: _Counts
    configs: Annotated[dict[str, _Config], Field(min_length=1)]
    files: Annotated[dict[str, str], Field(min_length=1), AfterValidator(_check_files)]
    figures: dict[Annotated[str, Field(pattern=r"^figures/[a-z]+\.png$")], str] = {}


def read_manifest(folder, name) -> dict:
    """Read the manifest of a data set; an error, with what the user calls it as `name`, if `build` did not write it."""
    try:
        manifest = read_json(folder / MANIFEST)
        _Manifest.model_validate(manifest)
        return manifest
    except pydantic.ValidationError as error:
        problem = error.errors()[0]
        why = f"{'.'.join(map(str, problem['loc']))[:100]}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
    except (OSError, ValueError) as error:
        why = one_line(error)
    raise SpecdataError(f"{name}: has no readable {MANIFEST} ({why}); give a data set of `specdata build`")
