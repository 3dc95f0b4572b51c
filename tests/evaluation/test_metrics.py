"""Scores by hand, the fate of answers that do not parse, and intervals that hold what they promise."""

import numpy as np
import pytest

from specdata.evaluation.metrics import NAMES, OUTLIER, fill_failures, mae, nmad, score

RANGE = (0.0, 0.5)


def test_values_by_hand():
    z = np.array([0.0, 0.25, 1.0, 0.6])
    z_pred = np.array([0.01, 0.25, 1.2, 0.56])  # dz = 0.01, 0, 0.1, -0.025
    found = score(z_pred, z, RANGE)
    assert list(found) == list(NAMES)
    assert found["mae"]["value"] == pytest.approx((0.01 + 0 + 0.2 + 0.04) / 4)
    # median of dz is 0.005; the distances from it are 0.005, 0.005, 0.095, 0.03; their median is 0.0175
    assert found["nmad"]["value"] == pytest.approx(1.4826 * 0.0175)
    assert found["outlier_fraction"]["value"] == 0.25
    assert found["parse_rate"]["value"] == 1
    for entry in found.values():
        assert entry["n"] == 4
        assert entry["low"] <= entry["value"] <= entry["high"]
        assert {type(entry[key]) for key in ("value", "low", "high")} == {float}


def test_metrics_work_along_an_axis():
    rng = np.random.default_rng(0)
    z_pred, z = rng.random((2, 5, 9))
    for metric in (mae, nmad):
        np.testing.assert_allclose(metric(z_pred, z), [metric(*row) for row in zip(z_pred, z, strict=True)])


def test_an_outlier_lies_above_the_threshold():
    z = np.zeros(4)
    z_pred = np.array([OUTLIER, -OUTLIER, np.nextafter(OUTLIER, 1), -np.nextafter(OUTLIER, 1)])
    assert score(z_pred, z, RANGE)["outlier_fraction"]["value"] == 0.5


def test_a_failure_scores_as_the_far_end_of_the_range():
    z = np.array([0.1, 0.4, 0.25, 0.9, 0.3])
    z_pred = np.array([np.nan, np.nan, np.nan, np.nan, 0.31])
    assert fill_failures(z_pred, z, RANGE).tolist() == [0.5, 0.0, 0.5, 0.0, 0.31]


def test_failures_are_counted_and_never_dropped():
    z = np.array([0.1, 0.4, 0.2, 0.3])
    found = score([0.1, np.nan, 0.2, 0.3], z, RANGE)
    assert found["parse_rate"]["value"] == 0.75
    assert found["outlier_fraction"]["value"] == 0.25
    assert found["mae"]["value"] == pytest.approx(0.4 / 4)
    assert {entry["n"] for entry in found.values()} == {4}
    filled = score([0.1, 0.0, 0.2, 0.3], z, RANGE)
    assert found["nmad"] == filled["nmad"]


def test_a_failure_is_an_outlier_even_where_the_range_is_narrow():
    found = score([np.nan, 0.2], [0.2, 0.2], (0.2, 0.21))
    assert found["outlier_fraction"]["value"] == 0.5


def test_nothing_parses():
    found = score([np.nan] * 10, np.full(10, 0.1), RANGE)
    assert found["mae"]["value"] == pytest.approx(0.4)
    assert found["parse_rate"]["value"] == 0
    assert found["outlier_fraction"]["value"] == 1


@pytest.mark.parametrize("n", [1, 5, 100])
def test_rates_of_0_and_1_have_exact_intervals(n):
    z = np.full(n, 0.1)
    found = score(z, z, RANGE)
    bound = 0.025 ** (1 / n)  # (Clopper and Pearson) the rate at which n of n happens in 2.5 % of all cases
    for name, value, low, high in (("parse_rate", 1, bound, 1), ("outlier_fraction", 0, 0, 1 - bound)):
        assert found[name]["interval"] == "exact"
        assert found[name]["value"] == value
        assert (found[name]["low"], found[name]["high"]) == (pytest.approx(low), pytest.approx(high))


def test_one_row():
    found = score([0.3], [0.1], RANGE)
    assert found["mae"] == {"value": pytest.approx(0.2), "low": pytest.approx(0.2), "high": pytest.approx(0.2)} | {
        "n": 1,
        "interval": "none",
    }
    assert found["nmad"]["interval"] == "none"


def test_intervals_hold_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    sigma, runs, hits = 0.02, 200, {"mae": 0, "nmad": 0, "outlier_fraction": 0, "parse_rate": 0}
    # sigma / (1 + z) at z = 0.25 throughout, and one answer in five that does not parse for the rates
    truth = {"mae": sigma * np.sqrt(2 / np.pi), "nmad": sigma / 1.25, "outlier_fraction": 0.2, "parse_rate": 0.8}
    z = np.full(100, 0.25)
    for seed in range(runs):
        z_pred = z + rng.normal(0, sigma, 100)
        failed = np.where(rng.random(100) < 0.2, np.nan, 0.25)
        found = score(z_pred, z, RANGE, seed=seed)
        rates = score(failed, z, RANGE, seed=seed)
        for name in hits:
            entry = (rates if name in ("outlier_fraction", "parse_rate") else found)[name]
            assert entry["interval"] == "bootstrap"
            hits[name] += entry["low"] <= truth[name] <= entry["high"]
    for name, count in hits.items():
        assert 0.88 <= count / runs <= 0.99, name


def test_intervals_shrink_with_the_root_of_n():
    rng = np.random.default_rng(0)
    widths = []
    for n in (100, 10_000):
        entry = score(0.25 + rng.normal(0, 0.02, n), np.full(n, 0.25), RANGE)["mae"]
        widths.append(entry["high"] - entry["low"])
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.3)


def test_scores_are_reproducible_by_seed():
    rng = np.random.default_rng(0)
    z_pred, z = rng.random((2, 50))
    z_pred[::7] = np.nan
    assert score(z_pred, z, RANGE, seed=3) == score(z_pred, z, RANGE, seed=3)
    assert score(z_pred, z, RANGE, seed=3)["mae"] != score(z_pred, z, RANGE, seed=4)["mae"]
