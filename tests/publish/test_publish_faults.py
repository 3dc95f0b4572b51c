"""Publishing over a bad line, twice at once, and killed in the middle: all of it is there in the end, or none."""

import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from hub_client import hub_environment, use_hub
from hub_server import Fault, running_hub

from specdata import SpecdataError
from specdata.publish.publish import publish_dataset

SPECDATA = Path(sys.executable).with_name("specdata")
SHORT = {".gitattributes"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A Hub of its own, whose large files may get lost."""
    with running_hub(tmp_path_factory.mktemp("faulty") / "hub") as running:
        yield running


def forget(hub):
    """Lose the large files that arrived, so that they have to be sent again."""
    for path in hub.storage.folder.glob("objects/*"):
        path.unlink()


@pytest.fixture(autouse=True)
def no_faults_left(hub):
    yield
    hub.faults.clear()


@pytest.fixture
def impatient(monkeypatch):
    """Let client and publisher try again without a wait; the seconds that they would have waited."""
    waited = []
    clock = types.SimpleNamespace(time=time.time, sleep=waited.append)
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock)
    monkeypatch.setattr("specdata.publish.commit.time", clock)
    return waited


def whole(hub, name):
    """Every state of a repository holds all files or none of them; the number of commits that changed it."""
    sizes = [set(commit.files) for commit in hub.repo("dataset", name).history()]
    assert sizes[-1] == SHORT
    assert len({frozenset(files) for files in sizes[:-1]}) <= 1
    return len(sizes) - 1


@pytest.mark.parametrize("way", ["lfs", "multipart", "xet"])
def test_every_way_up_gives_the_same_bytes(hub, mock_data, monkeypatch, way):
    from huggingface_hub import hf_hub_download

    use_hub(hub, monkeypatch, hub.tokens["alice"], xet=way == "xet")
    monkeypatch.setattr(hub, "multipart", way == "multipart")
    forget(hub)
    hub.received.clear()
    name = f"org/mock-{way}"
    publish_dataset(mock_data, name)
    assert bool(hub.received) == (way != "xet")
    largest = max(mock_data.glob("spectra/*.parquet"), key=lambda path: path.stat().st_size)
    path = f"spectra/{largest.name}"
    entry = hub.repo("dataset", name).resolve("main").files[path]
    assert bool(entry.xet) == (way == "xet")
    if way == "multipart":
        assert any(line.startswith(f"POST /lfs/{entry.sha256}/complete") for line, _ in hub.requests)
    found = hf_hub_download(name, path, repo_type="dataset")
    assert Path(found).read_bytes() == largest.read_bytes() == hub.bytes_of("dataset", name, path)


def test_a_line_that_breaks_and_a_busy_hub_are_got_over(alice, mock_data, impatient):
    forget(alice)
    alice.faults += [
        Fault("PUT /lfs/", "cut", times=2, after=5000),
        Fault("POST .*/preupload/", 429, retry_after=7),
        Fault("POST .*/commit/main", 429, retry_after=9),
        Fault("POST .*/commit/main", 500),
        Fault("POST .*objects/batch", 503),
    ]
    publish_dataset(mock_data, "org/mock-bad-line")
    assert not any(fault.times for fault in alice.faults)
    assert whole(alice, "org/mock-bad-line") == 1
    assert 7 <= max(impatient) <= 10
    assert 9 in impatient


def test_an_upload_that_broke_off_goes_on(alice, mock_data, impatient):
    forget(alice)
    alice.faults.append(Fault("PUT /lfs/", "cut", times=100, after=60_000))  # the small files arrive
    alice.received.clear()
    with pytest.raises(SpecdataError, match=r"the upload stopped \(.*\), and nothing of it is visible; give the same"):
        publish_dataset(mock_data, "org/mock-broken")
    repo = alice.repo("dataset", "org/mock-broken")
    assert set(repo.resolve("main").files) == SHORT
    assert not repo.tags
    arrived = {oid: n for oid, n in alice.received.items() if alice.storage.object(oid).is_file()}
    assert arrived
    alice.faults.clear()
    done = publish_dataset(mock_data, "org/mock-broken")
    assert whole(alice, "org/mock-broken") == 1
    assert repo.tags == {done.tag: done.commit}
    assert {oid: alice.received[oid] for oid in arrived} == arrived  # not sent again


def test_the_answer_to_a_commit_is_lost(alice, mock_data, impatient):
    alice.faults.append(Fault("POST .*/commit/main", "lost"))
    done = publish_dataset(mock_data, "org/mock-lost")
    assert whole(alice, "org/mock-lost") == 1
    assert alice.repo("dataset", "org/mock-lost").tags == {done.tag: done.commit}


def test_a_hub_that_stays_broken_is_said_in_a_sentence(alice, mock_data, impatient):
    alice.faults.append(Fault("POST .*/commit/main", 500, times=100))
    with pytest.raises(
        SpecdataError, match=r"org/mock-down: the Hub answers 500 \(it is broken today\); give the same"
    ):
        publish_dataset(mock_data, "org/mock-down")
    alice.faults[:] = [Fault("GET .*/auth-check", 429, retry_after=12, times=1)]
    with pytest.raises(SpecdataError, match=r"answers 429 .*; give the same command again in 12 s"):
        publish_dataset(mock_data, "org/mock-down")
    impatient.clear()
    alice.faults[:] = [Fault("POST .*/commit/main", 429, retry_after=7200)]
    with pytest.raises(SpecdataError, match=r"answers 429 .*; give the same command again in 7200 s"):
        publish_dataset(mock_data, "org/mock-down")
    assert 7200 not in impatient  # two hours are not waited for


def test_a_commit_that_leaves_something_out_is_told_and_gets_no_tag(alice, mock_data):
    alice.put("dataset", "org/mock-ignored", {".gitattributes": b"", "README.md": b"hello"})
    repo = alice.repo("dataset", "org/mock-ignored")
    alice.storage.commit(repo, "main", {".gitignore": alice.storage.blob(b"*.csv")}, [], "by hand", "", None)
    with pytest.raises(SpecdataError, match=r"holds .gitignore and no manifest.json"):
        publish_dataset(mock_data, "org/mock-ignored")
    entries = {"manifest.json": alice.storage.blob(b"{}")}
    alice.storage.commit(repo, "main", entries, [], "by hand", "", None)
    with pytest.raises(SpecdataError, match=r"is not what was sent, for rejected.csv is not as it is here; look for a"):
        publish_dataset(mock_data, "org/mock-ignored")
    assert not repo.tags


def test_without_its_tag_a_commit_gets_it_the_next_time(alice, mock_data):
    alice.faults.append(Fault("POST .*/tag/", 500))
    with pytest.raises(SpecdataError, match="the Hub answers 500"):
        publish_dataset(mock_data, "org/mock-tagless")
    done = publish_dataset(mock_data, "org/mock-tagless")
    assert not done.made
    assert whole(alice, "org/mock-tagless") == 1
    assert alice.repo("dataset", "org/mock-tagless").tags == {done.tag: done.commit}


def test_of_two_that_publish_at_once_the_second_is_told(alice, mock_data):
    publish_dataset(mock_data, "org/mock-raced")
    repo = alice.repo("dataset", "org/mock-raced")
    bob = alice.storage.users[alice.tokens["bob"]]
    (other := alice.storage.blob(b"bob was here"))

    def bob_commits(_):
        alice.storage.commit(repo, "main", {"README.md": other}, [], "bob", "", bob)

    (changed := mock_data.parent / "raced").mkdir()
    for path in mock_data.iterdir():
        (changed / path.name).symlink_to(path)
    (changed / "README.md").unlink()
    (changed / "README.md").write_text((mock_data / "README.md").read_text() + "\nAnd more.\n")
    with pytest.raises(
        SpecdataError, match=r"somebody else published there meanwhile \(commit \w{7}\), and nothing of"
    ):
        publish_dataset(changed, "org/mock-raced", tag="v2", show=bob_commits)
    assert repo.history()[0].author == "bob"
    assert "v2" not in repo.tags
    assert publish_dataset(changed, "org/mock-raced", tag="v2").made  # on top, knowingly


def test_the_same_from_two_at_once_is_one_commit(alice, mock_data):
    inner = []

    def publish_meanwhile(_):
        if not inner:
            inner.append(None)
            inner[0] = publish_dataset(mock_data, "org/mock-twins")

    outer = publish_dataset(mock_data, "org/mock-twins", show=publish_meanwhile)
    assert outer.commit == inner[0].commit
    assert whole(alice, "org/mock-twins") == 1


def test_two_processes_that_publish_different_things(hub, mock_data, tmp_path):
    """On a slow disk, so that they meet: each state is one of theirs, and whoever lost was told."""
    forget(hub)
    hub.faults.append(Fault("PUT /lfs/", "slow", times=1000, pause=0.1))
    running = {}
    for user in ("alice", "bob"):
        data = tmp_path / user
        data.mkdir()
        for path in mock_data.iterdir():
            if path.name != "README.md":
                (data / path.name).symlink_to(path)
        (data / "README.md").write_text((mock_data / "README.md").read_text() + f"\nBy {user}.\n")
        environment = hub_environment(hub, hub.tokens[user], tmp_path / f"home-{user}", xet=False)
        command = [SPECDATA, "publish", "dataset", data, "--repo", "org/mock-both", "--tag", f"by-{user}"]
        running[user] = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    ends = {user: (process.communicate()[1], process.returncode) for user, process in running.items()}
    won, lost = sorted(ends, key=lambda user: ends[user][1])
    assert (ends[won][1], ends[lost][1]) == (0, 2), ends
    assert "somebody else published there meanwhile" in ends[lost][0].splitlines()[-1]
    assert whole(hub, "org/mock-both") == 1
    assert list(hub.repo("dataset", "org/mock-both").tags) == [f"by-{won}"]
    assert f"By {won}." in hub.bytes_of("dataset", "org/mock-both", "README.md").decode()


@pytest.mark.parametrize("way", ["lfs", "xet"])
def test_killed_in_the_middle_it_goes_on(hub, mock_data, tmp_path, way):
    forget(hub)
    name = f"org/mock-killed-{way}"
    environment = hub_environment(hub, hub.tokens["alice"], tmp_path / "home", xet=way == "xet")
    command = [SPECDATA, "publish", "dataset", mock_data, "--repo", name]
    # Of xet the pieces go into a folder; what can be slow is the request for its name.
    slow = Fault("PUT /lfs/" if way == "lfs" else "GET .*xet-write-token", "slow", times=1000, pause=3.0)
    hub.faults.append(slow)
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        while slow.times == 1000:
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.02)
        time.sleep(0.3)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    hub.faults.clear()
    time.sleep(0.1)
    assert set(hub.repo("dataset", name).resolve("main").files) == SHORT
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "published  http" in done.stdout
    assert whole(hub, name) == 1
