"""The scores that apply to a target: of numbers or of labels."""

from specdata.evaluation import labels, metrics
from specdata.targets import REDSHIFT


def scores_of(target):
    """The module with the scores of a target, `specdata.evaluation.metrics` or `specdata.evaluation.labels`."""
    return metrics if target.is_number else labels


def score_subsets(values, pred, true, bounds, constant, *, target=REDSHIFT) -> list[dict]:
    """Metrics of the rows in a few parts, in order of `values`.

    Parameters
    ----------
    values : ndarray, shape (n,)
        See `specdata.evaluation.metrics.subsets`.
    pred, true : ndarray, shape (n,)
        As numbers, see `specdata.targets.Target.code`.
    bounds, constant
        Of `basis` in the module of the scores.
    target : specdata.targets.Target

    Returns
    -------
    list of dict
        `low` and `high`, the smallest and the largest value of the part, and its `metrics`.
    """
    score = scores_of(target).score
    return [
        {
            "low": float(values[rows[0]]),
            "high": float(values[rows[-1]]),
            "metrics": score(pred[rows], true[rows], bounds, constant, target=target),
        }
        for rows in metrics.subsets(values)
    ]
