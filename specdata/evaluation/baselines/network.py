"""A small convolutional network, which stands for what any network of its size reads off the same numbers."""

import numpy as np

CELLS = 64  # between the least and the greatest number, which the network weighs
BATCHES = {True: (64, 1150), False: (32, 700)}  # rows of a step, and steps, with at least 1,000 training rows or fewer
LEAST_ROWS = 100  # of training, below which the network is left out


def cnn(x_train, y_train, objects_train, x, *, seed=0) -> tuple[np.ndarray, dict]:
    """Train for a fixed number of steps, and predict.

    Parameters
    ----------
    x_train, x : ndarray, shape (n_train, bins) and (n, bins)
    y_train : ndarray, shape (n_train,), or of labels (n_train, labels)
        As for `specdata.evaluation.baselines.simple`.
    objects_train : sequence of str
        Not needed, since nothing is chosen.
    seed : int
        Of the network's first weights and the order of the rows.

    Returns
    -------
    y : ndarray, shape (n,) or (n, labels), float64
    chosen : dict
        `steps`, `batch` and `seed`.
    """
    import torch

    mean, spread = x_train.mean(), x_train.std() + 1e-9
    x_train, x = (torch.tensor(np.clip((rows - mean) / spread, -8, 8), dtype=torch.float32) for rows in (x_train, x))
    low, high = float(y_train.min()), float(y_train.max())
    width = max(high - low, 1e-6)
    target = torch.tensor(y_train, dtype=torch.float32)
    batch, steps = BATCHES[len(x_train) >= 1000]
    batch = min(batch, len(x_train))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them wait for each other, since each product is small
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if y_train.ndim == 2:
            model = _network(x.shape[1], y_train.shape[1])
        else:
            model = _network(x.shape[1], CELLS, torch.linspace(low - 0.1 * width, high + 0.1 * width, CELLS))
        optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=1e-2, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.2)
        order = torch.empty(0, dtype=torch.long)
        for _ in range(steps):
            if len(order) < batch:
                order = torch.randperm(len(x_train))
            index, order = order[:batch], order[batch:]
            if y_train.ndim == 2:
                loss = torch.nn.functional.cross_entropy(model(x_train[index]), target[index])
            else:
                error = (model(x_train[index]) - target[index]) * 2 / width
                loss = torch.nn.functional.smooth_l1_loss(error, torch.zeros_like(error), beta=0.012)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        y = torch.cat([model(part) for part in x.split(250)]).double().numpy()
    torch.set_num_threads(threads)
    return y, {"steps": steps, "batch": batch, "seed": seed}


def _network(bins, cells, numbers=None):
    """Three convolutions; a branch that keeps positions beside one that pools; a score for each of some cells.

    It goes from spectra of shape (rows, bins) to the scores, of shape (rows, cells), or, where the `numbers` of the
    cells are given, to their mean by a softmax over the scores, of shape (rows,). Above 120 bins the first convolution
    takes every second one.
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
            self.where, self.whole, self.score = nn.Linear(16 * length, 64), nn.Linear(64, 32), nn.Linear(96, cells)
            self.register_buffer("numbers", numbers)

        def forward(self, x):
            h = self.features(x[:, None])
            whole = self.whole(torch.cat([h.amax(dim=2), h.mean(dim=2)], dim=1))
            where = self.where(torch.relu(self.narrow(h)).flatten(1))
            scores = self.score(torch.relu(torch.cat([where, whole], dim=1)))
            return scores if self.numbers is None else scores.softmax(dim=1) @ self.numbers

    return Network()
