"""The test Hub keeps to the wire protocol: what the real one answers, the clients get here."""

import hashlib

import pytest


@pytest.fixture
def data(alice, request):
    """A repository of 120 small files and a large one, with two commits."""
    name = f"org/{request.node.name.replace('_', '-')[:60]}"
    files = {f"part/{i:03d}.txt": b"%d" % i for i in range(120)}
    alice.put("dataset", name, files | {"rows.parquet": bytes(range(256)) * 100})
    return name


def test_revisions_and_tags(alice, data):
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    api, kind = HfApi(), {"repo_type": "dataset"}
    first = api.repo_info(data, **kind).sha
    api.create_tag(data, tag="v1", **kind)
    operations = [CommitOperationAdd("new.txt", b"new"), CommitOperationDelete("part/000.txt")]
    made = api.create_commit(data, operations, commit_message="second", parent_commit=first, **kind)
    assert made.oid == api.repo_info(data, **kind).sha
    assert not api.file_exists(data, "new.txt", revision="v1", **kind)
    assert api.file_exists(data, "new.txt", revision=made.oid, **kind)
    assert not api.file_exists(data, "part/000.txt", **kind)
    # 122 files with .gitattributes and the large one, more than a page of the list
    assert len(api.list_repo_files(data, revision="v1", **kind)) == 122
    with pytest.raises(HfHubHTTPError, match="A commit has happened since"):
        api.create_commit(data, [CommitOperationAdd("x", b"x")], commit_message="x", parent_commit=first, **kind)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(data, tag="v1", **kind)
    with pytest.raises(RevisionNotFoundError):
        api.repo_info(data, revision="v2", **kind)


def test_ranges_and_etags(alice, data):
    import httpx2
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(data, "rows.parquet", repo_type="dataset")
    content = alice.bytes_of("dataset", data, "rows.parquet")
    found = get_hf_file_metadata(url)
    assert found.etag == hashlib.sha256(content).hexdigest()
    assert found.size == len(content)
    assert found.commit_hash == alice.repo("dataset", data).branches["main"]
    part = httpx2.get(url, headers={"Range": "bytes=1000-1009"})
    assert part.status_code == 206
    assert part.content == content[1000:1010]
    assert part.headers["Content-Range"] == f"bytes 1000-1009/{len(content)}"
    assert httpx2.get(url, headers={"Range": "bytes=999999-"}).status_code == 416
    small = get_hf_file_metadata(hf_hub_url(data, "part/007.txt", repo_type="dataset"))
    assert small.etag == hashlib.sha1(b"blob 1\x007").hexdigest()


@pytest.mark.parametrize(
    ("user", "private", "gated", "reads", "writes"),
    [
        ("alice", True, False, None, None), ("reader", True, False, None, 403), (None, True, False, 401, 401),
        ("mallory", True, False, 404, 404), ("mallory", False, False, None, 403), ("mallory", False, True, 403, 403),
        (None, False, True, 401, 401), ("alice", False, True, None, None),
    ],
)  # fmt: skip
def test_permissions(hub, monkeypatch, user, private, gated, reads, writes):
    from hub_client import use_hub
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    name = f"org/permissions-{private}-{gated}"
    if ("model", name) not in hub.storage.repos:
        hub.put("model", name, {"config.json": b"{}"}, private=private, gated=gated)
    use_hub(hub, monkeypatch, hub.tokens.get(user))

    def status(function):
        try:
            function()
        except HfHubHTTPError as error:
            return error.response.status_code
        return None

    assert status(lambda: HfApi().auth_check(name)) == reads
    assert status(lambda: get_hf_file_metadata(hf_hub_url(name, "config.json"))) == reads
    assert status(lambda: HfApi().auth_check(name, write=True)) == writes
    upload = {"path_or_fileobj": b"x", "path_in_repo": "x.txt", "repo_id": name}
    assert status(lambda: HfApi().upload_file(**upload)) == writes
