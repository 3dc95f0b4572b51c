"""Files that ship with the package; files and folders that appear whole or not at all, even if a process is killed."""

import contextlib
import errno
import fnmatch
import hashlib
import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path

from specdata.errors import SpecdataError, one_line

_PACKAGE = Path(__file__).parent


def shipped(name) -> Path:
    """Path of a recipe, card template or adapter, in a checkout as in an installed wheel.

    Parameters
    ----------
    name : str
        Relative path that starts with ``recipes``, ``cards`` or ``adapters``.
    """
    installed = _PACKAGE / "_shipped"  # the wheel puts them there; see pyproject.toml
    return (installed if installed.is_dir() else _PACKAGE.parent) / name


def find_recipe(path) -> Path:
    """Return `path` if it exists, or else the shipped recipe of that name.

    Raises
    ------
    SpecdataError
        If there is neither; the sentence lists the shipped recipes of that kind.
    """
    path = Path(path)
    if path.is_file():
        return path
    parts = path.parts[1:] if path.parts[:1] == ("recipes",) else path.parts
    candidate = shipped("recipes").joinpath(*parts)
    for found in (candidate, Path(f"{candidate}.yaml")):
        if found.is_file():
            return found
    names = ", ".join(recipe_names())
    raise SpecdataError(f"{path}: there is no such recipe; give the path of a YAML file, or one of {names}")


def read_recipe(path) -> dict:
    """Settings of a recipe of ``trl sft``, as they stand in the file.

    Raises
    ------
    SpecdataError
        If it cannot be read, or holds something else.
    """
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecdataError(f"{path}: is not a recipe of trl sft ({one_line(error)})") from None
    if not isinstance(content, dict):
        raise SpecdataError(f"{path}: is not a recipe of trl sft, which is a mapping of settings to values")
    return content


def recipe_names() -> list[str]:
    """Names of the shipped recipes, such as ``recipes/data/demo-mock.yaml``, in order."""
    root = shipped("recipes")
    return sorted(f"recipes/{found.relative_to(root).as_posix()}" for found in root.rglob("*.yaml"))


def check_free(path, *, marker=None, contents=("*",), overwrite=False) -> tuple[Path, bool]:
    """Check that a folder may be made, or replaced; arguments as for `new_folder`.

    Returns
    -------
    path : Path
        Where it is, or will be.
    occupied : bool
        Whether an earlier result stands there.
    """
    path = Path(path).resolve()  # a link to another disk: work there, and leave the link as it is
    occupied = path.exists() and (not path.is_dir() or any(path.iterdir()))
    if occupied and not overwrite:
        raise SpecdataError(f"{path}: exists already; choose another output, or add --overwrite")
    if occupied and not (marker and (path / marker).is_file()):
        raise SpecdataError(f"{path}: is not replaced, for it holds no {marker} and so is not an earlier result")
    if occupied:
        for entry in sorted(path.iterdir()):
            if not any(fnmatch.fnmatch(entry.name, pattern) for pattern in contents):
                raise SpecdataError(f"{path}: is not replaced, for it also holds {entry.name}; move that away")
    return path, occupied


@contextlib.contextmanager
def new_folder(path, *, marker=None, contents=("*",), overwrite=False):
    """Fill a folder under a temporary name and give it its own name only when all is well.

    Parameters
    ----------
    path : path-like
        The folder to make. It must not exist or be empty, unless `overwrite` is set and it holds `marker`.
    marker : str, optional
        Name of a file that shows that a folder is an earlier result of ours, and so may be replaced.
    contents : sequence of str
        Patterns of what such a result holds at its top level. A folder that holds anything else is not replaced.
    overwrite : bool

    Yields
    ------
    Path
        The temporary folder, beside the final one. It is removed if the body raises.

    Raises
    ------
    SpecdataError
        If the folder cannot be made or must not be replaced, or if another process made it meanwhile.
    """
    path, occupied = check_free(path, marker=marker, contents=contents, overwrite=overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own, so that two runs on one output do not touch each other.
        partial = Path(tempfile.mkdtemp(prefix=f"{path.name}.", suffix=".partial", dir=path.parent))
        partial.chmod(0o777 & ~_umask())
    except OSError as error:
        raise SpecdataError(f"{path}: cannot be made ({one_line(error)}); choose another output") from None
    try:
        yield partial
        if occupied:
            replaced = Path(tempfile.mkdtemp(prefix=f"{path.name}.", suffix=".replaced.partial", dir=path.parent))
            path.rename(replaced)  # onto the empty folder
            try:
                partial.rename(path)
            except BaseException:
                replaced.rename(path)
                raise
            shutil.rmtree(replaced)
        else:
            try:
                partial.rename(path)  # replaces an empty folder of that name
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise SpecdataError(f"{path}: another run made it meanwhile; its result stands") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def new_file(path, *, suffixes=None):
    """Write a file under a temporary name and give it its own name, in place of what stood there, when all is well.

    Parameters
    ----------
    path : path-like
        Its folder is made where it is missing.
    suffixes : sequence of str, optional
        What the name may end in.

    Yields
    ------
    Path
        The temporary file, which the body has to write. It is removed if the body raises.

    Raises
    ------
    SpecdataError
        If the name has another ending, the disk is full, or the place may not be written.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise SpecdataError(f"{path}: give a name that ends in {', '.join(suffixes)}")
    if path.is_dir():
        raise SpecdataError(f"{path}: is a folder; give the name of a file")
    partial = path.with_name(f".{uuid.uuid4().hex[:12]}.partial.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with partial.open("r+b") as stream:
            os.fsync(stream.fileno())  # so that, even after a power cut, a file of this name is complete
        partial.replace(path)
    except OSError as error:
        raise SpecdataError(
            f"{path}: cannot be written ({one_line(error)}); make room or choose another place, and try again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def remove_leftovers(folder):
    """Remove the temporary files that `new_file` had to leave in a folder when its process was killed over a day ago.

    Younger ones may belong to a process that still runs, perhaps on another machine that shares the disk.
    """
    with contextlib.suppress(OSError):  # there is no such folder yet, or it may not be read
        for entry in Path(folder).glob(".????????????.partial.*"):
            if time.time() - entry.stat().st_mtime > 86_400:
                entry.unlink()


def _umask():
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def file_sha256(path) -> str | None:
    """SHA-256 of a file, None if there is none."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError:
        return None
