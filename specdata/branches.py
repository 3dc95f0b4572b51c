"""The tree of answers, followed with a model: the probabilities of its branches, level by level, in shared passes."""

import copy
import itertools
import math

import numpy as np

FINE = 1 / 16  # of the standard deviation of p; see `specdata.posterior.answer_posteriors`
LOGITS = 2**27  # most numbers in the logits of one pass: half a GiB
COLUMNS = 256  # most branches of a prompt in one pass
TOGETHER = 8  # prompts that share the passes of the last level


def read_batch(walk, answers, tail, is_number, most=math.inf) -> list[tuple]:
    """Follow the tree after some prompts with a `Walk`; where more than `most` branches are probable, no further.

    A list with p, answered, beyond, begun and unresolved of each prompt, see `specdata.posterior.Posterior`.
    """
    levels = answers.levels
    log_start, log_first, log_beyond = walk.begin(answers)
    log_mass, followed = [log_first], []
    for level, below in itertools.pairwise(levels):
        # The least probable branches are left out, up to the share `tail` of all.
        whole = np.exp(log_mass[-1] - log_mass[-1].max(axis=1, keepdims=True))
        mass = np.where(level.answer < 0, whole, 0.0)
        order = np.argsort(mass, axis=1)
        running = np.cumsum(np.take_along_axis(mass, order, axis=1), axis=1)
        follow = np.empty(mass.shape, dtype=bool)
        np.put_along_axis(follow, order, running > tail * running[:, -1:], axis=1)
        if tail and is_number:
            follow &= ~_fine(level, whole)
        follow &= mass > 0
        if follow.sum() > most:
            break
        followed.append(follow)
        log_mass.append(walk.step(level, below, follow, log_mass[-1]))
    followed.append(np.zeros(log_mass[-1].shape, dtype=bool))
    # From here on in units of the most probable answer, or branch of the last level, whose probability may be tiny.
    ends = [level.answer >= 0 for level, _ in zip(levels, log_mass, strict=False)]
    deepest = [*ends[:-1], np.ones_like(ends[-1])]
    peak = np.max([found[:, end].max(axis=1, initial=-np.inf) for found, end in zip(log_mass, deepest, strict=True)], 0)
    p, held = np.zeros((len(peak), len(levels[0].through))), np.zeros(len(peak))
    mass = [np.exp(found - peak[:, None]) for found in log_mass]
    for level, found, end in zip(levels, mass, ends, strict=False):
        p[:, level.answer[end]] = found[:, end]
    resolved = p.sum(axis=1)
    # Not all that a branch holds are answers: of a branch that was left out, the same share as of all of its level that
    # were followed. `held` are the answers in those, from the deepest level up.
    for level, found, going, end in reversed([*zip(levels, mass, followed, ends, strict=False)]):
        left_out = np.where(going | end, 0.0, found)
        spent = np.where(going, found, 0.0).sum(axis=1)
        left_out *= np.divide(held, spent, out=np.ones_like(held), where=spent > 0)[:, None]
        held += left_out.sum(axis=1) + found[:, end].sum(axis=1)
        passing = level.through >= 0
        evenly = left_out / np.bincount(level.through[passing], minlength=left_out.shape[1]).clip(1)
        p[:, passing] += evenly[:, level.through[passing]]
    total = p.sum(axis=1)
    begun = np.exp(log_start[:, : answers.fork].sum(axis=1))
    beyond = begun * np.exp(log_beyond).sum(axis=1)
    answered = np.minimum(np.exp(log_start.sum(axis=1) + peak + np.log(total)), 1.0)
    unresolved = 1 - resolved / total
    shares = np.stack([answered, beyond, begun, unresolved], axis=1).tolist()
    return [(row / norm, *found) for row, norm, found in zip(p, total, shares, strict=True)]


def _fine(level, mass):
    """Whether a branch needs no more digits: it is narrow against the spread of p, and improbable.

    Numbers of more and of fewer digits lie far apart in one branch, as 443 and 4430 do, which makes it wide.
    """
    passing = np.flatnonzero(level.through >= 0)
    of, first, last = level.through[passing], *np.zeros((2, mass.shape[1]))
    first[of[::-1]], last[of] = passing[::-1], passing  # of several, the one that is assigned last stays
    width, centre = last - first + 1, (first + last) / 2
    p = mass / mass.sum(axis=1, keepdims=True)
    spread = np.sqrt((p * (centre - (p @ centre)[:, None]) ** 2).sum(axis=1, keepdims=True))
    return (width <= FINE * spread) & (p <= FINE / 2) & (p < p.max(axis=1, keepdims=True))


class Walk:
    """A model over several prompts, and then over branches that see their prompt and their own tokens, and no others.

    `prompts` are tokens; those that are shorter than the longest are filled up at their end, which nothing sees.
    """

    def __init__(self, model, prompts, answers):
        import torch

        self._model, self._device = model, next(model.parameters()).device
        ids, forced = [[*prompt, *answers.start] for prompt in prompts], len(answers.start)
        self._lengths = torch.tensor([len(one) for one in ids], device=self._device)
        self._used = max(map(len, ids))  # columns of the cache
        kept = self._used - min(map(len, ids)) + forced + 1
        filled = torch.tensor([one + [0] * (self._used - len(one)) for one in ids], device=self._device)
        output = model(input_ids=filled, use_cache=True, logits_to_keep=kept)
        self._cache, self._columns = output.past_key_values, []
        last = self._lengths - self._used + kept - 1
        places = last[:, None] + torch.arange(-forced, 1, device=self._device)
        self._logits = output.logits[torch.arange(len(ids), device=self._device)[:, None], places].float()

    def begin(self, answers) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Log-probabilities of the tokens that all answers begin with, of the first level, and of a larger number.

        All are of shape (prompts, tokens).
        """
        log_p, start = self._logits.log_softmax(dim=-1).double().cpu().numpy(), answers.start
        first, beyond = log_p[:, len(start), answers.levels[0].token], log_p[:, answers.fork, answers.beyond]
        return log_p[:, np.arange(len(start)), start], first, beyond

    def step(self, level, below, follow, log_mass) -> np.ndarray:
        """Log-probabilities of the nodes `below` a level from those of its own, where the array of bool says `follow`.

        All are of shape (prompts, nodes); what was not followed is -inf.
        """
        import torch

        prompts, branches = len(follow), follow.sum(axis=1)
        last = (below.answer >= 0).all()
        if last and prompts > TOGETHER:  # those with as many branches go together, or few would wait for many
            found = np.empty((prompts, len(below.token)))
            for some in np.array_split(np.argsort(branches, kind="stable"), -(-prompts // TOGETHER)):
                found[some] = self._only(some).step(level, below, follow[some], log_mass[some])
            return found
        nodes = np.argsort(~follow, axis=1, kind="stable")[:, : branches.max()]
        self._columns.append((level, np.zeros(follow.shape, dtype=int)))
        found = np.full((prompts, len(below.token)), -np.inf)
        at_once = max(1, min(COLUMNS, LOGITS // (prompts * self._logits.shape[-1])))
        for start in range(0, nodes.shape[1], at_once):
            some = nodes[:, start : start + at_once]
            logits = self._pass(level, some)
            children = below.children[some]
            tokens = torch.tensor(below.token[children], device=self._device)
            log_p = logits.gather(2, tokens).double() - logits.logsumexp(2, keepdim=True).double()
            log_p = log_p.cpu().numpy() + np.take_along_axis(log_mass, some, axis=1)[..., None]
            real = (children >= 0) & np.take_along_axis(follow, some, axis=1)[..., None]
            prompt = np.broadcast_to(np.arange(prompts)[:, None, None], children.shape)
            found[prompt[real], children[real]] = log_p[real]
            if last:
                self._cache.crop(-some.shape[1])
            else:
                self._used += some.shape[1]
        return found

    def _only(self, prompts):
        """The same walk over some of the prompts, which leaves this one as it is."""
        import torch

        part = copy.copy(self)
        part._lengths = self._lengths[torch.tensor(prompts, device=self._device)]
        part._columns = [(level, columns[prompts]) for level, columns in self._columns]
        part._cache = copy.copy(self._cache)
        part._cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        part._cache.batch_select_indices(torch.tensor(prompts, device=self._device))
        return part

    def _pass(self, level, nodes):
        """Logits after one token of each of some branches; shape (prompts, branches, tokens), float32."""
        import torch

        count = nodes.shape[1]
        own = np.broadcast_to(np.arange(self._used, self._used + count), nodes.shape)
        np.put_along_axis(self._columns[-1][1], nodes, own, axis=1)
        seen, node = [], nodes
        for above, columns in reversed(self._columns):  # those of its own and of the tokens that led there
            seen.append(np.take_along_axis(columns, node, axis=1))
            node = above.parent[node]
        seen = torch.tensor(np.stack(seen, axis=-1), device=self._device)
        columns = torch.arange(self._used + count, device=self._device)
        visible = (columns < self._lengths[:, None, None]).expand(-1, count, -1).scatter(2, seen, True)
        mask = torch.zeros(visible.shape, dtype=self._model.dtype, device=self._device)
        mask = mask.masked_fill(~visible, torch.finfo(self._model.dtype).min)
        output = self._model(
            input_ids=torch.tensor(level.token[nodes], device=self._device),
            attention_mask=mask[:, None],
            position_ids=(self._lengths[:, None] + len(self._columns) - 1).expand(-1, count),
            past_key_values=self._cache,
            use_cache=True,
        )
        self._cache = output.past_key_values
        return output.logits.float()
