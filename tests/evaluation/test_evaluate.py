"""Evaluation with a real (tiny) model and real data sets: what is scored, what is refused, what survives a stop."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from specdata import SpecdataError, prompts
from specdata.dataset.manifest import files_revision
from specdata.evaluation import baselines, metrics
from specdata.evaluation.evaluate import evaluate
from specdata.inference.local import Generator
from specdata.serialize import PACKED


@pytest.fixture(scope="module")
def results(taught_model, mock_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation") / "out"
    return evaluate(str(taught_model), str(mock_data), folder, progress=False, batch_size=5), folder


def test_results_are_those_of_the_predictions(results, mock_data, tmp_path):
    found, folder = results
    assert json.loads((folder / "results.json").read_text()) == found
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    rows = load_dataset(str(mock_data), "paper")
    z = np.array(rows["test"]["z"])
    np.testing.assert_array_equal(table["z"], z)
    assert table["specobjid"] == rows["test"]["specobjid"]
    assert set(table["answer"]) == {"Redshift: [0.2468]"}
    assert table["z_pred"] == [0.2468] * len(z)
    assert found["metrics"]["mae"]["value"] == pytest.approx(np.mean(np.abs(0.2468 - z)))
    assert found["metrics"]["parse_rate"]["value"] == 1
    assert found["distinct_answers"] == 1
    constant = float(np.median(rows["train"]["z"]))
    assert found["baselines"]["constant"]["z"] == constant
    assert found["baselines"]["constant"]["metrics"]["mae"]["value"] == pytest.approx(np.mean(np.abs(constant - z)))
    neighbours = np.array(table["z_nearest_neighbours"])
    ours = found["baselines"]["nearest_neighbours"]["metrics"]["mae"]["value"]
    assert ours == pytest.approx(np.mean(np.abs(neighbours - z)))
    assert ours < found["baselines"]["constant"]["metrics"]["mae"]["value"]  # mocks can be told apart by neighbours
    for scores in [found["metrics"], *(b["metrics"] for b in found["baselines"].values())]:
        assert set(scores) == set(metrics.NAMES)
        for score in scores.values():
            assert score["n"] == len(z) == 24
            assert score["low"] <= score["value"] <= score["high"]


def test_every_config_is_read_with_its_own_scheme(taught_model, mock_data, results, tmp_path):
    found = evaluate(str(taught_model), str(mock_data), tmp_path / "out", config="packed", progress=False)
    rows = load_dataset(str(mock_data), "packed")
    x = {
        split: np.array([PACKED.decode(prompts.read_series(p)) for p in rows[split]["prompt"]])
        for split in ("train", "test")
    }
    z_train, objects = np.array(rows["train"]["z"]), rows["train"]["object_id"]
    expected, k = baselines.nearest_neighbours(x["train"], z_train, objects, x["test"])
    predicted = pq.read_table(tmp_path / "out" / "predictions.parquet")["z_nearest_neighbours"].to_numpy()
    np.testing.assert_array_equal(predicted, expected)
    assert found["baselines"]["nearest_neighbours"]["k"] == k
    assert (found["encoding"]["scheme"], found["encoding"]["normalisation"]) == ("packed", "asinh")
    np.testing.assert_allclose(found["encoding"]["edges"], np.geomspace(3840, 9160, 61))
    assert len(results[0]["encoding"]["edges"]) == 9


def test_results_name_the_data_and_the_weights_but_no_path(results, taught_model, mock_data):
    found, folder = results
    manifest = json.loads((mock_data / "manifest.json").read_text())
    assert found["dataset"]["revision"] == manifest["revision"]
    assert found["dataset"] | {"split": "test", "n": 24, "n_train": 24, "n_mock": 24} == found["dataset"]
    assert found["model"]["base"] == "taught-llama"
    assert len(found["model"]["base_revision"]) == 64
    assert str(taught_model.parent) not in (folder / "results.json").read_text()
    assert (folder / "redshift.png").read_bytes().startswith(b"\x89PNG")


def test_answers_that_do_not_parse_are_failures_and_are_kept(tiny_model, mock_data, tmp_path):
    found = evaluate(str(tiny_model), str(mock_data), tmp_path / "out", progress=False, limit=6)
    assert found["metrics"]["parse_rate"]["value"] == 0
    assert found["metrics"]["outlier_fraction"]["value"] == 1
    table = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pydict()
    assert table["z_pred"] == [None] * 6
    low, high = found["settings"]["unparsed_scores_as"]
    worst = np.mean([max(z - low, high - z) for z in table["z"]])
    assert found["metrics"]["mae"]["value"] == pytest.approx(worst)


def test_an_interrupted_evaluation_goes_on(taught_model, mock_data, results, tmp_path, monkeypatch):
    real, asked = Generator.answer, []

    def interrupted(self, prompts, **options):
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(prompts))
        return real(self, prompts, **options)

    options = {"progress": False, "batch_size": 5}
    monkeypatch.setattr(Generator, "answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate(str(taught_model), str(mock_data), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
    journal = tmp_path / "out.answers.partial.jsonl"
    with journal.open("a") as stream:
        stream.write('"half a li')  # what a power cut leaves

    asked.clear()
    monkeypatch.setattr(Generator, "answer", lambda *a, **k: asked.append(len(a[1])) or real(*a, **k))
    again = evaluate(str(taught_model), str(mock_data), tmp_path / "out", **options)
    assert asked == [5, 5, 4]  # ten of the 24 had been answered
    assert again == results[0]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_answers_of_another_model_are_not_taken_over(taught_model, tiny_model, mock_data, tmp_path, monkeypatch):
    real, asked = Generator.answer, []

    def once(self, prompts, **options):
        if asked:
            raise KeyboardInterrupt
        asked.append(len(prompts))
        return real(self, prompts, **options)

    monkeypatch.setattr(Generator, "answer", once)
    with pytest.raises(KeyboardInterrupt):
        evaluate(str(taught_model), str(mock_data), tmp_path / "out", progress=False, batch_size=4)
    monkeypatch.setattr(Generator, "answer", real)
    found = evaluate(str(tiny_model), str(mock_data), tmp_path / "out", progress=False, limit=6)
    assert found["metrics"]["parse_rate"]["value"] == 0


def test_the_training_split_is_refused(taught_model, mock_data, tmp_path):
    with pytest.raises(SpecdataError, match="not scored on the rows it learned from"):
        evaluate(str(taught_model), str(mock_data), tmp_path / "out", split="train")


def test_a_split_that_shares_an_object_with_training_is_refused(taught_model, mock_data, tmp_path):
    leaky = tmp_path / "leaky"
    shutil.copytree(mock_data, leaky)
    train, test = (f"paper/{split}-00000-of-00001.parquet" for split in ("train", "test"))
    shutil.copy(leaky / train, leaky / test)
    with pytest.raises(SpecdataError, match=r"test-00000-of-00001.parquet is not the file that its manifest names"):
        evaluate(str(taught_model), str(leaky), tmp_path / "out")
    manifest = json.loads((leaky / "manifest.json").read_text())
    manifest["files"][test] = manifest["files"][train]
    (leaky / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SpecdataError, match=r"the revision in manifest.json is not that of its files"):
        evaluate(str(taught_model), str(leaky), tmp_path / "out")
    manifest["revision"] = files_revision(manifest["files"])
    (leaky / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SpecdataError, match=r"24 objects of split 'test'.* are also in the training split"):
        evaluate(str(taught_model), str(leaky), tmp_path / "out")


def test_a_card_that_was_edited_does_not_decide_what_is_scored(taught_model, mock_data, results, tmp_path):
    edited = tmp_path / "data"
    shutil.copytree(mock_data, edited)
    card = (edited / "README.md").read_text()
    swapped = card.replace("path: paper/train-", "path: paper/x-").replace("path: paper/test-", "path: paper/train-")
    (edited / "README.md").write_text(swapped.replace("path: paper/x-", "path: paper/test-"))
    shutil.copy(edited / "paper/train-00000-of-00001.parquet", edited / "paper/test-00001-of-00002.parquet")
    found = evaluate(str(taught_model), str(edited), tmp_path / "out", progress=False, batch_size=5)
    assert found == results[0]


def test_a_complete_journal_of_something_else_is_not_taken_over(taught_model, mock_data, results, tmp_path):
    lines = [{"key": "of another run", "commit": None, "dtype": "float32"}, *["Redshift: [0.1111]"] * 24]
    journal = tmp_path / "out.answers.partial.jsonl"
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert evaluate(str(taught_model), str(mock_data), tmp_path / "out", progress=False, batch_size=5) == results[0]


def test_a_damaged_journal_is_begun_anew(taught_model, mock_data, results, tmp_path):
    (tmp_path / "out.answers.partial.jsonl").write_text("garbage\n")
    assert evaluate(str(taught_model), str(mock_data), tmp_path / "out", progress=False, batch_size=5) == results[0]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"split": "tset"}, "split 'tset': to be scored on there are validation, test"),
        ({"config": "csv"}, "config 'csv': .* has the text configs paper, packed"),
        ({"config": "spectra"}, "config 'spectra': .* has the text configs paper"),
        ({"device": "warp"}, "device warp: not to be had here"),
        ({"limit": 0}, "limit 0: give at least 1 row"),
    ],
)
def test_impossible_requests_are_one_sentence(options, sentence, taught_model, mock_data, tmp_path):
    with pytest.raises(SpecdataError, match=sentence):
        evaluate(str(taught_model), str(mock_data), tmp_path / "out", **options)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_a_model_an_adapter_or_a_data_set_is_one_sentence(taught_model, mock_data, tmp_path, monkeypatch):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SpecdataError, match=r"has no readable manifest.json"):
        evaluate(str(taught_model), str(empty), tmp_path / "out")
    with pytest.raises(SpecdataError, match=r"empty: holds no \*\.safetensors"):
        evaluate(str(empty), str(mock_data), tmp_path / "out", progress=False)
    shutil.copy(taught_model / "model.safetensors", empty)
    with pytest.raises(SpecdataError, match=r"model .*empty: cannot be loaded"):
        evaluate(str(empty), str(mock_data), tmp_path / "out", progress=False)
    (empty / "model.safetensors").unlink()
    with pytest.raises(SpecdataError, match=r"empty: holds no \*\.safetensors"):
        evaluate(str(taught_model), str(mock_data), tmp_path / "out", adapter=str(empty))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SpecdataError, match="no such folder, and not to be had from the Hub"):
        evaluate(str(taught_model), "nobody/no-such-data", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
