"""Whether p(z) deserves its name: CRPS, coverage and PIT over the rows of a split, each with its interval."""

import numpy as np

from specdata.evaluation import metrics

LEVELS = (0.68, 0.95)
NAMES = {
    "crps": "mean of the continuous ranked probability score, the integral of (F(x) - [x >= z])^2, in units of z",
    "mae_median": "mean absolute error of the median of p(z)",
    "coverage_68": "share of rows whose z lies in the central 68 % interval",
    "coverage_95": "share of rows whose z lies in the central 95 % interval",
    "outside": "mean probability of what is no redshift",
}
PIT_BINS = 10


def row_scores(posterior, z):
    """What is kept of p(z) of one row.

    Parameters
    ----------
    posterior : specdata.posterior.RedshiftPosterior
    z : float
        True redshift.

    Returns
    -------
    dict of str to float
    """
    found = {"mean": posterior.mean, "median": posterior.median, "mode": posterior.mode}
    for level in LEVELS:
        low, high = posterior.interval(level)
        found |= {f"low_{100 * level:.0f}": low, f"high_{100 * level:.0f}": high}
    return found | {"crps": posterior.crps(z), "pit": posterior.pit(z), "outside": posterior.outside}


def calibration(rows, z, *, seed=0):
    """Scores of p(z) over rows.

    Parameters
    ----------
    rows : list of dict
        Of `row_scores`.
    z : ndarray, shape (n,)
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        `metrics`, as `specdata.evaluation.metrics.score` gives them; `pit`, the counts of rows in
        `PIT_BINS` equal steps of the probability integral transform, which are equal but for chance where p(z) is
        calibrated.
    """
    column = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    rng, z = np.random.default_rng(seed), np.asarray(z, dtype=np.float64)
    inside = {level: (column[f"low_{level}"] <= z) & (z <= column[f"high_{level}"]) for level in ("68", "95")}
    return {
        "metrics": {
            "crps": metrics.mean_score(column["crps"], rng),
            "mae_median": metrics.mean_score(np.abs(column["median"] - z), rng),
            "coverage_68": metrics.rate_score(inside["68"], rng),
            "coverage_95": metrics.rate_score(inside["95"], rng),
            "outside": metrics.mean_score(column["outside"], rng),
        },
        "pit": np.histogram(column["pit"], bins=PIT_BINS, range=(0, 1))[0].tolist(),
    }
