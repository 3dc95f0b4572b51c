"""The readers of redshift that the benchmarks compare, which are baselines of the package, and what scores them.

Each is a function ``(x_train, z_train, objects_train, x)`` with spectra of shape (rows, bins), redshifts and object
names of shape (rows,); it returns the redshifts of `x`, shape (rows,), and what it chose with the training rows.
"""

import functools

import numpy as np

from specdata.evaluation.baselines.network import cnn
from specdata.evaluation.baselines.simple import nearest_neighbours, ridge
from specdata.evaluation.metrics import CONFIDENCE, RESAMPLES

READERS = {"nearest neighbours": nearest_neighbours, "ridge": ridge, "CNN": cnn}


def read(name, x_train, z_train, objects_train, x, seed=0):
    """Redshifts of `x` by a reader, shape (rows,); the seed is for the network alone."""
    options = {"seed": seed} if name == "CNN" else {}
    return READERS[name](x_train, z_train, objects_train, x, **options)[0]


def split_objects(objects, shares, seed):
    """Rows of training, validation and test, three boolean arrays; all rows of an object are in the same one.

    `objects` are numbers from 0 on, and `shares` those of them with which training and validation end.
    """
    rank = np.random.default_rng(seed).permutation(objects.max() + 1)[objects] / (objects.max() + 1)
    return rank < shares[0], (rank >= shares[0]) & (rank < shares[1]), rank >= shares[1]


@functools.cache
def _resamples(n):
    return np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)


def interval(errors, objects):
    """Mean of some errors x 1000, and the ends of its bootstrap interval; errors of one object are drawn together."""
    _, code = np.unique(objects, return_inverse=True)
    total, count = np.bincount(code, errors), np.bincount(code)
    means = (_resamples(len(count)) @ total) / (_resamples(len(count)) @ count)
    return 1000 * np.array([errors.mean(), *np.quantile(means, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])])
