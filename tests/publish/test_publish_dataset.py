"""Data sets on the test Hub: what goes up, exactly once, in one commit, under a tag; and what is refused."""

import hashlib
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from specdata import SpecdataError
from specdata.dataset.manifest import files_revision
from specdata.publish.publish import publish_dataset


@pytest.fixture
def data(mock_data, tmp_path):
    """A copy of a data set that a test may spoil."""
    return shutil.copytree(mock_data, tmp_path / "data")


def change_manifest(data, change):
    manifest = json.loads((data / "manifest.json").read_text())
    change(manifest)
    (data / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def test_what_goes_up_is_the_folder_with_the_names_of_the_hub(alice, data):
    (data / "notes.txt").write_text("call the referee")
    shown = []
    done = publish_dataset(data, "org/mock-whole", show=shown.append)
    manifest = json.loads((data / "manifest.json").read_text())
    repo = alice.repo("dataset", "org/mock-whole")
    figures = {"figures/redshifts.png", "figures/examples.png"}
    whole = {*manifest["files"], *figures, "README.md", "manifest.json", "rejected.csv", ".gitattributes"}
    assert set(repo.resolve("main").files) == whole
    assert shown[0].left_out == done.left_out == ["notes.txt"]
    assert done.notes == []
    for name in {*manifest["files"], *figures, "manifest.json"}:
        assert alice.bytes_of("dataset", "org/mock-whole", name) == (data / name).read_bytes()
    # One commit on top of the one with which the Hub makes a repository, and a tag on it.
    assert [commit.author for commit in repo.history()] == ["alice", "alice"]
    assert repo.history()[0].title == f"mock-tiny: 60 spectra, revision {manifest['revision'][:12]}"
    assert repo.tags == {f"data-{manifest['revision'][:12]}": done.commit} == {done.tags[0]: repo.branches["main"]}
    card = alice.bytes_of("dataset", "org/mock-whole", "README.md").decode()
    assert f'load_dataset("org/mock-whole", "paper", revision="{done.tags[0]}")' in card
    assert 'load_dataset("mock-tiny"' not in card
    assert 'load_dataset("mock-tiny"' in (data / "README.md").read_text()


def test_the_same_again_makes_no_commit_and_a_change_is_one_file(alice, data):
    first = publish_dataset(data, "org/mock-again")
    again = publish_dataset(data, "org/mock-again", tag="v1.0")
    repo = alice.repo("dataset", "org/mock-again")
    assert (again.is_new, again.commit, len(repo.history())) == (False, first.commit, 2)
    assert repo.tags == {first.tags[0]: first.commit, "v1.0": first.commit}
    assert not publish_dataset(data, "org/mock-again", tag="v1.0").is_new
    (data / "rejected.csv").write_text((data / "rejected.csv").read_text() + "x\n")
    with pytest.raises(SpecdataError, match=r"published as commit \w{7}, but the tag v1.0 names commit"):
        publish_dataset(data, "org/mock-again", tag="v1.0")
    third = publish_dataset(data, "org/mock-again", tag="v1.1", message="For the referee")
    assert repo.tags == {first.tags[0]: first.commit, "v1.0": first.commit, "v1.1": third.commit}
    assert third.stay == {first.tags[0]: first.commit}
    before, after = (repo.resolve(commit).files for commit in (first.commit, third.commit))
    assert {path for path in after if after[path] != before.get(path)} == {"rejected.csv"}
    with pytest.raises(SpecdataError, match=r"the tag v1.0 names an earlier commit and is never moved"):
        publish_dataset(data, "org/mock-again", tag="v1.0")
    assert repo.branches["main"] == third.commit


def test_the_card_is_made_of_the_manifest_and_a_change_by_hand_is_told(alice, data):
    (data / "README.md").write_bytes((data / "README.md").read_bytes() + "\nMade for a test: é.\n".encode("latin-1"))
    done = publish_dataset(data, "org/mock-by-hand", message="For the referee")
    assert "the changes in README.md are not published: the card on the Hub is made of manifest.json" in done.notes[0]
    assert b"Made for a test" not in alice.bytes_of("dataset", "org/mock-by-hand", "README.md")
    assert alice.repo("dataset", "org/mock-by-hand").history()[0].title == "For the referee"


def test_files_of_an_earlier_version_are_removed_and_others_stay(alice, data):
    publish_dataset(data, "org/mock-stale")
    repo = alice.repo("dataset", "org/mock-stale")
    extra = {"LICENSE": b"public", "paper/train-00009-of-00010.parquet": b"old", "figures/old.png": b"old"}
    added = {path: alice.storage.blob(content) for path, content in extra.items()}
    alice.storage.commit(repo, "main", added, [], "by hand", "", None)
    done = publish_dataset(data, "org/mock-stale")
    assert done.removed == ["figures/old.png", "paper/train-00009-of-00010.parquet"]
    assert "LICENSE" in repo.resolve("main").files
    assert not set(done.removed) & set(repo.resolve("main").files)


def test_a_dry_run_lists_and_scans_and_sends_nothing(alice, data, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    seen = len(alice.requests)
    done = publish_dataset(data, "org/mock-dry", dry_run=True)
    assert ("dataset", "org/mock-dry") not in alice.storage.repos
    assert done.commit is None
    assert set(done.uploads) >= {"README.md", "manifest.json"}
    assert all(line.startswith("GET") for line, _ in alice.requests[seen:])
    (data / "rejected.csv").write_text("see /home/alice/notes.txt\n")
    with pytest.raises(SpecdataError, match=r"rejected.csv, line 1: holds a local path, /home/alice/notes.txt"):
        publish_dataset(data, "org/mock-dry", dry_run=True)


def test_a_branch_and_a_pull_request_leave_main_as_it_is(alice, data):
    first = publish_dataset(data, "org/mock-branched")
    repo = alice.repo("dataset", "org/mock-branched")
    (data / "rejected.csv").write_text((data / "rejected.csv").read_text() + "x\n")
    for _ in range(2):
        done = publish_dataset(data, "org/mock-branched", branch="revised", tag="v2")
        assert repo.branches == {"main": first.commit, "revised": done.commit}
        assert repo.tags == {first.tags[0]: first.commit, "v2": done.commit}
    asked = publish_dataset(data, "org/mock-branched", as_pull_request=True)
    assert asked.pull_request == f"{alice.url}/datasets/org/mock-branched/discussions/1"
    assert (repo.branches["main"], repo.branches["refs/pr/1"]) == (first.commit, asked.commit)
    assert set(repo.tags) == {first.tags[0], "v2"}


def test_a_data_set_of_another_name_is_not_published_over(alice, data):
    publish_dataset(data, "org/mock-named")
    change_manifest(data, lambda m: m["recipe"].update(name="mock-other"))
    for dry_run in (True, False):
        with pytest.raises(SpecdataError, match="holds the data set 'mock-tiny', and this one is 'mock-other'; choose"):
            publish_dataset(data, "org/mock-named", dry_run=dry_run)
    assert publish_dataset(data, "org/mock-named", replace_other=True).is_new


def test_a_private_repository(alice, data, monkeypatch):
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    publish_dataset(data, "org/mock-private", private=True)
    monkeypatch.setenv("HF_TOKEN", alice.tokens["mallory"])
    with pytest.raises(RepositoryNotFoundError):
        HfApi().repo_info("org/mock-private", repo_type="dataset")
    monkeypatch.setenv("HF_TOKEN", alice.tokens["alice"])
    alice.put("dataset", "org/mock-public", {})
    with pytest.raises(SpecdataError, match="is public already"):
        publish_dataset(data, "org/mock-public", private=True)


def test_a_collection_ties_it_to_the_paper(alice, data):
    done = publish_dataset(data, "org/mock-collected", collection="Spectra for language models")
    again = publish_dataset(data, "org/mock-collected", collection="Spectra for language models")
    assert done.collection == again.collection
    (collection,) = [c for c in alice.storage.collections.values() if done.collection.endswith(c["slug"])]
    assert [(item["type"], item["id"]) for item in collection["items"]] == [
        ("dataset", "org/mock-collected"), ("paper", "2508.10075"),
    ]  # fmt: skip


def test_row_groups_and_page_index_suit_the_viewer(mock_data):
    for path in mock_data.glob("*/*.parquet"):
        metadata = pq.read_metadata(path)
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            assert group.total_byte_size < 300_000_000  # of those the viewer reads
            assert all(group.column(i).has_offset_index for i in range(group.num_columns))


def leak_training_rows(data):
    """Write rows of the training split into the test split, with the manifest that goes with it."""
    train, test = (next(data.glob(f"paper/{split}-*")) for split in ("train", "test"))
    table = pq.read_table(test)
    pq.write_table(pa.concat_tables([pq.read_table(train).slice(0, 1), table.slice(1)]), test)

    def change(manifest):
        manifest["files"][f"paper/{test.name}"] = hashlib.sha256(test.read_bytes()).hexdigest()
        manifest["revision"] = files_revision(manifest["files"])

    change_manifest(data, change)


def name_a_secret_as_a_file(data):
    (data.parent / "key.parquet").write_bytes(b"PAR1")
    change_manifest(data, lambda m: m["files"].update({"../key.parquet": "0" * 64}))


def link_a_figure_to_a_secret(data):
    (data.parent / "key").write_text("-----BEGIN " + "PRIVATE KEY-----")
    (data / "figures" / "redshifts.png").unlink()
    (data / "figures" / "redshifts.png").symlink_to(data.parent / "key")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda d: (d / "manifest.json").unlink(), "has no readable manifest.json"),
        (lambda d: next(d.glob("paper/test-*")).write_bytes(b"cut"), r"paper/test-.* is not the file that"),
        (lambda d: next(d.glob("paper/test-*")).unlink(), r"paper/test-.* is missing, or is a link to another file"),
        (lambda d: (d / "figures/examples.png").write_bytes(b"x"), r"figures/examples.png is not the file that"),
        (lambda d: change_manifest(d, lambda m: m["counts"]["splits"].update(test=3)), "has other rows than"),
        (lambda d: change_manifest(d, lambda m: m.update(revision="0" * 64)), "the revision in its manifest is not"),
        (lambda d: change_manifest(d, lambda m: m["counts"].update(mock=0)), "60 of the rows are mocks, and its"),
        (lambda d: change_manifest(d, lambda m: m["counts"].pop("read")), "card dataset.md: .*; a card with a missing"),
        (lambda d: change_manifest(d, lambda m: m["recipe"].update(title=None)), "a card with a missing value is not"),
        (lambda d: change_manifest(d, lambda m: m.pop("figures")), r"manifest.json is not of this version \(KeyError"),
        (lambda d: change_manifest(d, lambda m: m.update(redshift_bins=3)), "is not of this version"),
        (lambda d: (d / "README.md").unlink(), "README.md is missing, or is a link"),
        (leak_training_rows, "1 objects of paper/test, such as .*, are in the training split too"),
        (name_a_secret_as_a_file, "'../key.parquet' is no file of a data set"),
        (link_a_figure_to_a_secret, "figures/redshifts.png is missing, or is a link to another file"),
    ],
)  # fmt: skip
def test_a_data_set_that_does_not_agree_with_itself_is_refused(alice, data, spoil, sentence):
    spoil(data)
    with pytest.raises(SpecdataError, match=sentence) as found:
        publish_dataset(data, "org/mock-spoiled")
    assert "\n" not in str(found.value)
    assert ("dataset", "org/mock-spoiled") not in alice.storage.repos


@pytest.mark.parametrize(
    ("repo", "options", "sentence"),
    [
        ("org/mock-model", {}, "org/mock-model: is a model on the Hub, not a dataset; choose another --repo"),
        ("org/mock-images", {}, "was not published by specdata, for it holds images.zip and no manifest"),
    ],
)  # fmt: skip
def test_a_name_that_does_not_fit_is_refused(alice, data, repo, options, sentence):
    for kind, name in (("model", "org/mock-model"), ("dataset", "org/mock-images")):
        if (kind, name) not in alice.storage.repos:
            alice.put(kind, name, {"images.zip": b"zip"})
    with pytest.raises(SpecdataError, match=sentence):
        publish_dataset(data, repo, **options)


@pytest.mark.parametrize(
    ("user", "repo", "sentence"),
    [
        (None, "org/mock-x", "there is no token for the Hub: log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_forgotten", "org/mock-x", "does not accept the token: log in"),
        ("reader", "org/mock-x", "the token 'reader-read' of reader may only read: make one with the role write"),
        ("mallory", "org/mock-x", r"org/mock-x: the Hub answers 403 \(You don't have the rights to create"),
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
