"""p(z) from a language model: its next-token distributions after the forced beginning of an answer, without sampling.

An answer is `Redshift: [0.1234]`. The tokens of all answers form a tree: with Llama-3, whose tokens hold three digits,
a thousand branches of ten; with one token a digit, four levels of ten. One pass over the prompt and the beginning that
all answers share, then one pass for each level of the tree, in which every branch sees the prompt and its own digits,
give the probability of each answer. Nothing is sampled, and any tokenizer will do.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np

from specdata.errors import SpecdataError
from specdata.prompts import format_redshift

STEP = 1e-4  # the resolution of an answer
TAIL = 1e-3
_CHUNK = 256  # branches in one pass: enough to keep a GPU busy, with logits of little size


@dataclass(frozen=True, eq=False, kw_only=True)
class RedshiftPosterior:
    """p(z) on the grid of all answers below `z_max`; an answer stands for the redshifts that round to it.

    So the density is constant over a cell of width `STEP` about each of `z` (that of 0 reaches to half of it below).

    Attributes
    ----------
    z : ndarray, shape (n,), float64
        0, 0.0001, ... up to, and without, `z_max`.
    p : ndarray, shape (n,), float64
        Probability of each, which sum to 1.
    inside : float
        Probability that what follows the forced beginning are the digits of one of these answers, before p was
        normalised.
    beyond : float
        Probability of a redshift from `z_max` to 100, by its first token: after ``Redshift: [``, of those tokens that
        begin such a redshift and no answer.
    unresolved : float
        Share of p in branches that were not followed to the last digit: their probability, which is known, is spread
        evenly over the answers in them.
    log_start : float
        Natural logarithm of the probability that the model of itself would begin its answer as was forced.
    """

    z: np.ndarray
    p: np.ndarray
    inside: float
    beyond: float
    unresolved: float
    log_start: float

    @property
    def outside(self):
        """Probability that what follows the forced beginning is no answer."""
        return 1 - self.inside

    @functools.cached_property
    def _cdf(self):
        """Cumulative probability at the edges of the cells; shape (n + 1,)."""
        return np.concatenate([[0.0], np.minimum(np.cumsum(self.p), 1.0)[:-1], [1.0]])

    @functools.cached_property
    def _edges(self):
        return np.append(self.z, self.z[-1] + STEP) - STEP / 2

    @property
    def mean(self):
        """Expectation of z."""
        return float(self.p @ self.z)

    @property
    def std(self):
        """Standard deviation of z."""
        return math.sqrt(max(float(self.p @ (self.z - self.mean) ** 2), 0.0))

    @property
    def mode(self):
        """The most probable answer."""
        return float(self.z[np.argmax(self.p)])

    @property
    def median(self):
        """Half of the probability lies below."""
        return self.quantile(0.5)

    def quantile(self, share):
        """Redshift, 0 or more, below which a share of the probability lies; float."""
        if not 0 <= share <= 1:
            raise SpecdataError(f"share {share}: give a number between 0 and 1")
        at = int(np.searchsorted(self._cdf, share, side="left"))
        if at == 0:
            at = int(np.flatnonzero(self.p)[0]) + 1
        low, high = self._cdf[at - 1], self._cdf[at]
        inside = (share - low) / (high - low) if high > low else 0.0
        return max(float(self._edges[at - 1] + inside * STEP), 0.0)

    def interval(self, level=0.68):
        """Central credible interval: as much probability below as above it; (low, high)."""
        return self.quantile(0.5 - level / 2), self.quantile(0.5 + level / 2)

    def highest_density(self, level=0.68):
        """The narrowest set of redshifts that holds a share of the probability.

        Parameters
        ----------
        level : float

        Returns
        -------
        list of (float, float)
            Intervals in order, more than one where p(z) has several peaks.
        """
        order = np.argsort(-self.p, kind="stable")
        count = int(np.searchsorted(np.cumsum(self.p[order]), level - 1e-12)) + 1
        cells = np.sort(order[:count])
        first = np.flatnonzero(np.diff(cells, prepend=-2) > 1)
        last = np.append(first[1:], len(cells)) - 1
        edges = np.maximum(self._edges, 0.0)
        return [(float(edges[cells[a]]), float(edges[cells[b] + 1])) for a, b in zip(first, last, strict=True)]

    def pit(self, z):
        """Probability below the true redshift, which over many galaxies is uniform where p(z) is calibrated; float."""
        return float(np.interp(z, self._edges, self._cdf))

    def crps(self, z):
        """Continuous ranked probability score for the true redshift, the integral of (F(x) - [x >= z])^2; float."""
        edges = np.union1d(self._edges, [z])  # F is linear between the edges, and 0 or 1 beyond them
        below = np.interp(edges, self._edges, self._cdf)
        step = (edges[1:] > z).astype(float)
        first, last = below[:-1] - step, below[1:] - step
        return float(np.sum(np.diff(edges) * (first**2 + first * last + last**2) / 3))

    def summary(self):
        """The numbers that are printed and stored; dict."""
        return {
            "mean": self.mean, "std": self.std, "median": self.median, "mode": self.mode,
            "interval_68": list(self.interval(0.68)), "interval_95": list(self.interval(0.95)),
            "outside": self.outside, "beyond": self.beyond, "unresolved": self.unresolved,
        }  # fmt: skip


def redshift_posterior(model, tokenizer, prompt, *, z_max=1.0, tail=TAIL):
    """Read p(z) from a model's next-token distributions.

    The probability of each answer is the product of those of its tokens, as the tokenizer writes it after this prompt,
    up to the token with the fourth decimal (what follows does not change z). Other ways to cut the same digits into
    tokens, which a model never sees in training, count as outside.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
        A causal model whose layers all have full attention.
    tokenizer : transformers.PreTrainedTokenizerBase
        With a chat template.
    prompt : list of dict
        Messages that end with the user's turn.
    z_max : float
        Answers from 0 to below this, a whole number from 1 to 10. With 1 the forced beginning is ``Redshift: [0.`` and
        the digits after it are what is asked for; the probability of a redshift of 1 or more is `beyond`.
    tail : float
        Share of the probability at each level of digits that may be left unresolved, the least probable branches first;
        0 follows every branch.

    Returns
    -------
    RedshiftPosterior

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
        raise SpecdataError("the posterior needs a model whose layers all have full attention, such as Llama's")
    asked, context = render_prompt(tokenizer, prompt)
    answers = answer_tree(tokenizer, context, int(z_max))
    check_boundary(tokenizer, asked, answers)
    ids = tokenizer(asked, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        walk = BranchWalk(model, [*ids, *answers.start], len(answers.start))
        return _follow(walk, answers, tail)


def _follow(walk, answers, tail):
    """Level by level to the last digits, and then what the branches hold that were left out."""
    p, unresolved = np.zeros(answers.count), np.zeros(answers.count, dtype=bool)

    def branches(node, after, log_mass, path):
        """Write down the answers that end here, and return the branches that go on, and those answers."""
        tokens = list(node)
        found = zip(tokens, (after[tokens].double().cpu().numpy() + log_mass).tolist(), strict=True)
        on, ended = [], []
        for token, mass in found:
            if isinstance(node[token], dict):
                on.append((mass, token, node[token], path))
            else:
                p[node[token]] = math.exp(mass)
                ended.append(node[token])
        return on, ended

    open_, _ = branches(answers.tree, walk.log_p[-1], 0.0, [])
    levels = []
    while open_:
        open_.sort(key=lambda branch: branch[0])  # the least probable first
        mass = np.exp([branch[0] for branch in open_])
        few = int(np.searchsorted(np.cumsum(mass) / mass.sum(), tail, side="right"))
        left_out = [(mass[at], answers.leaves[id(open_[at][2])]) for at in range(few)]
        kept, open_, ended = open_[few:], [], []
        for start in range(0, len(kept), _CHUNK):
            chunk = kept[start : start + _CHUNK]
            columns, after = walk.step([branch[1] for branch in chunk], [branch[3] for branch in chunk])
            for row, (log_mass, _, node, path) in enumerate(chunk):
                on, found = branches(node, after[row], log_mass, [*path, columns[row]])
                open_ += on
                ended += found
        levels.append((mass[few:].sum(), left_out, ended))
    # Not all that a branch holds are answers. Of those left out, as much as of those of their level that were followed.
    below = 0.0
    for followed, left_out, ended in levels[::-1]:
        below += p[ended].sum()
        share = below / followed
        for mass, numbers in left_out:
            p[numbers], unresolved[numbers] = mass * share / len(numbers), True
            below += mass * share
    forced = np.arange(len(answers.start)), np.array(answers.start, dtype=int)
    total = p.sum()
    return RedshiftPosterior(
        z=np.arange(answers.count) / round(1 / STEP),
        p=p / total,
        inside=min(float(total), 1.0),
        beyond=float(walk.log_p[answers.fork, answers.beyond].double().exp().sum()),
        unresolved=float(p[unresolved].sum() / total),
        log_start=float(walk.log_p[forced].double().sum()),
    )


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


class BranchWalk:
    """A model over a prompt, and then over branches that see the prompt and their own tokens, and not each other.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    ids : list of int
        The prompt and the forced beginning of the answer.
    forced : int
        Tokens of the latter.
    """

    def __init__(self, model, ids, forced):
        import torch

        self._model, self._length = model, len(ids)
        self.device = next(model.parameters()).device
        output = model(input_ids=torch.tensor([ids], device=self.device), use_cache=True, logits_to_keep=forced + 1)
        self._cache, self._columns = output.past_key_values, len(ids)
        # Of each forced token and of what follows the last one; shape (forced + 1, tokens).
        self.log_p = _log_softmax(output.logits[0])

    def step(self, tokens, paths):
        """Append one token to each of several branches.

        Parameters
        ----------
        tokens : list of int
        paths : list of list of int
            Columns of the tokens before it in its branch, as this returned them.

        Returns
        -------
        columns : list of int
        log_p : torch.Tensor, shape (branches, tokens), float32
            Of what follows each.
        """
        import torch

        columns = list(range(self._columns, self._columns + len(tokens)))
        lowest = torch.finfo(self._model.dtype).min
        mask = torch.full((len(tokens), columns[-1] + 1), lowest, dtype=self._model.dtype)
        mask[:, : self._length] = 0
        for row, (column, path) in enumerate(zip(columns, paths, strict=True)):
            mask[row, [*path, column]] = 0
        depth = torch.tensor([[self._length + len(path) for path in paths]], device=self.device)
        output = self._model(
            input_ids=torch.tensor([tokens], device=self.device),
            attention_mask=mask[None, None].to(self.device),
            position_ids=depth,
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache, self._columns = output.past_key_values, columns[-1] + 1
        return columns, _log_softmax(output.logits[0])


def _log_softmax(logits):
    import torch

    return torch.log_softmax(logits.float(), dim=-1)
