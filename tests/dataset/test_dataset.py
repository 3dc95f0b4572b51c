"""The build, from files on disk to what `load_dataset` gives, with the real readers at both ends."""

import csv
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset

from specdata import SpecdataError, prompts, read_spectrum, serialize
from specdata.dataset.build import build
from specdata.dataset.recipe import load_data_recipe
from specdata.spectra.binning import bin_spectrum, linear_edges, log_edges, median_scale
from specdata.spectra.mock.spectrum import mock_spectra, write_spec_lite
from specdata.text.encoding import Encoding, normalise
from specdata.text.tokenizer import load_tokenizer
from specdata.text.tokens import count_chats


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
            "configs": {"paper": {"grid": {"start": 3840, "stop": 9160, "bins": 12}}},
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
    grid = {"start": 3840, "stop": 9160}
    configs = {
        "paper": {"grid": grid | {"bins": 12}},
        "fine": {"grid": grid | {"kind": "log", "bins": 90}, "normalisation": "asinh", "scheme": "packed"},
        "own": {"grid": {"kind": "edges", "edges": [3900.0, 5000.0, 9000.0]}, "normalisation": "none", "scheme": "csv"},
    }
    source = {"kind": "folder", "path": str(mock_folder)}
    build(load_data_recipe(recipe_file(source=source, configs=configs)), tmp_path / "out", progress=False)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    spectra = load_dataset(str(tmp_path / "out"), "spectra")["train"]
    for name, edges in (
        ("paper", linear_edges(3840, 9160, 12)),
        ("fine", log_edges(3840, 9160, 90)),
        ("own", np.array([3900.0, 5000.0, 9000.0])),
    ):
        encoding = Encoding.from_dict(manifest["configs"][name], name)
        np.testing.assert_array_equal(encoding.edges, edges)
        for row, text in zip(spectra, load_dataset(str(tmp_path / "out"), name)["train"], strict=True):
            spectrum = read_spectrum(mock_folder / f"spec-{row['plate']}-{row['mjd']}-{row['fiberid']:04d}.fits")
            for column in ("flux", "ivar", "and_mask"):
                np.testing.assert_array_equal(row[column], getattr(spectrum, column))
            np.testing.assert_array_equal(np.float32(row["loglam"]), spectrum.loglam.astype(np.float32))
            binned = bin_spectrum(spectrum, edges)
            # The file's wavelengths are float32, of which the data set keeps every bit.
            np.testing.assert_array_equal(text["flux"], binned.flux.astype(np.float32))
            np.testing.assert_array_equal(text["ivar"], binned.ivar.astype(np.float32))
            np.testing.assert_array_equal(text["mask"], binned.mask)
            np.testing.assert_allclose(text["wavelength"], 0.5 * (edges[1:] + edges[:-1]), rtol=1e-7)
            scale = 1.0 if name == "own" else median_scale(spectrum, edges[0], edges[-1])
            assert text["scale"] == scale
            assert row["z"] == text["z"] == spectrum.z
            assert prompts.parse_redshift(text["completion"][0]["content"]) == round(spectrum.z, 4)
            # The text comes from what is stored, and gives it back to half a step.
            series = prompts.read_series(text["prompt"])
            again, clipped = encoding.encode(np.float32([text["flux"]]), [scale])
            assert again.to_pylist() == [series]
            written = normalise(encoding.decode([series], [scale]), scale, encoding.normalisation)
            stored = normalise(text["flux"], scale, encoding.normalisation)
            step = serialize.SCHEMES[encoding.scheme].step
            assert (np.abs(written[0] - stored) > 0.5001 * step).sum() == clipped.sum() == 0


def test_values_that_a_scheme_cannot_write_are_clipped_and_counted(recipe_file, tmp_path):
    # Flux that is not divided by anything is often above 7.99.
    configs = {"raw": {"grid": {"start": 3840, "stop": 9160, "bins": 300}, "normalisation": "none", "scheme": "packed"}}
    manifest = build(load_data_recipe(recipe_file(configs=configs)), tmp_path / "out", progress=False)
    rows = load_dataset(str(tmp_path / "out"), "raw")
    values = np.concatenate([np.array(r["flux"]) / r["scale"] for split in rows.values() for r in split])
    outside = int(((values > 7.995) | (values < -2.005)).sum())
    assert 0 < outside < values.size
    assert manifest["configs"]["raw"]["values"]["clipped"] == outside
    assert f"{outside:,} of {values.size:,} values lay outside -2.0 to 7.99" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(("scheme", "tokenizer"), [("paper", "llama-3.1"), ("csv", "smollm2-135m")])
def test_a_number_of_tokens_instead_of_bins(recipe_file, tmp_path, scheme, tokenizer):
    grid = {"start": 3840, "stop": 9160, "tokens": 200, "tokenizer": tokenizer}
    recipe = load_data_recipe(recipe_file(configs={"fitted": {"grid": grid, "scheme": scheme}}))
    manifest = build(recipe, tmp_path / "out", progress=False)
    made = manifest["configs"]["fitted"]

    def lengths(folder):
        rows = [row for split in load_dataset(str(folder), "fitted").values() for row in split]
        return count_chats(load_tokenizer(tokenizer), [row["prompt"] + row["completion"] for row in rows])

    found = lengths(tmp_path / "out")
    assert len(found) == made["fit"]["rows"] == manifest["counts"]["sampled"]
    assert found.max() == made["fit"]["longest"] <= 200
    # With one bin more, a row is too long.
    grid = {"start": 3840, "stop": 9160, "bins": made["fit"]["bins"] + 1}
    more = recipe_file(configs={"fitted": {"grid": grid, "scheme": scheme}})
    build(load_data_recipe(more), tmp_path / "more", progress=False)
    assert lengths(tmp_path / "more").max() >= made["fit"]["beyond"] > 200
    assert (
        f"With {made['fit']['bins']} bins no row has more than 200 tokens"
        in (tmp_path / "out" / "README.md").read_text()
    )


def test_a_number_of_tokens_without_room_for_one_bin(recipe_file, tmp_path):
    recipe = load_data_recipe(recipe_file(configs={"fitted": {"grid": {"start": 3840, "stop": 9160, "tokens": 40}}}))
    with pytest.raises(SpecdataError, match=r"^configs.fitted.grid.tokens = 40: limit 40: with only 1 bin a row has"):
        build(recipe, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_the_card_has_the_table_of_tokens_for_both_tokenizers(recipe_file, tmp_path):
    manifest = build(load_data_recipe(recipe_file()), tmp_path / "out", progress=False)
    assert {(cost["name"], cost["tokenizer"]) for cost in manifest["tokens"]} == {
        (name, tokenizer)
        for name in ("config `paper`", "scheme `csv`", "scheme `packed`")
        for tokenizer in ("llama-3.1", "smollm2-135m")
    }
    assert all(cost["rows"] == manifest["counts"]["sampled"] for cost in manifest["tokens"])
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| scheme `packed` | llama-3.1 | " in card
    assert (tmp_path / "out" / "figures" / "tokens.png").is_file()
    build(load_data_recipe(recipe_file(tokenizers=[])), tmp_path / "without", progress=False)
    assert "tokens.png" not in (tmp_path / "without" / "README.md").read_text()


def test_a_tokenizer_that_is_not_to_be_had_is_told_before_the_work(recipe_file, tmp_path, monkeypatch):
    monkeypatch.setattr("specdata.dataset.build.list_source", lambda *_: pytest.fail("the source was opened"))
    with pytest.raises(SpecdataError, match=r"^nobody/nothing: no such folder, and the Hub does not give it"):
        build(load_data_recipe(recipe_file(tokenizers=["nobody/nothing"])), tmp_path / "out", progress=False)


def test_a_data_set_with_other_configs_is_replaced_whole(recipe_file, tmp_path):
    grid = {"start": 3840, "stop": 9160, "bins": 4}
    for name in ("one", "two"):
        recipe = load_data_recipe(recipe_file(configs={name: {"grid": grid}}, tokenizers=[]))
        build(recipe, tmp_path / "out", overwrite=True, progress=False)
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["figures", "spectra", "two"]


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
    monkeypatch.setattr("specdata.dataset.parquet.ROWS_PER_SHARD", 7)
    monkeypatch.setattr("specdata.dataset.parquet.BATCH", 4)
    build(recipe, tmp_path / "many", progress=False)
    assert len(list((tmp_path / "many" / "paper").glob("train-*-of-00003.parquet"))) == 3
    one, many = (load_dataset(str(tmp_path / name)) for name in ("one", "many"))
    for split in one:
        assert one[split].to_dict() == many[split].to_dict()


def test_real_galaxies_become_a_data_set(shared_sdss, tmp_path):
    recipe = load_data_recipe(
        Path(__file__).parents[2] / "recipes" / "data" / "sdss-folder.yaml", source=shared_sdss / "spectra"
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
    content = yaml.safe_load((Path(__file__).parents[2] / "recipes" / "data" / "sdss-folder.yaml").read_text())
    source = {"kind": "folder", "path": str(folder)}
    build(load_data_recipe(recipe_file(**content | {"source": source})), tmp_path / "out", progress=False)
    with (tmp_path / "out" / "rejected.csv").open(newline="") as stream:
        named = {row["source"]: row["cut"] for row in csv.DictReader(stream)}
    with (shared_sdss / "other.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            assert named[row["file"]] == ("class" if row["class"] != "GALAXY" else "zwarning")


def test_other_text_from_a_data_set_needs_no_spec_files(mock_folder, recipe_file, tmp_path, monkeypatch):
    one = recipe_file(source={"kind": "folder", "path": str(mock_folder)})
    build(load_data_recipe(one), tmp_path / "one", progress=False)
    configs = {"fine": {"grid": {"start": 3900, "stop": 9000, "bins": 90}, "scheme": "packed"}}
    other = recipe_file(source={"kind": "folder", "path": str(mock_folder)}, configs=configs)
    build(load_data_recipe(other), tmp_path / "files", progress=False)
    copied, copy = [], shutil.copyfile

    def copyfile(path, *more, **options):
        copied.extend([path] if Path(path).suffix == ".parquet" else [])
        return copy(path, *more, **options)

    monkeypatch.setattr("shutil.copyfile", copyfile)
    manifest = build(load_data_recipe(other, source=tmp_path / "one"), tmp_path / "other", shards=3, progress=False)
    assert len(copied) == 3  # the spectra of each split, which are the same rows again
    # The same rows in the same splits, and the same text but for where it came from.
    for config in ("spectra", "fine"):
        for split in ("train", "validation", "test"):
            name = f"{config}/{split}-00000-of-00001.parquet"
            assert (tmp_path / "other" / name).read_bytes() == (tmp_path / "files" / name).read_bytes()
    # With another seed the rows lie elsewhere, and so are written anew.
    seed = {"seed": 5, "size": 50, "redshift_bins": 5}
    again = recipe_file(source={"kind": "dataset", "path": str(tmp_path / "one")}, configs=configs, sample=seed)
    build(load_data_recipe(again), tmp_path / "other5", progress=False)
    assert len(copied) == 3
    one, five = (pq.read_table(tmp_path / name / "spectra").to_pylist() for name in ("one", "other5"))
    assert [row["specobjid"] for row in one] != [row["specobjid"] for row in five]
    assert sorted(map(repr, one)) == sorted(map(repr, five))
    assert manifest["recipe"]["source"] == {"kind": "dataset", "path": "one"}
    assert "The spectra of the data set `one`" in (tmp_path / "other" / "README.md").read_text()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "manifest.json").write_text("{}")
    recipe = load_data_recipe(other, source=tmp_path / "empty")
    with pytest.raises(SpecdataError, match=r"empty: holds no spectra/\*\.parquet; give the folder of a data set"):
        build(recipe, tmp_path / "nothing", progress=False)


def test_a_disk_that_fills_up_is_one_sentence_and_the_build_goes_on(recipe_file, tmp_path):
    recipe, disk = load_data_recipe(recipe_file()), tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small file system")
    try:
        with pytest.raises(SpecdataError, match=r"out\.parts: No space left on device; make room there and give the"):
            build(recipe, disk / "out", progress=False)
        left = sorted(path.relative_to(disk).as_posix() for path in disk.rglob("*"))
        assert left == ["out.parts", *(f"out.parts/{name}" for name in ("job.json", "listing.arrow", "lock", "read"))]
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        build(recipe, disk / "out", progress=False)
        build(recipe, tmp_path / "out", progress=False)
        assert [path.name for path in disk.iterdir()] == ["out"]
        for path in (path for path in (tmp_path / "out").rglob("*") if path.is_file()):
            assert (disk / "out" / path.relative_to(tmp_path / "out")).read_bytes() == path.read_bytes()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_names_of_configs_that_yaml_takes_for_something_else(recipe_file, tmp_path):
    grid = {"start": 3840, "stop": 9160, "bins": 4}
    names = ["123", "no", "1e5", "packed-smollm2"]
    recipe = load_data_recipe(recipe_file(configs={name: {"grid": grid} for name in names}, tokenizers=[]))
    build(recipe, tmp_path / "out", progress=False)
    for name in (*names, "spectra"):
        assert len(load_dataset(str(tmp_path / "out"), name)["train"]) == 20
    streamed = load_dataset(str(tmp_path / "out"), "no", streaming=True)["train"]
    assert next(iter(streamed))["completion"][0]["content"].startswith("Redshift: [")


def test_the_code_of_the_card_gives_the_flux_back(recipe_file, tmp_path, monkeypatch):
    grid = {"start": 3840, "stop": 9160, "bins": 20}
    for normalisation in ("asinh", "median", "none"):
        configs = {"only": {"grid": grid, "normalisation": normalisation, "scheme": "csv"}}
        build(load_data_recipe(recipe_file(configs=configs, tokenizers=[])), tmp_path / normalisation, progress=False)
        card = (tmp_path / normalisation / "README.md").read_text()
        loading, code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        monkeypatch.chdir(tmp_path)
        found = {}
        exec(loading.replace('"mock-small"', repr(normalisation)) + code, found)
        np.testing.assert_allclose(found["flux"], found["row"]["flux"], rtol=0.01, atol=0.006 * found["row"]["scale"])


def test_no_path_of_this_disk_where_a_tokenizer_is_a_folder(recipe_file, tmp_path, tokenizer):
    tokenizer.save_pretrained(tmp_path / "my-tokenizer")
    name = str(tmp_path / "my-tokenizer")
    configs = {"fitted": {"grid": {"start": 3840, "stop": 9160, "tokens": 120, "tokenizer": name}}}
    build(load_data_recipe(recipe_file(configs=configs, tokenizers=[name])), tmp_path / "out", progress=False)
    for file in ("manifest.json", "README.md"):
        text = (tmp_path / "out" / file).read_text()
        assert str(tmp_path) not in text
        assert "my-tokenizer" in text


def test_a_tokenizer_without_a_chat_template_is_told_before_the_work(recipe_file, tmp_path, monkeypatch, tokenizer):
    folder = tmp_path / "base"
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").unlink()
    monkeypatch.setattr("specdata.dataset.build.list_source", lambda *_, **__: pytest.fail("the source was opened"))
    with pytest.raises(SpecdataError, match="has no chat template"):
        build(load_data_recipe(recipe_file(tokenizers=[str(folder)])), tmp_path / "out", progress=False)
