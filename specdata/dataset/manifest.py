"""`manifest.json`: what a data set is made of, and the revision that follows from its files."""

import hashlib
import json

from specdata.errors import SpecdataError

MANIFEST = "manifest.json"


def files_revision(hashes):
    """Revision of a data set: SHA-256 over the names and hashes of its Parquet files, as the manifest lists them."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def read_manifest(folder, name):
    """Read the manifest of a data set.

    Parameters
    ----------
    folder : Path
    name : str
        What the user calls it.

    Returns
    -------
    dict

    Raises
    ------
    SpecdataError
        If there is none, or it is not one of `specdata.dataset.build.build`.
    """
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
