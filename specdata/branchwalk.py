"""A language model over many continuations of one prompt at a time, which share what the prompt cost."""


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
