"""The schemas of `results.json` and `retention.json`: as they ship, are enforced, and what a missing value says."""

import json
from pathlib import Path

import pytest

from specdata import SpecdataError
from specdata import results as module
from specdata.results import (
    FORMAT,
    RETENTION_FORMAT,
    Results,
    Retention,
    check_results,
    format_score,
    load_results,
    load_retention,
    save_results,
    save_retention,
)

SCORE = {"value": 0.1, "low": 0.05, "high": 0.2, "n": 9, "interval": "bca"}
REVISION = "0" * 64


def example_results():
    counts = dict.fromkeys(("n", "n_in_split", "n_train", "n_mock", "n_mock_train"), 9)
    return {
        "format": FORMAT,
        "task": "redshift",
        "command": "specdata evaluate --model org/base",
        "dataset": {"name": "mock-tiny", "revision": REVISION, "config": "paper", "split": "test"} | counts,
        "model": {
            "base": "org/base", "base_revision": REVISION, "adapter": None, "adapter_revision": "none",
            "device": "cpu", "hardware": "x86_64", "dtype": "float32",
        },
        "speed": {"seconds": 2.0, "prompt_tokens": 900, "tokens_per_second": 450.0},
        "encoding": {"edges": [3800.0, 9200.0], "normalisation": "median", "scheme": "paper"},
        "estimate": "median of p(z)",
        "metrics": {"mae": dict(SCORE)},
        "greedy": {"metrics": {"mae": dict(SCORE)}, "distinct_answers": 3},
        "baselines": {
            "constant": {
                "title": "constant, 0.2000", "reads": "nothing", "chosen": {"z": 0.2}, "note": "", "seconds": 0.1,
                "metrics": {}, "difference": dict(SCORE), "verdict": "worse",
            }
        },
        "subsets": {"z": [{"low": 0.0, "high": 0.1, "metrics": {}}], "snmedian": []},
        "posterior": {"metrics": {}, "pit": [0] * 10, "z_max": 1, "step": 1e-4, "tail": 1e-3},
        "settings": {},
        "versions": {},
    }  # fmt: skip


def example_retention():
    share = {"value": 0.9, "low": 0.8, "high": 1.0, "n": 40, "interval": "bca"}
    kept = {
        "n": 40, "chance": 0.25, "before": share, "after": share, "lost": 3, "gained": 2, "p_value": 1.0,
        "at_chance": False, "retained": share, "retained_above_chance": share, "log_likelihood": share,
    }  # fmt: skip
    task = {
        "group": "science", "source": "allenai/sciq", "split": "validation", "n_in_split": 1000, "questions": REVISION,
        "version": 1.0, "metric": "acc_norm",
    }  # fmt: skip
    return {
        "format": RETENTION_FORMAT,
        "model": example_results()["model"] | {"adapter": "org/adapter"},
        "tasks_from": "retention/small.yaml",
        "chat_template": None,
        "limit": 40,
        "groups": {"science": kept},
        "tasks": {"sciq": kept | task},
        "settings": {},
        "seconds": 60.0,
        "command": "specdata retention",
        "versions": {},
    }


@pytest.mark.parametrize("schema", [Results, Retention])
def test_the_schema_that_ships_is_that_of_the_code(schema):
    shipped = Path(module.__file__).with_name(f"{schema.__name__.lower()}.schema.json")
    text = json.dumps(schema.model_json_schema(), indent=1) + "\n"
    assert shipped.read_text() == text, f"write {schema.__name__}.model_json_schema() with indent=1 to {shipped}"


def test_a_retention_that_is_saved_is_loaded(tmp_path):
    save_retention(tmp_path, example_retention())
    assert load_retention(tmp_path) == example_retention()
    with pytest.raises(SpecdataError, match=r"retention.json: tasks: sciq: n has no value"):
        save_retention(tmp_path, example_retention() | {"tasks": {"sciq": {"split": None}}})
    with pytest.raises(SpecdataError, match=r"has no retention.json of specdata; measure it"):
        load_retention(tmp_path / "none", "measure it")


def test_what_is_saved_is_loaded(tmp_path):
    save_results(tmp_path, example_results())
    assert load_results(tmp_path) == example_results()
    without = example_results()
    del without["posterior"]
    save_results(tmp_path, without)
    assert load_results(tmp_path) == without


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda r: r["metrics"]["mae"].update(low=None), r"metrics: mae: low has no value; evaluate again"),
        (lambda r: r["metrics"]["mae"].pop("n"), r"metrics: mae: n has no value; evaluate again"),
        (lambda r: r["metrics"]["mae"].update(value=float("nan")), r"metrics: mae: value is nan"),
        (lambda r: r["dataset"].pop("revision"), r"dataset: revision has no value; evaluate again"),
        (lambda r: r["dataset"].update(reversion="x"), r"dataset: reversion is x \(Extra inputs"),
        (lambda r: r.update(estimate="mean"), r"estimate is mean"),
        (lambda r: r["baselines"]["constant"].update(verdict="best"), r"baselines: constant: verdict is best"),
    ],
)
def test_a_value_that_is_missing_or_wrong_is_named(spoil, said, tmp_path):
    results = example_results()
    spoil(results)
    with pytest.raises(SpecdataError, match=f"here: {said}"):
        check_results(results, "here")
    with pytest.raises(SpecdataError, match=said):
        save_results(tmp_path, results)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_score_is_a_score():
    results = example_results()
    results["metrics"]["nmad"] = {"value": None, "low": None, "high": None, "n": 2, "interval": "none"}
    check_results(results, "here")


@pytest.mark.parametrize(
    ("value", "said"),
    [(0.04301, "0.0430 [0.0301, 0.0602]"), (1.43e-5, "0.000014 [0.000010, 0.000020]"), (0, "0.0000 [0.0000, 0.0000]")],
)
def test_scores_are_written_with_as_many_decimals_as_they_need(value, said):
    assert format_score({"value": value, "low": 0.7 * value, "high": 1.4 * value}) == said
    assert format_score({"value": None, "low": None, "high": None}, empty="-") == "-"
