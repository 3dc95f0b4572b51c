"""What a training cost in language: questions to a model without and with its adapter, by lm-evaluation-harness.

The model is loaded once, and the adapter is switched off for the answers before the training. Every question is asked
in both states, so that the two are compared question by question.
"""

import hashlib
import json
import logging
import shlex
import shutil
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import specdata
from specdata.errors import SpecdataError
from specdata.evaluation import metrics
from specdata.evaluation.questions import GROUPS, QUESTIONS, check_groups, load_questions, load_tasks
from specdata.evaluation.training_figures import retention_bars
from specdata.extras import need
from specdata.files import find_recipe, new_file, new_folder
from specdata.hub import local_folder, public_name, weights_revision
from specdata.results import RETENTION, RETENTION_FIGURE, RETENTION_FORMAT, SAMPLES, save_retention

SMALL = 2e9  # models of fewer parameters are asked in the form for small models
_STATES = ("before", "after")
_COLUMNS = ("correct", "log_likelihood")  # what differs between the two states


def measure_retention(
    model, adapter, output, *, questions=QUESTIONS, groups=GROUPS, small=None, limit=None, chat_template=False,
    batch_size=8, device=None, answers=None, overwrite=False, progress=True,
) -> dict:  # fmt: skip
    """Ask a model questions without and with its adapter, and write ``retention.json`` and ``samples.parquet``.

    The answers to each task are kept as soon as it is done, so that a run that was stopped goes on when the same
    command is given again.

    Parameters
    ----------
    model : str
        Base model, a folder or a Hub name. Its tokenizer, and its chat template, serve both states.
    adapter : str
        LoRA adapter, a folder or a Hub name.
    output : path-like
        Folder to make.
    questions : path-like
        A YAML file of groups, as `specdata.evaluation.questions.Questions` says, or the name of a shipped one.
    groups : sequence of str
        Which of its groups to ask.
    small : bool, optional
        Ask in the form for small models; by default where the model has fewer than `SMALL` parameters.
    limit : int, optional
        Ask only the first questions of each task.
    chat_template : bool
        Put the questions as turns of a chat, not as plain text.
    batch_size : int
        Most texts that are read together.
    device : str, optional
        Such as ``cuda`` or ``cpu``; by default a GPU where there is one.
    answers : path-like, optional
        Folder that keeps the answers, so that another adapter of the same model need not ask the model itself again. By
        default they are kept beside the output, until that is complete.
    overwrite, progress : bool

    Returns
    -------
    dict
        What stands in ``retention.json``; see `specdata.results.Retention`.

    Raises
    ------
    SpecdataError
        If lm-evaluation-harness, the model, the adapter, a task or its data is not there.
    """
    need("retention", "lm_eval", what="the retention")
    path = find_recipe(questions)
    listed = load_questions(path)
    check_groups(path, listed, groups)  # before a large model is loaded
    adapter_folder = local_folder(adapter, "model")
    adapter_revision = weights_revision(adapter_folder)
    output = Path(output).resolve()
    store = output.with_name(f"{output.name}.answers.partial") if answers is None else Path(answers)
    contents = (RETENTION, SAMPLES, f"{RETENTION_FIGURE}.png", f"{RETENTION_FIGURE}.pdf")
    with new_folder(output, marker=RETENTION, contents=contents, overwrite=overwrite) as folder:
        lm, commit, made_by = _load(model, adapter_folder, batch_size, device)
        if chat_template and lm.tokenizer.chat_template is None:
            raise SpecdataError(f"model {model}: its tokenizer has no chat template; leave --chat-template out")
        if small is None:
            small = lm.model.num_parameters() < SMALL
        if progress and small:
            print("asking in the form for small models, which scores the answers instead of their letters", flush=True)
        template = hashlib.sha256(lm.tokenizer.chat_template.encode()).hexdigest() if chat_template else None
        asked = load_tasks(path, listed, groups, small)
        base_revision = commit or weights_revision(model)
        identity = made_by | {"base": base_revision, "chat_template": template, "limit": limit}
        tables, seconds = {}, 0.0
        for number, one in enumerate(asked, start=1):
            found = {}
            for state in _STATES:
                key = identity | {"adapter": adapter_revision if state == "after" else None, "task": _definition(one)}
                place = store / f"{one.name}-{state}-{_sha256(key)[:16]}.parquet"
                if progress:
                    done = ": done before" if place.is_file() else ""
                    print(f"[{number}/{len(asked)}] {one.name}, {state} the training{done}", flush=True)
                found[state], spent = _answers(place, lm, one.task, state, limit, chat_template)
                seconds += spent
            tables[one.name] = _pair(one, found, store)
        table = pa.concat_tables(tables.values())
        pq.write_table(table, folder / SAMPLES, compression="zstd")
        command = ["specdata", "retention", "--model", public_name(model), "--adapter", public_name(adapter)]
        command += ["--groups", ",".join(groups), "--small" if small else "--no-small"]
        command += (["--limit", str(limit)] if limit else []) + ["--chat-template"] * chat_template
        command += ["--questions", path.name] if questions != QUESTIONS else []
        results = {
            "format": RETENTION_FORMAT,
            "model": {
                "base": public_name(model),
                "base_revision": base_revision,
                "adapter": public_name(adapter),
                "adapter_revision": adapter_revision,
                **made_by,
            },
            "tasks_from": path.name,
            "chat_template": template,
            "limit": limit,
            "groups": {
                group: score_questions(pa.concat_tables(tables[one.name] for one in asked if one.group == group))
                for group in dict.fromkeys(one.group for one in asked)
            },
            "tasks": {one.name: score_questions(tables[one.name]) | _described(one, tables[one.name]) for one in asked},
            "settings": {
                "small": small,
                "batch_size": batch_size,
                "confidence": metrics.CONFIDENCE,
                "bootstrap_resamples": metrics.RESAMPLES,
            },
            "seconds": round(seconds, 1),
            "command": shlex.join(command),
            "versions": {name: version(name) for name in ("lm_eval", "peft", "torch", "transformers")}
            | {"specdata": specdata.__version__},
        }
        save_retention(folder, results)
        retention_bars(folder / RETENTION_FIGURE, results)
    if answers is None:
        shutil.rmtree(store)
    return results


def score_questions(table) -> dict:
    """What `specdata.results.Kept` says of answers before and after.

    Parameters
    ----------
    table : pyarrow.Table
        A row for each question, with `choices`, `correct_before`, `correct_after`, `log_likelihood_before` and
        `log_likelihood_after`.
    """
    from scipy.stats import binomtest

    column = {name: table[name].to_numpy() for name in table.column_names}
    before, after = (column[f"correct_{state}"].astype(float) for state in _STATES)
    chance = 1 / column["choices"]
    lost, gained = int(np.sum(before > after)), int(np.sum(after > before))
    first = metrics.rate(before)
    at_chance = first["low"] <= chance.mean()
    kept = [{"value": None, "low": None, "high": None, "n": len(before), "interval": "none"}] * 2
    if not at_chance and lost == gained == 0:  # a bootstrap knows nothing of changes that the sample lacks
        kept = [{"value": 1.0, "low": 1.0, "high": 1.0, "n": len(before), "interval": "none"}] * 2
    elif not at_chance:
        kept = [metrics.interval(metrics.ratio, after - guessed, before - guessed) for guessed in (0, chance)]
    return {
        "n": len(before),
        "chance": float(chance.mean()),
        "before": first,
        "after": metrics.rate(after),
        "lost": lost,
        "gained": gained,
        "p_value": float(binomtest(lost, lost + gained).pvalue) if lost + gained else 1.0,
        "at_chance": bool(at_chance),
        "retained": kept[0],
        "retained_above_chance": kept[1],
        "log_likelihood": metrics.interval(
            np.mean, column["log_likelihood_after"] - column["log_likelihood_before"]
        ),
    }  # fmt: skip


def _load(model, adapter, batch_size, device):
    """The model with its adapter as lm-evaluation-harness wants it; and its commit, device, hardware and dtype."""
    from lm_eval.models.huggingface import HFLM

    from specdata.inference.local import Generator

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    loaded = Generator(model, device=device)  # its own tokenizer and chat template serve both states
    loaded.add_adapter(adapter)
    lm = HFLM(loaded.model, tokenizer=loaded.tokenizer, batch_size=batch_size, softmax_dtype="float32")
    return lm, loaded.revision, {name: getattr(loaded, name) for name in ("device", "hardware", "dtype")}


def _definition(one):
    """What a task asks, as text, without the places where functions lie in memory."""

    def name(value):
        return getattr(value, "__qualname__", type(value).__name__)

    return json.dumps(one.task.dump_config(), sort_keys=True, default=name)


def _sha256(content):
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _answers(place, lm, task, state, limit, chat_template):
    """Answers to a task as a table, asked now if they are not kept; and the seconds that it took."""
    if not place.is_file():
        started = time.monotonic()
        if state == "before":
            with lm.model.disable_adapter():
                table = _ask(lm, task, limit, chat_template)
        else:
            table = _ask(lm, task, limit, chat_template)
        seconds = json.dumps(time.monotonic() - started)
        with new_file(place) as partial:
            pq.write_table(table.replace_schema_metadata({"seconds": seconds}), partial, compression="zstd")
    table = pq.read_table(place)
    return table.replace_schema_metadata(), json.loads(table.schema.metadata[b"seconds"])


def _ask(lm, task, limit, chat_template):
    """Ask the first questions of a task.

    `lm_eval.simple_evaluate` does this too, and lists the installed packages after every task, which takes seconds.
    """
    from lm_eval import evaluate

    found = evaluate(
        lm, {"tasks": {task.config.task: task}}, limit=limit, bootstrap_iters=0,
        apply_chat_template=chat_template, fewshot_as_multiturn=chat_template,
    )  # fmt: skip
    samples = found["samples"][task.config.task]
    right = [_right_answer(task, sample["doc"]) for sample in samples]
    metric = _metric(task)
    return pa.table({
        "doc_hash": [sample["doc_hash"] for sample in samples],
        "prompt_hash": [sample["prompt_hash"] for sample in samples],
        "choices": [len(task.doc_to_choice(sample["doc"])) for sample in samples],
        "correct": [bool(sample[metric]) for sample in samples],
        "log_likelihood": [sample["filtered_resps"][at][0] for at, sample in zip(right, samples, strict=True)],
    })  # fmt: skip


def _metric(task):
    """The accuracy that counts: by the likelihood of each choice for its length, where the task has that."""
    names = [metric["metric"] for metric in task.config.metric_list or [{"metric": "acc_norm"}]]
    return "acc_norm" if "acc_norm" in names else "acc"


def _right_answer(task, doc):
    """Which of the choices is right, as lm-evaluation-harness finds it."""
    answer = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    return task.doc_to_choice(doc).index(answer) if isinstance(answer, str) else int(answer)


def _pair(one, found, store):
    """Answers of both states side by side; they must be to the same questions and prompts."""
    before, after = (found[state] for state in _STATES)
    asked = ["doc_hash", "prompt_hash", "choices"]
    if before.select(asked) != after.select(asked):
        raise SpecdataError(
            f"task {one.name}: the answers before and after that are kept in {store} are not to the same questions; "
            "remove them and give the same command again"
        )
    first = {"group": [one.group] * len(before), "task": [one.name] * len(before)}
    both = {f"{name}_{state}": found[state][name] for name in _COLUMNS for state in _STATES}
    return pa.table(first | {name: before[name] for name in asked} | both)


def _described(one, table):
    """What `specdata.results.KeptTask` says of a task beside its scores."""
    hashes = table.select(["doc_hash", "prompt_hash"]).to_pydict()
    return {
        "group": one.group,
        "source": one.source,
        "split": one.split,
        "n_in_split": len(one.task.eval_docs),
        "questions": _sha256(hashes),
        "version": float((one.task.config.metadata or {}).get("version", 0)),
        "metric": _metric(one.task),
    }
