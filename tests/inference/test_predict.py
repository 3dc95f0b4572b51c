"""`specdata predict` and `specdata.predict`: tables of redshifts in every format, and doubts about them."""

import itertools
import json
import math
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from test_results import example_results

import specdata
from specdata.errors import SpecdataError
from specdata.inference import predict as module
from specdata.inference.reader import Reader
from specdata.inference.trained import doubts, only_target
from specdata.results import save_results
from specdata.targets import TARGETS


@pytest.fixture(scope="module")
def table(scored_adapter, taught_model, spectra):
    return specdata.predict(spectra, scored_adapter, model=str(taught_model), batch_size=2)


def test_python_gets_a_table_with_units_and_intervals(table, spectra):
    assert list(table["name"]) == [spectrum.name for spectrum in spectra]
    assert str(table["ra"].unit) == "deg"
    assert all(table[name].description for name in table.colnames)
    assert np.allclose(table["z"], 0.2468, atol=0.01)
    ends = [table[name] for name in ("z_low_95", "z_low_68", "z", "z_high_68", "z_high_95")]
    assert all((low <= high).all() for low, high in itertools.pairwise(ends))
    assert list(table["z_greedy"]) == [0.2468] * 3
    assert "9 of the 9 spectra that the adapter was trained on are mocks" in table.meta["comments"][0]


@pytest.mark.parametrize("ending", module.FORMATS)
def test_every_format_holds_the_same(table, ending, tmp_path):
    changed = table.copy()
    changed["file"] = ["ü.fits", *table["file"][1:]]
    changed["z"][1] = math.nan
    path = tmp_path / f"z{ending}"
    module.write_table(changed, path)
    found = Table.read(path, format=module.FORMATS[ending])
    assert found.colnames == table.colnames
    assert np.allclose(np.ma.filled(found["z"], math.nan), changed["z"], equal_nan=True)
    assert list(found["answer"]) == ["Redshift: [0.2468]"] * 3
    if ending != ".csv":
        assert str(found["ra"].unit) == "deg"
    if ending == ".parquet":
        assert pq.read_table(path)["z_low_68"].to_pylist() == pytest.approx(table["z_low_68"].tolist())


def test_scores_of_another_target_say_nothing(scored_adapter, mock_data, tmp_path, monkeypatch):
    """An adapter of several targets has the results of one, whose range and doubts are not those of the others."""
    reader = Reader(scored_adapter, dataset=str(mock_data), config="paper")
    assert reader.results
    folder = shutil.copytree(mock_data, tmp_path / "data")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["configs"]["paper"]["target"] = TARGETS["vdisp"].to_dict()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    other = Reader(scored_adapter, dataset=str(folder), config="paper")
    monkeypatch.setattr(Reader, "generator", SimpleNamespace(revision=""))
    assert other.results is None
    said = "the adapter was scored on the redshift, and its answers for the velocity dispersion were not"
    assert other.warnings[0] == said


def test_batches_change_nothing_and_the_answer_alone_is_enough(table, scored_adapter, taught_model, files, monkeypatch):
    monkeypatch.setattr("specdata.inference.reader._CHUNK", 1)
    one = specdata.predict(files, scored_adapter, model=str(taught_model), batch_size=1)
    by_name = {name: z for name, z in zip(table["name"], table["z"], strict=True)}
    assert [by_name[name] for name in one["name"]] == pytest.approx(one["z"].tolist(), abs=1e-4)
    only = specdata.predict(str(files[0]), scored_adapter, model=str(taught_model), answer_only=True)
    assert only["z"].tolist() == [0.2468]
    assert "z_low_68" not in only.colnames


def test_spectra_that_cannot_be_read_are_told_before_the_model_is_loaded(scored_adapter, files, tmp_path, monkeypatch):
    monkeypatch.setattr(Reader, "generator", property(lambda _: pytest.fail("the model was loaded")))
    (tmp_path / "no.fits").write_text("nothing")
    with pytest.raises(SpecdataError, match=r"no.fits: "):
        specdata.predict([files[0], tmp_path / "no.fits"], scored_adapter)
    with pytest.raises(SpecdataError, match="no spectrum"):
        specdata.predict([], scored_adapter)


def test_the_command_leaves_out_what_it_cannot_read(command, scored_adapter, files, spec_files, tmp_path):
    (tmp_path / "no.fits").write_text("nothing")
    spectra = (files[0], spec_files["star"], "no.fits")
    code, out, err = command("predict", *spectra, "--adapter", scored_adapter, "--output", "out.ecsv")
    assert code == 2
    assert "1 left out, and 2 read: no.fits: " in err
    assert "predict: 100%" in err
    assert "warning: on 9 spectra of the split test the adapter was worse than the same redshift for all" in err
    assert "the pipeline's class is STAR, and the question is worded for galaxies" in out
    found = Table.read(tmp_path / "out.ecsv")
    assert list(found["file"]) == [files[0].name, spec_files["star"].name]
    assert all(name in out for name in found["file"])
    code, out, err = command("predict", files[0], "--adapter", scored_adapter, "--answer-only")
    assert code == 0, err
    assert out.splitlines()[1].endswith("0.2468   Redshift: [0.2468]")
    assert command("predict", "--adapter", scored_adapter)[0] == 2


def test_a_run_that_was_stopped_goes_on(command, scored_adapter, files, table, tmp_path, monkeypatch):
    line = ("predict", *files, "--adapter", scored_adapter, "--batch-size", "1", "--output", "z.csv")
    predict, asked = Reader.predict, []

    def stopped(self, some, **options):
        asked.append(len(some))
        for number, found in enumerate(predict(self, some, **options)):
            if len(asked) == 1 and number == 2:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(Reader, "predict", stopped)
    code, _, err = command(*line)
    assert (code, [path.name for path in tmp_path.iterdir()]) == (130, ["z.csv.partial.jsonl"])
    with (tmp_path / "z.csv.partial.jsonl").open("ab") as kept:
        kept.write(b'["cut sho\xff')
    code, _, err = command(*line)
    assert code == 0, err
    assert "2 of 3 spectra are done already" in err
    assert asked == [3, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["z.csv"]
    os.mkfifo(tmp_path / "z.csv.partial.jsonl")
    assert "it is a device or a pipe, not a file" in command(*line)[2]
    by_name = {name: z for name, z in zip(table["name"], table["z"], strict=True)}
    found = Table.read(tmp_path / "z.csv")
    assert found["z"].tolist() == pytest.approx([by_name[name] for name in found["name"]], abs=1e-4)


def test_a_csv_of_ones_own_in_other_units(command, scored_adapter, spectra, tmp_path):
    spectrum = spectra[0]
    columns = {"wavelength_nm": spectrum.wavelength / 10, "flux": spectrum.flux, "ivar": spectrum.ivar}
    Table(columns).write(tmp_path / "mine.csv")
    Table({name: values[700:] for name, values in columns.items()}).write(tmp_path / "red.csv")
    (tmp_path / "blind.csv").write_text("wavelength,flux\n4000,1\n5000,2\n")
    code, _, err = command(
        "predict", "mine.csv", "red.csv", "blind.csv", "--adapter", scored_adapter, "--output", "z.csv"
    )
    assert code == 2
    assert "blind.csv: the noise of fewer than 5 pixels cannot be estimated; give ivar or sigma" in err
    found = Table.read(tmp_path / "z.csv")
    assert list(found["file"]) == ["mine.csv", "red.csv"]
    assert np.allclose(found["z"], 0.2468, atol=0.01)
    assert "that the model has seen; the bins beyond are filled" in found["warnings"][1]
    assert "that the model has seen" not in found["warnings"][0]


def test_what_lies_outside_of_the_training_is_doubted(scored_adapter, taught_model, spectra, tmp_path):
    from shutil import copytree

    folder = copytree(scored_adapter, tmp_path / "narrow")
    results = example_results() | {"settings": {"unparsed_scores_as": [0.9, 0.95]}}
    results["subsets"]["snmedian"] = [{"low": 1000.0, "high": 1001.0, "metrics": {}}]
    save_results(folder, results | {"encoding": Reader(scored_adapter, str(taught_model)).encoding.to_dict()})
    said = specdata.predict(spectra[:1], folder, model=str(taught_model), answer_only=True)["warnings"][0]
    assert "its file says z = " in said
    assert "and the adapter was scored from 1000.0 to 1001.0" in said
    assert "z = 0.2468 lies outside of the training range, 0.9000 to 0.9500" in said


def test_an_adapter_says_what_it_was_trained_for(tmp_path):
    results = example_results()
    assert only_target(tmp_path, results)
    assert not only_target(tmp_path, None)
    assert not only_target(tmp_path, results | {"encoding": results["encoding"] | {"turns": 3}})
    (tmp_path / "recipe.yaml").write_text("datasets: [{path: a, name: packed}, {path: b}]\n")
    assert not only_target(tmp_path, results)
    mixture = f"datasets: [{{path: a, name: {results['dataset']['config']}}}, {{path: a, name: %s}}]\n"
    for name, is_target in (("subclass", True), ("chat", False)):
        (tmp_path / "recipe.yaml").write_text(mixture % name)
        assert only_target(tmp_path, results) == is_target
    good = results["baselines"]["constant"] | {"verdict": "better"}
    real = results["dataset"] | {"n_mock_train": 0}
    assert doubts(results | {"baselines": {"constant": good}, "dataset": real}) == []
