"""The tokens of all answers that a model may give, as a tree: what `specdata.posterior` follows."""

import functools
import itertools
from dataclasses import dataclass

import numpy as np

from specdata.errors import SpecdataError


@dataclass(frozen=True, eq=False)
class Level:
    """A level of the tree of answers, whose nodes are numbered; all are arrays of int."""

    token: np.ndarray  # that leads to each node
    parent: np.ndarray  # of each node, a node of the level above
    answer: np.ndarray  # number of the answer that ends at each node, or -1 where digits follow
    children: np.ndarray  # of each node of the level above, nodes of this one; -1 where there are fewer
    through: np.ndarray  # node that each answer passes, or -1 where it ended above


@dataclass(frozen=True, eq=False)
class Answers:
    """The tokens of all answers: those that they share, and a tree of the others."""

    start: list  # what they share at the beginning
    first: list  # the first answer, whole
    levels: list  # of the tree
    fork: int  # where larger numbers than all of the tree part from the first answer
    beyond: list  # the tokens there that begin a larger number, and no answer
    columns: int  # branches of a prompt that stay in the cache


@functools.lru_cache(maxsize=8)
def answer_tree(tokenizer, context, target, top=None) -> Answers:
    """The `Answers` of a `Target` as a tokenizer writes them after a text that ends a prompt.

    Of a number that has too many answers, `top` is where the tree ends, a whole number.
    """

    def tokens(values):
        texts = [context + target.format(value) for value in values]
        return [found[skipped:] for found in tokenizer(texts, add_special_tokens=False)["input_ids"]]

    skipped = len(tokenizer(context, add_special_tokens=False)["input_ids"])
    answers = tokens(target.answers(top))
    others = [] if top is None else tokens(float(number) for number in range(top, int(target.high) + 1))
    start, end = _shared(answers), _shared([found[::-1] for found in answers])
    paths = [found[start : len(found) - end] for found in answers]
    while end and _has_prefix(paths):  # 980 is the beginning of 9800: there, what follows tells them apart
        end -= 1
        paths = [found[start : len(found) - end] for found in answers]
    if _has_prefix(paths):
        raise SpecdataError(f"target {target.name}: the tokens of an answer begin another one; give other labels")
    fork = min((_shared([answers[0], other]) for other in others), default=start)
    levels = _levels(paths)
    return Answers(
        start=answers[0][:start],
        first=answers[0],
        levels=levels,
        fork=fork,
        beyond=sorted({other[fork] for other in others} - {found[fork] for found in answers}),
        columns=sum(int((level.answer < 0).sum()) for level in levels[:-2]),
    )


def _has_prefix(paths):
    """Whether a sequence is the beginning of another one."""
    ordered = sorted(paths)
    return any(after[: len(path)] == path for path, after in itertools.pairwise(ordered))


def _shared(sequences):
    """Number of tokens that sequences have in common at their beginning."""
    first, last = min(sequences), max(sequences)
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def _levels(paths):
    """The tree of some sequences of tokens; list of Level."""
    lengths = np.array([len(path) for path in paths])
    tokens = np.full((len(paths), lengths.max()), -1)
    for row, path in zip(tokens, paths, strict=True):
        row[: len(path)] = path
    levels, above, through = [], 1, np.zeros(len(paths), dtype=int)
    for depth, column in enumerate(tokens.T, start=1):
        going = column >= 0
        nodes, which = np.unique(np.stack([through[going], column[going]]), axis=1, return_inverse=True)
        parent, token = nodes  # in order of the parents
        through = np.full(len(paths), -1)
        through[going] = which.ravel()
        children = np.full((above, np.bincount(parent).max()), -1)
        children[parent, np.arange(len(parent)) - np.searchsorted(parent, parent)] = np.arange(len(parent))
        answer, ended = np.full(len(token), -1), np.flatnonzero(lengths == depth)
        answer[through[ended]] = ended
        levels.append(Level(token, parent, answer, children, through))
        above = len(token)
    return levels
