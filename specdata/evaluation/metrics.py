"""Scores of predicted numbers, such as redshifts, and of p over their grid, each with its n and a 95 % interval.

Means and medians get a BCa bootstrap interval over the rows, rates the exact one of Clopper and Pearson. What
`specdata.evaluation.labels` has for labels has the same names and arguments; `specdata.evaluation.scores` chooses.

How often a BCa interval of 95 % holds the truth, as a slow test in `tests/evaluation/test_metrics.py` measures it with
300 samples each: of the mean of normal errors, 100 rows, 95 %; of their NMAD, 96 %; of the mean error of 160 rows with
20, 5 and 1 % of gross errors, forty times the others, 96, 95 and 78 %. A bootstrap does not know of an error that the
sample lacks, as one in five of the last samples does; see the outlier fraction there, whose interval is exact.
"""

import numpy as np

from specdata.targets import REDSHIFT

CONFIDENCE = 0.95
RESAMPLES = 2000
PARSED = 0.9  # where fewer rows have an answer, scores over the answers alone would flatter and are left empty
LEVELS = (0.68, 0.95)
PIT_BINS = 10
SUBSETS = 4
QUANTILES = np.linspace(0, 1, 101)
COLUMNS = {  # of the card's tables
    "MAE": "mae", "share of the constant's MAE": "mae_share", "bias": "bias", "NMAD": "nmad",
    "outliers": "outlier_fraction", "rows with an answer": "parse_rate",
}  # fmt: skip


def names(target=REDSHIFT) -> dict[str, str]:
    """What each score of `score` means for a target."""
    few = f"empty where they are fewer than {100 * PARSED:.0f} % of all"
    unit, symbol = f", in {target.unit}" if target.unit else "", "z" if target == REDSHIFT else target.stored_in
    difference = f"{symbol}_pred - {symbol}"
    short, definition = ("dz", f", dz = ({difference}) / (1 + {symbol})") if target.relative else (difference, "")
    return {
        "mae": f"mean absolute error, mean(abs({difference})), over all rows{unit}",
        "mae_share": "mean absolute error as a share of that of a constant, the median of the training split",
        "bias": f"mean({short}) over the rows with an answer{definition}; {few}",
        "nmad": f"1.4826 x median(abs({short} - median({short}))) over the rows with an answer; {few}",
        "nmad_share": "NMAD as a share of that of the constant on the same rows",
        "outlier_fraction": f"share of all rows with abs({short}) > {target.far:g}, or without an answer",
        "parse_rate": "share of all rows with an answer",
    }


def posterior_names(target=REDSHIFT) -> dict[str, str]:
    """What each score of `score_posteriors` means for a target."""
    symbol, words = target.symbol, target.words
    return {
        "crps": "mean of the continuous ranked probability score, the integral of (F(x) - [x >= true])^2, in units of "
        f"{target.unit or symbol}",
        "crps_share": "the same as a share of the constant's, whose score is its mean absolute error",
        "coverage_68": f"share of rows whose {symbol} lies in the central 68 % of p({symbol})",
        "coverage_95": f"share of rows whose {symbol} lies in the central 95 % of p({symbol})",
        "answered": f"mean probability of a {words} on the grid; all other probability counts as wrong in the scores "
        "above",
        "beyond": f"mean probability of a {words} above the grid",
        "outside": f"mean probability of a text that is no {words}",
        "begun": "mean probability that the model begins an answer by itself",
    }


NAMES, POSTERIOR_NAMES = names(), posterior_names()  # of the redshift


def basis(target, values) -> tuple[tuple[float, float], float]:
    """What the scores of a model are measured against, from the values of the training rows, shape (n,).

    Smallest and largest of them, for `fill_failures`, and what a constant predicts: the median, which no other constant
    beats there in mean absolute error.
    """
    return (float(values.min()), float(values.max())), float(np.median(values))


def kept_basis(bounds, constant) -> dict:
    """The part of a basis that `results.json` keeps among its settings."""
    return {"unparsed_scores_as": list(bounds)}


def stored_basis(results, target) -> tuple[list, float]:
    """The basis of results that were stored."""
    constant = results["baselines"]["constant"]["chosen"][target.stored_in]
    return results["settings"]["unparsed_scores_as"], constant


def losses(pred, true, bounds, target=REDSHIFT) -> np.ndarray:
    """Absolute error of each row, whose mean is the score `target.loss`; shape (n,)."""
    return np.abs(fill_failures(pred, true, bounds) - true)


def fill_failures(z_pred, z, z_range) -> np.ndarray:
    """Put the worst answer in place of a missing one.

    A row without an answer is a failure and is never dropped: it scores like the end of the training range that lies
    furthest from the truth.

    Parameters
    ----------
    z_pred : ndarray, shape (n,)
        NaN where there is no answer.
    z : ndarray, shape (n,)
    z_range : tuple of float
        Smallest and largest redshift of the training split.

    Returns
    -------
    ndarray, shape (n,)
    """
    low, high = z_range
    worst = np.where(np.abs(z - low) > np.abs(z - high), low, high)
    return np.where(np.isnan(z_pred), worst, z_pred)


def nmad(dz, axis=-1) -> np.ndarray:
    """1.4826 x median(abs(dz - median(dz)))."""
    return 1.4826 * np.median(np.abs(dz - np.median(dz, axis=axis, keepdims=True)), axis=axis)


def score(z_pred, z, z_range, z_constant=None, *, target=REDSHIFT, seed=0) -> dict[str, dict]:
    """All metrics of one set of predictions.

    Parameters
    ----------
    z_pred : array_like, shape (n,)
        Predicted redshift, or value of another `target`; NaN where there is no answer.
    z : array_like, shape (n,)
        True redshift or value.
    z_range : tuple of float
        See `fill_failures`.
    z_constant : float, optional
        What the constant predicts; without it there are no ``mae_share`` and ``nmad_share``.
    target : specdata.targets.Target
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict of str to dict
        For each of `NAMES` what `specdata.results.Score` says.
    """
    z_pred, z = np.asarray(z_pred, dtype=np.float64), np.asarray(z, dtype=np.float64)
    parsed = ~np.isnan(z_pred)
    filled = fill_failures(z_pred, z, z_range)
    scale = 1 + z if target.relative else 1.0
    dz = (filled - z) / scale
    error = np.abs(filled - z)
    enough = parsed.mean() >= PARSED
    found = {"mae": interval(np.mean, error, seed=seed)}
    if z_constant is not None:
        found["mae_share"] = interval(ratio, error, np.abs(z_constant - z), seed=seed)
    over_answers = {"bias": (np.mean, dz), "nmad": (nmad, dz)}
    if z_constant is not None:
        over_answers["nmad_share"] = (_nmad_ratio, dz, (z_constant - z) / scale)
    for name, (statistic, *data) in over_answers.items():
        found[name] = _empty(int(parsed.sum()))
        if enough:
            found[name] = interval(statistic, *(values[parsed] for values in data), seed=seed)
    return found | {"outlier_fraction": rate(~parsed | (np.abs(dz) > target.far)), "parse_rate": rate(parsed)}


def subsets(values) -> list[np.ndarray]:
    """Indices of the rows in a few equally large parts, in order of `values`; none where a part has under 10 rows."""
    order = np.argsort(values, kind="stable")[: int(np.isfinite(values).sum())]  # NaN comes last
    count = min(SUBSETS, len(order) // 10)
    return np.array_split(order, count) if count > 1 else []


def row_scores(posterior, z) -> dict:
    """What is kept of p of one row with the true value `z`; its `quantiles` are at the shares `QUANTILES`."""
    found = posterior.summary()
    for level in LEVELS:
        name = f"{100 * level:.0f}"
        found[f"low_{name}"], found[f"high_{name}"] = found.pop(f"interval_{name}")
    decimals = max(posterior.target.decimals + 2, 0)
    quantiles = [round(posterior.quantile(share), decimals) for share in QUANTILES.tolist()]
    return found | {"crps": posterior.crps(z), "pit": posterior.pit(z), "quantiles": quantiles}


def score_posteriors(rows, z, z_constant, *, target=REDSHIFT, seed=0) -> dict:
    """Scores of p over rows, and how well it is calibrated.

    Parameters
    ----------
    rows : list of dict
        Of `row_scores`.
    z : ndarray, shape (n,)
    z_constant : float
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        `metrics`, for each of `POSTERIOR_NAMES`; `pit`, the counts of rows in `PIT_BINS` equal steps of the probability
        integral transform, which are equal but for chance where p is calibrated.
    """
    column = {name: np.array([row[name] for row in rows], dtype=float) for name in rows[0] if name != "quantiles"}
    off_centre = np.abs(column["pit"] - 0.5)
    means = ("answered", "beyond", "outside", "begun")
    return {
        "metrics": {
            "crps": interval(np.mean, column["crps"], seed=seed),
            "crps_share": interval(ratio, column["crps"], np.abs(z_constant - z), seed=seed),
            **{f"coverage_{100 * level:.0f}": rate(off_centre <= level / 2) for level in LEVELS},
            **{name: interval(np.mean, column[name], seed=seed) for name in means},
        },
        "pit": np.histogram(column["pit"], bins=PIT_BINS, range=(0, 1))[0].tolist(),
    }


def interval(statistic, *data, seed=0) -> dict:
    """A statistic over rows with its bootstrap interval; where there are several arrays, their rows stay together.

    Parameters
    ----------
    statistic : callable
        Of arrays and an `axis`.
    *data : ndarray, shape (n,)

    Returns
    -------
    dict
        As `specdata.results.Score` says: BCa, or the plain percentiles where BCa is not defined; empty where those
        are not defined either, such as for a share of zero.
    """
    import warnings

    from scipy.stats import bootstrap

    value, n = float(statistic(*data, axis=-1)), len(data[0])
    if not np.isfinite(value):
        return _empty(n)
    if n < 2:
        return {"value": value, "low": value, "high": value, "n": n, "interval": "none"}
    options = {"paired": True, "vectorized": True, "n_resamples": RESAMPLES, "batch": 100, "axis": -1}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # what BCa says where all resamples are alike
        for method in ("BCa", "percentile"):
            rng = np.random.default_rng(seed)
            result = bootstrap(data, statistic, confidence_level=CONFIDENCE, method=method, rng=rng, **options)
            low, high = map(float, result.confidence_interval)
            if np.isfinite([low, high]).all():
                break
        else:
            return _empty(n)
    return {"value": value, "low": low, "high": high, "n": n, "interval": method.lower()}


def rate(flags) -> dict:
    """Share of rows whose flag is true, with its exact interval; as `specdata.results.Score` says."""
    from scipy.stats import binomtest

    exact = binomtest(int(np.sum(flags)), len(flags)).proportion_ci(CONFIDENCE, method="exact")
    return {
        "value": float(np.mean(flags)), "low": float(exact.low), "high": float(exact.high), "n": len(flags),
        "interval": "exact",
    }  # fmt: skip


def ratio(ours, others, axis=-1) -> np.ndarray:
    """Mean of one array as a share of that of another, infinite where the latter is not above zero."""
    return _share(np.mean(ours, axis=axis), np.mean(others, axis=axis))


def _nmad_ratio(ours, others, axis=-1):
    return _share(nmad(ours, axis=axis), nmad(others, axis=axis))


def _share(part, whole):
    """Quotient, infinite where the whole is zero: NaN would make the quantiles of all resamples NaN."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.inf), where=np.asarray(whole) > 0)


def _empty(n):
    return {"value": None, "low": None, "high": None, "n": n, "interval": "none"}
