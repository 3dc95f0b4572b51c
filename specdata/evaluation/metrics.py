"""Scores of redshift predictions, each with its n and a 95 % bootstrap interval."""

import numpy as np

OUTLIER = 0.05  # |dz| above this is an outlier: far above what reads a line right, far below a line taken for another
CONFIDENCE = 0.95
RESAMPLES = 2000
NAMES = {
    "mae": "mean absolute error, mean(abs(z_pred - z))",
    "nmad": "1.4826 x median(abs(dz - median(dz))), dz = (z_pred - z) / (1 + z)",
    "outlier_fraction": f"share of rows with abs(dz) > {OUTLIER}, or with no answer that parses",
    "parse_rate": "share of rows whose answer parses",
}


def fill_failures(z_pred, z, z_range):
    """Put the worst answer in place of one that did not parse.

    An unparsed answer is a failure and is never dropped: it scores like the end of the training range that lies
    furthest from the truth.

    Parameters
    ----------
    z_pred : ndarray, shape (n,)
        NaN where the answer did not parse.
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


def mae(z_pred, z, axis=-1):
    """Mean of abs(z_pred - z)."""
    return np.mean(np.abs(z_pred - z), axis=axis)


def nmad(z_pred, z, axis=-1):
    """1.4826 x median(abs(dz - median(dz))) with dz = (z_pred - z) / (1 + z)."""
    dz = (z_pred - z) / (1 + z)
    return 1.4826 * np.median(np.abs(dz - np.median(dz, axis=axis, keepdims=True)), axis=axis)


def score(z_pred, z, z_range, *, seed=0):
    """All metrics of one set of predictions.

    Parameters
    ----------
    z_pred : array_like, shape (n,)
        Predicted redshift, NaN where the answer did not parse.
    z : array_like, shape (n,)
        True redshift.
    z_range : tuple of float
        See `fill_failures`.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict of str to dict
        For each of `NAMES`: `value`, `low`, `high` (ends of the interval), `n`, and `interval`, which is
        ``bootstrap`` (percentiles over rows) or, where a rate is exactly 0 or 1 and resampling cannot move it,
        ``exact`` (Clopper and Pearson).
    """
    z_pred, z = np.asarray(z_pred, dtype=np.float64), np.asarray(z, dtype=np.float64)
    parsed = ~np.isnan(z_pred)
    filled = fill_failures(z_pred, z, z_range)
    outlier = ~parsed | (np.abs((filled - z) / (1 + z)) > OUTLIER)
    rng = np.random.default_rng(seed)
    return {
        "mae": _bootstrap(mae, (filled, z), rng),
        "nmad": _bootstrap(nmad, (filled, z), rng),
        "outlier_fraction": _rate(outlier, rng),
        "parse_rate": _rate(parsed, rng),
    }


def mean_score(values, rng):
    """Mean of a number of each row, with its interval; as an entry of what `score` returns."""
    return _bootstrap(np.mean, (np.asarray(values, dtype=np.float64),), rng)


def rate_score(flags, rng):
    """Share of rows that something is true of, with its interval; as an entry of what `score` returns."""
    return _rate(np.asarray(flags), rng)


def _bootstrap(statistic, data, rng):
    from scipy.stats import bootstrap

    value, n = float(statistic(*data)), len(data[0])
    if n < 2:
        return {"value": value, "low": value, "high": value, "n": n, "interval": "none"}
    result = bootstrap(
        data,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=100,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=rng,
    )
    low, high = map(float, result.confidence_interval)
    return {"value": value, "low": low, "high": high, "n": n, "interval": "bootstrap"}


def _rate(flags, rng):
    from scipy.stats import binomtest

    if 0 < flags.sum() < len(flags):
        return _bootstrap(np.mean, (flags.astype(np.float64),), rng)
    exact = binomtest(int(flags.sum()), len(flags)).proportion_ci(CONFIDENCE, method="exact")
    ends = {"low": float(exact.low), "high": float(exact.high)}
    return {"value": float(flags.mean()), **ends, "n": len(flags), "interval": "exact"}
