"""The work folder of a build: what it is for, who works in it, and its parts, each of which appears whole or never.

Whoever has the folder can do any part of the work: a process of the same machine, or a job of a cluster that sees the
same disk.
"""

import contextlib
import errno
import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

import specdata
from specdata.dataset.recipe import DataRecipe
from specdata.errors import SpecdataError, one_line
from specdata.files import new_file

SHARD = 5000  # spectra of a source shard, if nobody says how many shards: what a build that is killed does again
LOGS = "logs"
_STATE, _LISTING, _LOCK = "job.json", "listing.arrow", "lock"


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """What a work folder is for.

    Attributes
    ----------
    recipe : specdata.dataset.recipe.DataRecipe
    output : Path
        The data set's folder.
    overwrite : bool
        Replace an earlier data set there.
    shards, total : int
        Into so many shards the source's `total` spectra are divided, in their order.
    selection : dict
        What the manifest says of how the source was selected; see `specdata.archive.sdss.fetch_recipe`.
    """

    recipe: DataRecipe
    output: Path
    overwrite: bool
    shards: int
    total: int
    selection: dict

    def bounds(self, rank):
        """First spectrum of a shard, and the first after it."""
        return rank * self.total // self.shards, (rank + 1) * self.total // self.shards


@contextlib.contextmanager
def begin(work, recipe, output, listing, selection, *, overwrite, shards=None, at_least=1):
    """Make a work folder, or take up one that was left, and keep others out of it.

    Parameters
    ----------
    work : Path
    recipe : specdata.dataset.recipe.DataRecipe
    output : Path
    listing : pyarrow.Table
        One row for each spectrum of the source, from `specdata.dataset.build.list_source`.
    selection : dict
    overwrite : bool
        Also sweep the work folder of another recipe or source.
    shards : int, optional
        By default as many as it was begun with, or one for each `SHARD` spectra and no fewer than `at_least`.
    at_least : int

    Yields
    ------
    Job

    Raises
    ------
    SpecdataError
        If another build is at work there, or it holds the parts of another recipe, source or number of shards.
    """
    import filelock

    if work.exists() and not (work.is_dir() and ((work / _STATE).is_file() or _is_empty(work))):
        raise SpecdataError(f"{work}: is not a work folder of specdata; move it away, or choose another --work")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecdataError(f"{work}: cannot be made ({one_line(error)}); choose another output") from None
    try:
        lock = filelock.FileLock(work / _LOCK)
        with lock.acquire(timeout=0):
            found = _read_state(work)
            key = _key(recipe, listing)
            if found and found["key"] != key:
                if not overwrite:
                    raise SpecdataError(
                        f"{work}: holds the parts of another recipe, source or version; delete it, or add --overwrite"
                    )
                found = None
            if found and shards not in (None, found["shards"]):
                raise SpecdataError(f"--shards {shards}: {work} was begun with {found['shards']} shards; give that")
            sweep(work, whole=not found)
            count = found["shards"] if found else shards or max(at_least, -(-listing.num_rows // SHARD))
            state = {
                "key": key,
                "shards": max(1, min(count, listing.num_rows)),
                "total": listing.num_rows,
                "output": str(output),
                "overwrite": overwrite,
                "recipe": _with_absolute_path(recipe).model_dump(),
                "selection": selection,
            }
            with new_file(work / _LISTING) as partial, pa.ipc.new_file(str(partial), listing.schema) as writer:
                writer.write_table(listing)
            with new_file(work / _STATE) as partial:
                partial.write_text(json.dumps(state), encoding="utf-8")
            yield load_job(work)
    except filelock.Timeout:
        raise SpecdataError(f"{work}: another build is at work there; wait for it, or choose another output") from None


@contextlib.contextmanager
def alone(work):
    """Keep others out of a work folder that exists, for as long as the body runs."""
    import filelock

    try:
        with filelock.FileLock(work / _LOCK).acquire(timeout=0):
            yield
    except filelock.Timeout:
        raise SpecdataError(f"{work}: another build is at work there; wait for it") from None


def load_job(work):
    """Read what a work folder is for; `Job`."""
    state = _read_state(work)
    if state is None:
        raise SpecdataError(f"{work}: there is no work folder of specdata any more; give the build's command again")
    del state["key"]
    return Job(
        **state | {"recipe": DataRecipe.model_validate(state["recipe"]), "output": Path(state["output"])},
    )


def read_listing(work, start, stop):
    """Rows of the source's listing; pyarrow.Table."""
    with pa.memory_map(str(work / _LISTING)) as stream:
        return pa.ipc.open_file(stream).read_all().slice(start, stop - start)


def part_names(count):
    """Names of the parts of a stage, in order."""
    return [f"{number:05d}" for number in range(count)]


@contextlib.contextmanager
def new_part(path):
    """Fill a folder under a temporary name and give it its own name when all is well.

    Where another process has made the same part meanwhile, that one stays: both hold the same bytes.

    Parameters
    ----------
    path : Path

    Yields
    ------
    Path
        The temporary folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent))
    try:
        yield partial
        try:
            partial.rename(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def sweep(work, *, whole, but=None):
    """Remove what processes that were killed left half made, or all of a work folder except the entry named `but`."""
    for entry in list(work.iterdir() if whole else work.glob("*/*.partial")):
        if entry.name not in (_LOCK, but):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _key(recipe, listing):
    """A hash of all that decides what the parts hold."""
    digest = hashlib.sha256(json.dumps([specdata.__version__, recipe.model_dump()]).encode())
    for column in ("item", "size"):
        digest.update("\n".join(map(str, listing[column].to_pylist())).encode())
    return digest.hexdigest()


def _with_absolute_path(recipe):
    """The recipe with paths that are the same wherever a part of the work is done."""
    if recipe.source.kind not in ("folder", "dataset"):
        return recipe
    source = recipe.source.model_copy(update={"path": str(Path(recipe.source.path).resolve())})
    return recipe.model_copy(update={"source": source})


def _read_state(work):
    try:
        return json.loads((work / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_empty(work):
    """Whether a folder holds nothing, or only what a build leaves that was killed in its first moment."""
    return all(entry.name in (_LOCK, _LISTING, LOGS) or entry.name.endswith(".partial") for entry in work.iterdir())
