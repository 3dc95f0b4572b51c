"""The build, from files on disk to what `load_dataset` gives, with the real readers at both ends."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import load_dataset

from specdata import SpecdataError, prompts, read_spectrum, serialize
from specdata.binning import bin_spectrum, linear_edges, median_scale
from specdata.dataset import build
from specdata.recipe import load_data_recipe
from specdata.sources.mock import mock_spectra, write_spec_lite


@pytest.fixture
def recipe_file(tmp_path):
    """Write a small recipe; keyword arguments replace whole sections."""

    def write(**sections):
        content = {
            "name": "mock-small",
            "title": "A small data set",
            "source": {"kind": "mock", "size": 60, "seed": 3},
            "sample": {"size": 50, "redshift_bins": 5},
            "splits": {"train": 20, "validation": 10},
            "grid": {"start": 3840, "stop": 9160, "bins": 12},
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content | sections), encoding="utf-8")
        return path

    return write


@pytest.fixture
def mock_folder(tmp_path):
    """Forty mock files, with one object observed twice and one file that comes twice."""
    folder = tmp_path / "spectra"
    folder.mkdir()
    for spectrum in mock_spectra(40, seed=5):
        write_spec_lite(spectrum, folder / f"spec-{spectrum.name}.fits")
    return folder


def hashes(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_built_twice_gives_identical_bytes(recipe_file, tmp_path):
    recipe = load_data_recipe(recipe_file())
    for name in ("one", "two"):
        build(recipe, tmp_path / name, progress=False)
    first = hashes(tmp_path / "one")
    assert first == hashes(tmp_path / "two")
    assert {"README.md", "manifest.json", "figures/redshifts.png", "figures/examples.png"} < set(first)


def test_load_dataset_opens_both_configs_with_all_splits(recipe_file, tmp_path):
    manifest = build(load_data_recipe(recipe_file()), tmp_path / "out", progress=False)
    default = load_dataset(str(tmp_path / "out"))
    paper = load_dataset(str(tmp_path / "out"), "paper")
    assert "flux" in default["train"].column_names  # `spectra` is the default config
    for split, n in manifest["counts"]["splits"].items():
        assert len(default[split]) == len(paper[split]) == n
        assert default[split]["specobjid"] == paper[split]["specobjid"]
    assert manifest["counts"]["splits"] == {"train": 20, "validation": 10, "test": manifest["counts"]["sampled"] - 30}
    assert all(paper["test"]["is_mock"])


def test_a_data_set_built_again_is_not_read_from_the_stale_cache(recipe_file, tmp_path):
    for seed in (1, 2):
        recipe = load_data_recipe(recipe_file(source={"kind": "mock", "size": 60, "seed": seed}))
        build(recipe, tmp_path / "out", overwrite=True, progress=False)
        rows = load_dataset(str(tmp_path / "out"), "paper")["train"]
        assert {identifier.split("-")[1] for identifier in rows["specobjid"]} == {str(seed)}


def test_rows_hold_what_the_modules_compute_from_the_file(mock_folder, recipe_file, tmp_path):
    recipe = load_data_recipe(recipe_file(source={"kind": "folder", "path": str(mock_folder)}))
    build(recipe, tmp_path / "out", progress=False)
    spectra = load_dataset(str(tmp_path / "out"), "spectra")["train"]
    paper = load_dataset(str(tmp_path / "out"), "paper")["train"]
    edges = linear_edges(3840, 9160, 12)
    for row, text in zip(spectra, paper, strict=True):
        spectrum = read_spectrum(mock_folder / f"spec-{row['plate']}-{row['mjd']}-{row['fiberid']:04d}.fits")
        binned = bin_spectrum(spectrum, edges)
        np.testing.assert_array_equal(row["flux"], binned.flux.astype(np.float32))
        np.testing.assert_array_equal(row["ivar"], binned.ivar.astype(np.float32))
        np.testing.assert_array_equal(row["mask"], binned.mask)
        assert row["scale"] == np.float32(median_scale(binned))
        assert row["z"] == text["z"] == spectrum.z
        # The text comes from what is stored, so that it can be made again from the data set alone.
        expected = np.array(row["flux"], dtype=np.float64) / row["scale"]
        series = prompts.read_series(text["prompt"])
        np.testing.assert_array_equal(serialize.PAPER.decode(series), np.rint(expected * 100) / 100)
        assert prompts.parse_redshift(text["completion"][0]["content"]) == round(spectrum.z, 4)


def test_every_rejected_spectrum_is_counted_and_named(mock_folder, recipe_file, tmp_path, spec_files):
    for name in ("star", "boss_qso"):
        shutil.copy(spec_files[name], mock_folder)
    (mock_folder / "spec-9999-59999-0001.fits").write_text("<html>404</html>")
    again = mock_folder / "more" / sorted(mock_folder.glob("*.fits"))[-1].name
    again.parent.mkdir()
    shutil.copy(next(mock_folder.glob("spec-9000*.fits")), again)
    source = {"kind": "folder", "path": str(mock_folder)}
    manifest = build(load_data_recipe(recipe_file(source=source)), tmp_path / "out", progress=False)
    counts = manifest["counts"]
    assert counts["rejected"]["unreadable"] == 1
    assert counts["rejected"]["class"] == 2
    assert counts["rejected"]["duplicate"] == 1
    assert counts["read"] == 44
    assert counts["passed"] == 44 - sum(counts["rejected"].values()) == 40
    with (tmp_path / "out" / "rejected.csv").open(newline="") as stream:
        named = {row["source"]: row for row in csv.DictReader(stream)}
    assert named[spec_files["star"].name]["reason"] == "class STAR, not GALAXY"
    assert named[spec_files["boss_qso"].name]["reason"] == "class QSO, not GALAXY"
    assert named["spec-9999-59999-0001.fits"]["reason"].startswith("this is not a FITS file")
    assert str(tmp_path) not in (tmp_path / "out" / "rejected.csv").read_text()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| `class` | 2 |" in card
    assert "| `unreadable` | 1 |" in card


def test_the_card_has_valid_metadata_and_says_mock(recipe_file, tmp_path):
    from huggingface_hub import DatasetCard

    build(load_data_recipe(recipe_file()), tmp_path / "out", progress=False)
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert [config["config_name"] for config in card.data.configs] == ["spectra", "paper"]
    assert [config.get("default", False) for config in card.data.configs] == [True, False]
    assert "mock-data" in card.data.tags
    assert "sdss" not in card.data.tags
    assert "none was observed by SDSS" in card.text
    for column in ("flux", "ivar", "mask", "prompt", "completion"):
        assert f"| `{column}` |" in card.text
    for figure in ("figures/redshifts.png", "figures/examples.png"):
        assert figure in card.text
        assert (tmp_path / "out" / figure).read_bytes().startswith(b"\x89PNG")


def test_mocks_are_refused_under_a_name_without_mock(mock_folder, recipe_file, tmp_path):
    source = {"kind": "folder", "path": str(mock_folder)}
    recipe = load_data_recipe(recipe_file(name="sdss-galaxies", source=source))
    with pytest.raises(SpecdataError, match=r"40 mock spectra.*never pass as SDSS data"):
        build(recipe, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_shortage_is_reported_and_sizes_stay_honest(recipe_file, tmp_path):
    asked = {"sample": {"size": 500, "redshift_bins": 5}, "splits": {"train": 300, "validation": 100}}
    manifest = build(load_data_recipe(recipe_file(**asked)), tmp_path / "out", progress=False)
    counts = manifest["counts"]
    assert counts["sampled"] == counts["passed"] == sum(counts["splits"].values()) == 60
    assert counts["splits"] == {"train": 36, "validation": 12, "test": 12}  # 300 : 100 : 100
    assert [row["asked"] for row in manifest["redshift_bins"]] == [100] * 5
    assert sum(row["taken"] for row in manifest["redshift_bins"]) == 60
    card = (tmp_path / "out" / "README.md").read_text()
    assert "5 of the 5 bins ran short" in card
    assert "| train | 36 | 300 |" in card


def test_too_few_spectra_is_one_sentence_that_counts_the_cuts(recipe_file, tmp_path):
    recipe = load_data_recipe(recipe_file(cuts={"z_min": 0.49, "z_max": 0.4901}))
    with pytest.raises(SpecdataError, match=r"0 of 60 spectra pass the cuts \(z_range 60\)"):
        build(recipe, tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_the_manifest_names_every_file_and_no_path_of_this_disk(mock_folder, recipe_file, tmp_path):
    source = {"kind": "folder", "path": str(mock_folder)}
    build(load_data_recipe(recipe_file(source=source)), tmp_path / "out", progress=False)
    text = (tmp_path / "out" / "manifest.json").read_text()
    manifest = json.loads(text)
    found = hashes(tmp_path / "out")
    assert manifest["files"] == {name: digest for name, digest in found.items() if name.endswith(".parquet")}
    assert manifest["recipe"]["source"]["path"] == "spectra"
    assert str(tmp_path) not in text
    assert str(tmp_path) not in (tmp_path / "out" / "README.md").read_text()


def test_shards_hold_the_same_rows(recipe_file, tmp_path, monkeypatch):
    recipe = load_data_recipe(recipe_file())
    build(recipe, tmp_path / "one", progress=False)
    monkeypatch.setattr("specdata.dataset.ROWS_PER_SHARD", 7)
    monkeypatch.setattr("specdata.dataset._BATCH", 4)
    build(recipe, tmp_path / "many", progress=False)
    assert len(list((tmp_path / "many" / "paper").glob("train-*-of-00003.parquet"))) == 3
    one, many = (load_dataset(str(tmp_path / name)) for name in ("one", "many"))
    for split in one:
        assert one[split].to_dict() == many[split].to_dict()


def test_real_galaxies_become_a_data_set(shared_sdss, tmp_path):
    recipe = load_data_recipe(
        Path(__file__).parents[1] / "recipes" / "data" / "sdss-folder.yaml", source=shared_sdss / "spectra"
    )
    counts = build(recipe, tmp_path / "out", progress=False)["counts"]
    assert counts["read"] == 816
    assert counts["passed"] + sum(counts["rejected"].values()) == 816
    assert counts["passed"] > 780
    assert counts["objects"] < counts["passed"]  # some galaxies were observed twice
    data = load_dataset(str(tmp_path / "out"))
    objects = {split: set(rows["object_id"]) for split, rows in data.items()}
    assert not objects["train"] & (objects["validation"] | objects["test"])
    assert not objects["validation"] & objects["test"]
    with (shared_sdss / "index.csv").open(newline="") as stream:
        index = {row["file"]: float(row["z"]) for row in csv.DictReader(stream)}
    for rows in data.values():
        for row in rows:
            assert row["z"] == pytest.approx(index[row["source"]], abs=1e-7)


def test_stars_quasars_and_warned_galaxies_are_rejected_by_name(shared_sdss, recipe_file, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(shared_sdss / "other", folder)
    for path in sorted((shared_sdss / "spectra").glob("*.fits"))[300:330]:
        shutil.copy(path, folder)
    content = yaml.safe_load((Path(__file__).parents[1] / "recipes" / "data" / "sdss-folder.yaml").read_text())
    source = {"kind": "folder", "path": str(folder)}
    build(load_data_recipe(recipe_file(**content | {"source": source})), tmp_path / "out", progress=False)
    with (tmp_path / "out" / "rejected.csv").open(newline="") as stream:
        named = {row["source"]: row["cut"] for row in csv.DictReader(stream)}
    with (shared_sdss / "other.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            assert named[row["file"]] == ("class" if row["class"] != "GALAXY" else "zwarning")
