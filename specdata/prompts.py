"""A row to prompt and completion, a conversation to tokens, an answer to a redshift; the wording stands here alone."""

import re

from specdata.errors import SpecdataError, one_line

INSTRUCTION = "Galaxy spectrum is rescaled and encoded to an input series: "

# The strict inverse of `build_row`'s completion. The paper writes `Redshift: [value]`; whether the brackets are part of
# the text is left open there, so both forms count, and nothing looser does.
_ANSWER = re.compile(r"\s*Redshift: (?:\[(?P<in>(?:0|[1-9]\d?)\.\d{4})\]|(?P<bare>(?:0|[1-9]\d?)\.\d{4}))\s*", re.ASCII)
_BREAK = "\ue000"  # of Unicode's private characters; no tokenizer sees it


def build_row(series, z, follow_up=()) -> dict:
    """Turn an encoded spectrum and its redshift into a conversational prompt/completion row for TRL.

    The tokenizer adds the chat template and the end-of-sequence token.

    Parameters
    ----------
    series : str
        The encoded flux, from a scheme of `specdata.serialize`.
    z : float
        Redshift, 0 or more.
    follow_up : sequence of dict, optional
        Messages after the redshift, from `specdata.text.conversation.follow_up`.

    Returns
    -------
    dict
        ``{"prompt": [{"role": "user", ...}], "completion": [{"role": "assistant", ...}]}``. The completion is the last
        turn, and the prompt all that came before it: the loss is on the completion alone, with any chat template.
    """
    asked = {"role": "user", "content": INSTRUCTION + series}
    answered = {"role": "assistant", "content": format_redshift(z)}
    *before, last = [asked, answered, *follow_up]
    return {"prompt": before, "completion": [last]}


def format_redshift(z) -> str:
    """Write the answer for redshift `z`, to four decimals: ``Redshift: [0.1234]``."""
    if not 0 <= z < 99.99995:  # what rounds to 100 has a digit too many
        raise SpecdataError(f"z = {z}: a redshift in a prompt lies between 0 and 100; cut this spectrum")
    return f"Redshift: [{abs(z):.4f}]"  # -0.0 is a zero, too


def parse_redshift(completion) -> float | None:
    """Read the redshift from a model's answer.

    Parameters
    ----------
    completion : str
        The generated text, without the prompt. Space around it is ignored, anything else is not.

    Returns
    -------
    float or None
        None if the answer does not parse, which counts as a failure and is never dropped.
    """
    match = _ANSWER.fullmatch(completion)
    return float(match["in"] or match["bare"]) if match else None


def read_series(prompt) -> str:
    """Return the encoded flux that stands in the first turn of a prompt of `build_row`."""
    content = prompt[0]["content"]
    if not content.startswith(INSTRUCTION):
        raise SpecdataError(f"the prompt starts with {content[:40]!r}, not with {INSTRUCTION!r}: rebuild the data set")
    return content[len(INSTRUCTION) :]


def need_chat_template(tokenizer) -> None:
    """Refuse a tokenizer without a chat template, such as a base model's; SpecdataError."""
    if not tokenizer.chat_template:
        raise SpecdataError(f"tokenizer {tokenizer.name_or_path}: has no chat template; give that of an instruct model")


def chat_text(tokenizer, conversation) -> str:
    """Fill a tokenizer's chat template with a conversation that the model has to answer, for `text_ids`.

    Where a message holds a special token, such as ``<|im_end|>``, a mark goes behind the first letter of it: as a token
    it would end the turn, and what follows could pass as the system's.

    Raises
    ------
    SpecdataError
        If the tokenizer has no chat template, or its template refuses the conversation.
    """
    from jinja2 import TemplateError

    need_chat_template(tokenizer)
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    messages = []
    for message in conversation:
        content = message["content"].replace(_BREAK, "")
        for token in special:
            content = content.replace(token, token[0] + _BREAK + token[1:])
        messages.append({**message, "content": content})
    try:
        return tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except (TemplateError, ValueError, LookupError, TypeError, OverflowError) as error:
        raise SpecdataError(
            f"tokenizer {tokenizer.name_or_path}: its chat template refuses the conversation ({one_line(error)})"
        ) from None


def text_ids(tokenizer, text) -> list[int]:
    """Token ids of what `chat_text` returns: what people wrote is text in them throughout, whatever it looks like."""
    pieces = tokenizer(text.split(_BREAK), add_special_tokens=False)["input_ids"]
    return [number for piece in pieces for number in piece]
