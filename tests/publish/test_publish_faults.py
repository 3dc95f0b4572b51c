"""Publishing over a bad line, twice at once, and killed in the middle: all of it is there in the end, or none."""

import shutil
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from hub_client import check_full_disk, hub_environment, use_hub
from hub_server import Fault, running_hub
from small_recipe import TWELVE

from specdata import SpecdataError
from specdata.dataset.build import build
from specdata.dataset.recipe import DataRecipe
from specdata.publish.publish import publish_dataset

SPECDATA = Path(sys.executable).with_name("specdata")
EMPTY = {".gitattributes"}


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
    for fault in hub.faults:
        fault.go.set()
    hub.faults.clear()


@pytest.fixture
def waited(monkeypatch):
    """Let client and publisher try again at once; the seconds that they would have waited."""
    seconds = []
    clock = types.SimpleNamespace(time=time.time, sleep=seconds.append)
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock)
    monkeypatch.setattr("specdata.publish.commit.time", clock)
    return seconds


def commits(hub, name):
    """Number of commits that changed a repository, each state of which has to hold all files or none."""
    states = [set(commit.files) for commit in hub.repo("dataset", name).history()]
    assert states[-1] == EMPTY
    assert len({frozenset(files) for files in states[:-1]}) <= 1
    return len(states) - 1


def with_a_change(data, folder, text):
    """A copy of a data set with another list of rejected spectra."""
    shutil.copytree(data, folder)
    (folder / "rejected.csv").write_text(text)
    return folder


@pytest.mark.parametrize("way", ["lfs", "xet"])
def test_every_way_up_gives_the_same_bytes(hub, mock_data, monkeypatch, way):
    from huggingface_hub import hf_hub_download

    use_hub(hub, monkeypatch, hub.tokens["alice"], xet=way == "xet")
    forget(hub)
    hub.received.clear()
    name = f"org/mock-{way}"
    publish_dataset(mock_data, name)
    assert bool(hub.received) == (way != "xet")
    largest = max(mock_data.glob("spectra/*.parquet"), key=lambda path: path.stat().st_size)
    path = f"spectra/{largest.name}"
    entry = hub.repo("dataset", name).resolve("main").files[path]
    assert bool(entry.xet) == (way == "xet")
    found = hf_hub_download(name, path, repo_type="dataset")
    assert Path(found).read_bytes() == largest.read_bytes() == hub.bytes_of("dataset", name, path)


def test_a_line_that_breaks_and_a_busy_hub_are_got_over(alice, mock_data, waited):
    forget(alice)
    alice.faults += [
        Fault("PUT /lfs/", "cut", times=2, after=5000),
        Fault("POST .*/preupload/", 429, retry_after=7),
        Fault("POST .*/commit/main", 429, retry_after=9),
        Fault("POST .*/commit/main", 500),
        Fault("POST .*objects/batch", 503),
        Fault("POST .*/commit/main", "lost"),  # only the answer
    ]
    done = publish_dataset(mock_data, "org/mock-bad-line")
    assert not any(fault.times for fault in alice.faults)
    assert commits(alice, "org/mock-bad-line") == 1
    assert alice.repo("dataset", "org/mock-bad-line").tags == {done.tags[0]: done.commit}
    assert {8, 9} <= set(waited)  # the client adds a second


def test_an_upload_that_broke_off_goes_on(alice, mock_data, waited):
    forget(alice)
    alice.faults.append(Fault("PUT /lfs/", "cut", times=100, after=60_000))  # the small files arrive
    alice.received.clear()
    with pytest.raises(SpecdataError, match=r"the upload stopped \(.*\), and nothing of it is visible; give the same"):
        publish_dataset(mock_data, "org/mock-broken")
    repo = alice.repo("dataset", "org/mock-broken")
    assert set(repo.resolve("main").files) == EMPTY
    assert not repo.tags
    arrived = {oid: n for oid, n in alice.received.items() if alice.storage.object(oid).is_file()}
    assert arrived
    alice.faults.clear()
    done = publish_dataset(mock_data, "org/mock-broken")
    assert commits(alice, "org/mock-broken") == 1
    assert repo.tags == {done.tags[0]: done.commit}
    assert {oid: alice.received[oid] for oid in arrived} == arrived  # not sent again


def test_a_hub_that_stays_broken_is_told_in_a_sentence(alice, mock_data, waited):
    for fault, sentence in (
        (
            Fault("POST .*/commit/main", 500, times=100),
            r"org/mock-down: the Hub answers 500 \(it is broken today\); gi",
        ),
        (Fault("GET .*/auth-check", 429, retry_after=12), r"answers 429 .*; give the same command again in 12 s"),
        (Fault("POST .*/commit/main", 429, retry_after=7200), r"answers 429 .*; give the same command again in 7200 s"),
    ):
        alice.faults[:] = [fault]
        with pytest.raises(SpecdataError, match=sentence):
            publish_dataset(mock_data, "org/mock-down")
    assert 7200 not in waited  # two hours are not waited for


@pytest.fixture
def impatient(alice, monkeypatch):
    """The client of the Hub gives up after 0.3 s without an answer, and says at once that it waits."""
    from huggingface_hub import close_session

    monkeypatch.setattr("specdata.hub.ANSWER", 0.3)
    monkeypatch.setattr("specdata.hub.QUIET", 0.0)
    close_session()  # of a client that waits longer
    yield
    close_session()


@pytest.mark.parametrize(
    "download",
    [
        "local_folder('org/mock-silent', 'dataset')",
        "load_tokenizer('org/silent')",
        "write_replay('org/silent', 'out', tokenizer='smollm2-135m')",
    ],
)
def test_a_hub_that_gives_nothing_is_not_waited_for(alice, impatient, monkeypatch, waited, capsys, download, tmp_path):
    from specdata.hub import local_folder
    from specdata.text.tokenizer import load_tokenizer
    from specdata.training.replay import write_replay

    monkeypatch.chdir(tmp_path)
    alice.faults.append(Fault("/api/", "held", times=1000))
    with pytest.raises(SpecdataError, match=r"(not reached|no download from the Hub) \(.*(timed out|internet).*\)"):
        eval(download, {f.__name__: f for f in (local_folder, load_tokenizer, write_replay)})
    assert "specdata: no answer from 127.0.0.1 yet" in capsys.readouterr().err


@pytest.mark.parametrize("request_", ["GET .*/whoami-v2", "PUT /lfs/", "POST .*/commit/main"])
def test_a_hub_that_does_not_answer_is_not_waited_for(alice, impatient, mock_data, waited, capsys, request_):
    forget(alice)
    alice.faults.append(Fault(request_, "held", times=1000))
    with pytest.raises(SpecdataError, match=r"(the Hub was not reached|the upload stopped) \(.*timed out\)"):
        publish_dataset(mock_data, "org/mock-silent")
    assert waited == [] or request_.startswith("P")
    assert "specdata: no answer from 127.0.0.1 yet" in capsys.readouterr().err
    if ("dataset", "org/mock-silent") in alice.storage.repos:
        assert set(alice.repo("dataset", "org/mock-silent").resolve("main").files) == EMPTY


@pytest.mark.parametrize(
    "request_",
    ["GET .*/whoami-v2", "GET .*/auth-check/write", "GET .*/refs", "POST .*/preupload/", "POST .*/commit/main"],
)
def test_a_page_in_place_of_an_answer_is_no_answer(alice, mock_data, waited, request_):
    """As of a network that wants a login first: everything has the status 200."""
    alice.faults.append(Fault(request_, "page", times=100))
    sentence = r"what answers is not the Hub \(a web page came in place of the answer\); log in to your network"
    with pytest.raises(SpecdataError, match=sentence) as found:
        publish_dataset(mock_data, "org/mock-page")
    assert "\n" not in str(found.value)
    assert waited == []


@pytest.mark.parametrize("request_", ["GET .*/whoami-v2", "GET .*/refs", "POST .*/preupload/", "POST .*/commit/main"])
def test_json_of_another_kind_is_no_answer(alice, mock_data, waited, request_):
    alice.faults.append(Fault(request_, "list", times=100))
    with pytest.raises(SpecdataError, match=r"what answers is not the Hub \(.*\); log in to your network"):
        publish_dataset(mock_data, "org/mock-list")
    assert waited == []


def test_a_commit_that_leaves_something_out_is_told_and_gets_no_tag(alice, mock_data):
    alice.put("dataset", "org/mock-ignored", {".gitattributes": b"", ".gitignore": b"*.csv", "manifest.json": b"{}"})
    with pytest.raises(SpecdataError, match=r"commit \w{7} lacks rejected.csv; remove the .gitignore"):
        publish_dataset(mock_data, "org/mock-ignored")
    assert not alice.repo("dataset", "org/mock-ignored").tags


def test_a_commit_without_its_tag_gets_it_the_next_time(alice, mock_data):
    alice.faults.append(Fault("POST .*/tag/", 500))
    with pytest.raises(SpecdataError, match="the Hub answers 500"):
        publish_dataset(mock_data, "org/mock-tagless")
    done = publish_dataset(mock_data, "org/mock-tagless")
    assert not done.is_new
    assert commits(alice, "org/mock-tagless") == 1
    assert alice.repo("dataset", "org/mock-tagless").tags == {done.tags[0]: done.commit}


def test_of_two_that_publish_at_once_the_second_is_told(alice, mock_data, tmp_path):
    publish_dataset(mock_data, "org/mock-raced")
    repo = alice.repo("dataset", "org/mock-raced")
    bob = alice.storage.users[alice.tokens["bob"]]
    (other := alice.storage.blob(b"bob was here"))

    def bob_commits(_):
        alice.storage.commit(repo, "main", {"README.md": other}, [], "bob", "", bob)

    changed = with_a_change(mock_data, tmp_path / "raced", "more\n")
    with pytest.raises(SpecdataError, match=r"somebody else published there meanwhile, and nothing of yours was mixed"):
        publish_dataset(changed, "org/mock-raced", tag="v2", show=bob_commits)
    assert repo.history()[0].author == "bob"
    assert "v2" not in repo.tags
    assert publish_dataset(changed, "org/mock-raced", tag="v2").is_new  # on top, knowingly


def test_the_same_from_two_at_once_is_one_commit(alice, mock_data):
    inner = []

    def publish_meanwhile(_):
        if not inner:
            inner.append(None)
            inner[0] = publish_dataset(mock_data, "org/mock-twins")

    outer = publish_dataset(mock_data, "org/mock-twins", show=publish_meanwhile)
    assert outer.commit == inner[0].commit
    assert commits(alice, "org/mock-twins") == 1


@pytest.mark.slow
def test_two_processes_that_publish_different_things(hub, mock_data, tmp_path):
    """Both have sent everything when the first may commit: each state is one of theirs, and whoever lost was told."""
    hub.faults.append(held := Fault("POST .*/commit/main", "held", times=2))
    running = {}
    for user in ("alice", "bob"):
        data = with_a_change(mock_data, tmp_path / user, f"by {user}\n")
        environment = hub_environment(hub, hub.tokens[user], tmp_path / f"home-{user}", xet=False)
        command = [SPECDATA, "publish", "dataset", data, "--repo", "org/mock-both", "--tag", f"by-{user}"]
        running[user] = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert all(held.arrived.acquire(timeout=300) for _ in running)
    held.go.set()
    ends = {user: (process.communicate()[1], process.returncode) for user, process in running.items()}
    won, lost = sorted(ends, key=lambda user: ends[user][1])
    assert (ends[won][1], ends[lost][1]) == (0, 2), ends
    assert "somebody else published there meanwhile" in ends[lost][0].splitlines()[-1]
    assert commits(hub, "org/mock-both") == 1
    assert hub.repo("dataset", "org/mock-both").tags.keys() >= {f"by-{won}"}
    assert f"by-{lost}" not in hub.repo("dataset", "org/mock-both").tags
    assert hub.bytes_of("dataset", "org/mock-both", "rejected.csv").decode() == f"by {won}\n"


@pytest.mark.parametrize("every", [pytest.param(4, marks=pytest.mark.slow), 9], ids=["some", "few"])
def test_killed_before_any_request_it_goes_on(script, alice, tmp_path, every):
    build(DataRecipe.model_validate(TWELVE), tmp_path / "data", progress=False)
    assert script("kills").try_requests(tmp_path / "data", alice, every=every) > 12 / every


def test_a_full_disk_is_told_and_nothing_of_it_is_visible(alice, mock_data, monkeypatch, command):
    line = ["publish", "dataset", mock_data, "--repo", "org/mock-full"]
    for place in ("dataset_card", "read_repository", None):
        check_full_disk(place, monkeypatch, command, line)
    assert command(*line)[0] == 0
    assert commits(alice, line[-1]) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "request_"),
    [
        *(
            (signal.SIGINT, request)
            for request in ("GET .*/whoami-v2", "GET .*/auth-check", "PUT /lfs/", "POST .*/commit/main")
        ),
        (signal.SIGTERM, "PUT /lfs/"),  # which is the same from the first line of a command on
    ],
)
def test_a_signal_ends_it_in_a_sentence(hub, mock_data, tmp_path, stop, request_):
    """Also where it waits for the Hub, which never answers."""
    forget(hub)
    environment = hub_environment(hub, hub.tokens["alice"], tmp_path / "home", xet=False)
    command = [SPECDATA, "publish", "dataset", mock_data, "--repo", f"org/mock-signal-{stop}"]
    hub.faults.append(held := Fault(request_, "held", times=1000))
    options = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env=environment, **options)
    assert held.arrived.acquire(timeout=300)
    process.send_signal(stop)
    said = process.communicate(timeout=300)[1]
    assert (process.returncode, "Traceback" in said) == (130, False)
    assert said.splitlines()[-1] == "specdata: interrupted; nothing is half written, give the same command again"


@pytest.mark.slow
@pytest.mark.parametrize("way", ["lfs", "xet"])
def test_killed_in_the_middle_it_goes_on(hub, mock_data, tmp_path, way):
    forget(hub)
    name = f"org/mock-killed-{way}"
    environment = hub_environment(hub, hub.tokens["alice"], tmp_path / "home", xet=way == "xet")
    command = [SPECDATA, "publish", "dataset", mock_data, "--repo", name]
    # The pieces of xet go into a folder; the request that comes before them is held.
    hub.faults.append(held := Fault("PUT /lfs/" if way == "lfs" else "GET .*xet-write-token", "held", times=1000))
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert held.arrived.acquire(timeout=300)
    process.kill()
    process.wait()
    hub.faults.clear()
    held.go.set()
    assert set(hub.repo("dataset", name).resolve("main").files) == EMPTY
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "published  http" in done.stdout
    assert commits(hub, name) == 1
