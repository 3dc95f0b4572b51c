"""The `eval.yaml` of a data set, and what a model submits once that is a registered benchmark."""

from types import SimpleNamespace

import huggingface_hub
import pytest
import yaml
from test_results import REVISION, SCORE, example_results

from specdata.publish import benchmark
from specdata.publish.publish import publish_dataset
from specdata.targets import TARGETS


def test_a_data_set_names_a_leaderboard_for_each_score():
    made = {"edges": [1.0, 2.0], "normalisation": "none", "scheme": "csv"}
    configs = {"text": made, "other": made, "class": made | {"target": TARGETS["class"].to_dict()}}
    content = yaml.safe_load(benchmark.eval_yaml({"recipe": {"title": "Galaxies: spectra"}, "configs": configs}))
    assert set(content) == {"name", "description", "evaluation_framework", "tasks"}
    assert content["name"] == "Galaxies: spectra"
    of_class = ["class-error-rate", "class-log-loss", "class-brier"]
    assert [task["id"] for task in content["tasks"]] == ["mae", "nmad", "outliers", "crps", *of_class]
    assert "mae: mean absolute error" in content["description"]
    assert all((task["config"], task["split"]) == ("spectra", "test") for task in content["tasks"])


def test_a_data_set_gets_an_eval_yaml_only_where_that_is_asked_for(alice, mock_data):
    for asked in (True, False):
        planned = publish_dataset(mock_data, "org/mock-benchmark", benchmark=asked, dry_run=True)
        assert ("eval.yaml" in planned.uploads) == asked


@pytest.mark.parametrize(
    ("tags", "change", "submitted"),
    [
        (["benchmark:official"], {}, ["mae", "outliers", "crps"]),  # NMAD is left empty
        (["benchmark:official"], {"n": 8}, []),
        (["benchmark:official"], {"split": "validation"}, []),
        (["other"], {}, []),
    ],
)
def test_only_whole_test_splits_of_registered_benchmarks_are_submitted(monkeypatch, tags, change, submitted):
    asked = []

    def dataset_info(self, name, *, revision):
        asked.append((name, revision))
        return SimpleNamespace(tags=tags, sha="c0ffee")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    results = example_results()
    empty = {"value": None, "low": None, "high": None, "n": 2, "interval": "none"}
    results["metrics"] = {"mae": SCORE, "nmad": empty, "outlier_fraction": SCORE}
    results["posterior"]["metrics"] = {"crps": SCORE}
    results["dataset"] |= change
    files = benchmark.eval_results(results, "org/mocks", "org/adapter")
    entries = yaml.safe_load(files.get(".eval_results/specdata.yaml", b"[]"))
    assert [entry["dataset"]["task_id"] for entry in entries] == submitted
    for entry in huggingface_hub.parse_eval_result_entries(entries):
        assert (entry.dataset_id, entry.dataset_revision, entry.value) == ("org/mocks", "c0ffee", 0.1)
        assert entry.source_url == "https://huggingface.co/org/adapter"
        assert "paper" in entry.notes
    assert asked == ([] if change else [("org/mocks", f"data-{REVISION[:12]}")])
