"""How a server is treated: how many connections, how long a pause after which failure, and when to give up."""

import datetime
import email.utils
import heapq
import random
import threading
import time
from typing import NamedTuple

from specdata.errors import SpecdataError


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
_FIRST = 30.0  # s of patience with an archive that has never answered
_HOPELESS = 50  # so many files in vain, and more than arrived: the question is wrong


class Failed(Exception):
    """An attempt that did not bring the file: why, the wait asked for in s, and for how many attempts it counts.

    With `trouble` the fault may be the archive's or the network's and not the file's.
    """

    def __init__(self, reason, wait=0.0, cost=1, trouble=False):
        super().__init__(reason)
        self.wait, self.cost, self.trouble = wait, cost, trouble


class Desk:
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
