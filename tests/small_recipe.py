"""Recipes of twelve and of sixty mocks, which a build takes a second for, and what tells two builds apart."""

import hashlib

from specdata.dataset.recipe import DataRecipe

TWELVE = {
    "name": "mock-twelve",
    "title": "Mocks",
    "source": {"kind": "mock", "size": 12},
    "sample": {"size": 12, "redshift_bins": 1},
    "splits": {"train": 6, "validation": 3},
    "configs": {"paper": {"grid": {"start": 3840, "stop": 9160, "bins": 4}}},
    "tokenizers": [],
}
GRID = {"start": 3840.0, "stop": 9160.0}


def small_recipe(**sections):
    """The recipe, without a table of tokens; keyword arguments replace whole sections."""
    content = {
        "name": "mock-small",
        "title": "A small data set",
        "source": {"kind": "mock", "size": 60, "seed": 3},
        "sample": {"size": 50, "redshift_bins": 5},
        "splits": {"train": 20, "validation": 10},
        "configs": {"paper": {"grid": GRID | {"bins": 12}}},
        "tokenizers": [],
    }
    return DataRecipe.model_validate(content | sections)


def hashes(folder):
    """SHA-256 of each file of a folder by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
