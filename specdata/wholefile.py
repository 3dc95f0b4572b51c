"""Files that appear whole or not at all, also from a process that is killed or on a disk that fills up."""

import contextlib
import os
import platform
import re
import threading
import time
from pathlib import Path

from specdata.errors import SpecdataError

_PARTIAL = re.compile(r"\..+\.(\d+)-\d+@(.*)\.partial")
_unfinished = set()  # names of the temporary files that this process is writing


@contextlib.contextmanager
def write_whole(path, *, check=None):
    """Write a file under a temporary name beside it and give it its own name only when all is well.

    Parameters
    ----------
    path : path-like
        The file; one that is there is replaced. Its folder is made.
    check : callable, optional
        Called with the path of the complete temporary file; what it raises keeps the file from appearing.

    Yields
    ------
    binary file

    Raises
    ------
    SpecdataError
        If the disk is full or may not be written; nothing half written is left.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}@{platform.node()}.partial")
    _unfinished.add(partial.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())  # a name must never be there before its bytes are, not even after a power cut
        if check is not None:
            check(partial)
        partial.replace(path)
    except OSError as error:
        raise SpecdataError(
            f"{path}: cannot be written ({error.strerror or error}); mend that and give the same command again"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        _unfinished.discard(partial.name)


def sweep(folder):
    """Remove the temporary files that `write_whole` had to leave in a folder when its process was killed.

    Those of a process that runs stay; of another machine, which may share the disk, those of the last day.
    """
    with contextlib.suppress(OSError):  # there is no such folder yet, or it may not be read
        for entry in Path(folder).iterdir():
            if not (found := _PARTIAL.fullmatch(entry.name)) or entry.name in _unfinished:
                continue
            process, node = int(found[1]), found[2]
            # Our own number is stale too: a container gives the same one to its next run.
            running = process != os.getpid() and _is_running(process)
            with contextlib.suppress(OSError):
                if not running if node == platform.node() else time.time() - entry.stat().st_mtime > 86_400:
                    entry.unlink()


def _is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # somebody else's process
        return True
    return True
