"""Model and data set to results: probabilities and answers of each row, scored beside baselines on the same rows."""

import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import specdata
from specdata.errors import SpecdataError
from specdata.evaluation import figures, metrics
from specdata.evaluation.baselines.methods import TemplateFits, check_names, read_text, run_baselines
from specdata.evaluation.predictions import predict_rows
from specdata.evaluation.scores import score_predictions, scores_of
from specdata.evaluation.split import Split, open_split
from specdata.extras import need_model
from specdata.files import new_folder
from specdata.hub import local_folder, public_name, weights_revision
from specdata.inference.decision import FITTED_ON
from specdata.inference.endpoint import connect
from specdata.inference.local import check_model, most_tokens
from specdata.inference.trained import find_trained
from specdata.posterior import TAIL
from specdata.results import (
    CONTENTS,
    FORMAT,
    PREDICTIONS,
    RESULTS,
    estimate_name,
    evaluation_command,
    save_results,
)


def evaluate(
    model, dataset, output, *, adapter=None, config=None, recipe=None, split="test", limit=None, batch_size=16,
    device=None, endpoint=None, served=None, greedy_only=False, baselines=None, templates=None, overwrite=False,
    progress=True,
) -> dict:  # fmt: skip
    """Score a model on a split of a data set; write results, predictions and figures to a folder.

    The estimate that is scored is the median of p(z), for which the absolute error is the loss, and of a target with
    labels the most probable one; a row where the model most probably writes no answer has no estimate. The greedy
    answer stands beside it. What is found is kept beside the output as it comes, so that a run that was stopped goes on
    when the same command is given again.

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
    config : str, optional
        A text config of the data set; by default the one that the adapter was trained on, or the only one.
    recipe : path-like, optional
        The recipe that the adapter was trained with, which says its config.
    split : str
        ``validation`` or ``test``; the training split is refused.
    limit : int, optional
        Take only the first rows, which are a fair sample.
    batch_size : int
        Most rows that are read together.
    device : str, optional
        Such as ``cuda`` or ``cpu``; by default a GPU where there is one.
    endpoint : str, optional
        Address of a server that serves the adapter, in place of loading it; what it tells of p(z) is scored. See
        `specdata.inference.endpoint`.
    served : str, optional
        Name of the adapter there.
    greedy_only : bool
        Leave the probabilities out, and take the greedy answer for the estimate.
    baselines : sequence of str, optional
        Names out of `specdata.evaluation.baselines.methods.TITLES`; by default all. The constant is always there.
    templates : path-like, optional
        File of galaxy templates in redrock's format, for the template fits; by default they are made of the training
        spectra.
    overwrite, progress : bool

    Returns
    -------
    dict
        What stands in ``results.json``; see `specdata.results.Results`.

    Raises
    ------
    SpecdataError
        If the model, the adapter or the rows are not there, the adapter was trained on another config, there is no
        such baseline, or the file of templates does not serve.
    """
    baselines = check_names(baselines)
    if endpoint is None:
        need_model("the evaluation")
    elif adapter is None:
        raise SpecdataError("endpoint: give --adapter as well, whose folder says how to ask the server")
    adapter_folder = local_folder(adapter, "model") if adapter else None
    data = open_split(dataset, config, split, limit=limit, trained=find_trained(adapter_folder, recipe))
    server = None
    if endpoint is None:
        check_model(model)
    else:
        server = connect(endpoint, adapter_folder, model, served=served, target=data.target)
        greedy_only = greedy_only or not server.has_posterior
    target, true = data.target, data.true()
    if target.template_fits:
        TemplateFits(data, templates)  # so that a wrong file is noticed before the model has read all rows
    elif templates is not None:
        raise SpecdataError(
            f"--templates {templates}: template fits find redshifts, not the {target.words}; leave it out"
        )
    z_max = int(max(true.max(), data.true("train").max()) + target.step / 2) + 1 if target.is_wide else None
    base_revision = weights_revision(model) if Path(model).is_dir() else None
    adapter_revision = weights_revision(adapter_folder) if adapter else "none"
    identity = {
        "format": FORMAT,
        "base": str(model),
        "base_revision": base_revision,
        "adapter_revision": adapter_revision,
        "dataset_revision": data.revision,
        "config": data.config,
        "split": split,
        "n": len(data.rows),
        "max_new_tokens": most_tokens(target),
        "z_max": z_max,
        "greedy_only": greedy_only,
        "target": target.to_dict(),
    } | ({"endpoint": server.kind} if server else {})
    asked = [prompt[:1] for prompt in data.rows["prompt"].to_pylist()]  # later turns may hold the redshift
    output = Path(output).resolve()
    journal = output.with_name(f"{output.name}.answers.partial.jsonl")
    if _is_older(journal, output / RESULTS):  # a run that was complete was killed before it could remove this
        journal.unlink()
    with new_folder(output, marker=RESULTS, contents=CONTENTS, overwrite=overwrite) as folder:
        rows, made_by = predict_rows(
            model, adapter_folder, asked, target.decode(true), target, journal, identity, z_max=z_max or 1,
            greedy_only=greedy_only, batch_size=batch_size,
            validation=None if greedy_only else _validation(dataset, data, z_max), device=device, server=server,
            progress=progress,
        )  # fmt: skip
        simple = run_baselines(data, baselines, templates=templates, progress=progress)
        results = score_rows(folder, data, rows, z_max, simple)
        results["settings"] |= {"batch_size": batch_size} | ({"endpoint": server.kind} if server else {})
        if templates is not None:
            results["settings"]["templates"] = Path(templates).name
        if "posterior" in results:
            results["posterior"]["temperature"] = made_by["temperature"]
        seconds, tokens = sum(row["seconds"] for row in rows), made_by["prompt_tokens"]
        results["speed"] = {
            "seconds": seconds, "prompt_tokens": tokens, "tokens_per_second": tokens / seconds if seconds else None,
        }  # fmt: skip
        results["model"] = {
            "base": public_name(model),
            "base_revision": base_revision or made_by["commit"] or "not known, behind a server",
            "adapter": None if adapter is None else public_name(adapter),
            "adapter_revision": adapter_revision,
            **{name: made_by[name] for name in ("device", "hardware", "dtype")},
        }
        results["command"] = evaluation_command(results)
        save_results(folder, results)
        figures.draw_figures(folder)
    journal.unlink()
    return results


def _validation(dataset, data, z_max):
    """Prompts and true values of the rows on which the temperature is fitted; None where there are none."""
    if z_max not in (1, None) or not data.n_validation:
        return None
    rows = open_split(dataset, data.config, "validation", limit=FITTED_ON).rows
    return [prompt[:1] for prompt in rows["prompt"].to_pylist()], rows[data.target.stored_in].to_pylist()


def _is_older(path, other):
    return path.is_file() and other.is_file() and path.stat().st_mtime <= other.stat().st_mtime


def score_rows(folder, data: Split, rows, z_max, baselines) -> dict:
    """Score what a model said to the rows of a split, and write the table of them to a folder.

    Parameters
    ----------
    folder : Path
    data : Split
    rows : list of dict
        Of `specdata.evaluation.predictions.predict_rows`.
    z_max : int or None
        Upper end of p(z); None for a target whose answers are all read.
    baselines : dict
        Of `specdata.evaluation.baselines.methods.run_baselines`.

    Returns
    -------
    dict
        What `specdata.results.Results` says, without `command`, `model` and `speed`.
    """
    target, true, true_train = data.target, data.true(), data.true("train")
    scores, name = scores_of(target), target.stored_in
    basis = scores.basis(target, true_train)

    def shown(values):
        return pa.array(target.decode(values), pa.float64() if target.is_number else pa.string())

    answers = [row["answer"] for row in rows]
    greedy = target.code([target.parse(answer) for answer in answers])
    posteriors = [row["posterior"] for row in rows] if "posterior" in rows[0] else None
    pred = greedy if posteriors is None else target.code([row["estimate"] for row in posteriors])
    table = {
        "specobjid": data.rows["specobjid"], "position_id": data.rows["position_id"], name: shown(true),
        "snmedian": data.snmedian, f"{name}_pred": shown(pred), "answer": answers, f"{name}_greedy": shown(greedy),
    }  # fmt: skip
    table |= {f"{name}_{method}": shown(simple) for method, (simple, _) in baselines.items()}
    table |= {f"posterior_{key}": [row[key] for row in posteriors] for key in (posteriors[0] if posteriors else ())}
    # The spectra of a few rows as the model read them, for a figure.
    x = read_text(data.rows, data.encoding)
    if posteriors is None or target.is_number:
        loss = scores.losses(pred, true, basis[0])
    else:  # most rows with labels are either right or wrong, so their logarithmic loss puts them in order
        loss = [row["log_loss"] for row in posteriors]
    order = np.argsort(loss, kind="stable")
    examples = {order[-1]: "worst", order[len(order) // 2]: "median", order[0]: "best"}
    table["example"] = pa.array([examples.get(row) for row in range(len(true))], pa.string())
    spectra = [x[row] if row in examples else None for row in range(len(true))]
    table["spectrum"] = pa.array(spectra, pa.list_(pa.float32()))
    table = pa.table(table)
    pq.write_table(table, folder / PREDICTIONS, compression="zstd")

    mocks, mocks_train = (int(pc.sum(part["is_mock"]).as_py() or 0) for part in (data.rows, data.train))
    results = {
        "format": FORMAT,
        "task": target.name,
        "dataset": {
            "name": data.name,
            "revision": data.revision,
            "config": data.config,
            "split": data.split,
            "n": len(true),
            "n_in_split": data.n_in_split,
            "n_train": len(true_train),
            "n_mock": mocks,
            "n_mock_train": mocks_train,
        },
        "encoding": data.encoding.to_dict(),
        "estimate": estimate_name(target, posteriors is not None),
        **score_predictions(table, basis, baselines, target=target, with_posterior=posteriors is not None),
        "settings": {
            "decoding": "greedy",
            "max_new_tokens": most_tokens(target),
            "confidence": metrics.CONFIDENCE,
            "bootstrap_resamples": metrics.RESAMPLES,
            **scores.kept_basis(*basis),
        },
        "versions": {name: version(name) for name in ("numpy", "peft", "scipy", "torch", "transformers")}
        | {"python": platform.python_version(), "specdata": specdata.__version__},
    }
    if target.is_number:
        results["settings"]["outlier_threshold"] = target.far
    if posteriors is not None:
        results["posterior"] |= {"z_max": z_max, "step": target.step if target.is_number else None, "tail": TAIL}
    results["baselines"] = {method: facts | results["baselines"][method] for method, (_, facts) in baselines.items()}
    return results
