"""The scan of what goes up: it finds secrets and paths wherever they are, and nothing in what we write."""

import getpass
import struct
import zlib
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
        ("hf_" + "aB3" * 6, "a token of the Hub"),
        ("glpat-" + "a1" * 10, "a token of GitLab"),
        ("npm_" + "a1" * 18, "a token of npm"),
        ("pypi-" + "AgEIcHlwaS5vcmc" * 3, "a token of PyPI"),
        ("AIza" + "a1b" * 11 + "xy", "a key of Google"),
        ("sk_live_" + "a1" * 12, "a key of Stripe"),
        ("xoxb-" + "1234567890-" * 2 + "ab", "a token of Slack"),
        ("eyJ" + "hbGciOiJI." + "eyJ" + "zdWIiOiIxMjM0." + "abc", "a JSON web token"),
        ("WANDB_API_KEY=" + "0a" * 20, "a key of Weights & Biases"),
        ("machine api.wandb.ai " + "login user password " + "0a" * 20, "a password in .netrc"),
        ("aws_secret_access_key = " + "aB3/" * 10, "a secret key of AWS"),
        ("db_" + "password: " + "correct-horse-7-battery", "a secret in a setting"),
        ("-----BEGIN " + "PGP PRIVATE KEY BLOCK-----", "a private key"),
        ("---- BEGIN " + "SSH2 ENCRYPTED PRIVATE KEY ----", "a private key"),
        ("AccountName=x;AccountKey" + "=Ab1/Ab1/Ab1/==", "a secret in a setting"),
        ("in /srv/data/x", "a local path, /srv/data/x"),
        ("in /afs/cern.ch/x", "a local path, /afs/cern.ch/x"),
        ("('/project/astro/x')", "a local path, /project/astro/x"),
        ("on /export/disk1/x", "a local path, /export/disk1/x"),
        (r"on \\server\share\x", "a path of a Windows server"),
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
        "`hf_hub_download`", "email@host.org", '"eos_token": "<|im_end|>"', "max_new_tokens: 256",
        "tokenizer: HuggingFaceTB/SmolLM2-135M-Instruct", r"\\alpha \\ \beta", "sk-learn",
        "a secret: none known", "the password is not asked for",
    ],
)  # fmt: skip
def test_text_without_a_secret_passes(text):
    scan({"README.md": text.encode()})


def test_a_text_that_the_user_allows_passes():
    uploads = {"README.md": b"mounted at /data/archive/x"}
    with pytest.raises(SpecdataError, match="/data/archive/x; take it out, or add --allow"):
        scan(uploads)
    scan(uploads, allow=["/data/archive/x"])


def nested_field(text):
    """A table with a text in the metadata of a field inside a column."""
    inner = pa.field("a", pa.int64(), metadata={"from": text})
    return pa.table({"x": pa.array([{"a": 1}], pa.struct([inner]))}, schema=pa.schema([("x", pa.struct([inner]))]))


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
        (pa.table({"/home/jane/x": [0.1]}), "holds a local path"),
        (nested_field("/home/jane/x"), "holds a local path"),
        (pa.table({"tags": pa.array([b"/home/jane/x"]).dictionary_encode()}), "column tags has the type binary, which"),
        (pa.table({"more": pa.array([[("a", b"x")]], pa.map_(pa.string(), pa.binary()))}), "has the type binary"),
        (pa.table({"fixed": pa.array([b"/home/jane/x"], pa.binary(12))}), "has the type fixed_size_binary"),
        (pa.table({"view": pa.array(["/home/jane/x"], pa.string_view())}), "column view, rows from 0: holds a local"),
        (pa.table({"deep": [[{"a": [{"b": "/home/jane/x"}]}]]}), "column deep, rows from 0: holds a local path"),
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
    end = content[-12:]  # IEND
    for spoiled in (
        b"-----BEGIN", content[:-20], content + b"-----BEGIN", content.replace(b"pHYs", b"zTXt"),
        content + b"-----BEGIN" + end, content.replace(b"pHYs", b"prVt"),
    ):  # fmt: skip
        with pytest.raises(SpecdataError, match=r"figure.png: is not what its name says \(.*PNG"):
            scan({"figure.png": spoiled})
    text = b"Comment\0\0" + zlib.compress(b"made in /home/jane/plots")
    chunk = struct.pack(">I", len(text)) + b"zTXt" + text + struct.pack(">I", zlib.crc32(b"zTXt" + text))
    with pytest.raises(SpecdataError, match="holds a local path, /home/jane/plots"):
        scan({"figure.png": content[:-12] + chunk + end})
    key = b"-----BEGIN OPENSSH PRIVATE KEY-----"
    chunk = struct.pack(">I", len(key)) + b"IDAT" + key + struct.pack(">I", zlib.crc32(b"IDAT" + key))
    with pytest.raises(SpecdataError, match="holds a private key"):  # behind the end of the pixels
        scan({"figure.png": content[:-12] + chunk + end})
    huge = struct.pack(">4sIIBBBBB", b"IHDR", 60_000, 60_000, 8, 2, 0, 0, 0)
    with pytest.raises(SpecdataError, match="a PNG that cannot be read"):
        scan({"figure.png": content[:12] + huge + struct.pack(">I", zlib.crc32(huge)) + content[33:]})
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
    monkeypatch.setattr(Path, "home", lambda: Path("/people/jdoe"))
    with pytest.raises(SpecdataError, match="holds your login name, jdoe"):
        scan({"README.md": b"made by jdoe today"})
    with pytest.raises(SpecdataError, match="holds the path of your home folder, /people/jdoe/x"):
        scan({"README.md": b"made in /people/jdoe/x"}, owner="jdoe")
    scan({"README.md": b"load_dataset('jdoe/data')"}, owner="jdoe")
    scan({"README.md": b"jdoes and ajdoe"})
    monkeypatch.setattr(getpass, "getuser", lambda: "model")
    scan({"README.md": b"the model of a galaxy"})


def test_a_path_is_found_behind_the_escapes_of_json():
    for text in (r"\/home\/jane\/x", r"\u002fhome\u002fjane/x"):
        with pytest.raises(SpecdataError, match=r"a.json, line 2: holds a local path, /home/jane/x"):
            scan({"a.json": f'{{\n"a": ["{text}"]}}'.encode()})
    with pytest.raises(SpecdataError, match="holds a path of a Windows server"):
        scan({"a.json": rb'{"a": "\\\\server\\share\\x"}'})
    scan({"a.json": rb'{"template": "\n\nName\n\\nUser\\nx"}'})
    with pytest.raises(SpecdataError, match=r"a.json: is not what its name says \("):
        scan({"a.json": b"[" * 100_000})


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
