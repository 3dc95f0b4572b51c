"""The scores that apply to a target, of numbers or of labels; and all scores of a table of predictions."""

from types import ModuleType

import numpy as np

from specdata.evaluation import labels, metrics
from specdata.targets import REDSHIFT


def scores_of(target) -> ModuleType:
    """The module with the scores of a target, `specdata.evaluation.metrics` or `specdata.evaluation.labels`."""
    return metrics if target.is_number else labels


def score_predictions(table, basis, baselines, *, target, with_posterior) -> dict:
    """All scores that a card shows, from the predictions of a model and of baselines.

    Parameters
    ----------
    table : pyarrow.Table
        A row for each spectrum, as `specdata.evaluation.evaluate.evaluate` writes it.
    basis : tuple
        Of `basis` in the module of the scores.
    baselines : iterable of str
    target : specdata.targets.Target
    with_posterior : bool
        Whether the table has the probabilities of the answers.

    Returns
    -------
    dict
        Of `specdata.results.Results` the parts `metrics`, `greedy`, `baselines` and `subsets`, of labels `confusion`,
        and perhaps `posterior`, each with all that follows from the predictions.
    """
    scores, name = scores_of(target), target.stored_in

    def codes(column):
        return target.code(table[column].to_pylist())

    def of(pred):
        return scores.score(pred, true, *basis, target=target)

    true, pred, greedy = codes(name), codes(f"{name}_pred"), codes(f"{name}_greedy")
    signal = table["snmedian"].to_numpy(zero_copy_only=False).astype(float)
    others = {method: codes(f"{name}_{method}") for method in baselines}
    if target.is_number:
        by_value = score_subsets(true, pred, true, *basis, target=target)
    else:
        by_value = labels.subsets_by_value(pred, true, *basis, target=target)
    found = {
        "metrics": of(pred),
        "greedy": {"metrics": of(greedy), "distinct_answers": len(set(greedy[~np.isnan(greedy)]))},
        "baselines": {
            method: {"metrics": of(other)} | compare(pred, other, true, basis[0], target=target)
            for method, other in others.items()
        },
        "subsets": {
            name: by_value,
            "snmedian": score_subsets(signal, pred, true, *basis, target=target),
        },
    }
    if not target.is_number:
        found["confusion"] = scores.confusion(pred, true, target)
    if with_posterior:
        prefix = "posterior_"
        kept = table.select([column for column in table.column_names if column.startswith(prefix)])
        rows = kept.rename_columns([column.removeprefix(prefix) for column in kept.column_names]).to_pylist()
        found["posterior"] = scores.score_posteriors(rows, true, basis[1], target=target)
    return found


def compare(pred, other, true, bounds=None, *, target=REDSHIFT, seed=0) -> dict:
    """Whether one set of predictions is better than another on the same rows.

    Returns
    -------
    dict
        `difference`, the mean loss of the first minus that of the other with its paired interval, and `verdict`:
        ``better`` or ``worse`` where the interval leaves out zero, ``undecided`` elsewhere.
    """
    ours, others = (scores_of(target).losses(np.asarray(one, dtype=float), true, bounds) for one in (pred, other))
    found = metrics.interval(np.mean, ours - others, seed=seed)
    decided = found["interval"] != "none" and not found["low"] <= 0 <= found["high"]
    return {"difference": found, "verdict": ("better" if found["value"] < 0 else "worse") if decided else "undecided"}


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
