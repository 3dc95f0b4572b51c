"""The rows of a training before its launch: tokenised as `trl` does it, and held against `max_length`."""

from dataclasses import dataclass

import numpy as np

from specdata.errors import SpecdataError, one_line

_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What the rows of one data set, or of a whole mixture, cost.

    Attributes
    ----------
    name : str
    lengths : ndarray of int, shape (n,)
        Tokens of each row, chat template included.
    learned : ndarray of int, shape (n,)
        Those of them that the loss is on.
    unlike : int
        Rows whose prompt is tokenised differently alone, as at inference, than before its completion.
    endless : int
        Rows whose completion does not end the turn with the tokenizer's end token.
    """

    name: str
    lengths: np.ndarray
    learned: np.ndarray
    unlike: int
    endless: int


def open_source(source):
    """Load the rows of one `specdata.training.recipe.Source`.

    Returns
    -------
    datasets.Dataset

    Raises
    ------
    SpecdataError
        If there is no such data set, config or split, or no such column.
    """
    from datasets import load_dataset

    try:
        rows = load_dataset(
            source.path, source.config, data_dir=source.data_dir, data_files=source.data_files, split=source.split
        )
    except Exception as error:  # each loader of `datasets` raises its own
        reason = one_line(error)
        where = f"{source.path}, config {source.config}, split {source.split}"
        raise SpecdataError(f"data {where}: cannot be loaded ({reason})") from None
    if source.columns is not None and (missing := set(source.columns) - set(rows.column_names)):
        raise SpecdataError(
            f"data {source.path}: has no column {', '.join(sorted(missing))}; there are {', '.join(rows.column_names)}"
        )
    return rows


def mixture_sizes(sizes, fractions):
    """Rows that `trl` takes of each data set: the first ones, as many as keep the shares without taking one twice."""
    if all(fraction is None for fraction in fractions):
        return list(sizes)
    if any(fraction is None for fraction in fractions):
        raise SpecdataError("datasets: give `fraction` for all of them or for none")
    shares = [fraction / sum(fractions) for fraction in fractions]
    total = min(size / share for size, share in zip(sizes, shares, strict=True) if share > 0)
    return [round(share * total) for share in shares]


def measure_rows(name, rows, tokenizer, progress=None):
    """Tokenise rows as `trl`'s SFT does.

    Parameters
    ----------
    name : str
    rows : datasets.Dataset
        With ``prompt`` and ``completion``, or with ``messages``.
    tokenizer : transformers.PreTrainedTokenizerBase
    progress : callable, optional
        Called with numbers of rows.

    Returns
    -------
    Rows
    """
    from jinja2 import TemplateError

    paired = "prompt" in rows.column_names and "completion" in rows.column_names
    wanted = ["prompt", "completion"] if paired else ["messages"]
    if not set(wanted) <= set(rows.column_names):
        raise SpecdataError(f"data {name}: has neither prompt and completion nor messages; give a text config")
    rows = rows.select_columns(wanted)
    lengths, learned, unlike, endless = [], [], 0, 0
    for at in range(0, len(rows), _BATCH):
        part = rows[at : at + _BATCH]
        first = part[wanted[0]]
        if not isinstance(first[0], list):
            raise SpecdataError(f"data {name}: its rows are plain text, not conversations; give a text config")
        whole = [a + b for a, b in zip(*part.values(), strict=True)] if paired else first
        try:
            ids = tokenizer.apply_chat_template(whole, return_dict=True)["input_ids"]
            heads = (
                tokenizer.apply_chat_template(first, return_dict=True, add_generation_prompt=True)["input_ids"]
                if paired
                else [[]] * len(whole)
            )
        except (TemplateError, ValueError, KeyError, TypeError) as error:
            raise SpecdataError(f"data {name}: the chat template refuses a conversation ({error})") from None
        for row, head in zip(ids, heads, strict=True):
            same = row[: len(head)] == head
            unlike += not same
            shared = (
                len(head)
                if same
                else next(i for i, pair in enumerate(zip(row, head, strict=False)) if pair[0] != pair[1])
            )
            lengths.append(len(row))
            learned.append(len(row) - shared)
            endless += tokenizer.eos_token_id not in row[shared:]
        if progress:
            progress(len(ids))
    return Rows(
        name=name, lengths=np.array(lengths), learned=np.array(learned), unlike=int(unlike), endless=int(endless)
    )  # fmt: skip
