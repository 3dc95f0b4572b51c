"""Scores by hand, the fate of rows without an answer, and intervals that hold what they promise."""

import json

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from specdata.evaluation import metrics
from specdata.evaluation.metrics import (
    NAMES,
    POSTERIOR_NAMES,
    interval,
    rate,
    row_scores,
    score,
    score_posteriors,
)
from specdata.evaluation.scores import compare, score_subsets
from specdata.posterior import STEP, RedshiftPosterior
from specdata.results import Score
from specdata.targets import REDSHIFT

RANGE = (0.0, 0.5)


def test_values_by_hand():
    z = np.array([0.0, 0.25, 1.0, 0.6])
    z_pred = np.array([0.01, 0.25, 1.2, 0.56])  # dz = 0.01, 0, 0.1, -0.025
    found = score(z_pred, z, RANGE, 0.5)
    assert list(found) == list(NAMES)
    assert found["mae"]["value"] == pytest.approx((0.01 + 0 + 0.2 + 0.04) / 4)
    assert found["mae_share"]["value"] == pytest.approx((0.01 + 0 + 0.2 + 0.04) / (0.5 + 0.25 + 0.5 + 0.1))
    assert found["bias"]["value"] == pytest.approx((0.01 + 0.1 - 0.025) / 4)
    # median of dz is 0.005; the distances from it are 0.005, 0.005, 0.095, 0.03; their median is 0.0175
    assert found["nmad"]["value"] == pytest.approx(1.4826 * 0.0175)
    # Of the constant 0.5, dz is 0.5, 0.2, -0.25, -0.0625; its median 0.06875; the distances from it 0.43125, 0.13125,
    # 0.31875, 0.13125; their median 0.225
    several = score(np.tile(z_pred, 6), np.tile(z, 6), RANGE, 0.5)
    assert several["nmad_share"]["value"] == pytest.approx(0.0175 / 0.225)
    assert found["outlier_fraction"]["value"] == 0.25
    assert found["parse_rate"]["value"] == 1
    for entry in several.values():
        Score.model_validate(json.loads(json.dumps(entry)))
        assert entry["n"] == 24
        assert entry["low"] <= entry["value"] <= entry["high"]
    assert set(score(z_pred, z, RANGE)) == set(NAMES) - {"mae_share", "nmad_share"}


def test_an_outlier_lies_above_the_threshold():
    z = np.zeros(4)
    z_pred = np.array([REDSHIFT.far, -REDSHIFT.far, np.nextafter(REDSHIFT.far, 1), -np.nextafter(REDSHIFT.far, 1)])
    assert score(z_pred, z, RANGE)["outlier_fraction"]["value"] == 0.5


def test_a_row_without_an_answer_is_a_failure_and_is_never_dropped():
    z = np.linspace(0.0, 0.5, 20)
    z_pred = z.copy()
    z_pred[[0, 19]] = np.nan
    found = score(z_pred, z, RANGE)
    assert found["parse_rate"]["value"] == pytest.approx(0.9)
    assert found["mae"]["value"] == pytest.approx(2 * 0.5 / 20)  # as the far end of the range
    assert found["outlier_fraction"]["value"] == pytest.approx(0.1)
    assert {found[name]["n"] for name in ("mae", "outlier_fraction", "parse_rate")} == {20}
    assert (found["nmad"]["n"], found["bias"]["n"]) == (18, 18)
    # A failure is an outlier even where the range is narrow.
    assert score([np.nan, 0.2], [0.2, 0.2], (0.2, 0.21))["outlier_fraction"]["value"] == 0.5


def test_scores_over_the_answers_alone_are_empty_where_answers_are_few():
    z = np.linspace(0.0, 0.5, 20)
    z_pred = np.where(np.arange(20) < 3, np.nan, z)
    found = score(z_pred, z, RANGE, 0.25)
    for name in ("nmad", "bias", "nmad_share"):
        assert found[name] == {"value": None, "low": None, "high": None, "n": 17, "interval": "none"}
        Score.model_validate(found[name])
    nothing = score(np.full(20, np.nan), z, RANGE)
    assert (nothing["parse_rate"]["value"], nothing["outlier_fraction"]["value"]) == (0, 1)
    assert nothing["mae"]["value"] > 0.25


@pytest.mark.parametrize("n", [1, 5, 160])
def test_rates_have_exact_intervals(n):
    bound = 0.025 ** (1 / n)  # (Clopper and Pearson) the rate at which n of n happens in 2.5 % of all cases
    assert (rate(np.ones(n))["low"], rate(np.ones(n))["high"]) == (pytest.approx(bound), 1)
    assert (rate(np.zeros(n))["low"], rate(np.zeros(n))["high"]) == (0, pytest.approx(1 - bound))
    one = rate(np.arange(n) == 0)
    assert one["interval"] == "exact"
    if n > 1:
        assert one["high"] - one["low"] > rate(np.zeros(n))["high"]


def test_a_share_of_zero_is_empty():
    z = np.full(9, 0.2)
    found = score(z + 0.01, z, RANGE, 0.2)
    for name in ("mae_share", "nmad_share"):
        assert found[name] == {"value": None, "low": None, "high": None, "n": 9, "interval": "none"}


def test_one_row_and_rows_that_are_alike():
    found = score([0.3], [0.1], RANGE)
    assert found["mae"] == {"n": 1, "interval": "none"} | dict.fromkeys(("value", "low", "high"), pytest.approx(0.2))
    alike = score(np.full(9, 0.3), np.full(9, 0.1), RANGE)["mae"]
    assert (alike["low"], alike["high"]) == (pytest.approx(0.2), pytest.approx(0.2))


def test_better_than_is_said_only_where_the_paired_interval_leaves_out_zero():
    rng = np.random.default_rng(0)
    z = rng.uniform(0, 0.5, 100)
    hard = rng.normal(0, 0.1, 100)  # errors that all methods share, and that hide a small difference between them
    assert compare(z + hard, z + 1.1 * hard, z, RANGE)["verdict"] == "better"
    assert compare(z + 1.1 * hard, z + hard, z, RANGE)["verdict"] == "worse"
    found = compare(z + rng.normal(0, 0.1, 100), z + rng.normal(0, 0.1, 100), z, RANGE)
    assert found["verdict"] == "undecided"
    assert found["difference"]["low"] < 0 < found["difference"]["high"]
    assert compare(z, z, z, RANGE)["verdict"] == "undecided"
    assert compare(np.full(100, np.nan), z, z, RANGE)["verdict"] == "worse"
    assert compare([0.1], [0.2], np.array([0.1]), RANGE)["verdict"] == "undecided"  # one row


def test_subsets_are_equal_parts_in_order():
    rng = np.random.default_rng(0)
    z = rng.permutation(np.linspace(0, 0.5, 83))
    signal = np.append(np.arange(80.0), [np.nan] * 3)
    found = score_subsets(z, z + 0.01, z, RANGE, 0.25)
    assert [part["metrics"]["mae"]["n"] for part in found] == [21, 21, 21, 20]
    assert [part["low"] for part in found] == sorted(part["low"] for part in found)
    assert found[0]["high"] < found[1]["low"]
    assert sum(part["metrics"]["mae"]["n"] for part in score_subsets(signal, z, z, RANGE, 0.25)) == 80
    assert score_subsets(z[:19], z[:19], z[:19], RANGE, 0.25) == []


def coverage(sample, truth, statistic, runs, rng):
    """Share of repeated samples whose interval holds the truth."""
    hits = 0
    for seed in range(runs):
        found = interval(statistic, sample(rng), seed=seed)
        hits += found["low"] <= truth <= found["high"]
    return hits / runs


def normal_errors(rng, n=100):
    return np.abs(rng.normal(0, 0.02, n))


def test_the_interval_of_a_mean_holds_the_truth_as_often_as_it_says(monkeypatch):
    monkeypatch.setattr(metrics, "RESAMPLES", 500)
    rng = np.random.default_rng(0)
    share = coverage(normal_errors, 0.02 * np.sqrt(2 / np.pi), np.mean, 100, rng)
    assert 0.88 <= share <= 0.99


@pytest.mark.slow
def test_coverage_also_where_it_stays_short():
    """The shares that the docstring of `specdata.evaluation.metrics` gives; 95 % is what is promised."""
    rng, runs, found = np.random.default_rng(0), 300, {}
    found["mean"] = coverage(normal_errors, 0.02 * np.sqrt(2 / np.pi), np.mean, runs, rng)
    found["nmad"] = coverage(lambda rng: rng.normal(0, 0.02, 100), 0.02, metrics.nmad, runs, rng)

    def with_gross_errors(share):
        gross = 0.2
        truth = (1 - share) * 0.005 * np.sqrt(2 / np.pi) + share * gross

        def sample(rng):
            return np.where(rng.random(160) < share, gross, np.abs(rng.normal(0, 0.005, 160)))

        return coverage(sample, truth, np.mean, runs, rng)

    found |= {f"{100 * share:.0f} % gross": with_gross_errors(share) for share in (0.01, 0.05, 0.2)}
    print(found)
    assert min(found["mean"], found["nmad"], found["20 % gross"]) > 0.9
    assert found["5 % gross"] > 0.85
    assert 0.65 < found["1 % gross"] < 0.9  # no gross error in a fifth of the samples


def test_scores_are_reproducible_by_seed():
    z_pred, z = np.random.default_rng(0).random((2, 50))
    assert score(z_pred, z, RANGE, seed=3) == score(z_pred, z, RANGE, seed=3)
    assert score(z_pred, z, RANGE, seed=3)["mae"] != score(z_pred, z, RANGE, seed=4)["mae"]


def rows_of(z, mean, sigma, answered=1.0):
    grid = np.arange(10_000) * STEP
    rest = {"answered": answered, "beyond": 0.0, "begun": 1.0, "unresolved": 0.0}
    p = norm.pdf(grid, mean[:, None], sigma)
    return [
        row_scores(RedshiftPosterior(z=grid, p=one / one.sum(), **rest), true) for one, true in zip(p, z, strict=True)
    ]


def test_an_honest_p_of_z_is_called_calibrated_and_a_bold_one_is_not():
    rng, sigma = np.random.default_rng(0), 0.02
    mean = rng.uniform(0.2, 0.8, 400)
    z = rng.normal(mean, sigma)
    honest = score_posteriors(rows_of(z, mean, sigma), z, 0.5)
    scores = honest["metrics"]
    assert list(scores) == list(POSTERIOR_NAMES)
    for level in (0.68, 0.95):
        found = scores[f"coverage_{100 * level:.0f}"]
        assert binomtest(round(400 * found["value"]), 400, level).pvalue > 0.001
        assert found["n"] == 400
    # The expected CRPS of a normal forecast of the right width is sigma / sqrt(pi).
    assert scores["crps"]["value"] == pytest.approx(sigma / np.sqrt(np.pi), rel=0.15)
    assert scores["crps_share"]["value"] == pytest.approx(scores["crps"]["value"] / np.mean(np.abs(0.5 - z)))
    assert sum(honest["pit"]) == 400
    assert max(honest["pit"]) < 70
    bold = score_posteriors(rows_of(z, mean, sigma / 4), z, 0.5)
    assert bold["metrics"]["coverage_95"]["high"] < 0.95
    assert bold["pit"][0] + bold["pit"][-1] > 200  # U-shaped
    assert bold["metrics"]["crps"]["value"] > scores["crps"]["value"]


def test_a_model_that_hardly_ever_answers_scores_badly():
    rng = np.random.default_rng(0)
    z = rng.uniform(0.1, 0.4, 40)
    rows = rows_of(z, z, 0.001, answered=0.001)
    found = score_posteriors(rows, z, 0.25)["metrics"]
    assert found["crps_share"]["value"] > 5  # far worse than a constant
    assert found["coverage_95"]["value"] == 0
    assert found["answered"]["value"] == pytest.approx(0.001)
    assert {row["estimate"] for row in rows} == {None}
