"""A row to prompt and completion, and an answer to a redshift: no other file knows the wording."""

import re

from specdata.errors import SpecdataError

INSTRUCTION = "Galaxy spectrum is rescaled and encoded to an input series: "

# The strict inverse of `build_row`'s completion. The paper writes `Redshift: [value]`; whether the brackets are part of
# the text is left open there, so both forms count, and nothing looser does.
_ANSWER = re.compile(r"\s*Redshift: (?:\[(?P<in>(?:0|[1-9]\d?)\.\d{4})\]|(?P<bare>(?:0|[1-9]\d?)\.\d{4}))\s*", re.ASCII)


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
