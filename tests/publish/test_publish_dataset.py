"""Data sets on the test Hub: what goes up, exactly once, in one commit, under a tag; and what is refused."""

import json
import shutil

import pytest

from specdata import SpecdataError
from specdata.publish.publish import publish_dataset

REPO = "org/mock-tiny"


@pytest.fixture
def data(mock_data, tmp_path):
    """A copy of a data set that a test may spoil."""
    return shutil.copytree(mock_data, tmp_path / "data")


def repository(hub, name):
    return hub.repo("dataset", name)


def test_what_goes_up_is_the_folder_with_its_names(alice, data):
    (data / "notes.txt").write_text("call the referee")
    shown = []
    done = publish_dataset(data, "org/mock-whole", show=shown.append)
    manifest = json.loads((data / "manifest.json").read_text())
    repo = repository(alice, "org/mock-whole")
    files = repo.resolve("main").files
    wanted = {*manifest["files"], "README.md", "manifest.json", "rejected.csv", ".gitattributes"}
    assert set(files) == wanted | {f"figures/{path.name}" for path in data.glob("figures/*")}
    assert "figures/examples.png" in files
    assert done.left_out == ["notes.txt"]
    assert shown[0].left_out == ["notes.txt"]
    for name in {*manifest["files"], "manifest.json"}:
        assert alice.bytes_of("dataset", "org/mock-whole", name) == (data / name).read_bytes()
    # One commit on top of the one with which the Hub makes a repository, and a tag on it.
    assert [commit.author for commit in repo.history()] == ["alice", "alice"]
    assert repo.history()[0].title == f"mock-tiny: 60 spectra, revision {manifest['revision'][:12]}"
    assert repo.tags == {f"data-{manifest['revision'][:12]}": done.commit} == {done.tag: repo.branches["main"]}
    card = alice.bytes_of("dataset", "org/mock-whole", "README.md").decode()
    assert f'load_dataset("org/mock-whole", "paper", revision="{done.tag}")' in card
    assert 'load_dataset("mock-tiny"' not in card


def test_the_same_again_is_no_commit_and_a_changed_card_is_one_file(alice, data):
    first = publish_dataset(data, "org/mock-again")
    again = publish_dataset(data, "org/mock-again")
    repo = repository(alice, "org/mock-again")
    assert not again.made
    assert again.commit == first.commit
    assert len(repo.history()) == 2
    readme = (data / "README.md").read_text()
    (data / "README.md").write_text(readme.replace("## The text", "Made for a test.\n\n## The text"))
    third = publish_dataset(data, "org/mock-again", tag="v1.0")
    assert [upload.path for upload in third.changes.changed] == ["README.md"]
    assert not third.changes.added
    before, after = (repo.resolve(commit).files for commit in (first.commit, third.commit))
    assert {path for path in after if after[path] != before.get(path)} == {"README.md"}
    assert repo.tags == {first.tag: first.commit, "v1.0": third.commit}
    (data / "README.md").write_text(readme)
    with pytest.raises(SpecdataError, match=r"the tag v1.0 is there already and names commit"):
        publish_dataset(data, "org/mock-again", tag="v1.0")
    assert repo.branches["main"] == third.commit


def test_what_a_later_state_has_not_is_taken_away_and_other_files_stay(alice, data):
    publish_dataset(data, "org/mock-stale")
    repo = repository(alice, "org/mock-stale")
    extra = {"LICENSE": b"public", "paper/train-00009-of-00010.parquet": b"old", "figures/old.png": b"old"}
    added = {path: alice.storage.blob(content) for path, content in extra.items()}
    alice.storage.commit(repo, "main", added, [], "by hand", "", None)
    done = publish_dataset(data, "org/mock-stale")
    assert sorted(done.changes.removed) == ["figures/old.png", "paper/train-00009-of-00010.parquet"]
    assert "LICENSE" in repo.resolve("main").files
    assert "paper/train-00009-of-00010.parquet" not in repo.resolve("main").files


def test_a_dry_run_lists_and_scans_and_sends_nothing(alice, data, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    seen = len(alice.requests)
    done = publish_dataset(data, "org/mock-dry", dry_run=True)
    assert ("dataset", "org/mock-dry") not in alice.storage.repos
    assert done.commit is None
    assert {upload.path for upload in done.changes.added} >= {"README.md", "manifest.json"}
    assert all(line.startswith("GET") for line, _ in alice.requests[seen:])
    (data / "README.md").write_text((data / "README.md").read_text() + "\nsee /home/alice/notes.txt\n")
    with pytest.raises(SpecdataError, match=r"README.md, line \d+: holds a local path, /home/alice/notes.txt"):
        publish_dataset(data, "org/mock-dry", dry_run=True)


def test_a_private_repository(alice, data, monkeypatch):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    publish_dataset(data, "org/mock-private", private=True)
    assert repository(alice, "org/mock-private").private
    monkeypatch.setenv("HF_TOKEN", alice.tokens["mallory"])
    with pytest.raises(RepositoryNotFoundError):
        HfApi().repo_info("org/mock-private", repo_type="dataset")
    monkeypatch.setenv("HF_TOKEN", alice.tokens["alice"])
    publish_dataset(data, "org/mock-public")
    with pytest.raises(SpecdataError, match="is public already"):
        publish_dataset(data, "org/mock-public", private=True)


def test_what_has_a_tag_of_its_own_keeps_it(alice, data):
    first = publish_dataset(data, "org/mock-tagged", tag="v1.0")
    again = publish_dataset(data, "org/mock-tagged")
    assert not again.made
    assert again.tag == "v1.0"
    assert repository(alice, "org/mock-tagged").tags == {"v1.0": first.commit}
    assert publish_dataset(data, "org/mock-tagged", tag="v1.1").made  # the card names it


def test_a_message_of_ones_own(alice, data):
    publish_dataset(data, "org/mock-message", message="For the referee")
    assert repository(alice, "org/mock-message").history()[0].title == "For the referee"


def test_a_collection_ties_it_to_the_paper(alice, data):
    done = publish_dataset(data, "org/mock-collected", collection="Spectra for language models")
    again = publish_dataset(data, "org/mock-collected", collection="Spectra for language models")
    assert done.collection == again.collection
    (collection,) = [c for c in alice.storage.collections.values() if done.collection.endswith(c["slug"])]
    assert [(item["type"], item["id"]) for item in collection["items"]] == [
        ("dataset", "org/mock-collected"), ("paper", "2508.10075"),
    ]  # fmt: skip


def test_row_groups_and_page_index_suit_the_viewer(mock_data):
    import pyarrow.parquet as pq

    from specdata.publish.checks import VIEWER_LIMIT

    for path in mock_data.glob("*/*.parquet"):
        metadata = pq.read_metadata(path)
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            assert group.total_byte_size < VIEWER_LIMIT
            assert all(group.column(i).has_offset_index for i in range(group.num_columns))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def revision(data):
    return json.loads((data / "manifest.json").read_text())["revision"]


def spoil_manifest(data, change):
    manifest = json.loads((data / "manifest.json").read_text())
    change(manifest)
    (data / "manifest.json").write_text(json.dumps(manifest))


def leak_training_rows(data):
    """Write rows of the training split into the test split, with the manifest that goes with it."""
    import hashlib

    import pyarrow as pa
    import pyarrow.parquet as pq

    from specdata.dataset.manifest import files_revision

    train, test = (next(data.glob(f"paper/{split}-*")) for split in ("train", "test"))
    table = pq.read_table(test)
    pq.write_table(pa.concat_tables([pq.read_table(train).slice(0, 1), table.slice(1)]), test)
    old = json.loads((data / "manifest.json").read_text())["revision"]

    def change(manifest):
        manifest["files"][f"paper/{test.name}"] = hashlib.sha256(test.read_bytes()).hexdigest()
        manifest["revision"] = files_revision(manifest["files"])
        edit(data / "README.md", old, manifest["revision"])

    spoil_manifest(data, change)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda d: (d / "manifest.json").unlink(), "has no readable manifest.json; give a data set of"),
        (lambda d: next(d.glob("paper/test-*")).write_bytes(b"cut"), r"paper/test-.* is not the file that"),
        (lambda d: spoil_manifest(d, lambda m: m["counts"]["splits"].update(test=3)), "has other rows than"),
        (lambda d: edit(d / "README.md", "split: validation", "split: valid"), "does not declare the splits train,"),
        (lambda d: edit(d / "README.md", f"description: revision {revision(d)}", "description: 0"), "another revision"),
        (lambda d: edit(d / "README.md", "60 spectra,", "{{ n }} spectra,"), r"has no value for '\{\{ n \}\}' in"),
        (lambda d: edit(d / "README.md", "size_categories:\n- n<1K", "size_categories:"), "metadata size_categories"),
        (lambda d: edit(d / "README.md", "---\npretty_name", "pretty_name"), "does not begin with metadata in YAML"),
        (leak_training_rows, "1 objects of paper/test, such as .*, are in the training split too"),
    ],
)  # fmt: skip
def test_what_is_not_what_its_card_says_is_refused(alice, data, spoil, sentence):
    spoil(data)
    with pytest.raises(SpecdataError, match=sentence) as found:
        publish_dataset(data, "org/mock-spoiled")
    assert "\n" not in str(found.value)
    assert ("dataset", "org/mock-spoiled") not in alice.storage.repos


def test_mocks_do_not_go_out_under_a_name_that_does_not_say_so(alice, data):
    with pytest.raises(SpecdataError, match=r"org/sdss-galaxy-spectra: 60 of the rows are mocks, which must not pass"):
        publish_dataset(data, "org/sdss-galaxy-spectra")
    spoil_manifest(data, lambda manifest: manifest["counts"].update(mock=0))  # the rows themselves say it
    with pytest.raises(SpecdataError, match="60 of the rows are mocks"):
        publish_dataset(data, "org/sdss-galaxy-spectra")


def test_a_repository_of_another_kind_is_refused(alice, data):
    alice.put("model", "org/mock-model", {"config.json": b"{}"})
    with pytest.raises(SpecdataError, match="org/mock-model: is a model on the Hub, and no dataset"):
        publish_dataset(data, "org/mock-model")
    alice.put("dataset", "org/mock-images", {"images.zip": b"zip"})
    with pytest.raises(
        SpecdataError, match=r"holds images.zip and no manifest.json, so it was not published by specdata"
    ):
        publish_dataset(data, "org/mock-images")
    with pytest.raises(SpecdataError, match="repository 'mock-tiny' is not a name of the Hub: give --repo ORG/NAME"):
        publish_dataset(data, "mock-tiny")
    with pytest.raises(SpecdataError, match=r"--tag a b: is no name for a tag"):
        publish_dataset(data, "org/mock-tiny", tag="a b")


@pytest.mark.parametrize(
    ("user", "repo", "sentence"),
    [
        (None, "org/mock-x", "there is no token for the Hub: log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_forgotten", "org/mock-x", "does not take the token: log in"),
        ("reader", "org/mock-x", "the token 'reader-read' of reader only reads: make one with the role write"),
        ("mallory", "org/mock-x", "org/mock-x: the token may not make a repository of org; ask org for the role write"),
        ("mallory", "org/mock-there", "the token of mallory may not write there; ask its owner"),
    ],
)  # fmt: skip
def test_who_may_not_publish_is_told_before_anything_is_sent(hub, data, monkeypatch, user, repo, sentence):
    from hub_client import use_hub

    if ("dataset", "org/mock-there") not in hub.storage.repos:
        hub.storage.create("dataset", "org/mock-there", None)
    use_hub(hub, monkeypatch, hub.tokens.get(user, user))
    seen = len(hub.requests)
    with pytest.raises(SpecdataError, match=sentence):
        publish_dataset(data, repo)
    assert not any("preupload" in line or "lfs" in line for line, _ in hub.requests[seen:])
