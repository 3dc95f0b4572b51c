"""Files that ship with the package; files and folders that appear whole or not at all, even if a process is killed."""

import contextlib
import errno
import fnmatch
import glob
import hashlib
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from specdata.errors import SpecdataError, one_line
from specdata.inputs import check_regular, read_yaml

_PACKAGE = Path(__file__).parent
_TEMPORARY = re.compile(r"\.[a-z0-9_]{8}(\.replaced)?\.partial")  # what `_temporary` puts behind a folder's name


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
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise SpecdataError(f"{path}: is not a recipe of trl sft, which is a mapping of settings to values")
    return content


def recipe_names() -> list[str]:
    """Names of the shipped recipes, such as ``recipes/data/demo-mock.yaml``, in order."""
    root = shipped("recipes")
    return sorted(f"recipes/{found.relative_to(root).as_posix()}" for found in root.rglob("*.yaml"))


def check_free(path, *, marker=None, contents=("*",), overwrite=False) -> None:
    """Check that a folder may be made, or replaced, before the work for it begins; arguments as for `new_folder`."""
    path, _ = _check_free(path, marker, contents, overwrite)
    place = next(parent for parent in path.parents if parent.exists())
    try:
        _temporary(path, place).rmdir()
    except OSError as error:
        raise SpecdataError(f"{path}: cannot be made ({one_line(error)}); choose another output") from None


def _check_free(path, marker, contents, overwrite):
    """The folder itself, where `path` may be a link to it, and whether an earlier result stands there."""
    path = Path(path).resolve()  # a link to another disk: work there, and leave the link as it is
    sweep(path)
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
def new_folder(path, *, marker=None, contents=("*",), overwrite=False) -> Iterator[Path]:
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
    path, occupied = _check_free(path, marker, contents, overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = _temporary(path)
        partial.chmod(0o777 & ~_umask())
    except OSError as error:
        raise SpecdataError(f"{path}: cannot be made ({one_line(error)}); choose another output") from None
    with _claimed(partial):
        try:
            yield partial
            if occupied:
                _replace(path, partial)
            else:
                try:
                    partial.rename(path)  # replaces an empty folder of that name
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                    raise SpecdataError(f"{path}: another run made it meanwhile; its result stands") from None
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _replace(path, partial):
    """Put a new folder in the place of an earlier result, which comes back if that fails."""
    with _claimed(path):
        replaced = _temporary(path, kind=".replaced")
        path.rename(replaced)  # onto the empty folder
        try:
            partial.rename(path)
        except BaseException:
            replaced.rename(path)
            raise
        shutil.rmtree(replaced)


def remove_folder(folder) -> None:
    """Remove a folder so that, whenever the process is killed, there is all of it under its name or nothing."""
    removed = _temporary(folder)
    folder.rename(removed)  # onto the empty folder
    shutil.rmtree(removed, ignore_errors=True)  # another process may sweep it at the same time


def sweep(path) -> None:
    """Remove what `new_folder` and `remove_folder` had to leave beside a folder when their process was killed.

    A temporary folder in which a process still works is left alone. An earlier result whose successor did not come gets
    its name back.
    """
    path = Path(path)
    for entry in path.parent.glob(f"{glob.escape(path.name)}.*.partial"):
        named = _TEMPORARY.fullmatch(entry.name.removeprefix(path.name))
        if named and entry.is_dir():
            with _claimed(entry) as ours:
                if ours and named[1] and any(entry.iterdir()) and not path.exists():
                    entry.rename(path)
                elif ours:
                    entry.rename(removed := _temporary(path))
                    shutil.rmtree(removed, ignore_errors=True)


def _temporary(path, place=None, kind=""):
    """An empty folder beside `path`, or in another place, with a name of its own; `sweep` knows these names."""
    return Path(tempfile.mkdtemp(prefix=f"{path.name}.", suffix=f"{kind}.partial", dir=place or path.parent))


@contextlib.contextmanager
def _claimed(path):
    """Lock a file or folder while the body runs; True if that worked, so that no other process is at work there."""
    import fcntl

    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or it is on a network disk without locks, where nobody knows
        ours = False
    else:
        ours = True
    try:
        yield ours
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def new_file(path, *, suffixes=None) -> Iterator[Path]:
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
        partial.touch(exist_ok=False)  # a place that cannot be written to is told before the body's work
        with _claimed(partial):
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


def remove_leftovers(folder) -> None:
    """Remove the temporary files that `new_file` had to leave in a folder when its process was killed.

    On a network disk without locks, where one may belong to a process of another machine, those that are a day old.
    """
    with contextlib.suppress(OSError):  # there is no such folder yet, or it may not be read
        for entry in Path(folder).glob(".????????????.partial.*"):
            with _claimed(entry) as ours:
                if ours or time.time() - entry.stat().st_mtime > 86_400:
                    entry.unlink()


def _umask():
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def file_sha256(path) -> str | None:
    """SHA-256 of a file, None if there is none."""
    try:
        check_regular(path)
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
