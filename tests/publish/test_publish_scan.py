"""The scan of what goes up: it finds secrets and paths wherever they are, and nothing in what we write."""

import getpass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdata import SpecdataError
from specdata.publish.contents import Upload, dataset_contents
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
    uploads = [Upload("recipe.yaml", f"first line\n{text}\n".encode())]
    with pytest.raises(SpecdataError) as found:
        scan(uploads)
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
def test_what_is_no_secret_is_let_through(text):
    scan([Upload("README.md", text.encode())])


def test_what_a_user_allows_is_let_through():
    uploads = [Upload("README.md", b"mounted at /data/archive/x")]
    with pytest.raises(SpecdataError, match="/data/archive/x; take it out, or add --allow"):
        scan(uploads)
    scan(uploads, allow=["/data/archive/x"])


def test_every_string_of_a_parquet_file_is_searched(tmp_path):
    def refused(table, where):
        pq.write_table(table, tmp_path / "rows.parquet")
        with pytest.raises(SpecdataError, match=where):
            scan([Upload("rows.parquet", tmp_path / "rows.parquet")])

    many = ["spec-0001.fits"] * 30_000
    refused(
        pa.table({"source": [*many, "/home/jane/spec.fits"]}), r"column source, rows from 30000: holds a local path"
    )
    refused(
        pa.table({"prompt": [[{"role": "user", "content": f"I am {TOKEN}"}]]}), "column prompt, .*a token of the Hub"
    )
    refused(pa.table({"z": [0.1]}).replace_schema_metadata({"made": "/home/jane/x"}), "holds a local path")
    pq.write_table(pa.table({"source": many, "z": [0.1] * len(many)}), tmp_path / "rows.parquet")
    scan([Upload("rows.parquet", tmp_path / "rows.parquet")])


def test_the_header_of_weights_is_searched(tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, tmp_path / "w.safetensors", metadata={"from": "/home/jane/llama"})
    with pytest.raises(SpecdataError, match=r"w.safetensors, line 1: holds a local path, /home/jane/llama"):
        scan([Upload("w.safetensors", tmp_path / "w.safetensors")])


def test_the_text_in_a_picture_is_searched_and_its_pixels_are_not(tmp_path):
    import numpy as np
    from matplotlib.image import imsave

    path = tmp_path / "figure.png"
    imsave(path, np.random.default_rng(0).random((300, 300, 3)))
    scan([Upload("figure.png", path)])
    imsave(path, np.zeros((2, 2, 3)), metadata={"Source": "/home/jane/plot.py"})
    with pytest.raises(SpecdataError, match=r"figure.png, line \d: holds a local path, /home/jane/plot.py"):
        scan([Upload("figure.png", path)])


def test_who_publishes_is_not_named(monkeypatch):
    monkeypatch.setattr(getpass, "getuser", lambda: "jdoe")
    monkeypatch.setattr(Path, "home", lambda: Path("/users/jdoe"))
    with pytest.raises(SpecdataError, match="holds your login name, jdoe"):
        scan([Upload("README.md", b"made by jdoe today")])
    with pytest.raises(SpecdataError, match="holds the path of your home folder, /users/jdoe/x"):
        scan([Upload("README.md", b"made in /users/jdoe/x")], namespace="jdoe")
    scan([Upload("README.md", b"load_dataset('jdoe/data')")], namespace="jdoe")
    scan([Upload("README.md", b"jdoes and ajdoe")])


def test_nothing_is_found_in_what_we_write(mock_data, tokenizer, tmp_path):
    from specdata.dataset.manifest import read_manifest

    uploads, _ = dataset_contents(mock_data, read_manifest(mock_data, mock_data), "org/mock", "v1")
    tokenizer.save_pretrained(tmp_path)
    scan([*uploads, *(Upload(path.name, path) for path in tmp_path.iterdir())])


@given(before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_token_is_found_in_any_text(before, after):
    text = f"{before}\n{TOKEN} {after}"
    with pytest.raises(SpecdataError, match=r"holds a "):
        scan([Upload("x.md", text.encode("utf-8", errors="replace"))])
