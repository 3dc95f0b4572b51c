"""All baselines of an evaluation, one after the other."""

import time
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from specdata import prompts, serialize
from specdata.errors import SpecdataError
from specdata.evaluation.baselines import network, simple
from specdata.evaluation.split import Split

# Titles are filled with what a method chose.
TITLES = {
    "constant": "constant, {z:.4f}",
    "nearest_neighbours": "nearest neighbours, k = {k}",
    "pca_neighbours": "nearest neighbours in {components} principal components, k = {k}",
    "ridge": "ridge regression, penalty {penalty:g}",
    "cnn": "small CNN, {steps} steps",
}
ON_TEXT = {
    "nearest_neighbours": simple.nearest_neighbours, "pca_neighbours": simple.pca_neighbours, "ridge": simple.ridge,
    "cnn": network.cnn,
}  # fmt: skip


def check_names(names) -> tuple[str, ...]:
    """Names of baselines in the order of `TITLES`, the constant among them; all of them for None."""
    names = list(TITLES) if names is None else names
    for name in names:
        if name not in TITLES:
            raise SpecdataError(f"baseline {name!r}: give some of {', '.join(TITLES)}")
    return tuple(name for name in TITLES if name in ("constant", *names))


def run_baselines(data: Split, names: Sequence[str], *, progress=True) -> dict[str, tuple[np.ndarray, dict]]:
    """Predict the redshifts of a split by simple methods.

    Parameters
    ----------
    data : Split
    names : sequence of str
        Of `check_names`.
    progress : bool

    Returns
    -------
    dict of str to tuple
        For each method the redshifts of the rows, shape (n,), and what `specdata.results.Baseline` says of it without
        its scores. The network is left out where there are fewer than `network.LEAST_ROWS` training rows.
    """
    z_train, objects = data.train["z"].to_numpy(), data.train["object_id"].to_numpy()
    if len(z_train) < network.LEAST_ROWS:
        names = [name for name in names if name != "cnn"]
    x_train, x = (read_text(part, data.encoding) for part in (data.train, data.rows))
    found = {}
    for name in (bar := tqdm(names, desc="baselines", disable=not progress)):
        bar.set_postfix_str(name)
        begin, reads = time.perf_counter(), "text"
        if name == "constant":
            chosen, reads = {"z": simple.constant(z_train)}, "nothing"
            z = np.full(len(x), chosen["z"])
        else:
            z, chosen = ON_TEXT[name](x_train, z_train, objects, x)
        facts = {"title": TITLES[name].format(**chosen), "reads": reads, "chosen": chosen, "note": ""}
        found[name] = z, facts | {"seconds": time.perf_counter() - begin}
    return found


def read_text(rows, encoding) -> np.ndarray:
    """Spectra as the model gets them, from the text itself; ndarray of shape (rows, bins)."""
    texts = [prompts.read_series(prompt) for prompt in rows["prompt"].to_pylist()]
    return serialize.SCHEMES[encoding.scheme].decode_batch(texts)
