"""The tokens of all answers of a tokenizer, as a tree, and how they follow a prompt."""

import functools
from dataclasses import dataclass

from specdata.errors import SpecdataError
from specdata.prompts import format_redshift

STEP = 1e-4  # the resolution of an answer


def render_prompt(tokenizer, prompt):
    """The prompt as text, with all that precedes the answer; and what of it comes after the user's words."""
    if not tokenizer.chat_template:
        raise SpecdataError(f"tokenizer {tokenizer.name_or_path}: has no chat template; give that of an instruct model")
    text = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
    words = prompt[-1]["content"].strip()
    at = text.rfind(words)
    return text, text[at + len(words) :] if at >= 0 else text  # a template may change them


@dataclass(frozen=True, eq=False)
class Answers:
    """The tokens of all answers: `start`, which they share, and a tree of the others.

    A node is a dict of tokens to nodes, and of a last token to the answer's number; `leaves` has the numbers of the
    answers below a node by its id. Larger redshifts part from the `first` answer at its token number `fork`, where the
    tokens `beyond` take the place of those that begin an answer.
    """

    count: int
    start: list
    tree: dict
    leaves: dict
    fork: int
    beyond: list
    first: list


@functools.lru_cache(maxsize=8)
def answer_tree(tokenizer, context, z_max):
    """The `Answers` below `z_max` as a tokenizer writes them after a text that ends a prompt."""

    def tokens(texts):
        return tokenizer([context + text for text in texts], add_special_tokens=False)["input_ids"]

    skipped = len(tokenizer(context, add_special_tokens=False)["input_ids"])
    written = [format_redshift(number * STEP) for number in range(round(z_max / STEP))]
    answers = [found[skipped:] for found in tokens(written)]
    start, end = _shared(answers), _shared([found[::-1] for found in answers])
    tree, leaves = {}, {}
    for number, found in enumerate(answers):
        node = tree
        *inner, last = found[start : len(found) - end]
        for token in inner:
            node = node.setdefault(token, {})
            leaves.setdefault(id(node), []).append(number)
        node[last] = number
    others = [found[skipped:] for found in tokens([format_redshift(float(z)) for z in range(z_max, 100)])]
    fork = min(_shared([answers[0], other]) for other in others)
    ours = {found[fork] for found in answers}
    return Answers(
        count=len(answers),
        start=answers[0][:start],
        tree=tree,
        leaves=leaves,
        fork=fork,
        beyond=sorted({other[fork] for other in others} - ours),
        first=answers[0],
    )


def _shared(sequences):
    """Number of tokens that sequences have in common at their beginning."""
    first, last = min(sequences), max(sequences)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def check_boundary(tokenizer, asked, answers):
    """Refuse a prompt whose last token an answer's first would change, so that none follows it as in training."""
    whole = tokenizer(asked + format_redshift(0.0), add_special_tokens=False)["input_ids"]
    if whole != tokenizer(asked, add_special_tokens=False)["input_ids"] + answers.first:
        raise SpecdataError(
            f"tokenizer {tokenizer.name_or_path}: joins the answer's first letters with the end of the prompt, so that "
            "no answer begins with whole tokens; use a chat template that ends the prompt on a token of its own"
        )
