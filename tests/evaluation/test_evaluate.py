"""Evaluation with a real (tiny) model and real data sets: what is scored, what is refused, what survives a stop."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset

from specdata import SpecdataError, prompts
from specdata.cli.evaluation import print_results
from specdata.dataset.manifest import files_revision
from specdata.evaluation import metrics
from specdata.evaluation.baselines import simple
from specdata.evaluation.baselines.methods import TITLES
from specdata.evaluation.evaluate import evaluate
from specdata.inference.local import Generator
from specdata.results import PREDICTIONS, RESULTS, figure_names, load_results
from specdata.serialize import PACKED

QUIET = {"progress": False, "batch_size": 5, "config": "paper", "baselines": ("nearest_neighbours",)}
GREEDY = QUIET | {"greedy_only": True}


@pytest.fixture(scope="module")
def scored(taught_model, mock_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation") / "out"
    return evaluate(str(taught_model), str(mock_data), folder, **QUIET | {"baselines": None}), folder


@pytest.fixture(scope="module")
def greedy(taught_model, mock_data, tmp_path_factory):
    return evaluate(str(taught_model), str(mock_data), tmp_path_factory.mktemp("greedy") / "out", **GREEDY)


def without_times(results):
    """Results but for what another run measures anew."""
    again = json.loads(json.dumps(results))
    for found in (again["speed"], *again["baselines"].values()):
        for name in ("seconds", "tokens_per_second"):
            found.pop(name, None)
    return again


def test_results_are_those_of_the_predictions(scored, mock_data):
    found, folder = scored
    assert load_results(folder) == found
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    rows = load_dataset(str(mock_data), "paper")
    z, z_train = np.array(rows["test"]["z"]), rows["train"]["z"]
    np.testing.assert_array_equal(table["z"], z)
    assert table["specobjid"] == rows["test"]["specobjid"]
    # The model says 0.2468 whatever it is asked: its greedy answer, and where its p(z) is highest.
    assert set(table["answer"]) == {"Redshift: [0.2468]"}
    assert table["z_greedy"] == [0.2468] * len(z)
    assert table["posterior_mode"] == pytest.approx([0.2468] * len(z))
    assert found["greedy"]["metrics"]["mae"]["value"] == pytest.approx(np.mean(np.abs(0.2468 - z)))
    assert found["greedy"]["distinct_answers"] == 1
    assert found["estimate"] == "median of p(z)"
    assert table["z_pred"] == pytest.approx(table["posterior_median"])
    assert found["metrics"]["mae"]["value"] == pytest.approx(np.mean(np.abs(np.array(table["z_pred"]) - z)))
    assert found["metrics"]["parse_rate"]["value"] == 1
    constant = float(np.median(z_train))
    of_constant = found["baselines"]["constant"]
    assert of_constant["chosen"]["z"] == pytest.approx(constant)
    assert of_constant["metrics"]["mae"]["value"] == pytest.approx(np.mean(np.abs(constant - z)))
    assert of_constant["metrics"]["mae_share"]["value"] == pytest.approx(1)
    difference = found["metrics"]["mae"]["value"] - of_constant["metrics"]["mae"]["value"]
    assert of_constant["difference"]["value"] == pytest.approx(difference)
    assert (
        found["baselines"]["nearest_neighbours"]["verdict"] == "worse"
    )  # mocks can be told apart by neighbours, and this model has one answer
    # All but the network, for which 24 training rows are too few
    assert [*found["baselines"]] == [name for name in TITLES if name != "cnn"]
    for name, baseline in found["baselines"].items():
        errors = np.abs(np.array(table[f"z_{name}"]) - z)
        assert baseline["metrics"]["mae"]["value"] == pytest.approx(np.mean(errors))
    for scores in [found["metrics"], *(b["metrics"] for b in found["baselines"].values())]:
        assert list(scores) == list(metrics.NAMES)
        assert all(score["low"] <= score["value"] <= score["high"] for score in scores.values())
    subsets = found["subsets"]
    assert {name: [part["metrics"]["mae"]["n"] for part in parts] for name, parts in subsets.items()} == {
        "z": [12, 12], "snmedian": [12, 12]
    }  # fmt: skip
    assert subsets["z"][0]["low"] == pytest.approx(z.min())
    spectra = load_dataset(str(mock_data), "spectra", split="test")
    assert table["snmedian"] == pytest.approx(spectra["snmedian"])


def test_the_table_has_a_line_for_each_method(scored, capsys):
    found = json.loads(json.dumps(scored[0]))
    found["baselines"]["template_fit"]["note"] = "Not on Mondays."
    print_results(found)
    lines = capsys.readouterr().out.splitlines()
    begins = [found["estimate"], "greedy answer", *(b["title"] for b in found["baselines"].values()), "Not on Mondays."]
    for line, begin in zip(lines[3:], begins, strict=False):
        assert line.startswith(begin)
    assert f"{found['metrics']['mae']['value']:.4f} [" in lines[3]
    assert any(line.endswith("tokens of prompts a second") for line in lines)


def test_p_of_z_of_every_row_is_kept_and_scored(scored):
    found, folder = scored
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    posterior = found["posterior"]
    assert list(posterior["metrics"]) == list(metrics.POSTERIOR_NAMES)
    assert posterior["metrics"]["crps"]["value"] == pytest.approx(np.mean(table["posterior_crps"]))
    inside = np.abs(np.array(table["posterior_pit"]) - 0.5) <= 0.475
    assert posterior["metrics"]["coverage_95"]["value"] == pytest.approx(np.mean(inside))
    assert posterior["metrics"]["answered"]["value"] == pytest.approx(np.mean(table["posterior_answered"]))
    assert (posterior["z_max"], sum(posterior["pit"])) == (1, 24)
    figures = [f"{name}.{end}" for name in figure_names(found) for end in ("png", "pdf")]
    assert {path.name for path in folder.iterdir()} == {RESULTS, PREDICTIONS, *figures}
    # The error of an answer of 0.2468 is smallest where the example says so, and p(z) is steep there.
    rows = [row for row in pq.read_table(folder / "predictions.parquet").to_pylist() if row["example"]]
    error = {row["example"]: abs(row["z_pred"] - row["z"]) for row in rows}
    assert error["best"] <= error["median"] <= error["worst"]
    assert all(len(row["spectrum"]) == 8 for row in rows)
    assert all(row["posterior_quantiles"][50] == pytest.approx(row["posterior_median"], abs=1e-6) for row in rows)


def test_the_temperature_is_fitted_on_the_validation_split(taught_model, mock_data, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        "specdata.evaluation.predictions.fit_temperature", lambda *asked: given.append(asked[2:4]) or 1.25
    )
    monkeypatch.setattr("specdata.evaluation.figures.draw_figures", lambda *_, **__: None)  # they take most of the time
    found = evaluate(str(taught_model), str(mock_data), tmp_path / "out", **QUIET | {"limit": 1, "baselines": []})
    rows = load_dataset(str(mock_data), "paper")["validation"]
    assert given == [([prompt[:1] for prompt in rows["prompt"]], list(rows["z"]))]
    assert found["posterior"]["temperature"] == 1.25


def test_greedy_only_scores_the_answers(greedy, scored):
    assert greedy["estimate"] == "greedy answer"
    assert "posterior" not in greedy
    assert greedy["metrics"] == greedy["greedy"]["metrics"] == scored[0]["greedy"]["metrics"]


def test_every_config_is_read_with_its_own_scheme(taught_model, mock_data, scored, tmp_path):
    found = evaluate(str(taught_model), str(mock_data), tmp_path / "out", **GREEDY | {"config": "packed"})
    rows = load_dataset(str(mock_data), "packed")
    x = {
        split: np.array([PACKED.decode(prompts.read_series(p)) for p in rows[split]["prompt"]])
        for split in ("train", "test")
    }
    z_train, objects = np.array(rows["train"]["z"]), rows["train"]["position_id"]
    expected, chosen = simple.nearest_neighbours(x["train"], z_train, objects, x["test"])
    predicted = pq.read_table(tmp_path / "out" / "predictions.parquet")["z_nearest_neighbours"].to_numpy()
    np.testing.assert_allclose(predicted, expected)
    assert found["baselines"]["nearest_neighbours"]["chosen"] == chosen
    assert (found["encoding"]["scheme"], found["encoding"]["normalisation"]) == ("packed", "asinh")
    np.testing.assert_allclose(found["encoding"]["edges"], np.geomspace(3840, 9160, 61))
    assert len(scored[0]["encoding"]["edges"]) == 9


def test_results_name_the_data_and_the_weights_but_no_path(scored, taught_model, mock_data):
    found, folder = scored
    manifest = json.loads((mock_data / "manifest.json").read_text())
    assert found["dataset"]["revision"] == manifest["revision"]
    assert found["dataset"] | {"split": "test", "n": 24, "n_train": 24, "n_mock": 24} == found["dataset"]
    assert found["model"]["base"] == "taught-llama"
    assert len(found["model"]["base_revision"]) == 64
    assert (found["model"]["device"], found["model"]["dtype"]) == ("cpu", "float32")
    assert found["command"].startswith(
        "specdata evaluate --model taught-llama --dataset mock-tiny --config paper --split test --batch-size 5"
    )
    speed = found["speed"]
    assert speed["tokens_per_second"] == pytest.approx(speed["prompt_tokens"] / speed["seconds"])
    assert 24 * 50 < speed["prompt_tokens"] < 24 * 300
    assert found["versions"].keys() >= {"numpy", "python", "specdata", "torch"}
    assert str(taught_model.parent) not in (folder / "results.json").read_text()


def test_rows_without_an_answer_are_failures_and_are_kept(tiny_model, mock_data, tmp_path):
    found = evaluate(str(tiny_model), str(mock_data), tmp_path / "out", **QUIET, limit=4)
    table = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pydict()
    assert table["z_pred"] == table["z_greedy"] == [None] * 4
    low, high = found["settings"]["unparsed_scores_as"]
    worst = np.mean([max(z - low, high - z) for z in table["z"]])
    for scores in (found["metrics"], found["greedy"]["metrics"]):
        assert (scores["parse_rate"]["value"], scores["outlier_fraction"]["value"]) == (0, 1)
        assert scores["mae"]["value"] == pytest.approx(worst)
        assert scores["nmad"]["value"] is None
    of_posterior = found["posterior"]["metrics"]
    assert of_posterior["answered"]["value"] < 1e-6
    assert of_posterior["coverage_95"]["value"] == 0
    assert of_posterior["crps_share"]["value"] > 1


def test_a_stopped_evaluation_goes_on(taught_model, mock_data, scored, tmp_path, monkeypatch):
    counts = {"answer": 0, "posteriors": 0}
    real = {name: getattr(Generator, name) for name in counts}
    stop_at = {"answer": 10, "posteriors": 7}

    def posteriors(self, asked, **options):
        for found in real["posteriors"](self, asked, **options):
            if counts["posteriors"] == stop_at["posteriors"]:
                raise KeyboardInterrupt
            counts["posteriors"] += 1
            yield found

    def answer(self, asked, **options):
        if counts["answer"] == stop_at["answer"]:
            raise KeyboardInterrupt
        counts["answer"] += len(asked)
        return real["answer"](self, asked, **options)

    monkeypatch.setattr(Generator, "posteriors", posteriors)
    monkeypatch.setattr(Generator, "answer", answer)
    for done in ({"answer": 0, "posteriors": 7}, {"answer": 10, "posteriors": 24}):
        with pytest.raises(KeyboardInterrupt):
            evaluate(str(taught_model), str(mock_data), tmp_path / "out", **QUIET)
        assert counts == done
        assert not (tmp_path / "out").exists()
        stop_at["posteriors"] = None
        with (tmp_path / "out.answers.partial.jsonl").open("a") as stream:
            stream.write('{"row": 3, "answ')  # what a power cut leaves
    stop_at["answer"] = None
    again = evaluate(str(taught_model), str(mock_data), tmp_path / "out", **QUIET)
    assert counts == {"answer": 24, "posteriors": 24}  # nothing was done twice
    assert again["greedy"] == scored[0]["greedy"]
    for name, score in again["metrics"].items():  # rows that are read together with others differ in the last bits
        assert score["value"] == pytest.approx(scored[0]["metrics"][name]["value"], rel=1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "lines",
    [
        ["garbage"],
        ['{"key": "another run\'s"}', *(f'{{"row": {i}, "answer": "Redshift: [0.1111]"}}' for i in range(24))],
        ["[]", '{"row": 99}'],
    ],
)  # fmt: skip
def test_a_journal_that_is_damaged_or_of_something_else_is_not_used(lines, taught_model, mock_data, greedy, tmp_path):
    (tmp_path / "out.answers.partial.jsonl").write_text("\n".join(lines) + "\n")
    again = evaluate(str(taught_model), str(mock_data), tmp_path / "out", **GREEDY)
    assert without_times(again) == without_times(greedy)


def test_answers_of_another_model_are_not_taken_over(taught_model, tiny_model, mock_data, tmp_path, monkeypatch):
    def stop(self, asked, **options):
        if monkeypatch.undo() is None:  # from now on the real one
            raise KeyboardInterrupt

    monkeypatch.setattr(Generator, "answer", stop)
    with pytest.raises(KeyboardInterrupt):
        evaluate(str(taught_model), str(mock_data), tmp_path / "out", **GREEDY, limit=4)
    journal = tmp_path / "out.answers.partial.jsonl"
    head = json.loads(journal.read_text())
    answers = [{"row": row, "answer": "Redshift: [0.2468]"} for row in range(3)]
    journal.write_text("".join(json.dumps(line) + "\n" for line in [head, *answers]))
    found = evaluate(str(tiny_model), str(mock_data), tmp_path / "out", **GREEDY, limit=4)
    assert found["metrics"]["parse_rate"]["value"] == 0


def test_the_config_is_that_of_the_training(taught_model, taught_adapter, mock_data, tmp_path):
    def run(adapter=taught_adapter, **options):
        options = {"greedy_only": True, "limit": 2, "progress": False} | options
        options["baselines"] = ()
        return evaluate(str(taught_model), str(mock_data), tmp_path / "out", adapter=str(adapter), **options)

    def recipe(**content):
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
        return tmp_path / "recipe.yaml"

    with pytest.raises(SpecdataError, match=r"configs paper, packed, chat; say by --config, or by the --recipe"):
        run()
    packed = recipe(dataset_name="x", dataset_config="packed")
    assert run(recipe=packed, overwrite=True)["dataset"]["config"] == "packed"
    mixture = recipe(datasets=[{"path": "x", "name": "chat"}, {"path": "y"}])
    assert run(recipe=mixture, overwrite=True)["dataset"]["config"] == "chat"
    with pytest.raises(SpecdataError, match=r"config 'paper': the adapter was trained on 'chat', says .*recipe"):
        run(recipe=mixture, config="paper", overwrite=True)
    with pytest.raises(SpecdataError, match=r"config 'csv': .* has the text configs paper, packed, chat"):
        run(recipe=recipe(dataset_config="csv"), overwrite=True)
    with pytest.raises(SpecdataError, match=r"names no text config; give dataset_config, or the name of one of"):
        run(recipe=recipe(dataset_name="x"), overwrite=True)
    with pytest.raises(SpecdataError, match=r"README.md: not valid YAML"):
        run(recipe=mock_data / "README.md", overwrite=True)
    # A folder with results knows how its prompts are written, whatever the config is called.
    finished = tmp_path / "adapter"
    shutil.copytree(taught_adapter, finished)
    shutil.copy(tmp_path / "out" / "results.json", finished)  # of chat, whose spectra are written as in packed
    assert run(finished, overwrite=True)["dataset"]["config"] == "chat"
    assert run(finished, config="packed", overwrite=True)["dataset"]["config"] == "packed"
    with pytest.raises(SpecdataError, match="config 'paper': the adapter was trained on 'chat', says"):
        run(finished, config="paper", overwrite=True)


def test_a_split_that_shares_an_object_with_training_is_refused(taught_model, mock_data, tmp_path):
    leaky = tmp_path / "leaky"
    shutil.copytree(mock_data, leaky)
    train, test = (f"paper/{split}-00000-of-00001.parquet" for split in ("train", "test"))
    shutil.copy(leaky / train, leaky / test)
    with pytest.raises(SpecdataError, match=r"test-00000-of-00001.parquet is not the file that its manifest names"):
        evaluate(str(taught_model), str(leaky), tmp_path / "out", config="paper")
    manifest = json.loads((leaky / "manifest.json").read_text())
    manifest["files"][test] = manifest["files"][train]
    (leaky / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SpecdataError, match=r"the revision in manifest.json is not that of its files"):
        evaluate(str(taught_model), str(leaky), tmp_path / "out", config="paper")
    manifest["revision"] = files_revision(manifest["files"])
    (leaky / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(SpecdataError, match=r"24 objects of split 'test'.* are also in the training split"):
        evaluate(str(taught_model), str(leaky), tmp_path / "out", config="paper")


def test_a_card_that_was_edited_does_not_decide_what_is_scored(taught_model, mock_data, greedy, tmp_path):
    edited = tmp_path / "data"
    shutil.copytree(mock_data, edited)
    card = (edited / "README.md").read_text()
    swapped = card.replace("path: paper/train-", "path: paper/x-").replace("path: paper/test-", "path: paper/train-")
    (edited / "README.md").write_text(swapped.replace("path: paper/x-", "path: paper/test-"))
    shutil.copy(edited / "paper/train-00000-of-00001.parquet", edited / "paper/test-00001-of-00002.parquet")
    again = evaluate(str(taught_model), str(edited), tmp_path / "out", **GREEDY)
    assert without_times(again) == without_times(greedy)
