"""Baselines without a network: nearest neighbours, and linear regression.

All get ``(x_train, y_train, objects_train, x)``: spectra of shape (rows, bins), true values and object
names of the training rows, and the spectra to predict. They return the values of `x` and what they chose, a dict. The
values are numbers of shape (rows,), or, of labels, a column for each with 1 for the true one and 0 for the others, of
which the largest in the prediction counts. They choose with training rows alone, and predict no training row from a row
of the same object.
"""

import numpy as np

NEIGHBOURS = (1, 2, 3, 5, 8, 13)
JUDGED = 2000  # training rows that decide on the number of neighbours
COMPONENTS = (4, 8, 16, 32, 64)
PENALTIES = 10.0 ** np.arange(-1, 8)


def nearest_neighbours(x_train, y_train, objects_train, x) -> tuple[np.ndarray, dict]:
    """Mean value of the nearest training spectra; chooses their number `k` out of `NEIGHBOURS`."""
    k, _ = _choose_k(x_train, y_train, objects_train)
    return y_train[nearest(x_train, x, k)].mean(axis=1), {"k": k}


def pca_neighbours(x_train, y_train, objects_train, x) -> tuple[np.ndarray, dict]:
    """Nearest neighbours in the first principal components; chooses the number of `components` and `k`."""
    mean = x_train.mean(axis=0)
    centred = x_train - mean
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1]  # of the largest spread first
    inside, outside = centred @ axes, (x - mean) @ axes
    counts = [count for count in COMPONENTS if count < min(x_train.shape)] or [1]
    judged = {count: _choose_k(inside[:, :count], y_train, objects_train) for count in counts}
    count = min(judged, key=lambda count: judged[count][1])
    k = judged[count][0]
    return y_train[nearest(inside[:, :count], outside[:, :count], k)].mean(axis=1), {"components": count, "k": k}


def ridge(x_train, y_train, objects_train, x) -> tuple[np.ndarray, dict]:
    """Linear regression on standardised values; chooses the `penalty` on a quarter of the training objects."""
    judged = held_out(objects_train)
    found = ridge_fits(x_train[~judged], y_train[~judged], x_train[judged])
    errors = [error(y, y_train[judged]) if judged.any() else 0 for y in found]
    penalty = PENALTIES[int(np.argmin(errors))]
    return ridge_fits(x_train, y_train, x, [penalty])[0], {"penalty": float(penalty)}


def ridge_fits(x_train, y_train, x, penalties=PENALTIES) -> np.ndarray:
    """Ridge regression with each of some penalties; ndarray of shape (penalties, rows of x) and perhaps columns."""
    y, shape = y_train.reshape(len(y_train), -1), (len(penalties), len(x), *y_train.shape[1:])
    mean, spread, middle = x_train.mean(axis=0), x_train.std(axis=0) + 1e-6, y.mean(axis=0)
    x_train, x = (x_train - mean) / spread, (x - mean) / spread
    wide = x_train.shape[1] > x_train.shape[0]
    # (X'X + p)^-1 X' = X' (XX' + p)^-1: one decomposition of the smaller matrix serves all penalties.
    values, vectors = np.linalg.eigh(x_train @ x_train.T if wide else x_train.T @ x_train)
    target, values = vectors.T @ ((y - middle) if wide else x_train.T @ (y - middle)), np.maximum(values, 0)[:, None]
    weights = (vectors @ (target / (values + penalty)) for penalty in penalties)
    found = [x @ (x_train.T @ one if wide else one) + middle for one in weights]
    return np.reshape(found, shape)


def error(y, true) -> float:
    """Mean absolute error of numbers, or of labels the share of those that are wrong."""
    return float(np.mean(np.abs(y - true) if true.ndim == 1 else y.argmax(axis=1) != true.argmax(axis=1)))


def held_out(objects) -> np.ndarray:
    """Mark the rows of every fourth object, for a choice between fits to the others; none where all would be."""
    _, code = np.unique(objects, return_inverse=True)
    return (code % 4 == 0) & (code.max() > 0)


def nearest(x_train, x, k, apart=None) -> np.ndarray:
    """Find the nearest training rows, the nearest first.

    Parameters
    ----------
    x_train, x : ndarray, shape (n_train, m) and (n, m)
    k : int
        At most n_train.
    apart : tuple of ndarray, optional
        A number for each training row and for each row of `x`; rows of the same number are no neighbours.

    Returns
    -------
    ndarray, shape (n, k), int
    """
    mean, found = x_train.mean(axis=0), []
    centred = x_train - mean
    half_square = 0.5 * np.einsum("ij,ij->i", centred, centred)
    for start in range(0, len(x), 1000):
        rows = slice(start, start + 1000)
        distance = half_square - (x[rows] - mean) @ centred.T  # half the squared one, but for a constant of the row
        if apart is not None:
            distance[apart[1][rows, None] == apart[0]] = np.inf
        some = np.argpartition(distance, k - 1, axis=1)[:, :k]
        order = np.argsort(np.take_along_axis(distance, some, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(some, order, axis=1))
    return np.concatenate(found)


def _choose_k(x_train, y_train, objects_train):
    """The number of neighbours with the least error of up to `JUDGED` training rows, and that error."""
    _, code, repeats = np.unique(objects_train, return_inverse=True, return_counts=True)
    candidates = [k for k in NEIGHBOURS if k <= len(x_train) - repeats.max()]
    if not candidates:
        return 1, np.inf
    some = np.unique(np.linspace(0, len(x_train) - 1, JUDGED).astype(int))
    others = nearest(x_train, x_train[some], max(candidates), apart=(code, code[some]))
    running = np.cumsum(y_train[others], axis=1)
    errors = [error(running[:, k - 1] / k, y_train[some]) for k in candidates]
    best = int(np.argmin(errors))
    return candidates[best], errors[best]
