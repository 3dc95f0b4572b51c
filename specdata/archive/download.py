"""Download many small files over HTTP: in parallel, politely, and each whole or not at all.

What was looked at: parfive (2.3) writes under the final name, so that a killed run leaves half a file there, and knows
neither `Retry-After` nor a second attempt of its own; sdss-access (3.0) hands over to rsync or curl, or takes one file
after the other with urllib, also under the final name and without a check of what came; aiohttp would be one more
dependency and leaves all of that to us, and so does requests, whose reads also wait for a full block, so that a trickle
goes unnoticed. httpx2 is there already, because huggingface_hub needs it, may be shared by threads, and hands on what
comes as it comes.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import specdata
from specdata.archive.manners import POLITE, Desk, Failed, retry_after
from specdata.errors import SpecdataError
from specdata.files import new_file

_GONE = {403, 404, 410}  # rarely said by mistake, so each counts for two attempts
_LARGEST = 64 * 2**20  # bytes; a full spectrum with all its exposures has 2 MB


class Job(NamedTuple):
    """One file to download."""

    url: str
    path: Path
    check: Callable  # called with the path of the complete file, raises SpecdataError if it is not the right one


def download(jobs, *, manners=POLITE, report=None, had=0):
    """Download files, each under a temporary name until it is complete and has passed its check.

    A failed attempt is repeated later, while others go on. What a server says with `Retry-After`, in seconds or as a
    date, holds for all connections. Where nothing arrives any more, no file is given up for it: all wait, and after
    `Manners.patience` the download ends with an error.

    Parameters
    ----------
    jobs : sequence of Job
    manners : Manners
    report : callable, optional
        Called as ``report(job, size, reason)`` for each file that is finished: its bytes and None, or 0 and why it
        could not be had. Calls come from several threads, one at a time.
    had : int
        How many files of this archive are there already, which speaks for the address when the rest is in vain.

    Raises
    ------
    SpecdataError
        If nothing can be written, the archive does not answer at all, or it asks for a longer pause than
        `Manners.longest_wait`. What was complete by then stays.
    """
    import httpx2

    if not jobs:
        return
    if manners.connections < 1 or manners.attempts < 1:
        raise SpecdataError(f"connections = {manners.connections}, attempts = {manners.attempts}: give at least 1")
    desk = Desk(jobs, manners, report, had)
    headers = {"User-Agent": f"specdata/{specdata.__version__}", "Accept-Encoding": "identity"}
    limits = httpx2.Limits(max_connections=manners.connections, max_keepalive_connections=manners.connections)
    timeout = httpx2.Timeout(manners.stall)
    with httpx2.Client(headers=headers, limits=limits, timeout=timeout, follow_redirects=True) as client:
        threads = [
            threading.Thread(target=_work, args=(desk, client), daemon=True)
            for _ in range(min(manners.connections, len(jobs)))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():  # with a limit, so that Ctrl-C gets through
                    thread.join(0.2)
        finally:
            desk.close()
            end = time.monotonic() + 2.0  # whoever waits for a byte that does not come is left behind
            for thread in threads:
                thread.join(max(0.0, end - time.monotonic()))
    if desk.fatal is not None:
        raise desk.fatal


def _work(desk, client):
    """Do one job after the other: the body of each thread."""
    import httpx2

    while (item := desk.take()) is not None:
        _, number, attempt, job = item
        try:
            body = _get(desk, client, job.url)
            with new_file(job.path) as partial:
                partial.write_bytes(body)
                _check(job, partial)
        except (Failed, httpx2.HTTPError) as error:
            if not isinstance(error, Failed):
                words = " ".join(str(error).split())
                error = Failed(f"{type(error).__name__}: {words}" if words else type(error).__name__, trouble=True)
            if error.trouble and desk.in_doubt() and _is_well(client, job.url):
                desk.served()
            desk.again(number, attempt, job, error)
        except BaseException as error:  # no space on the disk, or a fault of our own: the others must not wait for it
            desk.close(error)
        else:
            desk.finish(job, len(body))


def _get(desk, client, url):
    """Get the whole body of one file, or raise `Failed`."""
    begin = time.monotonic()
    body = bytearray()
    with client.stream("GET", url) as response:
        if (status := response.status_code) != 200:
            if not (trouble := status == 429 or status >= 500):
                desk.served()
            reason = f"HTTP {status} {response.reason_phrase}".strip()
            raise Failed(reason, retry_after(response.headers), 2 if status in _GONE else 1, trouble)
        length = response.headers.get("Content-Length")
        if length is None and response.headers.get("Transfer-Encoding") is None:
            raise Failed("the archive does not say how long the file is")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise Failed("the archive sent it compressed")
        for chunk in response.iter_raw():
            body += chunk
            if desk.closed:
                raise Failed("interrupted")
            if time.monotonic() - begin > desk.manners.deadline:
                raise Failed(f"{len(body)} bytes in {desk.manners.deadline:g} s is too slow", trouble=True)
            if len(body) > _LARGEST:
                raise Failed(f"the file has more than {_LARGEST} bytes")
    if length is not None and len(body) != int(length):
        raise Failed(f"{len(body)} of {length} bytes came", trouble=True)
    desk.served()
    return body


def _is_well(client, url):
    """Knock at the door of the archive: whether its front page comes, and without trouble of its own."""
    import httpx2

    try:
        status = client.get(httpx2.URL(url).join("/"), follow_redirects=False).status_code
        return status != 429 and status < 500
    except httpx2.HTTPError:
        return False


def _check(job, path):
    try:
        job.check(path)
    except SpecdataError as error:
        raise Failed(str(error).removeprefix(f"{path}: ")) from None
