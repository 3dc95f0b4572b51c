"""The work folder of a build: what is to be done there, and how others are kept out of it.

Whoever sees the folder can do any part of the work: this process, others of the machine, or the jobs of a cluster.

    job.json, listing.arrow    what the folder is for
    read/00000/, ...           the parts that the stages make (`specdata.dataset.stages`), which appear whole or never
    plan/, write/00000/, ...
    finished.json              of which job and with which hash the result is, written before that gets its name
    logs/                      of the jobs of a cluster

Parts count only while `job.json` is there. It is removed before them, so that their removal may be interrupted.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

import specdata
from specdata.dataset.manifest import MANIFEST
from specdata.dataset.recipe import DataRecipe
from specdata.errors import SpecdataError, one_line
from specdata.files import file_sha256, new_file, remove_folder
from specdata.inputs import read_json

SHARD = 5000  # most spectra of a shard, if nobody says how many shards
PER_WORKER = 2500  # fewest for which another process is started, since it reads 2,000 in the time that takes
_STATE, _LISTING, _FINISHED, _LOCK, LOGS = "job.json", "listing.arrow", "finished.json", "build.lock", "logs"


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """What a work folder is for."""

    folder: Path  # the work folder
    recipe: DataRecipe
    output: Path  # the data set's folder
    overwrite: bool  # replace an earlier data set there
    shards: int  # parts of the source, each of which holds spectra that follow on each other
    total: int  # spectra of the source
    selection: dict  # what the manifest says of how the source was selected

    def parts(self, stage, count=None) -> list[Path]:
        """Folders of the parts of a stage, as many as there are shards or as `count` says."""
        return [self.folder / stage / f"{number:05d}" for number in range(count or self.shards)]

    def read_listing(self, rank) -> pa.Table:
        """Rows of the source's listing that belong to a shard."""
        start, stop = (number * self.total // self.shards for number in (rank, rank + 1))
        return read_table(self.folder / _LISTING).slice(start, stop - start)


@contextlib.contextmanager
def locked(folder) -> Iterator[None]:
    """Keep other builds out of a work folder, which is made where it is missing, for as long as the body runs."""
    import filelock

    if folder.exists() and not (folder.is_dir() and ((folder / _LOCK).is_file() or not any(folder.iterdir()))):
        raise SpecdataError(f"{folder}: is not a work folder of specdata; move it away, or choose another --work")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecdataError(f"{folder}: cannot be made ({one_line(error)}); choose another output") from None
    try:
        with filelock.FileLock(folder / _LOCK).acquire(timeout=0):
            yield
    except filelock.Timeout:
        raise SpecdataError(f"{folder}: another build works there; wait for it, or choose another output") from None


def begin(folder, key, recipe, output, listing, selection, *, overwrite, shards=None, workers=1) -> Job:
    """Say what a locked work folder is for, or take up the work that was left there.

    `key` is the `job_key` of recipe and listing. By default there is a shard for each worker, or more where they would
    be too large. Parts of another recipe, source or version are an error, or cleared with `overwrite`; so is another
    number of `shards` than it was begun with.
    """
    found, total = _read(folder / _STATE), listing.num_rows
    if found and found["key"] != key and not overwrite:
        raise SpecdataError(
            f"{folder}: holds the parts of another recipe, source or version; delete it, or add --overwrite"
        )
    if not found or found["key"] != key:
        clear(folder)
        shards = max(1, min(shards or max(min(workers, total // PER_WORKER), -(-total // SHARD)), total))
    elif shards not in (None, found["shards"]):
        raise SpecdataError(f"--shards {shards}: {folder} was begun with {found['shards']} shards; give that")
    state = {"key": key, "recipe": recipe.model_dump(), "output": str(output), "overwrite": overwrite}
    state |= {"shards": shards or found["shards"], "total": total, "selection": selection}
    with new_file(folder / _LISTING) as partial:
        write_table(partial, listing)
    with new_file(folder / _STATE) as partial:
        partial.write_text(json.dumps(state), encoding="utf-8")
    return load_job(folder)


def job_key(recipe, listing) -> str:
    """Hash of all that the parts depend on.

    These are the version, the recipe, the tables that it joins or looks up, and what the listing says of the source.
    """
    tables = [table.path for table in recipe.tables]
    if recipe.source.kind == "files" and recipe.source.catalogue:
        tables.append(recipe.source.catalogue)
    try:
        tables = [file_sha256(Path(path)) for path in tables]
    except OSError as error:
        raise SpecdataError(f"a table of the recipe cannot be read ({one_line(error)}); give another") from None
    digest = hashlib.sha256(json.dumps([specdata.__version__, recipe.model_dump(), tables]).encode())
    for column in listing.column_names:
        digest.update("\n".join(map(str, listing[column].to_pylist())).encode())
    return digest.hexdigest()


def load_job(folder) -> Job:
    """Read what a work folder is for."""
    state = _read(folder / _STATE)
    if state is None:
        raise SpecdataError(f"{folder}: there is no work folder of specdata any more; give the build's command again")
    del state["key"]
    state |= {"recipe": DataRecipe.model_validate(state["recipe"]), "output": Path(state["output"])}
    return Job(folder=folder, **state)


def read_plan(folder) -> dict:
    """What `specdata.dataset.plan.make_plan` decided: counts, redshift_bins, configs, and the files with their rows."""
    plan = _read(folder / "plan" / "plan.json")
    if plan is None:
        raise SpecdataError(f"{folder}: there is no plan; give the build's command again")
    return plan


def clear(folder) -> None:
    """Remove what a locked work folder holds."""
    (folder / _STATE).unlink(missing_ok=True)
    _remove_all_but(folder, _LOCK)


def mark_finished(folder, data) -> None:
    """Note that `data` holds the result of the job, just before it gets the name of the output."""
    made = {"key": _read(folder / _STATE)["key"], "manifest": file_sha256(data / MANIFEST)}
    with new_file(folder / _FINISHED) as partial:
        partial.write_text(json.dumps(made), encoding="utf-8")


def finished_key(folder, output) -> str | None:
    """The `job_key` of the job whose result is the output, if its work folder was not removed; otherwise None."""
    made = _read(folder / _FINISHED)
    return made["key"] if made and made["manifest"] == file_sha256(output / MANIFEST) else None


def remove(folder, keep=None) -> None:
    """Remove the locked work folder of a job whose result has its name; with `keep`, all but that entry and the lock.

    The note of `mark_finished` goes last: until then the same command finds that there is nothing more to do.
    """
    (folder / _STATE).unlink(missing_ok=True)
    _remove_all_but(folder, _LOCK, _FINISHED, keep)
    if keep is None:
        remove_folder(folder)
    else:
        (folder / _FINISHED).unlink()


def _remove_all_but(folder, *names):
    for entry in list(folder.iterdir()):
        if entry.name not in names:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def write_table(path, table) -> None:
    """Write a table as an Arrow file."""
    with pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def read_table(path) -> pa.Table:
    """Read an Arrow file; only what is looked at comes into memory."""
    with pa.memory_map(str(path)) as stream:
        return pa.ipc.open_file(stream).read_all()


def _read(path):
    try:
        return read_json(path)
    except (OSError, ValueError):
        return None
