"""p(z) from stock transformers: files with which ``pipeline("decision")`` and ``/v1/systemone`` read it in one pass.

Both give the probabilities of labels of one token each after a prompt. Here the prompt ends in the beginning of an
answer, ``Redshift: [0.``, and the labels are the tokens that may follow: with Llama-3's tokenizer ``000`` to ``999``,
so that one pass gives p(z) in steps of 0.001; with one token a digit ``0`` to ``9``, which gives the first digit, and
the next one where ``instructions`` hold a longer beginning.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from specdata import prompts
from specdata.answers import answer_tree
from specdata.errors import SpecdataError
from specdata.posterior import prompt_ids
from specdata.targets import REDSHIFT

CONFIG, TEMPLATE = "decision.json", "decision_template.jinja"  # as transformers names them
FITTED_ON = 200  # most rows of the validation split on which the temperature is fitted


@dataclass(frozen=True)
class Decision:
    """How an answer is begun, and the labels that may follow.

    Attributes
    ----------
    begin : str
        Such as ``Redshift: [0.``.
    labels : list of str
        Such as ``000`` to ``999``, a token each.
    """

    begin: str
    labels: list

    def question(self, begun=None) -> dict:
        """The question for the label after a beginning of an answer, by default `begin`."""
        criteria = dict.fromkeys(self.labels)
        return {"type": "choice", "criteria": criteria} | ({"instructions": begun} if begun else {})


def find_decision(tokenizer, target=REDSHIFT) -> Decision:
    """Find out how the tokens of a tokenizer write the answers of a target, of the redshift those below 1.

    Raises
    ------
    SpecdataError
        If it has no chat template, or the beginning or a digit is not made of whole tokens by itself.
    """
    text = prompts.chat_text(tokenizer, [{"role": "user", "content": "0"}])
    answers = answer_tree(tokenizer, text[text.rfind("0") + 1 :], target, 1 if target.is_wide else None)
    begin, ids = tokenizer.decode(answers.start), prompts.text_ids(tokenizer, text)
    tokens = answers.levels[0].token.tolist()
    labels = [tokenizer.decode([token]) for token in tokens]
    alone = tokenizer(labels, add_special_tokens=False)["input_ids"]
    if prompts.text_ids(tokenizer, text + begin) != ids + answers.start or alone != [[token] for token in tokens]:
        raise SpecdataError(
            f"tokenizer {tokenizer.name_or_path}: writes a digit of an answer in another way than the digit alone, so "
            "that transformers' decisions cannot read p(z); read it with specdata.posterior"
        )
    order = np.argsort(labels)
    return Decision(begin, [labels[place] for place in order])


def write_decision(folder, tokenizer, temperature=None, target=REDSHIFT) -> None:
    """Write `CONFIG` and `TEMPLATE` for a tokenizer to a folder.

    Parameters
    ----------
    folder : path-like
    tokenizer : transformers.PreTrainedTokenizerBase
    temperature : float, optional
        By which the logits are divided; of `fit_temperature`.
    target : specdata.targets.Target

    Raises
    ------
    SpecdataError
        As from `find_decision`.
    """
    found, template = find_decision(tokenizer, target), tokenizer.get_chat_template()
    # The user's message is the state. An expression keeps a line break at the template's beginning, a block would not.
    head = '{% set messages = [{"role": "user", "content": state}] %}{{ "" }}'
    begin = json.dumps(found.begin)
    template = f"{head}{template.removesuffix(chr(10))}{{{{ question.instructions or {begin} }}}}"
    # The server's --decision-config takes one file, the pipeline also the template beside it.
    settings = {"labels": {"choice": found.labels}, "temperature": {"choice": temperature or 1.0}}
    content = settings | {"chat_template": template}
    (Path(folder) / CONFIG).write_text(json.dumps(content) + "\n", encoding="utf-8")
    (Path(folder) / TEMPLATE).write_text(template, encoding="utf-8")


def fit_temperature(model, tokenizer, asked, values, target=REDSHIFT) -> float:
    """Fit the temperature with which the labels of rows are most probable.

    All digits of an answer count that the labels can write, each after the true ones before it.

    Parameters
    ----------
    model : transformers.PreTrainedModel or peft.PeftModel
    tokenizer : transformers.PreTrainedTokenizerBase
    asked : sequence of list of dict
        Prompts of rows that the model was not trained on.
    values : sequence of float or str
        Their true values, of the redshift below 1.
    target : specdata.targets.Target

    Returns
    -------
    float
        1 where the model is as sure as it should be, more where it is too sure; four digits.
    """
    import torch
    from scipy.optimize import minimize_scalar

    labels, rows, top = set(find_decision(tokenizer, target).labels), [], 1 if target.is_wide else None
    for prompt, true in zip(asked, values, strict=True):
        asked_ids, answers = prompt_ids(tokenizer, prompt, target, top)
        at = round((true - target.low) / target.step) if target.is_number else target.labels.index(true)
        passed = [int(level.through[at]) for level in answers.levels if level.through[at] >= 0]
        path = [int(level.token[node]) for level, node in zip(answers.levels, passed, strict=False)]
        ids = torch.tensor([asked_ids + answers.start + path[:-1]], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids, logits_to_keep=len(path)).logits[0].double().cpu().numpy()
        for level, node, found in zip(answers.levels, passed, logits, strict=False):
            siblings = np.flatnonzero(level.parent == level.parent[node])
            tokens = level.token[siblings]
            if labels.issuperset(tokenizer.convert_ids_to_tokens(tokens.tolist())):
                rows.append((found[tokens], int(np.flatnonzero(siblings == node)[0])))

    def surprise(log_temperature):
        scaled = ((logits / math.exp(log_temperature), at) for logits, at in rows)
        return sum(np.logaddexp.reduce(logits) - logits[at] for logits, at in scaled)

    fitted = math.exp(minimize_scalar(surprise, bounds=(-3, 3), method="bounded").x)
    return float(f"{fitted:.4g}")
