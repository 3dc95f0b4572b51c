"""What simple methods make of the same rows. A card without them misleads."""

import numpy as np

NEIGHBOURS = (1, 2, 3, 5, 8, 13)


def constant(z_train, n):
    """Predict the median redshift of the training split, which no constant beats in mean absolute error; shape (n,)."""
    return np.full(n, np.median(z_train))


def nearest_neighbours(x_train, z_train, objects_train, x):
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
        Number of neighbours, the one of `NEIGHBOURS` with the least mean absolute error when each training object is
        left out in turn. Nothing but training rows takes part in the choice.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(x_train)
    _, code, repeats = np.unique(objects_train, return_inverse=True, return_counts=True)
    candidates = [k for k in NEIGHBOURS if k <= len(x_train) - repeats.max()]
    k = 1
    if candidates:
        # Enough neighbours that the wanted number is left when those of the same object are put last.
        most = max(candidates)
        _, found = tree.query(x_train, k=range(1, most + repeats.max() + 1), workers=-1)
        own = code[found] == code[:, None]
        others = np.take_along_axis(found, np.argsort(own, axis=1, kind="stable")[:, :most], axis=1)
        running = np.cumsum(z_train[others], axis=1) / np.arange(1, most + 1)
        errors = [np.mean(np.abs(running[:, k - 1] - z_train)) for k in candidates]
        k = candidates[int(np.argmin(errors))]
    _, index = tree.query(x, k=range(1, k + 1), workers=-1)
    return z_train[index].mean(axis=1), k
