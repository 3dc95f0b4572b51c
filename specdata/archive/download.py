"""Get files over HTTP, in parallel: each whole or not at all, and again where another attempt may help.

httpx2 is installed with huggingface_hub. Threads may share its client, it uses the proxies of the environment, and it
hands on bytes as they come, so that a trickle is noticed. Its own retries only connect anew, so the attempts are here.
"""

import random
import re
import threading
import time
from multiprocessing.pool import ThreadPool

import httpx2

import specdata
from specdata.errors import SpecdataError, one_line
from specdata.files import new_file
from specdata.retries import LONGEST_WAIT, retry_after

ATTEMPTS = 5  # for one address
BACKOFF = 2.0  # s before the second attempt, give or take a half; twice as long before each later one
STALL = 30.0  # s without a byte
DEADLINE = 180.0  # s for one body, however its bytes trickle in
LARGEST = 128 * 2**20  # bytes of an answer; one of 500,000 rows has 90 MB
LARGEST_FILE = 16 * 2**20  # bytes of a spectrum; a lite one has 0.2 MB, a full one 2 MB
LARGEST_PAGE = 2**20  # bytes of a front page, of which nothing is kept
MOST_FAILED = 0.5  # share of the files; a download stops where so many have failed ...
FEWEST_FAILED = 20  # ... and at least this number


class Failed(Exception):
    """What came is not what was asked for.

    Another attempt may help unless it is `final`; `wait` is how many seconds the server asks to wait before it.
    """

    def __init__(self, reason, *, final=False, wait=0.0):
        super().__init__(reason)
        self.final, self.wait = final, wait


def check_address(url, example) -> str:
    """Refuse what is not a web address; return it without a slash at its end."""
    if not re.fullmatch(r"https?://[\w.-]+(:\d{1,5})?(/\S*)?", url):
        shown = re.sub(r"//.*@", "//...@", url)  # without a password
        raise SpecdataError(f"{shown!r}: is not a web address; give one such as {example}")
    return url.rstrip("/")


def open_client(connections, stall) -> httpx2.Client:
    """Make a `httpx2.Client` of so many connections, which gives up after `stall` seconds without a byte."""
    return httpx2.Client(
        headers={"User-Agent": f"specdata/{specdata.__version__}", "Accept-Encoding": "identity"},
        limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        timeout=stall,
        follow_redirects=True,
    )


def get(client, url, take, *, params=None, pause=time.sleep, most=LARGEST):
    """Get what is at an address, in up to `ATTEMPTS` attempts, and return what `take` makes of the body (bytes).

    A body has at most `most` bytes. `take` raises `Failed` if it is not the right one, and so does this with the reason
    of the last attempt. Between two attempts, `pause` waits for our own number of seconds, or for those of
    ``Retry-After`` if they are more. A server that asks for more than `LONGEST_WAIT` is not waited for: a
    `SpecdataError` says how long that would be.
    """
    for attempt in range(ATTEMPTS):
        try:
            return take(_body(client, url, params, most))
        except httpx2.HTTPError as error:
            failure = Failed(f"{type(error).__name__}: {one_line(error)}")
        except Failed as error:
            failure = error
        if failure.final or attempt == ATTEMPTS - 1:
            break
        pause(max(failure.wait, BACKOFF * 2**attempt * random.uniform(0.5, 1.5)))
    raise failure


def _body(client, url, params, most):
    with client.stream("GET", url, params=params) as response:
        if (status := response.status_code) != 200:
            may_pass, wait = status in (408, 429) or status >= 500, retry_after(response.headers)
            if may_pass and wait > LONGEST_WAIT:
                raise SpecdataError(f"{url}: the server asks to wait at least {wait:.0f} s; try again after that")
            raise Failed(f"HTTP {status} {response.reason_phrase}".strip(), final=not may_pass, wait=wait)
        begin, body = time.monotonic(), bytearray()
        for part in response.iter_bytes():
            body += part
            if len(body) > most:
                raise Failed(f"it has more than {most:,} bytes", final=True)
            if time.monotonic() - begin > DEADLINE:
                raise Failed(f"{len(body)} bytes in {DEADLINE:g} s is too slow")
    return bytes(body)


def download(files, check, *, connections=8, arrived=0) -> dict:
    """Download files, each under a temporary name until it is complete and has passed a check.

    What failed in a way that may pass is tried again after all the others. An archive or a network that is down is no
    reason to give up files: if the front page of the server does not answer either, the download ends with an error.
    Whatever ends it, Ctrl-C included, ends it at once, and what is complete by then stays.

    Parameters
    ----------
    files : dict of object to (str, Path)
        For each file, named by any key, its address and where to put it.
    check : callable
        Called as ``check(key, path)`` with the temporary file; raises `Failed` if it is not the right one. Calls come
        from several threads, one at a time.
    connections : int
        How many files are downloaded at the same time.
    arrived : int
        How many files of the same archive are there already; they count as not failed.

    Returns
    -------
    dict of object to str
        Why the files with these keys could not be downloaded.

    Raises
    ------
    SpecdataError
        If the share `MOST_FAILED` fails, the server is down or asks for a wait of more than `LONGEST_WAIT`, or nothing
        can be written.
    """
    if not files:
        return {}
    stopped, writing = threading.Event(), threading.Lock()

    def bring(key):
        url, path = files[key]

        def store(body):
            with writing:
                if not stopped.is_set():
                    with new_file(path) as partial:
                        partial.write_bytes(body)
                        check(key, partial)

        try:
            get(client, url, store, pause=stopped.wait, most=LARGEST_FILE)
        except Failed as error:
            return key, error
        return key, None

    failed, todo = {}, list(files)
    # Threads of a ThreadPool end with the program, whatever they wait for; it would wait for those of an executor.
    client, pool = open_client(connections, STALL), ThreadPool(connections)
    try:
        for _ in range(2):
            failed = {key: error for key, error in failed.items() if error.final}
            for key, error in pool.imap_unordered(bring, todo):
                if error is None:
                    arrived += 1
                    continue
                failed[key] = error
                if len(failed) >= max(FEWEST_FAILED, MOST_FAILED * (arrived + len(failed))):
                    count = f"{len(failed)} of {arrived + len(failed)} files failed"
                    mend = "check data release and address" if error.final else "try again later"
                    raise SpecdataError(f"{files[key][0]}: {error}; {count}; {mend}")
            todo = [key for key, error in failed.items() if not error.final]
            if todo and not _answers(client, files[todo[0]][0]):
                url, error = files[todo[0]][0], failed[todo[0]]
                raise SpecdataError(f"{url}: the archive cannot be reached ({error}); try again later")
    finally:
        stopped.set()
        with writing:  # the file that is being written appears, and no other is begun
            pool.terminate()
        # A thread may still wait for an answer, which is not waited for here, and needs the client until then.
        threading.Thread(target=lambda: (pool.join(), client.close()), daemon=True).start()
    return {key: str(error) for key, error in failed.items()}


def _answers(client, url):
    """Whether the front page of a server comes, or an answer that says no more than that there is none."""
    try:
        _body(client, str(httpx2.URL(url).join("/")), None, LARGEST_PAGE)
    except Failed as error:
        return error.final
    except httpx2.HTTPError:
        return False
    return True
