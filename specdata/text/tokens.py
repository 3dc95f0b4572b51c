"""How many tokens a text costs, for any tokenizer: counted alone, and in a sample as TRL trains on it."""

from dataclasses import dataclass

import numpy as np

from specdata.errors import SpecdataError, one_line
from specdata.prompts import need_chat_template
from specdata.text.tokenizer import load_tokenizer

_BATCH = 1000  # token ids are Python integers, so a whole data set at once would take gigabytes


def count_texts(tokenizer, texts) -> np.ndarray:
    """Count the tokens of each text alone, without special tokens around it.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
    texts : sequence of str, shape (n,)
        Arrow string arrays, too.

    Returns
    -------
    ndarray, shape (n,), int64
    """
    if isinstance(texts, str):
        raise SpecdataError(f"text {texts[:20]!r}: give a list of texts, not one")
    texts = texts.to_pylist() if hasattr(texts, "to_pylist") else list(texts)
    if not all(isinstance(text, str) for text in texts):
        raise SpecdataError("these are no texts: give a list of str, or an Arrow array of strings")
    batches = (texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH))
    options = {"add_special_tokens": False, "return_attention_mask": False, "verbose": False}
    return np.array([len(ids) for batch in batches for ids in tokenizer(batch, **options)["input_ids"]], np.int64)


def count_chats(tokenizer, conversations) -> np.ndarray:
    """Count the tokens of whole conversations with the chat template, as TRL's SFT trains on them.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
    conversations : sequence of list of dict, shape (n,)
        The messages, ``{"role": ..., "content": ...}``: of a row its prompt and its completion.

    Returns
    -------
    ndarray, shape (n,), int64

    Raises
    ------
    SpecdataError
        If the tokenizer has no chat template, or its template refuses a conversation.
    """
    need_chat_template(tokenizer)
    if not len(conversations):
        return np.empty(0, np.int64)
    try:
        return count_texts(tokenizer, tokenizer.apply_chat_template(conversations, tokenize=False))
    except Exception as error:  # a template may do anything, such as a range of 10**9
        raise SpecdataError(
            f"the chat template refuses a conversation ({one_line(error)}); give messages that it takes"
        ) from None


def special_token_in(tokenizer, conversation) -> str | None:
    """The first special token, such as ``<|im_end|>``, that a message spells; None if there is none.

    `trl` would make the token of it, which ends the turn, so that what follows could pass as the system's.
    """
    texts = [message["content"] for message in conversation]
    tokens = (str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return next((token for token in tokens if any(token in text for text in texts)), None)


@dataclass(frozen=True, kw_only=True)
class TokenCost:
    """What the rows of one config cost with one tokenizer; all but `per_value` with the chat template."""

    name: str  # of the config or scheme
    tokenizer: str  # as for `load_tokenizer`
    rows: int
    bins: int  # values in each row
    per_value: float  # mean tokens of the series alone, over bins
    minimum: int
    median: int
    percentile_99: int
    maximum: int
    context: int  # tokens that the model takes
    share: float  # maximum over context
    limit: int
    over_limit: int  # rows with more tokens than the limit


def token_cost(name, tokenizer, series, conversations, bins, *, context=8192, limit=573) -> TokenCost:
    """Measure what rows cost.

    Parameters
    ----------
    name : str
        The config or scheme, for the table.
    tokenizer : str
        A name as for `load_tokenizer`.
    series : sequence of str, shape (n,)
        The encoded numbers of each row.
    conversations : sequence of list of dict, shape (n,)
        Prompt and completion of each row.
    bins : int
        Number of values in each series.
    context, limit : int
        Tokens.

    Returns
    -------
    TokenCost
    """
    if not len(series) == len(conversations) > 0 or bins < 1:
        raise SpecdataError(
            f"{name}: {len(series)} series, {len(conversations)} conversations and {bins} bins; give both for every row"
        )
    loaded = load_tokenizer(tokenizer)
    if loaded.chat_template:
        chats = count_chats(loaded, conversations)
    else:  # of a base model: the words of both turns and nothing around them
        tokenizer = f"{tokenizer} (no chat template)"
        chats = count_texts(loaded, ["".join(turn["content"] for turn in turns) for turns in conversations])
    low, median, high, top = (int(n) for n in np.quantile(chats, [0, 0.5, 0.99, 1], method="inverted_cdf"))
    return TokenCost(
        name=name,
        tokenizer=tokenizer,
        rows=len(chats),
        bins=bins,
        per_value=float(count_texts(loaded, series).mean() / bins),
        minimum=low,
        median=median,
        percentile_99=high,
        maximum=top,
        context=context,
        share=top / context,
        limit=limit,
        over_limit=int((chats > limit).sum()),
    )


def cost_table(costs) -> str:
    """Several `TokenCost` as a Markdown table, a line each."""
    lines = [
        "| text | tokenizer | rows | bins | tokens/value | min | median | 99 % | max | max of context | over limit |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for cost in costs:
        per_sample = f"{cost.minimum:,} | {cost.median:,} | {cost.percentile_99:,} | {cost.maximum:,}"
        lines.append(
            f"| {cost.name} | {cost.tokenizer} | {cost.rows:,} | {cost.bins:,} | {cost.per_value:.2f} | {per_sample} "
            f"| {100 * cost.share:.2f} % of {cost.context:,} | {cost.over_limit:,} over {cost.limit:,} |"
        )
    return "\n".join(lines) + "\n"
