"""A row drawn from the data set alone, and what its rows cost in tokens."""

import json
import shutil

import numpy as np
import pytest
from astropy.table import Table
from datasets import load_dataset
from small_recipe import GRID, small_recipe

from specdata import SpecdataError, prompts
from specdata.dataset.build import build
from specdata.dataset.preview import preview
from specdata.text.encoding import Encoding


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Fifty mocks in two configs, in a folder that nothing else points at."""
    recipe = small_recipe(
        name="mock-preview",
        configs={
            "paper": {"grid": GRID | {"bins": 20}},
            "fine": {"grid": GRID | {"kind": "log", "bins": 300}, "normalisation": "asinh", "scheme": "packed"},
        },
    )
    folder = tmp_path_factory.mktemp("preview") / "data"
    build(recipe, folder, progress=False)
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


def test_a_file_is_written_as_the_data_set_writes_its_own(data, tmp_path):
    row = load_dataset(str(data), "spectra").with_format("numpy")["test"][3]
    shown = preview(data, "test:3", tmp_path / "row.png", config="fine")
    wave = 10.0 ** row["loglam"].astype(float)
    Table({"wavelength": wave, "flux": row["flux"], "ivar": row["ivar"]}).write(tmp_path / "my.csv")
    own = preview(data, tmp_path / "my.csv", tmp_path / "own.png", config="fine")
    assert (own["split"], own["name"], own["warnings"]) == (None, "my.csv", [])
    same = np.array(list(own["text"])) == np.array(list(shown["text"]))
    assert same.mean() > 0.95  # of the digits: the table has no masks, so that a few bins may differ


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_twice_the_same_bytes_in_every_format(data, tmp_path, suffix):
    paths = [tmp_path / f"{name}.{suffix}" for name in "ab"]
    for path in paths:
        preview(data, "train:0", path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths


def test_text_that_is_not_that_of_the_flux_is_found_out(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    path = tmp_path / "data" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["configs"]["fine"]["normalisation"] = "median"
    path.write_text(json.dumps(manifest))
    with pytest.raises(SpecdataError, match="the text of test:0 is not that of its flux"):
        preview(tmp_path / "data", "test:0", tmp_path / "row.png", config="fine")


def test_the_command(data, tmp_path, command):
    code, printed, _ = command("preview", data, "test:0", "--config", "fine")
    assert code == 0
    (figure,) = tmp_path.glob("preview-*-fine.png")
    assert f"figure     {figure.name}" in printed
    assert "error      at most 0.00" in printed


def test_the_token_command_prints_the_table_and_draws_the_figure(data, tmp_path, command):
    options = ("--limit", "150", "--bins", "40", "--figure", "tokens.png", "--rows", "30")
    code, printed, said = command("tokens", data, "--tokenizer", "smollm2-135m", *options)
    assert code == 0, said
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if "| smol" in line]
    table = {cells[0]: cells[1:] for cells in lines}
    schemes = (f"scheme `{name}`" for name in ("paper", "csv", "packed", "digit"))
    assert set(table) == {"config `paper`", "config `fine`", *schemes}
    # SmolLM2 writes one token a digit.
    assert table["scheme `packed`"][2:4] == ["40", "3.00"]
    assert table["config `fine`"][2:4] == ["300", "3.00"]
    assert table["config `fine`"][-1] == "30 over 150"
    assert (tmp_path / "tokens.png").read_bytes().startswith(b"\x89PNG")


def test_what_the_token_command_cannot_do_is_told_first(data, tmp_path, command):
    (tmp_path / "folder.png").mkdir()
    for options, said in (
        (("--tokenizer", "nobody/nothing"), "specdata: nobody/nothing: no such folder"),
        (("--tokenizer", "smollm2-135m", "--figure", "tokens.txt"), "give a name that ends in"),
        (("--tokenizer", "smollm2-135m", "--figure", "folder.png"), "is a folder"),
    ):
        code, printed, told = command("tokens", data, *options)
        assert (code, printed) == (2, "")
        assert said in told.splitlines()[-1]


def test_a_damaged_data_set_is_one_sentence(data, tmp_path, command):
    shutil.copytree(data, tmp_path / "data")
    for file in (tmp_path / "data" / "spectra").glob("test-*"):
        file.write_text("version https://git-lfs.github.com/spec/v1")
    for words in (("preview", "data", "test:0"), ("tokens", "data", "--tokenizer", "smollm2-135m")):
        code, _, said = command(*words)
        assert code == 2
        assert "cannot be read" in said.splitlines()[-1]
        assert "Traceback" not in said
