"""Instruction data to mix into a training: conversations of any chat data set, as the rows of our text configs are."""

import json
from pathlib import Path

from tqdm import tqdm

from specdata.errors import SpecdataError, one_line
from specdata.files import check_free, new_folder

RECORD = "replay.json"
_BUFFER = 10_000  # rows that a random one is drawn from, so that a large data set need not be downloaded whole


def write_replay(
    dataset, output, *, tokenizer, config=None, split="train", rows=200, tokens=573, seed=0, overwrite=False,
    progress=True,
) -> dict:  # fmt: skip
    """Take conversations that are short enough from a data set, and write them as prompts and completions.

    `trl` mixes only rows of the same columns, and the open instruction sets hold whole conversations in one column. The
    last turn of the assistant becomes the completion, which is what is learned; what was said before is the prompt.

    Parameters
    ----------
    dataset : str
        A folder or a Hub name; rows with ``messages``, ``conversations``, or ``prompt`` and ``completion``.
    output : path-like
        Folder to make, with ``train.parquet`` and a record of what was taken. The licence stays that of the source.
    tokenizer : str
        A name as for `specdata.text.tokenizer.load_tokenizer`.
    config, split : str
        Of the data set.
    rows : int
        How many to take, at random.
    tokens : int
        The most that one may have, the chat template included.
    seed : int
    overwrite, progress : bool

    Returns
    -------
    dict
        The record: what was looked at, what was taken, and why the rest was not.

    Raises
    ------
    SpecdataError
        If the data set cannot be read or does not have as many.
    """
    from datasets import Dataset, load_dataset
    from huggingface_hub import constants

    from specdata.hub import check_access
    from specdata.text.tokenizer import load_tokenizer
    from specdata.text.tokens import count_chats, special_token_in

    contents = ("train.parquet", RECORD)
    check_free(output, marker=RECORD, contents=contents, overwrite=overwrite)
    loaded, local = load_tokenizer(tokenizer), Path(dataset).is_dir()
    if not (local or constants.HF_HUB_OFFLINE):
        check_access(dataset, "dataset")

    def read():
        try:
            found = load_dataset(dataset, config, split=split, streaming=not local)
            yield from found.shuffle(seed=seed, **({} if local else {"buffer_size": _BUFFER}))
        except Exception as error:  # of the Hub, of the files, of a wrong config or split
            raise SpecdataError(f"{dataset}: cannot be read ({one_line(error)})") from None

    found = read()
    taken, counts = [], {"looked_at": 0, "no_answer": 0, "special_token": 0, "too_long": 0}
    with tqdm(total=rows, unit=" rows", desc="replay", disable=not progress) as bar:
        while len(taken) < rows and (row := next(found, None)):
            counts["looked_at"] += 1
            turns = _turns(row, dataset)
            if not turns:
                counts["no_answer"] += 1
            elif special_token_in(loaded, turns):
                counts["special_token"] += 1
            elif count_chats(loaded, [turns])[0] > tokens:
                counts["too_long"] += 1
            else:
                taken.append({"prompt": turns[:-1], "completion": turns[-1:]})
                bar.update()
    if len(taken) < rows:
        raise SpecdataError(
            f"{dataset}: {len(taken)} of {rows} conversations found within {tokens} tokens; give fewer --rows, or more "
            "--tokens"
        )
    record = {
        "source": Path(dataset).resolve().name if local else dataset, "config": config, "split": split,
        "revision": None if local else _commit(dataset), "seed": seed, "tokenizer": tokenizer, "tokens": tokens,
        "rows": rows, **counts,
    }  # fmt: skip
    with new_folder(output, marker=RECORD, contents=contents, overwrite=overwrite) as folder:
        Dataset.from_list(taken).to_parquet(folder / "train.parquet")
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return record


def _turns(row, dataset):
    """The messages of a row up to the assistant's last turn; empty if there is no answer in it."""
    turns = next((row[key] for key in ("messages", "conversations") if key in row), None)
    if turns is None and all(isinstance(row.get(key), list) for key in ("prompt", "completion")):
        turns = row["prompt"] + row["completion"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        columns = ", ".join(sorted(row))
        raise SpecdataError(f"{dataset}: has the columns {columns}, and no conversations in messages; give a chat set")
    names = {"human": "user", "gpt": "assistant"}
    said = [(turn.get("role") or turn.get("from"), turn.get("content") or turn.get("value")) for turn in turns]
    turns = [{"role": names.get(role, role), "content": content} for role, content in said]
    while turns and turns[-1]["role"] != "assistant":
        turns.pop()
    whole = all(isinstance(turn["content"], str) and turn["content"].strip() for turn in turns)
    return turns if len(turns) > 1 and whole else []


def _commit(dataset):
    from huggingface_hub import HfApi

    from specdata.hub import hub_errors

    with hub_errors(dataset):
        return HfApi().dataset_info(dataset).sha
