"""The scan of what goes up: it finds secrets and paths wherever they are, and nothing in what we write."""

import getpass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specdata import SpecdataError
from specdata.publish.scan import scan

TOKEN = "hf_" + "aB3" * 12  # in two parts, or scanners of code would take it for one


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (f"token: {TOKEN}", "a token of the Hub, hf_aB3aB…"),
        ("-----BEGIN " + "OPENSSH PRIVATE KEY-----", "a private key"),
        ("AKIA" + "ABCDEFGHIJKLMNOP", "a key of AWS"),
        ("ghp_" + "a1" * 18, "a token of GitHub"),
        ("sk-" + "a1" * 20, "an API key"),
        ("proxy https://me:" + "secret@host.org/", "a password in an address"),
        ("output_dir: /home/jane/runs", "a local path, /home/jane/runs"),
        ("see file:///scratch/x/y.fits", "a local path, file:///scratch/x/y.fits"),
        ("('/tmp/a b')", "a local path, /tmp/a"),
        ("C:\\Users\\jane\\data", "a path of Windows"),
        ("cache: ~/data/sdss", "a path in a home folder, ~/data/sdss"),
    ],
)
def test_text_is_searched_line_by_line(text, what):
    with pytest.raises(SpecdataError) as found:
        scan({"recipe.yaml": f"first line\n{text}\n".encode()})
    assert str(found.value).startswith("recipe.yaml, line 2: holds ")
    assert what in str(found.value)
    assert TOKEN not in str(found.value)


@pytest.mark.parametrize(
    "text",
    [
        "https://www.sdss4.org/home/collaboration", "hf://datasets/org/data@v1/paper/x.parquet", "a/tmp/b", "1/2",
        "[arXiv](https://arxiv.org/abs/2508.10075)", "spectra/home/x.fits", "~ 0.1 / 2", "org/name", "flux / median",
        "`hf_hub_download`", "email@host.org",
    ],
)  # fmt: skip
def test_text_without_a_secret_passes(text):
    scan({"README.md": text.encode()})


def test_a_text_that_the_user_allows_passes():
    uploads = {"README.md": b"mounted at /data/archive/x"}
    with pytest.raises(SpecdataError, match="/data/archive/x; take it out, or add --allow"):
        scan(uploads)
    scan(uploads, allow=["/data/archive/x"])


def test_every_string_of_a_parquet_file_is_searched(tmp_path):
    path, many = tmp_path / "rows.parquet", ["spec-0001.fits"] * 30_000
    labels = pa.array(["x", "/home/jane/a"]).dictionary_encode()
    for table, where in (
        (pa.table({"source": [*many, "/home/jane/spec.fits"]}), "column source, rows from 30000: holds a local path"),
        (pa.table({"prompt": [[{"content": f"I am {TOKEN}"}]]}), "column prompt, .*a token of the Hub"),
        (pa.table({"labels": labels}), "column labels, rows from 0: holds a local path"),
        (pa.table({"more": pa.array([[("a", "/home/jane/b")]], pa.map_(pa.string(), pa.string()))}), "column more, "),
        (pa.table({"raw": [b"/home/jane/x"]}), "column raw has the type binary, which is not searched"),
        (pa.table({"z": [0.1]}).replace_schema_metadata({"made": "/home/jane/x"}), "holds a local path"),
    ):
        pq.write_table(table, path)
        with pytest.raises(SpecdataError, match=where):
            scan({"rows.parquet": path})
    pq.write_table(pa.table({"source": many, "z": [0.1] * len(many)}), path)
    scan({"rows.parquet": path})


def test_the_header_of_weights_is_searched(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, tmp_path / "w.safetensors", metadata={"from": "/home/jane/llama"})
    with pytest.raises(SpecdataError, match=r"w.safetensors, line 1: holds a local path, /home/jane/llama"):
        scan({"w.safetensors": tmp_path / "w.safetensors"})


def test_the_text_in_a_picture_is_searched_and_its_pixels_are_not(tmp_path):
    from matplotlib.image import imsave

    path = tmp_path / "figure.png"
    imsave(path, np.random.default_rng(0).random((300, 300, 3)))
    scan({"figure.png": path})
    content = path.read_bytes()
    for spoiled in (b"-----BEGIN", content[:-20], content + b"-----BEGIN", content.replace(b"pHYs", b"zTXt")):
        with pytest.raises(SpecdataError, match=r"figure.png: is not what its name says \(.*PNG"):
            scan({"figure.png": spoiled})
    imsave(path, np.zeros((2, 2, 3)), metadata={"Source": "/home/jane/plot.py"})
    with pytest.raises(SpecdataError, match=r"figure.png, line \d: holds a local path, /home/jane/plot.py"):
        scan({"figure.png": path})


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.parquet", b"PAR1"), ("a.json", b"\x80\x04pickle"), ("a.csv", b"\xff\xfe"), ("a.safetensors", b"PK\x03\x04")],
)
def test_a_file_of_another_kind_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecdataError, match=rf"^{name}: (is not what its name says|cannot be read) \("):
        scan({name: tmp_path / name})


def test_the_user_who_publishes_is_not_named(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "jdoe")
    monkeypatch.setattr(Path, "home", lambda: Path("/users/jdoe"))
    with pytest.raises(SpecdataError, match="holds your login name, jdoe"):
        scan({"README.md": b"made by jdoe today"})
    with pytest.raises(SpecdataError, match="holds the path of your home folder, /users/jdoe/x"):
        scan({"README.md": b"made in /users/jdoe/x"}, owner="jdoe")
    scan({"README.md": b"load_dataset('jdoe/data')"}, owner="jdoe")
    scan({"README.md": b"jdoes and ajdoe"})


def test_nothing_is_found_in_what_we_write(mock_data, tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    files = [*mock_data.rglob("*.*"), *tmp_path.iterdir()]
    assert len(files) > 15
    scan({path.name if path.parent == tmp_path else str(path.relative_to(mock_data)): path for path in files})


@settings(max_examples=30)
@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_token_is_found_in_any_text(before, after):
    with pytest.raises(SpecdataError, match=r"holds a "):
        scan({"x.md": f"{before}\n{TOKEN} {after}".encode("utf-8", errors="replace")})
