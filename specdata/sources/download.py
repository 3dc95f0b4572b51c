"""Download many small files over HTTP: in parallel, politely, and each whole or not at all.

What was looked at: parfive (2.3) writes under the final name, so that a killed run leaves half a file there, and knows
neither `Retry-After` nor a second attempt of its own; sdss-access (3.0) needs rsync or downloads one file after the
other with urllib, without a check of what came; aiohttp would be one more dependency and leaves all of that to us, and
so does requests, whose reads also wait for a full block, so that a trickle goes unnoticed. httpx2 is there already,
because huggingface_hub needs it, may be shared by threads, and hands on what comes as it comes.
"""

import datetime
import email.utils
import heapq
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import specdata
from specdata.errors import SpecdataError
from specdata.files import write_whole

_LARGEST = 64 * 2**20  # bytes; a full spectrum with all its exposures has 2 MB


class Job(NamedTuple):
    """One file to download."""

    url: str
    path: Path
    check: Callable  # called with the path of the complete file, raises SpecdataError if it is not the right one


class Manners(NamedTuple):
    """How hard a server is pressed, and how long it is given."""

    connections: int = 8  # at the same time
    attempts: int = 6  # for one file
    backoff: float = 1.0  # s before the second attempt; they double from one to the next, with jitter
    longest_wait: float = 120.0  # s; a server that asks for more in Retry-After is left in peace
    stall: float = 30.0  # s without a byte
    deadline: float = 180.0  # s for one file, however the bytes trickle in
    patience: float = 300.0  # s with nothing but troubles before the archive, or the network, counts as down


POLITE = Manners()
_GONE = {403, 404, 410}  # rarely said by mistake, so each counts for two attempts
_FIRST = 30.0  # s of patience with an archive that has never answered
_HOPELESS = 50  # so many files in vain, and more than arrived: the question is wrong


class _Failed(Exception):
    """An attempt that did not bring the file: why, the wait asked for in s, and for how many attempts it counts.

    With `trouble` the fault may be the archive's or the network's and not the file's.
    """

    def __init__(self, reason, wait=0.0, cost=1, trouble=False):
        super().__init__(reason)
        self.wait, self.cost, self.trouble = wait, cost, trouble


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
    desk = _Desk(jobs, manners, report, had)
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


class _Desk:
    """What the threads share: the jobs that wait, and when the next one may start."""

    def __init__(self, jobs, manners, report, had):
        self.manners, self.report = manners, report
        self.waiting = [(0.0, number, 0, job) for number, job in enumerate(jobs)]  # sorted, and so a heap
        self.open, self.arrived, self.lost = len(jobs), had, 0
        self.fatal, self.closed = None, False
        self.not_before, self.met = 0.0, False
        self.troubles, self.troubled_since = 0, 0.0  # in a row, with nothing served between, and when they began
        self.changed = threading.Condition()

    def take(self):
        """Wait for the next job that may start; None when there is nothing left to do."""
        with self.changed:
            while not self.closed and self.open:
                wait = None
                if self.waiting:
                    wait = max(self.waiting[0][0], self.not_before) - time.monotonic()
                    if wait <= 0:
                        return heapq.heappop(self.waiting)
                self.changed.wait(wait)
            return None

    def close(self, fatal=None):
        with self.changed:
            self.closed, self.fatal = True, self.fatal or fatal
            self.changed.notify_all()

    def finish(self, job, size, reason=None):
        with self.changed:
            self.open -= 1
            if reason is None:
                self.arrived += 1
            else:
                self.lost += 1
                if self.lost >= _HOPELESS and self.lost > self.arrived:
                    self.close(
                        SpecdataError(f"{job.url}: {reason}, and {self.lost} files so; check release and address")
                    )
            if self.report is not None:
                self.report(job, size, reason)
            self.changed.notify_all()

    def served(self):
        """Note that the archive is well: it gave a file, or said that it has none."""
        with self.changed:
            self.troubles, self.met = 0, True

    def in_doubt(self):
        """Whether there were so many troubles in a row that they may be the archive's or the network's."""
        return self.troubles >= min(self.manners.connections, self.manners.attempts - 1)

    def again(self, number, attempt, job, error):
        """Put a job back after a failed attempt, or give it up."""
        manners, now = self.manners, time.monotonic()
        with self.changed:
            if self.closed:
                return
            if error.wait > manners.longest_wait:
                self.close(SpecdataError(f"{job.url}: the archive asks to wait {error.wait:.0f} s; try again then"))
            self.not_before = max(self.not_before, now + error.wait)
            if (
                error.trouble and self.in_doubt()
            ):  # all wait, and the attempt does not count: it is not this file's fault
                if now - self.troubled_since > (manners.patience if self.met else min(manners.patience, _FIRST)):
                    self.close(SpecdataError(f"{job.url}: the archive cannot be reached ({error}); try again later"))
                pause = manners.backoff * 2 ** min(self.troubles // manners.connections, 5)
                self.not_before = max(self.not_before, now + min(pause, manners.patience / 4))
            else:
                attempt += error.cost
            if error.trouble:
                self.troubled_since = self.troubled_since if self.troubles else now
                self.troubles += 1
            if attempt < manners.attempts:
                pause = manners.backoff * 2 ** max(0, attempt - 1) * random.uniform(0.5, 1.5)
                heapq.heappush(self.waiting, (now + max(pause, error.wait), number, attempt, job))
                self.changed.notify_all()
                return
        self.finish(job, 0, str(error))


def _work(desk, client):
    """Do one job after the other: the body of each thread."""
    import httpx2

    while (item := desk.take()) is not None:
        _, number, attempt, job = item
        try:
            body = _get(desk, client, job.url)
            with write_whole(job.path, check=lambda path, job=job: _check(job, path)) as stream:
                stream.write(body)
        except (_Failed, httpx2.HTTPError) as error:
            if not isinstance(error, _Failed):
                words = " ".join(str(error).split())
                error = _Failed(f"{type(error).__name__}: {words}" if words else type(error).__name__, trouble=True)
            if error.trouble and desk.in_doubt() and _is_well(client, job.url):
                desk.served()
            desk.again(number, attempt, job, error)
        except BaseException as error:  # no space on the disk, or a fault of our own: the others must not wait for it
            desk.close(error)
        else:
            desk.finish(job, len(body))


def _get(desk, client, url):
    """Get the whole body of one file, or raise `_Failed`."""
    begin = time.monotonic()
    body = bytearray()
    with client.stream("GET", url) as response:
        if (status := response.status_code) != 200:
            if not (trouble := status == 429 or status >= 500):
                desk.served()
            reason = f"HTTP {status} {response.reason_phrase}".strip()
            raise _Failed(reason, retry_after(response.headers), 2 if status in _GONE else 1, trouble)
        length = response.headers.get("Content-Length")
        if length is None and response.headers.get("Transfer-Encoding") is None:
            raise _Failed("the archive does not say how long the file is")
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise _Failed("the archive sent it compressed")
        for chunk in response.iter_raw():
            body += chunk
            if desk.closed:
                raise _Failed("interrupted")
            if time.monotonic() - begin > desk.manners.deadline:
                raise _Failed(f"{len(body)} bytes in {desk.manners.deadline:g} s is too slow", trouble=True)
            if len(body) > _LARGEST:
                raise _Failed(f"the file has more than {_LARGEST} bytes")
    if length is not None and len(body) != int(length):
        raise _Failed(f"{len(body)} of {length} bytes came", trouble=True)
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
        raise _Failed(str(error).removeprefix(f"{path}: ")) from None


def retry_after(headers):
    """Seconds that a response asks to wait, in either form that `Retry-After` has; 0 where it does not."""
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        date = email.utils.parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return 0.0
    if date.tzinfo is None:  # written with -0000, which is UTC too
        date = date.replace(tzinfo=datetime.UTC)
    return max(0.0, (date - datetime.datetime.now(datetime.UTC)).total_seconds())
