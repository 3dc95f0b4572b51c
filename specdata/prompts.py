"""A row to prompt and completion, a conversation to tokens, an answer to its value; see `specdata.targets`."""

from specdata.errors import SpecdataError, one_line
from specdata.targets import REDSHIFT

INSTRUCTION = REDSHIFT.instruction  # the paper's
_BREAK = "\ue000"  # of Unicode's private characters; no tokenizer sees it


def build_row(series, z, follow_up=(), *, target=REDSHIFT) -> dict:
    """Turn an encoded spectrum and its redshift into a conversational prompt/completion row for TRL.

    The tokenizer adds the chat template and the end-of-sequence token.

    Parameters
    ----------
    series : str
        The encoded flux, from a scheme of `specdata.serialize`.
    z : float or str
        Redshift, 0 or more; or the value of another `target`.
    follow_up : sequence of dict, optional
        Messages after the redshift, from `specdata.text.conversation.follow_up`.
    target : specdata.targets.Target
        What is asked.

    Returns
    -------
    dict
        ``{"prompt": [{"role": "user", ...}], "completion": [{"role": "assistant", ...}]}``. The completion is the last
        turn, and the prompt all that came before it: the loss is on the completion alone, with any chat template.

    Raises
    ------
    SpecdataError
        If the value cannot be an answer.
    """
    asked = {"role": "user", "content": target.instruction + series}
    answered = {"role": "assistant", "content": target.format(z)}
    *before, last = [asked, answered, *follow_up]
    return {"prompt": before, "completion": [last]}


def parse_redshift(completion) -> float | None:
    """Read the redshift from a model's answer, or None if it does not parse; see `specdata.targets.Target.parse`."""
    return REDSHIFT.parse(completion)


def read_series(prompt, target=REDSHIFT) -> str:
    """Return the encoded flux that stands in the first turn of a prompt of `build_row` for a target."""
    content, instruction = prompt[0]["content"], target.instruction
    if not content.startswith(instruction):
        raise SpecdataError(f"the prompt starts with {content[:40]!r}, not with {instruction!r}: rebuild the data set")
    return content[len(instruction) :]


def need_chat_template(tokenizer) -> None:
    """Refuse a tokenizer without a chat template, such as a base model's; SpecdataError."""
    if not tokenizer.chat_template:
        raise SpecdataError(f"tokenizer {tokenizer.name_or_path}: has no chat template; give that of an instruct model")


def as_text(tokenizer, conversation, mark=_BREAK) -> list[dict]:
    """Messages in which no special token, such as ``<|im_end|>``, stands: a mark goes behind the first letter of each.

    As a token it would end the turn, and what follows could pass as the system's.
    """
    special = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    messages = []
    for message in conversation:
        content = message["content"].replace(_BREAK, "")
        for token in special:
            content = content.replace(token, token[0] + mark + token[1:])
        messages.append({**message, "content": content})
    return messages


def chat_text(tokenizer, conversation) -> str:
    """Fill a tokenizer's chat template with a conversation that the model has to answer, for `text_ids`.

    Raises
    ------
    SpecdataError
        If the tokenizer has no chat template, or its template refuses the conversation.
    """
    from jinja2 import TemplateError

    need_chat_template(tokenizer)
    messages = as_text(tokenizer, conversation)
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


def chat_ids(tokenizer, conversation) -> list[int]:
    """Token ids of a conversation that the model has to answer; see `chat_text`, whose errors it raises."""
    return text_ids(tokenizer, chat_text(tokenizer, conversation))
