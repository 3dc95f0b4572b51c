"""Downloads over real HTTP: every way a server may answer, when to go on, and when to stop."""

import errno
import itertools
import os
import re
import signal
import threading

import pytest
from archive_server import Archive

from specdata.archive import download
from specdata.archive.download import Failed, check_address, get, open_client
from specdata.errors import SpecdataError


@pytest.fixture
def server():
    """An archive of a hundred files of 3,000 bytes, `00` to `99`."""
    with Archive() as archive:
        archive.files = {f"{i:02d}": lambda i=i: b"%02d" % i * 1500 for i in range(100)}
        yield archive


def bring(server, folder, names, **options):
    """Download files by name; all that is in the folder then is whole."""

    def check(name, path):
        if path.read_bytes() != server.files[name]():
            raise Failed("another file")

    try:
        return download.download({name: (f"{server.sas}/{name}", folder / name) for name in names}, check, **options)
    finally:
        assert all(path.read_bytes() == server.files[path.name]() for path in folder.iterdir())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("wrong", "another file"), ("html", "another file"), ("truncated", "RemoteProtocolError: .*"),
        ("stall", "ReadTimeout: .*"), ("trickle", r"\d+ bytes in 1 s is too slow"),
        ("reset", "(ReadError|RemoteProtocolError).*"), ("503", "HTTP 503 Service Unavailable"),
        ("404", "HTTP 404 Not Found"),
    ],
)  # fmt: skip
def test_every_way_to_send_no_file(server, tmp_path, monkeypatch, fault, said):
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    server.fault = lambda path, attempt: fault
    failed = bring(server, tmp_path, ["07"])
    assert failed.keys() == {"07"}
    assert re.fullmatch(said, failed["07"])
    assert server.attempts["07"] == (1 if fault == "404" else 4)  # twice, and twice more after the others


def test_between_two_attempts_the_wait_is_ours_or_the_longer_one_of_the_server(server, monkeypatch):
    monkeypatch.setattr(download, "BACKOFF", 2.0)
    waits, server.retry_after = [], "100"
    server.fault = lambda path, attempt: ["503", "429", "reset", "moved", None, None][attempt]

    def take(body):
        if len(waits) < 4:
            raise Failed("another file")
        return len(body)

    with open_client(1, 5) as client:
        assert get(client, f"{server.sas}/42", take, pause=waits.append) == 3000
    assert waits[:2] == [100, 100]
    assert 4 <= waits[2] <= 12
    assert 8 <= waits[3] <= 24


def test_a_server_that_asks_for_a_long_wait_is_left_in_peace(server, tmp_path):
    server.retry_after = "7200"
    server.fault = lambda path, attempt: {"04": "404", "05": "503"}.get(path)
    with pytest.raises(SpecdataError, match=r"/05: the server asks to wait at least 7200 s; try again after"):
        bring(server, tmp_path, server.files)
    assert server.attempts["05"] == 1


def test_a_body_has_a_largest_size(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST_FILE", 2999)
    assert bring(server, tmp_path, ["01"]) == {"01": "it has more than 2,999 bytes"}


def test_a_front_page_without_an_end_is_read_up_to_a_limit(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "ATTEMPTS", 1)
    monkeypatch.setattr(download, "LARGEST_PAGE", 1000)
    limits, read = [], download._body
    monkeypatch.setattr(download, "_body", lambda *words: limits.append(words[-1]) or read(*words))
    server.fault = lambda path, attempt: "503"
    assert bring(server, tmp_path, ["01"]) == {"01": "HTTP 503 Service Unavailable"}
    assert limits == [download.LARGEST_FILE, 1000, download.LARGEST_FILE, 1000][: len(limits)]


def test_a_full_disk_is_one_sentence_leaves_whole_files_and_the_rest_comes_later(server, tmp_path, monkeypatch):
    written = itertools.count()

    def fills_up(descriptor):
        if next(written) >= 7:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fills_up)
        with pytest.raises(SpecdataError, match=r"cannot be written \(No space left on device\); make room"):
            bring(server, tmp_path, list(server.files))
    assert len(list(tmp_path.iterdir())) == 7
    assert bring(server, tmp_path, list(server.files)) == {}


def test_connections_are_limited(server, tmp_path):
    together = threading.Barrier(4, timeout=60)  # lets a request through when four are under way
    server.fault = lambda path, attempt: together.wait() and None
    assert bring(server, tmp_path, list(server.files), connections=4) == {}
    assert server.busiest == 4


@pytest.mark.parametrize(("fault", "mend"), [("404", "check data release and address"), ("503", "try again later")])
def test_it_stops_when_half_of_the_files_fail(server, tmp_path, fault, mend):
    names = sorted(server.files)
    server.fault = lambda path, attempt: fault if path < "30" else None
    with pytest.raises(SpecdataError, match=rf"HTTP {fault} .*; 2\d of \d\d files failed; {mend}"):
        bring(server, tmp_path, names, connections=1)
    # but not where more are there already
    assert len(bring(server, tmp_path, names, arrived=40)) == 30
    assert len(list(tmp_path.iterdir())) == 70


@pytest.mark.parametrize("fault", ["503", "429", "reset", "stall", "truncated"])
def test_an_outage_gives_up_no_file(server, tmp_path, monkeypatch, fault):
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    server.fault, server.down = lambda path, attempt: fault if path in ("/", "98", "99") else None, True
    with pytest.raises(SpecdataError, match=r"/9[89]: the archive cannot be reached \(.*\); try again later"):
        bring(server, tmp_path, server.files)
    # A short outage, in which both attempts fail, is over when the file has its turn again after the others.
    server.fault, server.down = lambda path, attempt: fault if attempt < 4 else None, False
    assert bring(server, tmp_path, ["98", "99"]) == {}
    server.sas = "http://127.0.0.1:9"  # where nobody answers
    with pytest.raises(SpecdataError, match=r"/00: the archive cannot be reached \(ConnectError: .*\)"):
        bring(server, tmp_path, ["00"])


def test_ctrl_c_ends_it_at_once(server, tmp_path):
    forever = threading.Event()

    def fault(path, attempt):
        if path >= "50":
            if path == "57":  # the other seven connections wait for their answers, too
                os.kill(os.getpid(), signal.SIGINT)
            forever.wait()

    server.fault = fault
    try:
        with pytest.raises(KeyboardInterrupt):
            bring(server, tmp_path, sorted(server.files))
        assert server.active >= 1  # nobody waited for the answers
    finally:
        forever.set()
    server.fault = lambda path, attempt: None
    assert bring(server, tmp_path, server.files) == {}


def test_what_is_not_a_web_address():
    for url in ("data.sdss.org", "", "ftp://data.sdss.org", "http:///sas", "https://[", "http://a b"):
        with pytest.raises(SpecdataError, match="is not a web address; give one such as X"):
            check_address(url, "X")
    assert check_address("http://127.0.0.1:80/sas/", "X") == "http://127.0.0.1:80/sas"
