"""What the rows of a data set cost in tokens: how many bins a number of tokens allows, and the card's table."""

import functools
from dataclasses import replace

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from specdata import prompts
from specdata.dataset import rows
from specdata.dataset.parquet import BATCH, open_file, read_rows, split_files
from specdata.dataset.selection import SPLITS
from specdata.errors import SpecdataError
from specdata.serialize import SCHEMES
from specdata.text.budget import most_bins
from specdata.text.encoding import MOST_BINS, Encoding
from specdata.text.tokenizer import load_tokenizer
from specdata.text.tokens import TokenCost, count_chats, token_cost

PAPER_LIMIT = 573  # tokens: "under 7 % of the 8K context", and 0.07 x 8192 = 573.4
CONTEXT = 8192
MOST_ROWS = 2000  # of the card's table, which needs every row written in every scheme


def fit_bins(config, target, spectra, scale, values, *, label, progress=True) -> dict:
    """Find the most bins of a text config with which no row is over the number of tokens that its grid asks for.

    `config.grid.tokens` is the limit, the chat template included, and `config.grid.tokenizer` counts. `spectra`, a
    `specdata.dataset.stages.StoredSpectra` or a table, holds rows of the `spectra` config, `scale` that of each, and
    `values` what each has for the `target`; `label` is the name of the config.

    Returns
    -------
    dict
        `bins`, `longest` and `beyond` as in `specdata.text.budget.Budget`; the `rows` that were counted, the limit
        (`tokens`) and the `tokenizer`.
    """
    grid, tokenizer = config.grid, load_tokenizer(config.grid.tokenizer)
    with tqdm(unit=" rows", desc=f"fit {label}", disable=not progress) as bar:

        def count(index, bins):
            encoding = Encoding.from_recipe(config, bins, target=target)
            return _count_rows(spectra, scale, values, index, tokenizer, encoding, bar)

        try:
            found = most_bins(count, np.arange(len(spectra)), grid.tokens, MOST_BINS)
        except SpecdataError as error:
            raise SpecdataError(f"configs.{label}.grid.tokens = {grid.tokens}: {error}") from None
    return found._asdict() | {"rows": len(spectra), "tokens": grid.tokens, "tokenizer": grid.tokenizer}


def check_longest(config, encoding, spectra, scale, values, *, label, progress=True) -> dict:
    """Check that no conversation is longer than its config says; arguments as for `fit_bins`.

    Returns `longest`, the most tokens of any row; the `rows` that were counted; the limit (`tokens`); the `tokenizer`.
    """
    limit = config.conversation
    with tqdm(total=len(spectra), unit=" rows", desc=f"count {label}", disable=not progress) as bar:
        tokenizer = load_tokenizer(limit.tokenizer)
        longest = int(_count_rows(spectra, scale, values, np.arange(len(spectra)), tokenizer, encoding, bar).max())
    if longest > limit.tokens:
        raise SpecdataError(
            f"configs.{label}.conversation.tokens = {limit.tokens}: a row has {longest} tokens of {limit.tokenizer}; "
            "allow as many, ask for fewer turns, or give the grid fewer bins"
        )
    return {"longest": longest, "rows": len(spectra), "tokens": limit.tokens, "tokenizer": limit.tokenizer}


def _count_rows(spectra, scale, values, index, tokenizer, encoding, bar):
    """Tokens of each of some rows as they would be written, a batch at a time."""
    tokens = []
    for start in range(0, len(index), BATCH):
        here = index[start : start + BATCH]
        table = spectra.take(here)
        text, _ = encoding.encode(rows.bin_rows(table, encoding.edges).flux, scale[here])
        tokens.append(
            count_chats(
                tokenizer, _chats(rows.messages(text.to_pylist(), table, encoding, [values[row] for row in here]))
            )
        )
        bar.update(len(here))
    return np.concatenate(tokens)


def token_costs(
    folder, manifest, tokenizers, *, limit=None, context=CONTEXT, most_rows=MOST_ROWS, bins=None, progress=False
) -> list[TokenCost]:
    """Measure what rows of a data set cost, as they are and in every scheme.

    Parameters
    ----------
    folder, manifest
        Of the data set.
    tokenizers : sequence of str
        Names as for `specdata.text.tokenizer.load_tokenizer`.
    limit, context : int
        Tokens that a row may have, by default what the recipe allows its config and otherwise 573, the paper's limit;
        and those of the model's context.
    most_rows : int
        Rows to look at: the first ones of each split in proportion, which are a fair sample.
    bins : int, optional
        Number of linear bins of the schemes; by default they are written on the grid of the first config.

    Returns
    -------
    list of TokenCost
        For each tokenizer the text configs of the data set, then every scheme on one and the same grid.
    """
    for name in tokenizers:  # so that one that is missing is told at once
        load_tokenizer(name)
    first_rows = functools.partial(_first_rows, folder, manifest, most_rows)
    samples, written = [], []  # name, number of bins, series, chats and limit of each way to write the rows
    for config, made in manifest["configs"].items():
        text = [row for table in first_rows(config, ["prompt", "completion"]) for row in table.to_pylist()]
        encoding = Encoding.from_dict(made, config)
        series = [prompts.read_series(row["prompt"], encoding.target) for row in text]
        allowed = limit or (made.get("limit") or made.get("fit") or {}).get("tokens", PAPER_LIMIT)
        samples.append((f"config `{config}`", len(encoding.wavelength), series, _chats(text), allowed))
        written.append((encoding.scheme, encoding.normalisation, encoding.edges.tolist()))
    first = next(iter(manifest["configs"]))
    base = Encoding.from_dict(manifest["configs"][first], first)
    edges = base.edges if bins is None else np.linspace(base.edges[0], base.edges[-1], bins + 1)
    scale = pa.concat_tables(first_rows(first, ["scale"]))["scale"].to_numpy()
    flux = [rows.bin_rows(table, edges).flux for table in first_rows("spectra", list(rows.PIXELS))]
    values = pa.concat_tables(first_rows(first, [base.target.stored_in]))[0].to_pylist()
    for scheme in SCHEMES:
        if (scheme, base.normalisation, edges.tolist()) not in written:
            encoding = replace(base, edges=edges, scheme=scheme, turns=0)
            series = encoding.encode(np.concatenate(flux), scale)[0].to_pylist()
            chats = _chats(rows.messages(series, None, encoding, values))
            samples.append((f"scheme `{scheme}`", len(edges) - 1, series, chats, limit or PAPER_LIMIT))
    todo = [(tokenizer, *sample) for tokenizer in tokenizers for sample in samples]
    return [
        token_cost(name, tokenizer, series, chats, n, context=context, limit=allowed)
        for tokenizer, name, n, series, chats, allowed in tqdm(todo, unit=" texts", desc="tokens", disable=not progress)
    ]


def _chats(messages):
    return [row["prompt"] + row["completion"] for row in messages]


def _first_rows(folder, manifest, most_rows, config, columns):
    """Yield tables of the first rows of each split, in proportion to its size."""
    sizes = np.array([manifest["counts"]["splits"].get(split, 0) for split in SPLITS])
    ends = np.rint(np.cumsum(sizes) * min(1, most_rows / max(sizes.sum(), 1))).astype(int)
    for split, wanted in zip(SPLITS, np.diff(ends, prepend=0).tolist(), strict=True):
        files = [open_file(folder, name) for name in split_files(manifest["files"], config, split)]
        for table in read_rows(files, 0, wanted, columns):
            wanted -= len(table)
            yield table
        if wanted:
            raise SpecdataError(f"{config}/{split} has fewer rows than the manifest says; build or download it again")
