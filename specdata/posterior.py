"""The probabilities that a language model gives to every possible answer, such as p(z), without sampling.

An answer to the question for the redshift is `Redshift: [0.1234]`. The tokens of all answers form a tree: with Llama-3,
whose tokens hold three digits, a thousand branches of ten; with one token a digit, four levels of ten; with labels, as
many branches as labels. One pass over the prompt and over what all answers begin with, then one pass for each level of
the tree, in which every branch sees the prompt and its own tokens, give the probability of each answer. Prompts are
read together, and any tokenizer will do.

How exact it is: in float32 the result equals the likelihoods of all answers, computed one by one. In bfloat16 the last
layer's product is taken in float32 all the same, for logits that are rounded to 8 bits move single probabilities by
several percent. What is left is the rounding inside the layers. For a model of 1.1 M parameters on 256 mocks it moves
the cumulative p(z) by 0.002 (mean of the rows) and at most 0.011, with rounded logits 0.003 and 0.018, and its median
by 0.00002 and at most 0.002; `benchmarks/evaluate.py --rounding` measures it for any model.
"""

import contextlib
import copy
import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from specdata.answers import Answers, answer_tree
from specdata.branches import COLUMNS, LOGITS, Walk, read_batch
from specdata.errors import SpecdataError
from specdata.prompts import chat_text, text_ids
from specdata.targets import REDSHIFT, Target

STEP = REDSHIFT.step
TAIL = 1e-3
CACHE = 2**31  # most bytes of keys and values that are held: 2 GiB


@dataclass(frozen=True, eq=False, kw_only=True)
class Posterior:
    """The probabilities of all answers of a target; see `NumberPosterior` and `LabelPosterior`.

    Attributes
    ----------
    target : specdata.targets.Target
    values : ndarray of float64, or list of str
        All answers, of a number in steps of `target.step`.
    p : ndarray, shape (n,), float64
        Probability of each, given that the answer is one of them; they sum to 1.
    answered : float
        Probability that the model writes one of these answers.
    beyond : float
        Probability of a number above the grid where the grid does not hold all answers, as far as its first token shows
        it.
    begun : float
        Probability that the model begins an answer, as ``Redshift: [``.
    unresolved : float
        Share of p in branches that were not followed to the last digit: their probability, which is known, is spread
        evenly over the answers in them.
    """

    target: Target
    values: np.ndarray | list
    p: np.ndarray
    answered: float
    beyond: float
    begun: float
    unresolved: float

    @property
    def outside(self) -> float:
        """Probability of a text that is no answer."""
        return max(1 - self.answered - self.beyond, 0.0)

    @property
    def mode(self) -> float | str:
        """The most probable answer."""
        found = self.values[int(np.argmax(self.p))]
        return float(found) if self.target.is_number else found

    def _shares(self):
        return {name: getattr(self, name) for name in ("answered", "beyond", "outside", "begun", "unresolved")}


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelPosterior(Posterior):
    """The probability of each label; attributes as of `Posterior`."""

    @property
    def estimate(self) -> str | None:
        """The most probable label, or None where the model most probably writes none of them."""
        return self.mode if self.answered >= 0.5 else None

    def summary(self) -> dict:
        """The numbers that are printed and stored."""
        probabilities = dict(zip(self.values, map(float, self.p), strict=True))
        return {"estimate": self.estimate, "probabilities": probabilities, **self._shares()}


@dataclass(frozen=True, eq=False, kw_only=True)
class NumberPosterior(Posterior):
    """Probabilities on a grid of numbers; an answer stands for the numbers that round to it.

    So the density is constant over a cell of width `target.step` about each of `values` (that of the first one reaches
    to half of it below). The statistics of `p` (`mean`, `median`, `interval`, ...) hold if the model answers on this
    grid at all, of which `answered` is the probability; `pit` and `crps` count all other probability as a wrong answer.
    Attributes as of `Posterior`.
    """

    @property
    def estimate(self) -> float | None:
        """The point estimate: the median, or None where the model most probably answers no number on this grid."""
        return self.median if self.answered >= 0.5 else None

    @functools.cached_property
    def _cdf(self):
        """Cumulative probability at the edges of the cells; shape (n + 1,)."""
        return np.concatenate([[0.0], np.minimum(np.cumsum(self.p), 1.0)[:-1], [1.0]])

    @functools.cached_property
    def _edges(self):
        step = self.target.step
        return np.append(self.values, self.values[-1] + step) - step / 2

    @property
    def mean(self) -> float:
        """Expectation."""
        return float(self.p @ self.values)

    @property
    def std(self) -> float:
        """Standard deviation of z."""
        return math.sqrt(max(float(self.p @ (self.values - self.mean) ** 2), 0.0))

    @property
    def median(self) -> float:
        """Half of the probability lies below; no other point has a smaller expected absolute error."""
        return self.quantile(0.5)

    def quantile(self, share) -> float:
        """Number, at least the first of the grid, below which a share of the probability lies."""
        if not 0 <= share <= 1:
            raise SpecdataError(f"share {share}: give a number between 0 and 1")
        at = int(np.searchsorted(self._cdf, share, side="left"))
        if at == 0:
            at = int(np.flatnonzero(self.p)[0]) + 1
        low, high = self._cdf[at - 1], self._cdf[at]
        inside = (share - low) / (high - low) if high > low else 0.0
        return max(float(self._edges[at - 1] + inside * self.target.step), float(self.values[0]))

    def interval(self, level=0.68) -> tuple[float, float]:
        """Ends of the central credible interval: as much probability lies below as above it."""
        return self.quantile(0.5 - level / 2), self.quantile(0.5 + level / 2)

    def highest_density(self, level=0.68) -> list[tuple[float, float]]:
        """Ends of the narrowest intervals that hold a share of the probability; several where p has peaks."""
        order = np.argsort(-self.p, kind="stable")
        count = int(np.searchsorted(np.cumsum(self.p[order]), level - 1e-12)) + 1
        cells = np.sort(order[:count])
        first = np.flatnonzero(np.diff(cells, prepend=-2) > 1)
        last = np.append(first[1:], len(cells)) - 1
        edges = np.maximum(self._edges, self.values[0])
        return [(float(edges[cells[a]]), float(edges[cells[b] + 1])) for a, b in zip(first, last, strict=True)]

    def pit(self, true) -> float:
        """Probability below the true value, which over many spectra is uniform where p is calibrated.

        What is not `answered` counts as below or as above, whichever is worse: further from a half.
        """
        below = self.answered * float(np.interp(self._on_grid(true), self._edges, self._cdf))
        return max(below, below + 1 - self.answered, key=lambda share: abs(share - 0.5))

    def crps(self, true) -> float:
        """Continuous ranked probability score for the true value: the integral of (F(x) - [x >= true])^2.

        What is not `answered` counts as an answer at one end of the grid, the one that makes the score worse.
        """
        edges = np.union1d(self._edges, [self._on_grid(true)])  # F is linear between the edges
        answered, above = self.answered * np.interp(edges, self._edges, self._cdf), (edges[1:] > true).astype(float)
        scores = []
        for lost in (0.0, 1 - self.answered):  # above all of the grid, or below
            first, last = answered[:-1] + lost - above, answered[1:] + lost - above
            scores.append(float(np.sum(np.diff(edges) * (first**2 + first * last + last**2) / 3)))
        return max(scores)

    def _on_grid(self, true):
        first, last, symbol = self.values[0], self.values[-1], self.target.symbol
        if not first <= true <= self._edges[-1]:
            raise SpecdataError(
                f"{symbol} = {true}: p({symbol}) reaches from {first:g} to {self.target.show(last)}"
                f"{'; compute it with another z_max' if self.target.is_wide else ''}"
            )
        return true

    def summary(self) -> dict:
        """The numbers that are printed and stored."""
        return {
            "estimate": self.estimate, "mean": self.mean, "std": self.std, "median": self.median, "mode": self.mode,
            "interval_68": list(self.interval(0.68)), "interval_95": list(self.interval(0.95)), **self._shares(),
        }  # fmt: skip


class RedshiftPosterior(NumberPosterior):
    """p(z) on the grid of all redshifts from 0 to below an upper limit, the array `z` in steps of 0.0001."""

    def __init__(self, *, z, **rest):
        super().__init__(**{"target": REDSHIFT, "values": z} | rest)

    @property
    def z(self) -> np.ndarray:
        """0, 0.0001, ... up to, and without, the upper limit; ndarray of shape (n,), float64."""
        return self.values


def redshift_posterior(model, tokenizer, prompt, *, z_max=1, tail=TAIL) -> RedshiftPosterior:
    """Read p(z) after one prompt; see `redshift_posteriors`."""
    return next(redshift_posteriors(model, tokenizer, [prompt], z_max=z_max, tail=tail))[1]


def redshift_posteriors(
    model, tokenizer, prompts, *, z_max=1, tail=TAIL, batch_size=64
) -> Iterator[tuple[int, RedshiftPosterior]]:
    """Read p(z) after each of several prompts; as `answer_posteriors`, with the redshift for the target."""
    return answer_posteriors(model, tokenizer, prompts, REDSHIFT, z_max=z_max, tail=tail, batch_size=batch_size)


def answer_posteriors(
    model, tokenizer, prompts, target, *, z_max=1, tail=TAIL, batch_size=64
) -> Iterator[tuple[int, Posterior]]:
    """Read the probability of each answer after each of several prompts from a model's next-token distributions.

    The probability of an answer is the product of those of its tokens, as the tokenizer writes it after this prompt,
    up to the token that tells it from all others (what follows does not change it). Other ways to cut the same digits
    into tokens, which a model never sees in training, count as no answer.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        A causal model whose layers all have full attention.
    tokenizer : transformers.PreTrainedTokenizerBase
        With a chat template.
    prompts : sequence of list of dict
        Messages that end with the user's turn.
    target : specdata.targets.Target
        What the prompts ask for.
    z_max : int
        Only for a target with too many answers, which is the redshift: answers from 0 to below this, a whole number
        from 1 to 10. With 1 the forced beginning is ``Redshift: [0.`` and the digits after it are what is asked for.
    tail : float
        Share of the probability at each level of tokens that may be left unresolved, the least probable branches first.
        A branch of numbers that is narrower than `specdata.branches.FINE` of the standard deviation of p, and holds
        less than half of that, is left unresolved, too, but never the most probable one. With 0 every branch is
        followed.
    batch_size : int
        Most prompts that are read together; fewer where their keys and values would take more than `CACHE` bytes.

    Yields
    ------
    number : int
        Which of the prompts. The longest come first, so that memory that does not suffice shows at once.
    posterior : RedshiftPosterior, NumberPosterior or LabelPosterior

    Raises
    ------
    SpecdataError
        If the tokenizer has no chat template or joins the answer's beginning with the prompt, or the model's attention
        is not full.
    """
    import torch

    if z_max != int(z_max) or not 1 <= z_max <= 10:
        raise SpecdataError(f"z_max = {z_max}: give a whole number from 1 to 10")
    if not 0 <= tail < 1:
        raise SpecdataError(f"tail = {tail}: give a share from 0 to below 1")
    layers = set(getattr(model.config, "layer_types", None) or ["full_attention"])
    if layers != {"full_attention"} or getattr(model.config, "sliding_window", None):
        raise SpecdataError("p(z) needs a model whose layers all have full attention, such as Llama's")
    if model.config._attn_implementation not in ("sdpa", "eager"):
        raise SpecdataError(
            f"p(z) cannot be read with attention {model.config._attn_implementation}: load the model with "
            'attn_implementation="sdpa"'
        )
    top = int(z_max) if target.is_wide else None
    asked = [prompt_ids(tokenizer, prompt, target, top) for prompt in prompts]
    waiting = sorted(range(len(asked)), key=lambda number: (id(asked[number][1]), -len(asked[number][0])))
    while waiting:
        answers = asked[waiting[0]][1]
        rows = _batch(model, asked, waiting[:batch_size])
        with torch.inference_mode(), _float32_logits(model):
            walk = Walk(model, [asked[number][0] for number in rows], answers)
            found = read_batch(walk, answers, tail, target.is_number)
            found = [make_posterior(target, target.answers(top), *one) for one in found]
        yield from zip(rows, found, strict=True)
        waiting = waiting[len(rows) :]


def prompt_ids(tokenizer, prompt, target, top) -> tuple[list[int], Answers]:
    """Tokens of a prompt with all that precedes the answer, and the `Answers` that may follow it."""
    text = chat_text(tokenizer, prompt)
    words = prompt[-1]["content"].strip()
    at = text.rfind(words)  # -1 where the template changes the user's words
    answers = answer_tree(tokenizer, text[at + len(words) :] if at >= 0 else text, target, top)
    ids, whole = (text_ids(tokenizer, text + answer) for answer in ("", target.format(target.answers(top)[0])))
    if whole != ids + answers.first:
        raise SpecdataError(
            f"tokenizer {tokenizer.name_or_path}: joins the answer's first letters with the end of the prompt, so that "
            "no answer begins with whole tokens; use a chat template that ends the prompt on a token of its own"
        )
    return ids, answers


def _batch(model, asked, waiting):
    """Those of the first prompts that are read together: of one tree of answers, and within the memory."""
    config, answers, longest = model.config.get_text_config(), asked[waiting[0]][1], len(asked[waiting[0]][0])
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    cached = 2 * config.num_hidden_layers * heads * width * model.dtype.itemsize  # bytes of a token
    cached *= longest + len(answers.start) + answers.columns + COLUMNS
    for count, number in enumerate(waiting):
        positions = longest - len(asked[number][0]) + len(answers.start) + 1  # whose logits are asked for
        full = (count + 1) * max(cached / CACHE, positions * config.vocab_size / LOGITS) > 1
        if count and (full or asked[number][1] is not answers):
            return waiting[:count]
    return waiting


@contextlib.contextmanager
def _float32_logits(model):
    """Let the last layer of a model of fewer bits compute in float32."""
    import torch

    head = model.get_output_embeddings()
    if next(head.parameters()).dtype == torch.float32:
        yield
        return
    exact = copy.deepcopy(head).float()
    exact.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    model.set_output_embeddings(exact)
    try:
        yield
    finally:
        model.set_output_embeddings(head)


def make_posterior(target, values, p, answered, beyond, begun, unresolved) -> Posterior:
    """The posterior of a target's kind; the arguments are the attributes of `Posterior`."""
    found = {"p": p, "answered": answered, "beyond": beyond, "begun": begun, "unresolved": unresolved}
    if target == REDSHIFT:
        return RedshiftPosterior(z=values, **found)
    return (NumberPosterior if target.is_number else LabelPosterior)(target=target, values=values, **found)
