"""The work folder of a build: what is to be done there, and how others are kept out of it.

Whoever sees the folder can do any part of the work: this process, others of the machine, or the jobs of a cluster.

    job.json, listing.arrow    what the folder is for
    read/00000/, ...           the parts that the stages make (`specdata.dataset.stages`), which appear whole or never
    plan/, write/00000/, ...
    dataset/                   the result, before it gets its name
    logs/                      of the jobs of a cluster
"""

import contextlib
import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

import specdata
from specdata.dataset.recipe import DataRecipe
from specdata.errors import SpecdataError
from specdata.files import new_file

SHARD = (2500, 5000)  # fewest and most spectra of a shard, if nobody says how many shards
_STATE, _LISTING, _LOCK, LOGS = "job.json", "listing.arrow", "build.lock", "logs"


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """What a work folder is for.

    Attributes
    ----------
    folder : Path
        The work folder.
    recipe : specdata.dataset.recipe.DataRecipe
    output : Path
        The data set's folder.
    overwrite : bool
        Replace an earlier data set there.
    shards, total : int
        Into so many shards the source's `total` spectra are divided, in their order.
    selection : dict
        What the manifest says of how the source was selected; see `specdata.dataset.sources.list_source`.
    """

    folder: Path
    recipe: DataRecipe
    output: Path
    overwrite: bool
    shards: int
    total: int
    selection: dict

    def parts(self, stage, count=None) -> list[Path]:
        """Folders of the parts of a stage, as many as there are shards or as `count` says."""
        return [self.folder / stage / f"{number:05d}" for number in range(count or self.shards)]

    def read_listing(self, rank) -> pa.Table:
        """Rows of the source's listing that belong to a shard."""
        start, stop = (number * self.total // self.shards for number in (rank, rank + 1))
        return read_table(self.folder / _LISTING).slice(start, stop - start)


@contextlib.contextmanager
def locked(folder):
    """Keep other builds out of a work folder, which is made where it is missing, for as long as the body runs."""
    import filelock

    if folder.exists() and not (folder.is_dir() and ((folder / _LOCK).is_file() or not any(folder.iterdir()))):
        raise SpecdataError(f"{folder}: is not a work folder of specdata; move it away, or choose another --work")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder / _LOCK).acquire(timeout=0):
            yield
    except filelock.Timeout:
        raise SpecdataError(f"{folder}: another build works there; wait for it, or choose another output") from None


def begin(folder, recipe, output, listing, selection, *, overwrite, shards=None, workers=1) -> Job:
    """Say what a work folder is for, or take up the work that was left there.

    Parameters
    ----------
    folder : Path
        A folder that is `locked`.
    recipe : specdata.dataset.recipe.DataRecipe
    output : Path
    listing : pyarrow.Table
        One row for each spectrum of the source, from `specdata.dataset.sources.list_source`.
    selection : dict
    overwrite : bool
        Also clear the work folder of another recipe or source.
    shards : int, optional
        By default as many as it was begun with, or one for each worker, within the limits of `SHARD`.
    workers : int

    Raises
    ------
    SpecdataError
        If the folder holds the parts of another recipe, source or number of shards.
    """
    recipe = _with_absolute_path(recipe)
    digest = hashlib.sha256(json.dumps([specdata.__version__, recipe.model_dump()]).encode())
    for column in ("item", "size"):
        digest.update("\n".join(map(str, listing[column].to_pylist())).encode())
    found, total = _read_state(folder), listing.num_rows
    if found and found["key"] != digest.hexdigest():
        if not overwrite:
            raise SpecdataError(
                f"{folder}: holds the parts of another recipe, source or version; delete it, or add --overwrite"
            )
        found = None
    if not found:
        clear(folder)
        shards = shards or max(min(workers, total // SHARD[0]), -(-total // SHARD[1]))
    elif shards not in (None, found["shards"]):
        raise SpecdataError(f"--shards {shards}: {folder} was begun with {found['shards']} shards; give that")
    for partial in folder.glob("*/*.partial"):  # of processes that were killed
        shutil.rmtree(partial)
    state = {
        "key": digest.hexdigest(),
        "recipe": recipe.model_dump(),
        "output": str(output),
        "overwrite": overwrite,
        "shards": found["shards"] if found else max(1, min(shards, total)),
        "total": total,
        "selection": selection,
    }
    with new_file(folder / _LISTING) as partial:
        write_table(partial, listing)
    with new_file(folder / _STATE) as partial:
        partial.write_text(json.dumps(state), encoding="utf-8")
    return load_job(folder)


def load_job(folder) -> Job:
    """Read what a work folder is for."""
    state = _read_state(folder)
    if state is None:
        raise SpecdataError(f"{folder}: there is no work folder of specdata any more; give the build's command again")
    del state["key"]
    state |= {"recipe": DataRecipe.model_validate(state["recipe"]), "output": Path(state["output"])}
    return Job(folder=folder, **state)


def read_plan(folder) -> dict:
    """What `specdata.dataset.plan.make_plan` decided: counts, redshift_bins, configs, and the files with their rows."""
    try:
        return json.loads((folder / "plan" / "plan.json").read_text(encoding="utf-8"))
    except OSError:
        raise SpecdataError(f"{folder}: there is no plan; give the build's command again") from None


def clear(folder, keep=None):
    """Remove what a locked work folder holds, except the entry named `keep`."""
    for entry in list(folder.iterdir()):
        if entry.name not in (_LOCK, keep):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def write_table(path, table):
    """Write a table as an Arrow file."""
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def read_table(path) -> pa.Table:
    """Read an Arrow file; only what is looked at comes into memory."""
    with pa.memory_map(str(path)) as stream:
        return pa.ipc.open_file(stream).read_all()


def _with_absolute_path(recipe):
    """The recipe with a path that is the same wherever a part of the work is done."""
    if recipe.source.kind not in ("folder", "dataset"):
        return recipe
    source = recipe.source.model_copy(update={"path": str(Path(recipe.source.path).resolve())})
    return recipe.model_copy(update={"source": source})


def _read_state(folder):
    try:
        return json.loads((folder / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
