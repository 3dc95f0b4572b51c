"""Model and data set to results: predictions, metrics beside baselines on the same rows, and a figure."""

import hashlib
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

import specdata
from specdata import prompts, serialize
from specdata.errors import SpecdataError
from specdata.evaluation import baselines, figures, metrics
from specdata.evaluation.calibration import calibration, row_scores
from specdata.evaluation.split import open_split
from specdata.files import new_folder
from specdata.hub import local_folder, public_name, weights_revision
from specdata.inference.local import MAX_NEW_TOKENS, Generator
from specdata.posterior import STEP, TAIL
from specdata.results import CALIBRATION, CONTENTS, FORMAT, PREDICTIONS, RESULTS, SCATTER, save_results


def evaluate(
    model, dataset, output, *, adapter=None, config="paper", split="test", limit=None, batch_size=16, device=None,
    posterior=False, overwrite=False, progress=True,
):  # fmt: skip
    """Score a model on a split of a data set and write ``results.json``, ``predictions.parquet`` and ``redshift.png``.

    The model answers greedily. Answers are kept beside the output as they come, so that a run that is stopped goes on
    where it was when the same command is given again.

    Parameters
    ----------
    model : str
        Base model, a folder or a Hub name.
    dataset : str
        Data set, a folder of `specdata build` or a Hub name.
    output : path-like
        Folder to make.
    adapter : str, optional
        LoRA adapter, a folder or a Hub name; None evaluates the base model as it is.
    config : str
        A text config of the data set.
    split : str
        ``validation`` or ``test``; the training split is refused.
    limit : int, optional
        Take only the first rows, which are a fair sample.
    batch_size : int
    device : str, optional
        Such as ``cuda`` or ``cpu``; by default a GPU where there is one.
    posterior : bool
        Also read p(z) of each row off the next-token distributions, and score it; see
        `specdata.evaluation.calibration`.
    overwrite, progress : bool

    Returns
    -------
    dict
        What stands in ``results.json``.
    """
    if split == "train":
        raise SpecdataError("split 'train': a model is not scored on the rows it learned from; use validation or test")
    data = open_split(dataset, config, split, limit)
    base_revision = weights_revision(model) if Path(model).is_dir() else None
    adapter_folder = local_folder(adapter, "model") if adapter else None
    adapter_revision = weights_revision(adapter_folder) if adapter else "none"
    identity = {
        "base": str(model),
        "base_revision": base_revision,
        "adapter_revision": adapter_revision,
        "dataset_revision": data.revision,
        "config": config,
        "split": split,
        "n": len(data.rows),
        "max_new_tokens": MAX_NEW_TOKENS,
        "posterior": posterior,
    }
    # The spectrum: what a conversation goes on with gives the redshift away.
    questions = [prompt[:1] for prompt in data.rows["prompt"]]
    output = Path(output).resolve()
    journal = output.with_name(f"{output.name}.answers.partial.jsonl")
    with new_folder(output, marker=RESULTS, contents=CONTENTS, overwrite=overwrite) as folder:
        z = data.rows["z"] if posterior else None
        found, commit = _answers(model, adapter_folder, questions, z, journal, identity, batch_size, device, progress)
        answers, scores = [row["answer"] for row in found], [row["posterior"] for row in found if "posterior" in row]
        results = _write(folder, data, answers, scores)
        results["model"] = {
            "base": public_name(model),
            "base_revision": base_revision or commit,
            "adapter": None if adapter is None else public_name(adapter),
            "adapter_revision": adapter_revision,
        }
        save_results(folder, results)
    journal.unlink()
    return results


def _answers(model, adapter, questions, z, journal, identity, batch_size, device, progress):
    """Answers of the model to all questions, and scores of p(z) where the true redshifts are given.

    Those that an interrupted run left in the journal are not asked again.
    """
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    lines = journal.read_text(encoding="utf-8").split("\n")[:-1] if journal.exists() else []
    try:
        head, *answers = map(json.loads, lines)
        head = head if head["key"] == key else {}
    except (ValueError, KeyError, TypeError):  # there is none yet, or it is damaged
        head = {}
    answers = answers if head else []
    if head and len(answers) == len(questions):
        return answers, head["commit"]
    generator = Generator(model, adapter, device=device)
    made_by = {"key": key, "commit": generator.revision, "dtype": generator.dtype}
    if head != made_by:  # the base model's branch moved on, or this is another kind of machine
        answers = []
        journal.write_text(json.dumps(made_by) + "\n", encoding="utf-8")
    else:  # a line that a crash cut short is written again
        journal.write_text("\n".join(lines[: len(answers) + 1]) + "\n", encoding="utf-8")
    with (
        journal.open("a", encoding="utf-8") as stream,
        tqdm(total=len(questions), initial=len(answers), unit=" rows", desc="evaluate", disable=not progress) as bar,
    ):
        while len(answers) < len(questions):
            batch = questions[len(answers) : len(answers) + batch_size]
            new = [{"answer": text} for text in generator.answer(batch, max_new_tokens=MAX_NEW_TOKENS)]
            if z is not None:
                for row, question, true in zip(new, batch, z[len(answers) : len(answers) + batch_size], strict=True):
                    row["posterior"] = row_scores(generator.posterior(question), true)
            stream.writelines(json.dumps(row) + "\n" for row in new)
            stream.flush()
            answers += new
            bar.update(len(new))
    return answers, generator.revision


def _series(rows, encoding):
    """Spectra as the model gets them, from the text itself; shape (n, bins)."""
    texts = [prompts.read_series(prompt) for prompt in rows["prompt"]]
    return serialize.SCHEMES[encoding.scheme].decode_batch(texts)


def _write(folder, data, answers, scores):
    z, z_train = (np.asarray(rows["z"], dtype=np.float64) for rows in (data.rows, data.train))
    parsed = [prompts.parse_redshift(answer) for answer in answers]
    z_pred = np.array([np.nan if value is None else value for value in parsed])
    z_constant = baselines.constant(z_train, len(z))
    z_neighbours, k = baselines.nearest_neighbours(
        _series(data.train, data.encoding), z_train, data.train["object_id"], _series(data.rows, data.encoding)
    )
    z_range = float(z_train.min()), float(z_train.max())
    table = {
        "specobjid": data.rows["specobjid"],
        "object_id": data.rows["object_id"],
        "z": z,
        "answer": answers,
        "z_pred": pa.array(parsed, pa.float64()),
        "z_constant": z_constant,
        "z_nearest_neighbours": z_neighbours,
    }
    table |= {f"posterior_{name}": [row[name] for row in scores] for name in (scores[0] if scores else ())}
    pq.write_table(pa.table(table), folder / PREDICTIONS, compression="zstd")
    mocks = int(np.sum(data.rows["is_mock"]))
    what = f"{data.name}, {data.split} ({len(z)} {'mocks' if mocks == len(z) else 'spectra'})"
    figures.predicted_redshifts(
        folder / SCATTER, z, z_pred, baseline=z_neighbours, threshold=metrics.OUTLIER, title=what
    )
    posterior = {}
    if scores:
        posterior = {"posterior": calibration(scores, z) | {"step": STEP, "tail": TAIL}}
        pit = table["posterior_pit"]
        figures.calibration(folder / CALIBRATION, np.array(pit), title=what)
    return posterior | {
        "format": FORMAT,
        "task": "redshift",
        "dataset": {
            "name": data.name,
            "revision": data.revision,
            "config": data.config,
            "split": data.split,
            "n": len(z),
            "n_in_split": data.n_in_split,
            "n_train": len(z_train),
            "n_mock": mocks,
            "n_mock_train": int(np.sum(data.train["is_mock"])),
        },
        "encoding": data.encoding.to_dict(),
        "metrics": metrics.score(z_pred, z, z_range),
        "distinct_answers": len({value for value in parsed if value is not None}),
        "baselines": {
            "constant": {"z": float(z_constant[0]), "metrics": metrics.score(z_constant, z, z_range)},
            "nearest_neighbours": {"k": k, "metrics": metrics.score(z_neighbours, z, z_range)},
        },
        "settings": {
            "decoding": "greedy",
            "max_new_tokens": MAX_NEW_TOKENS,
            "outlier_threshold": metrics.OUTLIER,
            "confidence": metrics.CONFIDENCE,
            "bootstrap_resamples": metrics.RESAMPLES,
            "unparsed_scores_as": list(z_range),
        },
        "versions": {"specdata": specdata.__version__}
        | {name: version(name) for name in ("peft", "torch", "transformers")},
    }
