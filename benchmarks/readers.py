"""Simple readers of redshift for `information.py`, the rows they learn from, and the interval of their errors.

Each is a function ``predict(x_train, z_train, x_val, z_val, x, seed)`` with spectra of shape (rows, bins), redshifts of
shape (rows,), and a seed that only the network uses; it returns the redshifts of `x`, shape (rows,), float64. What a
reader has to choose, it chooses with the validation rows; no reader sees a test row's redshift.
"""

import functools

import numpy as np

from specdata.evaluation.baselines import NEIGHBOURS, nearest
from specdata.evaluation.metrics import CONFIDENCE, RESAMPLES

PENALTIES = 10.0 ** np.arange(-1, 8)
CELLS = 64  # of redshift, which the network weighs
STEPS = {32: 700, 64: 1150}  # of the network, by batch


def nearest_neighbours(x_train, z_train, x_val, z_val, x, seed):
    """Mean redshift of the k nearest training spectra, k with the least error on the validation rows."""
    most = min(max(NEIGHBOURS), len(x_train) - 1)
    found = nearest(x_train, x_val, most)
    best = min(
        (k for k in NEIGHBOURS if k <= most), key=lambda k: np.abs(z_train[found[:, :k]].mean(axis=1) - z_val).mean()
    )
    return z_train[nearest(x_train, x, best)].mean(axis=1)


def ridge(x_train, z_train, x_val, z_val, x, seed):
    """Linear regression on standardised values, the penalty with the least error on the validation rows."""
    mean, spread, middle = x_train.mean(axis=0), x_train.std(axis=0) + 1e-6, z_train.mean()
    x_train, x_val, x = ((rows - mean) / spread for rows in (x_train, x_val, x))
    wide = x_train.shape[1] > x_train.shape[0]
    # (X'X + p)^-1 X' = X' (XX' + p)^-1: one decomposition of the smaller matrix serves all penalties.
    values, vectors = np.linalg.eigh(x_train @ x_train.T if wide else x_train.T @ x_train)
    target = vectors.T @ ((z_train - middle) if wide else x_train.T @ (z_train - middle))

    def weights(penalty):
        found = vectors @ (target / (np.maximum(values, 0) + penalty))
        return x_train.T @ found if wide else found

    best = min((weights(penalty) for penalty in PENALTIES), key=lambda w: np.abs(x_val @ w + middle - z_val).mean())
    return x @ best + middle


def _network(bins, low, high):
    """Three convolutions; a branch that keeps positions beside one that pools; a softmax over cells of redshift.

    Parameters
    ----------
    bins : int
        Length of a spectrum; above 120 the first convolution takes every second bin.
    low, high : float
        Redshifts of the training rows; the cells reach a tenth of the range beyond.

    Returns
    -------
    torch.nn.Module
        From (rows, bins) to redshifts of shape (rows,), the mean of the cells.
    """
    import torch
    from torch import nn

    def block(channels, out, kernel, stride):
        convolution = nn.Conv1d(channels, out, kernel, stride=stride, padding=kernel // 2, bias=False)
        return nn.Sequential(convolution, nn.BatchNorm1d(out), nn.ReLU())

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(block(1, 16, 9, 1 + (bins > 120)), block(16, 32, 7, 2), block(32, 32, 7, 2))
            self.narrow = nn.Conv1d(32, 16, 1)
            length = self.features(torch.zeros(2, 1, bins)).shape[2]
            self.where, self.whole, self.score = nn.Linear(16 * length, 64), nn.Linear(64, 32), nn.Linear(96, CELLS)
            self.register_buffer("z", torch.linspace(low - 0.1 * (high - low), high + 0.1 * (high - low), CELLS))

        def forward(self, x):
            h = self.features(x[:, None])
            whole = self.whole(torch.cat([h.amax(dim=2), h.mean(dim=2)], dim=1))
            where = self.where(torch.relu(self.narrow(h)).flatten(1))
            return self.score(torch.relu(torch.cat([where, whole], dim=1))).softmax(dim=1) @ self.z

    return Network()


def cnn(x_train, z_train, x_val, z_val, x, seed):
    """A small convolutional network, trained for a fixed number of steps; it has no use for the validation rows."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    mean, spread = x_train.mean(), x_train.std()
    x_train, x = (torch.tensor(np.clip((rows - mean) / spread, -8, 8), dtype=torch.float32) for rows in (x_train, x))
    low, high = float(z_train.min()), float(z_train.max())
    target = torch.tensor(z_train, dtype=torch.float32)
    model = _network(x.shape[1], low, high)
    batch = 64 if len(x_train) >= 1000 else min(32, len(x_train))
    steps = STEPS[max(batch, 32)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.2)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(x_train))
        index, order = order[:batch], order[batch:]
        error = (model(x_train[index]) - target[index]) * 2 / (high - low)
        loss = torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.012)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part) for part in x.split(250)]).double().numpy()


READERS = {"nearest neighbours": nearest_neighbours, "ridge": ridge, "CNN": cnn}


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
