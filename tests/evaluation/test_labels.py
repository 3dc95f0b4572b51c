"""Scores of labels whose values are known, and a whole evaluation of a number and of a label."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_recipe import GRID, small_recipe

from specdata import SpecdataError
from specdata.evaluation import labels
from specdata.evaluation.baselines import network, simple
from specdata.evaluation.scores import compare
from specdata.posterior import LabelPosterior
from specdata.targets import declared

KIND = declared("kind", labels=("A", "B", "C"))
TRUE = np.array([0.0] * 60 + [1.0] * 30 + [2.0] * 10)
SHARES = np.array([0.6, 0.3, 0.1])


def rows_of(p, answered=1.0):
    """What is kept of probabilities of shape (rows, 3) for the labels of `TRUE`."""
    rest = {"answered": answered, "beyond": 0.0, "begun": 1.0, "unresolved": 0.0}
    posteriors = [LabelPosterior(target=KIND, values=list(KIND.labels), p=one, **rest) for one in p]
    return [labels.row_scores(one, true) for one, true in zip(posteriors, KIND.decode(TRUE), strict=True)]


def test_scores_by_hand():
    pred = TRUE.copy()
    pred[:6], pred[60:75], pred[-1] = 1, np.nan, 0
    found = labels.score(pred, TRUE, None, SHARES, target=KIND)
    assert list(found) == list(labels.names(KIND))
    assert found["accuracy"]["value"] == pytest.approx(0.78)
    assert found["error_rate"]["value"] == pytest.approx(0.22)
    assert found["error_share"]["value"] == pytest.approx(0.22 / 0.4)
    assert found["balanced_accuracy"]["value"] == pytest.approx((0.9 + 0.5 + 0.9) / 3)
    assert found["parse_rate"]["value"] == pytest.approx(0.85)
    assert all(one["low"] <= one["value"] <= one["high"] for one in found.values())
    assert labels.confusion(pred, TRUE, KIND)["rows"] == [[54, 6, 0, 0], [0, 15, 0, 15], [1, 0, 9, 0]]
    of_b = labels.subsets_by_value(pred, TRUE, None, SHARES, target=KIND)[1]
    assert (of_b["label"], of_b["metrics"]["accuracy"]["value"]) == ("B", 0.5)
    assert compare(pred, np.zeros(100), TRUE, target=KIND)["verdict"] == "better"
    assert compare(pred, pred, TRUE, target=KIND)["verdict"] == "undecided"


def test_what_the_training_shares_say_has_a_log_loss_share_of_one_and_is_calibrated():
    found = labels.score_posteriors(rows_of(np.tile(SHARES, (100, 1))), TRUE, SHARES, target=KIND)
    scores = {name: one["value"] for name, one in found["metrics"].items()}
    assert list(scores) == list(labels.posterior_names(KIND))
    assert scores["log_loss_share"] == pytest.approx(1)
    assert scores["log_loss"] == pytest.approx(-np.sum(SHARES * np.log(SHARES)))
    assert scores["brier"] == pytest.approx(1 - np.sum(SHARES**2))
    assert scores["ece"] == pytest.approx(0, abs=1e-9)
    (step,) = found["reliability"]
    assert (step["n"], step["confidence"], step["accuracy"]) == (100, pytest.approx(0.6), pytest.approx(0.6))


def test_boldness_and_silence_cost():
    sure = np.tile([1.0, 0.0, 0.0], (100, 1))
    bold = labels.score_posteriors(rows_of(sure), TRUE, SHARES, target=KIND)["metrics"]
    assert bold["ece"]["value"] == pytest.approx(0.4)
    assert bold["log_loss"]["value"] == pytest.approx(-0.4 * np.log(labels.LEAST))
    rows = rows_of(sure, answered=0.3)
    assert {row["estimate"] for row in rows} == {None}
    silent = labels.score_posteriors(rows, TRUE, SHARES, target=KIND)["metrics"]
    assert silent["brier"]["value"] == pytest.approx(0.6 * 2 * 0.7**2 + 0.4 * (1 + 0.3**2 + 0.7**2))
    assert silent["outside"]["value"] == pytest.approx(0.7)


@pytest.mark.parametrize("method", [simple.nearest_neighbours, simple.pca_neighbours, simple.ridge, network.cnn])
def test_baselines_tell_labels_apart(method):
    if method is network.cnn:
        pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    centres, codes, true = rng.normal(0, 3, (3, 12)), rng.integers(0, 3, 150), rng.integers(0, 3, 60)
    x_train, x = (centres[code] + rng.normal(size=(len(code), 12)) for code in (codes, true))
    y, chosen = method(x_train, np.eye(3)[codes], [f"object {i}" for i in range(150)], x)
    assert y.shape == (60, 3)
    assert np.mean(y.argmax(axis=1) == true) > 0.9
    assert chosen


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Forty mocks with a mass and a kind, in eight bins."""
    from specdata.dataset.build import build
    from specdata.spectra.mock.spectrum import mock_spectrum

    folder = tmp_path_factory.mktemp("labels")
    names = [mock_spectrum(3, index)[0].specobjid for index in range(40)]
    lines = [f"{name},{index / 20 - 1:.3f},{'odd' if index % 2 else 'even'}" for index, name in enumerate(names)]
    (folder / "table.csv").write_text("\n".join(["specobjid,mass,kind", *lines]) + "\n")
    mass = {"name": "mass", "unit": "dex", "low": -1.5, "high": 1.5, "decimals": 1}
    recipe = small_recipe(
        source={"kind": "mock", "size": 40, "seed": 3},
        sample={"size": 40, "redshift_bins": 1},
        splits={"train": 20, "validation": 5},
        tables=[{"path": str(folder / "table.csv")}],
        configs={
            "kind": {"grid": GRID | {"bins": 8}, "target": {"name": "kind"}},
            "mass": {"like": "kind", "target": mass},
        },
    )
    build(recipe, folder / "data", progress=False)
    return folder / "data"


@pytest.mark.parametrize(
    ("config", "estimate", "figure", "loss"),
    [("kind", "most probable kind", "confusion", "error_rate"), ("mass", "median of p(mass)", "prediction", "mae")],
)
def test_an_evaluation_follows_the_target(tiny_model, data, tmp_path, config, estimate, figure, loss):
    from specdata.cli.evaluation import print_results
    from specdata.evaluation.evaluate import evaluate
    from specdata.results import figure_names, load_results

    options = {"config": config, "progress": False, "device": "cpu"}
    found = evaluate(str(tiny_model), str(data), tmp_path / "out", **options)
    assert (found["task"], found["estimate"]) == (config, estimate)
    assert found["baselines"].keys() == {"constant", "nearest_neighbours", "pca_neighbours", "ridge"}
    assert found["metrics"][loss]["n"] == 15
    assert found["metrics"]["parse_rate"]["value"] == 0  # random weights
    assert load_results(tmp_path / "out") == json.loads(json.dumps(found))
    assert figure_names(found)[0] == figure
    assert {f"{name}.png" for name in figure_names(found)} < {path.name for path in (tmp_path / "out").iterdir()}
    table = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert {"target", "target_pred", "target_greedy", "target_constant", "target_ridge"} < set(table.column_names)
    print_results(found)
    with pytest.raises(SpecdataError, match="template fits find redshifts"):
        evaluate(str(tiny_model), str(data), tmp_path / "other", templates="x.fits", **options)
