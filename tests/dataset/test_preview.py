"""A row drawn from the data set alone."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset

from specdata import SpecdataError, prompts
from specdata.dataset.build import build
from specdata.dataset.preview import preview
from specdata.dataset.recipe import DataRecipe
from specdata.text.encoding import Encoding

SPECDATA = Path(sys.executable).with_name("specdata")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sixty mocks in two configs, in a folder that nothing else points at."""
    grid = {"start": 3840.0, "stop": 9160.0}
    content = {
        "name": "mock-preview",
        "title": "Mocks",
        "source": {"kind": "mock", "size": 60, "seed": 8},
        "sample": {"size": 60, "redshift_bins": 2},
        "splits": {"train": 30, "validation": 10},
        "configs": {
            "paper": {"grid": grid | {"bins": 20}},
            "fine": {"grid": grid | {"kind": "log", "bins": 300}, "normalisation": "asinh", "scheme": "packed"},
        },
        "tokenizers": [],
    }
    folder = tmp_path_factory.mktemp("preview") / "data"
    build(DataRecipe.model_validate(content), folder, progress=False)
    return folder


def test_the_numbers_are_those_of_the_row(data, tmp_path):
    shown = preview(data, "test:3", tmp_path / "row.png", config="fine")
    row = load_dataset(str(data), "fine")["test"][3]
    encoding = Encoding.from_dict(json.loads((data / "manifest.json").read_text())["configs"]["fine"], "fine")
    assert shown["text"] == prompts.read_series(row["prompt"])
    assert (shown["split"], shown["number"], shown["bins"], shown["z"]) == ("test", 3, 300, row["z"])
    assert 0 < shown["error"] <= 0.005001
    assert (tmp_path / "row.png").read_bytes().startswith(b"\x89PNG")
    decoded = encoding.decode([shown["text"]], [row["scale"]])[0]
    np.testing.assert_allclose(decoded, row["flux"], rtol=0.01, atol=0.002 * row["scale"])


def test_a_row_has_three_names(data, tmp_path):
    row = load_dataset(str(data), "spectra")["validation"][4]
    names = ("validation:4", f"{row['plate']}-{row['mjd']}-{row['fiberid']}", row["specobjid"])
    found = [preview(data, name, tmp_path / "row.png") for name in names]
    assert found[0] == found[1] == found[2]
    assert found[0]["config"] == "paper"


def test_twice_the_same_bytes_in_every_format(data, tmp_path):
    for suffix in ("png", "pdf", "svg"):
        first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
        for path in (first, second):
            preview(data, "train:0", path)
        assert first.read_bytes() == second.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"{n}.{s}" for n in "ab" for s in ("png", "pdf", "svg")
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("test:60", r"row 'test:60': test has \d\d rows, 0 to \d\d$"),
        ("nowhere:1", "row 'nowhere:1': write SPLIT:NUMBER with one of train, validation, test"),
        ("test:-1", "row 'test:-1': write SPLIT:NUMBER"),
        ("test:", "row 'test:': write SPLIT:NUMBER"),
        ("1-2-3", "row '1-2-3': is not in the data set"),
        ("4", "row '4': is not in the data set"),
    ],
)
def test_rows_that_are_not_there(data, tmp_path, row, message):
    with pytest.raises(SpecdataError, match=message):
        preview(data, row, tmp_path / "row.png")
    assert not list(tmp_path.iterdir())


def test_configs_files_and_folders_that_will_not_do(data, tmp_path):
    with pytest.raises(SpecdataError, match=r"config 'csv': .* has the text configs paper, fine"):
        preview(data, "test:0", config="csv")
    with pytest.raises(SpecdataError, match=r"row\.txt: give a name that ends in \.png, \.pdf, \.svg"):
        preview(data, "test:0", tmp_path / "row.txt")
    with pytest.raises(SpecdataError, match=r"has no readable manifest\.json"):
        preview(tmp_path, "test:0", tmp_path / "row.png")
    (tmp_path / "file").touch()
    with pytest.raises(SpecdataError, match=r"cannot be written"):
        preview(data, "test:0", tmp_path / "file" / "row.png")


def test_text_that_is_not_that_of_the_flux_is_found_out(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    path = tmp_path / "data" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["configs"]["fine"]["normalisation"] = "median"
    path.write_text(json.dumps(manifest))
    with pytest.raises(SpecdataError, match="the text of test:0 is not that of its flux"):
        preview(tmp_path / "data", "test:0", tmp_path / "row.png", config="fine")


def run(*arguments, cwd):
    return subprocess.run([SPECDATA, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command(data, tmp_path):
    done = run("preview", data, "test:0", "--config", "fine", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (figure,) = tmp_path.glob("preview-*-fine.png")
    assert f"figure     {figure.name}" in done.stdout
    assert "error      at most 0.00" in done.stdout
    done = run("preview", data, "test:999", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("specdata: row 'test:999': ")
    assert done.stderr.count("\n") == 1


def test_the_token_command_prints_the_table_and_draws_the_figure(data, tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    options = ("--tokenizer", "tokenizer", "--limit", "150", "--bins", "40", "--figure", "tokens.png", "--rows", "30")
    done = run("tokens", data, *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "| tok" in line]
    table = {cells[0]: cells[1:] for cells in lines[1:]}
    assert set(table) == {
        "config `paper`",
        "config `fine`",
        *(f"scheme `{s}`" for s in ("paper", "csv", "packed")),
    }
    # SmolLM2 writes one token a digit.
    assert table["scheme `packed`"][2:4] == ["40", "3.00"]
    assert table["config `fine`"][2:4] == ["300", "3.00"]
    assert table["config `fine`"][-1] == "30 over 150"
    assert (tmp_path / "tokens.png").read_bytes().startswith(b"\x89PNG")
    done = run("tokens", data, "--tokenizer", "nobody/nothing", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("specdata: nobody/nothing: no such folder")


def test_a_damaged_data_set_is_one_sentence(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    for file in (tmp_path / "data" / "spectra").glob("test-*"):
        file.write_text("version https://git-lfs.github.com/spec/v1")
    for command in (("preview", "data", "test:0"), ("tokens", "data", "--tokenizer", "smollm2-135m")):
        done = run(*command, cwd=tmp_path)
        assert done.returncode == 2
        assert "cannot be read" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_a_figure_that_cannot_be_is_told_first(data, tmp_path):
    (tmp_path / "folder.png").mkdir()
    for name, said in (("tokens.txt", "give a name that ends in"), ("folder.png", "is a folder")):
        done = run("tokens", data, "--tokenizer", "smollm2-135m", "--figure", name, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr.splitlines()[-1]
