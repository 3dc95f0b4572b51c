"""The rows of a training before its launch, tokenised as `trl` does it."""

from dataclasses import dataclass

import numpy as np

from specdata.errors import SpecdataError, one_line
from specdata.text.tokens import special_token_in

_BATCH = 500


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Tokens of the rows of one data set.

    Attributes
    ----------
    name : str
    lengths, learned : ndarray of int, shape (n,)
        Tokens of each row, chat template included, and those of them that the loss is on.
    other_prompt : int
        Rows whose prompt is tokenised differently alone, as at inference, than before its completion.
    no_end : int
        Rows whose completion lacks the tokenizer's end token.
    spelled : list of str
        For each row in which a message spells a special token, that token.
    """

    name: str
    lengths: np.ndarray
    learned: np.ndarray
    other_prompt: int
    no_end: int
    spelled: list


def open_source(source):
    """Load the rows of one `trl.scripts.utils.DatasetConfig`; `datasets.Dataset`.

    Raises
    ------
    SpecdataError
        If there is no such data set, config, split or column, or the token has no access.
    """
    from datasets import load_dataset
    from huggingface_hub import constants

    from specdata.hub import check_access

    if not constants.HF_HUB_OFFLINE and source.data_files is None:
        check_access(source.path, "dataset")
    options = {"data_dir": source.data_dir, "data_files": source.data_files, "split": source.split}
    try:
        rows = load_dataset(source.path, source.name, **options)
    except Exception as error:  # each loader of `datasets` raises its own
        where = f"{source.path}, config {source.name}, split {source.split}"
        raise SpecdataError(f"data {where}: cannot be loaded ({one_line(error)})") from None
    if missing := set(source.columns or ()) - set(rows.column_names):
        there = ", ".join(rows.column_names)
        raise SpecdataError(f"data {source.path}: has no column {', '.join(sorted(missing))}; there are {there}")
    return rows


def mixture_sizes(sizes, fractions) -> list[int]:
    """Rows that `trl` takes of each data set: the first ones, as many as keep the shares without taking one twice."""
    if all(fraction is None for fraction in fractions):
        return list(sizes)
    if any(fraction is None for fraction in fractions):
        raise SpecdataError("datasets: give `fraction` for all of them or for none")
    shares = [fraction / sum(fractions) for fraction in fractions]
    total = min(size / share for size, share in zip(sizes, shares, strict=True) if share > 0)
    return [round(share * total) for share in shares]


def measure_rows(name, rows, tokenizer, progress=None) -> Rows:
    """Tokenise rows as `trl`'s SFT does.

    Parameters
    ----------
    name : str
    rows : datasets.Dataset
        With ``prompt`` and ``completion``, which are lists of messages.
    tokenizer : transformers.PreTrainedTokenizerBase
    progress : callable, optional
        Called with numbers of rows.

    Returns
    -------
    Rows

    Raises
    ------
    SpecdataError
        If these are no conversations, or the chat template refuses one.
    """
    if not {"prompt", "completion"} <= set(rows.column_names):
        raise SpecdataError(f"data {name}: has no columns prompt and completion; give a text config")
    lengths, learned, other_prompt, no_end, spelled = [], [], 0, 0, []
    for at in range(0, len(rows), _BATCH):
        prompts, completions = (rows[at : at + _BATCH][key] for key in ("prompt", "completion"))
        if not isinstance(prompts[0], list):
            raise SpecdataError(f"data {name}: its rows are plain text, not conversations; give a text config")
        whole = [a + b for a, b in zip(prompts, completions, strict=True)]
        spelled += [token for row in whole if (token := special_token_in(tokenizer, row))]
        try:
            ids = tokenizer.apply_chat_template(whole, return_dict=True)["input_ids"]
            alone = tokenizer.apply_chat_template(prompts, return_dict=True, add_generation_prompt=True)["input_ids"]
        except Exception as error:  # a template may do anything
            raise SpecdataError(f"data {name}: the chat template refuses a conversation ({one_line(error)})") from None
        for row, prompt in zip(ids, alone, strict=True):
            least = min(len(row), len(prompt))
            shared = next((i for i in range(least) if row[i] != prompt[i]), least)
            other_prompt += shared < len(prompt)
            lengths.append(len(row))
            learned.append(len(row) - shared)
            no_end += tokenizer.eos_token_id not in row[shared:]
        if progress:
            progress(len(ids))
    return Rows(
        name=name,
        lengths=np.array(lengths),
        learned=np.array(learned),
        other_prompt=other_prompt,
        no_end=no_end,
        spelled=spelled,
    )
