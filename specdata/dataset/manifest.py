"""`manifest.json`: what a data set is made of, and the revision that follows from its files."""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

import specdata
from specdata.errors import SpecdataError
from specdata.hub import public_name

MANIFEST = "manifest.json"


def make_manifest(recipe, plan, files, values, selection) -> dict:
    """Put together all of a manifest but the table of tokens, without any path of this disk.

    `files` gives the SHA-256 of each Parquet file by its path in the data set, `values` for each file what
    `specdata.dataset.parquet.write_parquet` counted, and `selection` how the source was selected, if it was.
    """
    content = recipe.model_dump()
    source = content["source"]
    for key in {"path", "catalogue"} & set(source):
        source[key] = Path(source[key]).resolve().name
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


def read_manifest(folder, name) -> dict:
    """Read the manifest of a data set; an error, with what the user calls it as `name`, if `build` did not write it."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        wanted = manifest["revision"], manifest["recipe"]["name"]
        if all(isinstance(text, str) for text in wanted) and all(
            isinstance(section, dict) and section
            for section in (manifest["files"], manifest["configs"], manifest["counts"]["splits"])
        ):
            return manifest
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise SpecdataError(f"{name}: has no readable {MANIFEST}; give a data set of `specdata build`")
