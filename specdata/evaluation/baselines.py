"""What simple methods make of the same rows. A card without them misleads."""

import numpy as np

NEIGHBOURS = (1, 2, 3, 5, 8, 13)
JUDGED = 2000  # training rows that decide on the number of neighbours


def constant(z_train) -> float:
    """Median redshift of the training split, which no other constant beats there in mean absolute error."""
    return float(np.median(z_train))


def nearest_neighbours(x_train, z_train, objects_train, x) -> tuple[np.ndarray, int]:
    """Predict the mean redshift of the nearest training spectra.

    Parameters
    ----------
    x_train, x : ndarray, shape (n_train, m) and (n, m)
        Spectra as the model gets them: decoded from the prompts.
    z_train : ndarray, shape (n_train,)
    objects_train : sequence of str, length n_train
        Object of each training row.

    Returns
    -------
    z_pred : ndarray, shape (n,)
    k : int
        Number of neighbours: the one of `NEIGHBOURS` with the least mean absolute error of up to `JUDGED` training
        rows, each predicted from the rows of other objects. Nothing but training rows takes part in the choice.
    """
    _, code, repeats = np.unique(objects_train, return_inverse=True, return_counts=True)
    candidates = [k for k in NEIGHBOURS if k <= len(x_train) - repeats.max()]
    k = 1
    if candidates:
        some = np.unique(np.linspace(0, len(x_train) - 1, JUDGED).astype(int))
        others = nearest(x_train, x_train[some], max(candidates), apart=(code, code[some]))
        running = np.cumsum(z_train[others], axis=1) / np.arange(1, max(candidates) + 1)
        errors = [np.mean(np.abs(running[:, k - 1] - z_train[some])) for k in candidates]
        k = candidates[int(np.argmin(errors))]
    return z_train[nearest(x_train, x, k)].mean(axis=1), k


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
