"""What the rows of a data set cost in tokens: the bins that a number of tokens has room for, and the card's table."""

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from specdata import prompts
from specdata.dataset import rows
from specdata.dataset.parquet import BATCH, open_shard, shard_names
from specdata.dataset.selection import SPLITS
from specdata.errors import SpecdataError
from specdata.serialize import SCHEMES
from specdata.text.budget import most_bins
from specdata.text.encoding import MOST_BINS, Encoding
from specdata.text.tokenizer import load_tokenizer
from specdata.text.tokens import count_chats, token_cost

PAPER_LIMIT = 573  # tokens: "under 7 % of the 8K context", and 0.07 x 8192 = 573.4
CONTEXT = 8192
MOST_ROWS = 2000  # of the card's table, which needs every row written in every scheme


def fit_bins(config, spectra, chosen, scale, *, label, progress=True):
    """Find the most bins of a text config with which no row is over the number of tokens that its grid asks for.

    Parameters
    ----------
    config : specdata.dataset.recipe.TextConfig
        `grid.tokens` is the limit, the chat template included, and `grid.tokenizer` counts.
    spectra : specdata.dataset.spool.Spool or pyarrow.Table
        Rows of the `spectra` config.
    chosen : ndarray of int
        The rows that have to fit: all those of the data set.
    scale : ndarray
        Of each row of `spectra`.
    label : str
        Name of the config, for the progress bar.
    progress : bool

    Returns
    -------
    dict
        `bins`, `longest` and `beyond` as in `specdata.text.budget.Budget`; the `rows` that were counted, the limit
        (`tokens`) and the `tokenizer`.

    Raises
    ------
    SpecdataError
        If not even one bin fits.
    """
    grid = config.grid
    tokenizer = load_tokenizer(grid.tokenizer)
    with tqdm(unit=" rows", desc=f"fit {label}", disable=not progress) as bar:

        def count(some, bins):
            bar.set_postfix_str(f"{bins} bins", refresh=False)
            bar.update(len(some))
            encoding = Encoding.from_recipe(config, bins)
            parts = (some[at : at + BATCH] for at in range(0, len(some), BATCH))
            return np.concatenate([_count(tokenizer, spectra.take(part), scale[part], encoding) for part in parts])

        try:
            found = most_bins(count, chosen, grid.tokens, MOST_BINS)
        except SpecdataError as error:
            raise SpecdataError(f"configs.{label}.grid.tokens = {grid.tokens}: {error}") from None
    return found._asdict() | {"rows": len(chosen), "tokens": grid.tokens, "tokenizer": grid.tokenizer}


def check_longest(config, encoding, spectra, chosen, scale, *, label, progress=True):
    """Prove that no conversation is longer than its config says; arguments as for `fit_bins`.

    Returns
    -------
    dict
        `longest`, the most tokens of any row; the `rows` that were counted, the limit (`tokens`) and the `tokenizer`.

    Raises
    ------
    SpecdataError
        If a row is longer.
    """
    limit = config.conversation
    tokenizer, longest = load_tokenizer(limit.tokenizer), 0
    with tqdm(total=len(chosen), unit=" rows", desc=f"count {label}", disable=not progress) as bar:
        for at in range(0, len(chosen), BATCH):
            here = chosen[at : at + BATCH]
            longest = max(longest, int(_count(tokenizer, spectra.take(here), scale[here], encoding).max()))
            bar.update(len(here))
    if longest > limit.tokens:
        raise SpecdataError(
            f"configs.{label}.conversation.tokens = {limit.tokens}: a row has {longest} tokens of {limit.tokenizer}; "
            "allow as many, ask for fewer turns, or give the grid fewer bins"
        )
    return {"longest": longest, "rows": len(chosen), "tokens": limit.tokens, "tokenizer": limit.tokenizer}


def _count(tokenizer, table, scale, encoding):
    """Tokens of rows of the `spectra` config as they would be written."""
    text, _ = encoding.encode(rows.bin_rows(table, encoding.edges).flux, scale)
    made = rows.messages(text.to_pylist(), table, encoding)
    return count_chats(tokenizer, [row["prompt"] + row["completion"] for row in made])


def token_costs(
    folder, manifest, tokenizers, *, limit=PAPER_LIMIT, context=CONTEXT, most_rows=MOST_ROWS, bins=None, progress=False
):
    """Measure what rows of a data set cost, as they are and in every scheme.

    Parameters
    ----------
    folder : Path
        Of the data set.
    manifest : dict
        Of the data set; its `files` and `configs`.
    tokenizers : sequence of str
        Names as for `specdata.text.tokenizer.load_tokenizer`.
    limit, context : int
        Tokens.
    most_rows : int
        Rows to look at: the first ones of each split in proportion, which are a fair sample.
    bins : int, optional
        Number of linear bins of the schemes; by default they are written on the grid of the first config.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    list of TokenCost
        For each tokenizer the text configs of the data set, then every scheme on one and the same grid.
    """
    for name in tokenizers:  # so that one that is missing is told at once
        load_tokenizer(name)
    first, *_ = manifest["configs"]
    base = Encoding.from_dict(manifest["configs"][first], first)
    scale = _first_rows(folder, manifest, first, most_rows, ["scale"])["scale"].to_numpy()
    edges = base.edges if bins is None else np.linspace(base.edges[0], base.edges[-1], bins + 1)
    batches = _first_batches(folder, manifest, "spectra", most_rows, [*rows.PIXELS, "z"])
    flux, z = zip(*((rows.bin_rows(batch, edges).flux, batch["z"]) for batch in batches), strict=True)
    flux, z = np.concatenate(flux), pa.chunked_array(z)
    samples, there = [], []
    for config, made in manifest["configs"].items():
        text = _first_rows(folder, manifest, config, most_rows, ["prompt", "completion"]).to_pylist()
        series = [prompts.read_series(row["prompt"]) for row in text]
        samples.append(
            (f"config `{config}`", len(made["edges"]) - 1, series, [r["prompt"] + r["completion"] for r in text])
        )
        there.append((made["scheme"], made["normalisation"], made["edges"]))
    for name in SCHEMES:
        if (name, base.normalisation, edges.tolist()) in there:
            continue
        encoding = Encoding(edges=edges, normalisation=base.normalisation, scheme=name)
        series = encoding.encode(flux, scale)[0].to_pylist()
        samples.append((f"scheme `{name}`", len(edges) - 1, series, _conversations(series, z)))
    todo = [(tokenizer, *sample) for tokenizer in tokenizers for sample in samples]
    return [
        token_cost(name, tokenizer, series, chats, n, context=context, limit=limit)
        for tokenizer, name, n, series, chats in tqdm(todo, unit=" texts", desc="tokens", disable=not progress)
    ]


def _conversations(series, z):
    made = (prompts.build_row(text, value) for text, value in zip(series, z.to_pylist(), strict=True))
    return [row["prompt"] + row["completion"] for row in made]


def _first_rows(folder, manifest, config, most_rows, columns):
    """The first rows of each split, in proportion to its size, as one table."""
    return pa.concat_tables(_first_batches(folder, manifest, config, most_rows, columns))


def _first_batches(folder, manifest, config, most_rows, columns):
    """The same, batch by batch."""
    counts = manifest["counts"]["splits"]
    total = sum(counts.values())
    ends = np.rint(np.cumsum([counts[split] for split in SPLITS]) * min(1, most_rows / total)).astype(int)
    for split, wanted in zip(SPLITS, np.diff(ends, prepend=0).tolist(), strict=True):
        for name in shard_names(manifest["files"], config, split):
            for batch in open_shard(folder, name).iter_batches(batch_size=BATCH, columns=columns):
                yield pa.Table.from_batches([batch.slice(0, wanted)])
                wanted -= min(wanted, len(batch))
                if wanted == 0:
                    break
            if wanted == 0:
                break
