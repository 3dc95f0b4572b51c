"""Everything that can be known of a training before it is launched: a list of findings, and what it will take."""

from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from specdata.errors import SpecdataError
from specdata.training.cost import cost_facts, estimate
from specdata.training.machine import disk_findings, find_device, machine_findings
from specdata.training.model import open_model
from specdata.training.recipe import Source, parse_training
from specdata.training.rows import Rows, measure_rows, mixture_sizes, open_source


@dataclass(frozen=True, kw_only=True)
class Report:
    """What is wrong, and what the training will take.

    Attributes
    ----------
    findings : list of (str, str)
        Level, ``fail`` or ``warn``, and one sentence.
    facts : dict of str to str
        In the order to print them.
    """

    findings: list
    facts: dict

    @property
    def failed(self):
        """Sentences of what would make the launch fail, or train on something else than was meant."""
        return [sentence for level, sentence in self.findings if level == "fail"]


def check(recipe, settings=(), *, device=None, gpus=None, nodes=1, progress=True):
    """Check a training recipe without loading the model.

    Parameters
    ----------
    recipe : path-like
        A recipe of ``trl sft``, or the name of a shipped one.
    settings : sequence of str
        What the command line of ``trl sft`` will add to it.
    device : str, optional
        The GPU that it is meant for, one of `specdata.training.footprint.DEVICES`; by default what this machine has.
    gpus : int, optional
        GPUs of each node.
    nodes : int
    progress : bool

    Returns
    -------
    Report

    Raises
    ------
    SpecdataError
        If ``trl sft`` would refuse the recipe as it is written.
    """
    parsed = parse_training(recipe, settings)
    findings, facts = [], {}
    target = find_device(parsed, device, gpus * nodes if gpus else None)
    findings += machine_findings(parsed, target)
    findings += _setting_findings(parsed)
    config, tokenizer = open_model(parsed, findings)
    rows = _rows(parsed, tokenizer, findings, facts, progress) if tokenizer is not None else None
    if rows is not None:
        findings += _length_findings(parsed, rows)
    made = estimate(parsed, config, rows, target, findings) if config is not None else None
    if made is not None:
        findings += disk_findings(parsed, made.trainable)
        facts |= cost_facts(parsed, made, rows, target, findings)
    order = {"fail": 0, "warn": 1}
    return Report(findings=sorted(findings, key=lambda finding: order[finding[0]]), facts=facts)


def _setting_findings(parsed):
    """Settings that the parser takes and the launch does not, or that do something else than they seem to."""
    training, mixture = parsed.training, parsed.mixture
    evaluates = str(getattr(training.eval_strategy, "value", training.eval_strategy)) != "no"
    if mixture.datasets and parsed.script.dataset_name:
        yield "fail", "datasets and dataset_name are both given, and trl would ignore the latter; take one out"
    if mixture.datasets and evaluates and mixture.test_split_size is None:
        yield (
            "fail",
            "eval_strategy: a mixture has no split to evaluate on; set it to no, and choose a checkpoint by `specdata "
            "sweep --grid sweeps/early-stop`",
        )
    if mixture.test_split_size is not None:
        yield (
            "warn",
            "test_split_size draws its rows anew in every process and every run, without the seed: several GPUs and a "
            "resumed run would train on rows that they also validate on",
        )
    if training.push_to_hub:
        yield "warn", "push_to_hub publishes trl's placeholder card at every checkpoint; set it to false"
    if training.max_length is None:
        yield "warn", "max_length is not set, so one long row decides the memory; set it"
    if training.completion_only_loss is False:
        yield "warn", "completion_only_loss false trains on the numbers of the spectra, too"


def _rows(parsed, tokenizer, findings, facts, progress):
    """Tokens of all training rows, and of those of the validation; None where they cannot be read."""
    from huggingface_hub import constants

    from specdata.hub import check_access

    script, training = parsed.script, parsed.training
    sources = list(parsed.sources)
    if not parsed.mixture.datasets and str(getattr(training.eval_strategy, "value", training.eval_strategy)) != "no":
        sources.append(Source(path=script.dataset_name, config=script.dataset_config, split=script.dataset_test_split,
                              columns=None, fraction=None))  # fmt: skip
    opened = []
    for source in sources:
        try:
            if not constants.HF_HUB_OFFLINE and source.data_files is None:
                check_access(source.path, "dataset")
            opened.append(open_source(source))
        except SpecdataError as error:
            findings.append(("fail", str(error)))
    if len(opened) < len(sources):
        return None
    trained = len(parsed.sources)
    measured = []
    try:
        sizes = mixture_sizes([len(rows) for rows in opened[:trained]], [s.fraction for s in parsed.sources])
        if 0 in sizes or any(len(rows) == 0 for rows in opened):
            raise SpecdataError("data: a data set has no rows, or its fraction leaves none")
        opened[:trained] = [rows.select(range(size)) for rows, size in zip(opened, sizes, strict=False)]
        with tqdm(total=sum(map(len, opened)), unit=" rows", desc="tokens", disable=not progress) as bar:
            for source, rows in zip(sources, opened, strict=True):
                name = f"{source.path} {source.config or ''} {source.split}".replace("  ", " ")
                measured.append(measure_rows(name, rows, tokenizer, bar.update))
    except SpecdataError as error:
        findings.append(("fail", str(error)))
        return None
    for rows in measured:
        facts[f"rows of {rows.name}"] = (
            f"{len(rows.lengths):,}; tokens {rows.lengths.min():,} to {rows.lengths.max():,}, learned "
            f"{rows.learned.min():,} to {rows.learned.max():,}"
        )
        if rows.unlike:
            findings.append(
                ("fail", f"data {rows.name}: the chat template writes {rows.unlike:,} prompts differently before an "
                 "answer than alone, so the model would be trained on another prompt than it is asked")
            )  # fmt: skip
        if rows.endless:
            findings.append(
                ("fail", f"data {rows.name}: {rows.endless:,} answers do not end with the tokenizer's end token "
                 f"{tokenizer.eos_token}, so the model would not learn to stop; set --eos_token")
            )  # fmt: skip
    taken = measured[:trained]
    if len(taken) > 1:
        learned = [rows.learned.sum() for rows in taken]
        facts["mixture"] = ", ".join(
            f"{len(rows.lengths) / sum(sizes):.0%} of the rows and {n / sum(learned):.0%} of the learned tokens from "
            f"{rows.name}" for rows, n in zip(taken, learned, strict=True)
        )  # fmt: skip
    joined = {key: np.concatenate([getattr(rows, key) for rows in taken]) for key in ("lengths", "learned")}
    return Rows(name="all", unlike=0, endless=0, **joined), measured


def _length_findings(parsed, rows):
    limit = parsed.training.max_length
    for part in rows[1]:
        if limit is None:
            continue
        cut = int((part.lengths > limit).sum())
        dropped = int((part.lengths - part.learned >= limit).sum())
        if dropped:
            yield (
                "fail",
                f"data {part.name}: {dropped:,} of {len(part.lengths):,} rows would be dropped, for their prompts fill "
                f"max_length = {limit}; the longest row has {part.lengths.max():,} tokens",
            )
        elif cut:
            yield (
                "fail",
                f"data {part.name}: {cut:,} of {len(part.lengths):,} rows would lose their tails, the answers, for "
                f"they are longer than max_length = {limit}; the longest has {part.lengths.max():,} tokens",
            )
