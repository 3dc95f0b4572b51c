"""Scores of predicted labels, such as classes, and of their probabilities, each with its n and a 95 % interval.

Labels are numbers here, their places among `target.labels`, and NaN where there is no answer. Names and arguments are
those of `specdata.evaluation.metrics`, which has the scores of numbers.
"""

import numpy as np

from specdata.evaluation.metrics import interval, rate, ratio

LEAST = 1e-6  # probability that a label is given at least in the logarithm, or one sure error would outweigh all rows
COLUMNS = {  # of the card's tables
    "error rate": "error_rate", "share of the constant's": "error_share", "balanced accuracy": "balanced_accuracy",
    "rows with an answer": "parse_rate",
}  # fmt: skip
CELLS = 10  # of confidence, in each of which it is compared with the share of right labels


def names(target) -> dict[str, str]:
    """What each score of `score` means."""
    return {
        "accuracy": "share of all rows with the right label",
        "error_rate": "share of all rows with a wrong label, or without an answer",
        "error_share": "error rate as a share of that of a constant, the most frequent label of the training split",
        "balanced_accuracy": "mean of the shares of right labels among the rows of each true label",
        "parse_rate": "share of all rows with an answer",
    }


def posterior_names(target) -> dict[str, str]:
    """What each score of `score_posteriors` means; a text that is no label counts as one more label."""
    return {
        "log_loss": f"mean of -ln of the true label's probability, which counts as at least {LEAST:g}",
        "log_loss_share": "the same as a share of that of the training split's shares of labels",
        "brier": "mean of the sum over labels of (probability - 1 for the true label or 0)^2; 0 is best and 2 worst",
        "ece": f"expected calibration error: in {CELLS} steps of the most probable label's probability, the mean of "
        "abs(its mean - share of right labels), weighted by rows; above 0 by chance, the more so the fewer rows",
        "answered": "mean probability of one of the labels; all other probability counts as wrong in the scores above",
        "outside": "mean probability of a text that is no label",
        "begun": "mean probability that the model begins an answer by itself",
    }


def basis(target, values) -> tuple[None, np.ndarray]:
    """What the scores of a model are measured against: the share of each label among the training rows."""
    return None, np.bincount(values.astype(int), minlength=len(target.labels)) / len(values)


def kept_basis(bounds, shares) -> dict:
    """The part of a basis that `results.json` keeps among its settings."""
    return {"label_shares": shares.tolist()}


def stored_basis(results, target) -> tuple[None, np.ndarray]:
    """The basis of results that were stored."""
    return None, np.array(results["settings"]["label_shares"], dtype=np.float64)


def losses(pred, true, bounds=None, target=None) -> np.ndarray:
    """1 for each row with a wrong label or none, whose mean is the score `target.loss`, and 0 for the others."""
    return (np.asarray(pred) != np.asarray(true)).astype(float)


def score(pred, true, bounds, shares, *, target, seed=0) -> dict[str, dict]:
    """All metrics of one set of predicted labels; for each of `names` what `specdata.results.Score` says."""
    pred, true = (np.asarray(one, dtype=np.float64) for one in (pred, true))
    wrong = losses(pred, true)
    return {
        "accuracy": rate(wrong == 0),
        "error_rate": rate(wrong > 0),
        "error_share": interval(ratio, wrong, losses(np.argmax(shares), true), seed=seed),
        "balanced_accuracy": interval(_balanced, 1 - wrong, true, seed=seed),
        "parse_rate": rate(~np.isnan(pred)),
    }


def subsets_by_value(pred, true, bounds, shares, *, target) -> list[dict]:
    """Metrics of the rows of each true label."""
    parts = [np.flatnonzero(true == code) for code in range(len(target.labels))]
    return [
        {
            "low": float(code),
            "high": float(code),
            "label": target.labels[code],
            "metrics": score(pred[rows], true[rows], bounds, shares, target=target),
        }
        for code, rows in enumerate(parts)
        if len(rows)
    ]


def confusion(pred, true, target) -> dict:
    """Numbers of rows of each true label by what was answered: `labels`, and `rows` with the missing answers last."""
    count = len(target.labels)
    table = np.zeros((count, count + 1), dtype=int)
    np.add.at(table, (np.asarray(true, dtype=int), np.where(np.isnan(pred), count, pred).astype(int)), 1)
    return {"labels": list(target.labels), "rows": table.tolist()}


def row_scores(posterior, true) -> dict:
    """What is kept of the probabilities of one row with the true label `true`; `p` has those of all labels."""
    found = posterior.summary()
    p = np.array(list(found.pop("probabilities").values())) * posterior.answered
    place = posterior.target.labels.index(true)
    truth = np.eye(len(p))[place]
    return found | {
        "log_loss": float(-np.log(max(p[place], LEAST))),
        "brier": float(np.sum((p - truth) ** 2) + (1 - posterior.answered) ** 2),
        "confidence": float(p.max()),
        "right": float(p.argmax() == place),
        "p": [round(value, 6) for value in p.tolist()],
    }


def score_posteriors(rows, true, shares, *, target, seed=0) -> dict:
    """Scores of the probabilities over rows, and how well they are calibrated.

    Returns
    -------
    dict
        `metrics`, for each of `posterior_names`; `reliability`, for each step of the most probable label's probability
        the number of rows (`n`), the mean of it (`confidence`) and the share of right labels (`accuracy`).
    """
    used = ("log_loss", "brier", "confidence", "right", "answered", "outside", "begun")
    column = {name: np.array([row[name] for row in rows], dtype=float) for name in used}
    without = -np.log(np.maximum(shares, LEAST))[np.asarray(true, dtype=int)]
    confidence, right = column["confidence"], column["right"]
    cells = [_in_cell(confidence, cell) for cell in range(CELLS)]
    return {
        "metrics": {
            "log_loss": interval(np.mean, column["log_loss"], seed=seed),
            "log_loss_share": interval(ratio, column["log_loss"], without, seed=seed),
            "brier": interval(np.mean, column["brier"], seed=seed),
            "ece": interval(_ece, confidence, right, seed=seed),
            **{name: interval(np.mean, column[name], seed=seed) for name in ("answered", "outside", "begun")},
        },
        "reliability": [
            {"n": int(here.sum()), "confidence": float(confidence[here].mean()), "accuracy": float(right[here].mean())}
            for here in cells
            if here.any()
        ],
    }


def _in_cell(confidence, cell):
    return np.minimum((confidence * CELLS).astype(int), CELLS - 1) == cell


def _ece(confidence, right, axis=-1):
    gaps = [np.sum(_in_cell(confidence, cell) * (right - confidence), axis=axis) for cell in range(CELLS)]
    return np.abs(gaps).sum(axis=0) / confidence.shape[axis]


def _balanced(right, true, axis=-1):
    recalls = []
    for code in np.unique(true):
        count = np.sum(true == code, axis=axis)
        found = np.sum(right * (true == code), axis=axis)
        recalls.append(np.divide(found, count, out=np.full(np.shape(count), np.nan), where=count > 0))
    return np.nanmean(recalls, axis=0)
