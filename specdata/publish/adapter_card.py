"""The folder of an adapter: weights, results and figures, what its card is made of, and nothing else of a training."""

import contextlib
import csv
import importlib.util
import json
import math
import shutil
from pathlib import Path

from specdata.cards import licence, project_url, render
from specdata.errors import SpecdataError, one_line
from specdata.evaluation.scores import scores_of
from specdata.evaluation.training_figures import learning_curve, retention_bars
from specdata.files import new_folder, read_recipe
from specdata.hub import check_hub_name, weights_revision
from specdata.inference.trained import check_config, find_trained
from specdata.inputs import read_json
from specdata.publish.contents import (
    CARD,
    CARD_DATA,
    CONFIG,
    DECISION,
    LEARNING_FIGURE,
    OWNED,
    RECIPE,
    TOKENIZER,
    WEIGHTS,
    load_card_data,
)
from specdata.results import (
    PREDICTIONS,
    RESULTS,
    RETENTION,
    RETENTION_FIGURE,
    figure_names,
    format_score,
    load_results,
    load_retention,
    main_figure,
    rename,
    rename_retention,
    target_of,
)
from specdata.targets import REDSHIFT
from specdata.text.encoding import Encoding
from specdata.training.recipe import checkpoints

EXAMPLE = REDSHIFT.format(0.1234)
CONTENTS = (*OWNED["model"], ".gitattributes", ".cache")
# Values that `trl sft` takes for keys that a recipe leaves out.
_DEFAULTS = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "learning_rate": 2e-5, "num_train_epochs": 3,
             "per_device_train_batch_size": 8}  # fmt: skip
_SHOWN = (
    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps",
    "lr_scheduler_type", "warmup_steps", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "max_length",
    "dtype", "seed",
)  # fmt: skip


def write_adapter(
    training, results_folder, recipe, output, *, base_model=None, retention=None, note="", overrides=None,
    overwrite=False,
) -> None:  # fmt: skip
    """Gather a trained adapter, its results and its card in one folder, ready for the Hub.

    Parameters
    ----------
    training, results_folder : path-like
        Output folders of ``trl sft``, and of `specdata.evaluation.evaluate.evaluate` for this very adapter.
    recipe : path-like
        The recipe that it was trained with.
    output : path-like
        Folder to make.
    base_model : str, optional
        Hub name of the base model; needed where a local copy of it was used.
    retention : path-like, optional
        Output folder of ``specdata retention`` for this very adapter; by default a retention in the results' folder.
    note : str
        A paragraph that the card begins with.
    overrides : dict of str to str, optional
        Settings that the command line of ``trl sft`` gave in place of the recipe's, as they were written there.
    overwrite : bool

    Raises
    ------
    SpecdataError
        If a file or value is missing, if the results belong to another adapter, or if the adapter was not trained with
        this recipe.
    """
    training, results_folder = Path(training), Path(results_folder)
    config, results = _json(training / CONFIG), load_results(results_folder)
    if results["model"]["adapter_revision"] != weights_revision(training):
        raise SpecdataError(f"{results_folder}: holds results of another adapter than {training}; evaluate again")
    kept = None
    if retention or (results_folder / RETENTION).exists():
        kept = load_retention(retention or results_folder)
        if kept["model"]["adapter_revision"] != results["model"]["adapter_revision"]:
            raise SpecdataError(
                f"{retention or results_folder}: holds the retention of another adapter; measure it again"
            )
    settings = _settings(recipe, overrides or {})
    card_data = {"note": note, "overrides": overrides or {}}
    try:
        card_data |= {
            "checked": _check_settings(settings, recipe, config, training, results["dataset"]["n_train"]),
            "licence": _licence(training, config["base_model_name_or_path"], base_model),
            "cost": _cost(training),
            "history": _history(training, _DEFAULTS | settings),
        }
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        if isinstance(error, SpecdataError):
            raise
        raise SpecdataError(
            f"{training} or {recipe}: is not what trl writes or takes ({one_line(error)}); give those of one training"
        ) from None
    # `trl sft` wrote where the base model lay on its disk; others need its name.
    config["base_model_name_or_path"] = base_model or results["model"]["base"]
    check_hub_name(config["base_model_name_or_path"], "base model", "--base-model")
    with new_folder(output, marker=CONFIG, contents=CONTENTS, overwrite=overwrite) as folder:
        sources = [training / name for name in (WEIGHTS, *TOKENIZER) if name == WEIGHTS or (training / name).exists()]
        figures = [f"{name}.png" for name in figure_names(results)]
        sources += [results_folder / name for name in (RESULTS, PREDICTIONS, *figures)]
        for source in sources:
            shutil.copyfile(source, folder / source.name)
        shutil.copyfile(recipe, folder / RECIPE)
        if kept:
            (folder / RETENTION).write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
            retention_bars(folder / RETENTION_FIGURE, kept)
            (folder / f"{RETENTION_FIGURE}.pdf").unlink()
        _write_decision(folder, results)
        if card_data["history"]:
            learning_curve(folder / LEARNING_FIGURE, card_data["history"])
            (folder / f"{LEARNING_FIGURE}.pdf").unlink()
        for name, content in ((CONFIG, config), (CARD_DATA, card_data)):
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (folder / CARD).write_text(adapter_card(folder, Path(output).name), encoding="utf-8")


def _write_decision(folder, results):
    """Let transformers' decisions read p, where the folder has the tokenizer; of the redshift where it is below 1."""
    posterior, target = results.get("posterior", {}), target_of(results)
    if importlib.util.find_spec("transformers") is None or posterior.get("z_max") not in (1, None):
        return
    from transformers import AutoTokenizer

    from specdata.inference.decision import write_decision

    with contextlib.suppress(SpecdataError, OSError, ValueError):  # a tokenizer that is not there, or does not serve
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        write_decision(folder, tokenizer, posterior.get("temperature"), target)


def adapter_card(folder, name, *, hub=None) -> str:
    """Render the card of an adapter from the files in its folder.

    Parameters
    ----------
    folder : Path
        See `write_adapter`.
    name : str
        Under which the adapter is loaded: a folder, or its name on the Hub.
    hub : dict, optional
        For a card on the Hub: names there of the `dataset`, the `base_model` and the `tokenizer`, the `licence` of the
        base model (see `specdata.cards.licence`), and the `rank` that vLLM needs.
    """
    config, results, card_data = _json(folder / CONFIG), load_results(folder), load_card_data(folder)
    overrides = card_data["overrides"]
    settings = _DEFAULTS | _settings(folder / RECIPE, overrides)
    trained = find_trained(recipe=folder / RECIPE, overrides=overrides)
    check_config(results["dataset"]["config"], trained)
    local = {
        "dataset": results["dataset"]["name"], "base_model": config["base_model_name_or_path"], "tokenizer": name,
        "licence": card_data.get("licence"),
    }  # fmt: skip
    retention = load_retention(folder) if (folder / RETENTION).exists() else None
    encoding = Encoding.from_dict(results["encoding"], results["dataset"]["config"])
    target, axis = encoding.target, encoding.axis
    scores = scores_of(target)
    ranked = sorted(results["baselines"].values(), key=lambda baseline: baseline["metrics"][target.loss]["value"])
    names = local | {key: value for key, value in (hub or {}).items() if value is not None}
    return render(
        "adapter.md",
        name=name,
        on_hub=hub is not None,
        config=config,
        results=rename(results, dataset=names["dataset"], base=names["base_model"], adapter=name),
        scored=results["dataset"],
        best=ranked[0],
        best_on_text=next(baseline for baseline in ranked if baseline["reads"] != "pixels"),
        retention=retention and rename_retention(retention, base=names["base_model"], adapter=name),
        target=target,
        key=target.key,
        axis=axis,
        example_file="spec-0468-51912-0523.fits" if axis.is_sky else "curve.csv",
        answer=target.format(target.low if target.is_number else target.labels[0]) if target != REDSHIFT else EXAMPLE,
        figure=main_figure(target),
        columns=scores.COLUMNS,
        loss=next(iter(scores.COLUMNS)),
        loss_words=target.loss_words,
        metrics=scores.names(target),
        posterior_metrics=scores.posterior_names(target),
        format_score=format_score,
        settings={key: settings[key] for key in _SHOWN if settings.get(key) is not None},
        mixture=list(dict.fromkeys(trained.configs)),
        project=project_url(),
        decision=_json(folder / DECISION) if (folder / DECISION).exists() else None,
        **{key: card_data[key] for key in ("note", "overrides", "checked", "cost", "history")},
        **names,
    )


def _json(path):
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError):
        raise SpecdataError(f"{path}: is missing or not JSON; train or evaluate again") from None


def _licence(training, base, name):
    """The licence that a base model's folder, or its card on the Hub, states; None if that cannot be found."""
    beside = training.parent / base  # a relative path starts where `trl sft` was run
    for source in filter(None, (beside if beside.is_dir() else base, name)):
        with contextlib.suppress(SpecdataError):  # no network, or no such model on the Hub
            if found := licence(source):
                return found
    return None


def _states(training):
    """What the trainer wrote at its checkpoints, the last one at the end."""
    return [folder / "trainer_state.json" for folder in checkpoints(training)]


def _cost(training) -> dict:
    """What a training took, as far as its folder says: the trainer's last state, and codecarbon's `emissions.csv`."""
    cost = {}
    for path in [*_states(training)[-1:], training / "trainer_state.json"]:
        if path.exists():
            state = _json(path)
            cost["flops"] = state.get("total_flos") or cost.get("flops")
            for entry in state["log_history"]:
                cost["tokens"] = entry.get("num_tokens", cost.get("tokens"))
                cost["hours"] = entry["train_runtime"] / 3600 if "train_runtime" in entry else cost.get("hours")
    emissions = training / "emissions.csv"
    if emissions.exists():
        try:
            with emissions.open(newline="", encoding="utf-8") as stream:
                last = list(csv.DictReader(stream))[-1]
            cost["hours"], cost["kwh"] = float(last["duration"]) / 3600, float(last["energy_consumed"])
            cost["grams"] = 1000 * float(last["emissions"])
            cost["hardware"] = last.get("gpu_model") or last.get("cpu_model")
        except (OSError, ValueError, LookupError, TypeError):
            raise SpecdataError(f"{emissions}: is not what codecarbon writes; remove it, or train again") from None
    return {key: value for key, value in cost.items() if value}


def _history(training, settings) -> list:
    """Rows seen, and the mean loss of a learned token, at each step that the trainer has logged."""
    batch = settings["per_device_train_batch_size"] * settings.get("gradient_accumulation_steps", 1)
    entries = [entry for path in _states(training)[-1:] for entry in _json(path)["log_history"]]
    return [[entry["step"] * batch, entry["loss"]] for entry in entries if "loss" in entry]


def _settings(path, overrides):
    """Settings of a recipe of `trl sft` and of its command line."""
    return read_recipe(path) | {key: _value(text) for key, text in overrides.items()}


def _value(text):
    """What `trl sft` makes of a setting on its command line: a number, true or false, a list of words, or text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return {"true": True, "false": False}.get(text.lower(), text.split() if " " in text else text)


def _check_settings(settings, path, config, training, rows):
    """Compare the settings with what the training left behind, and return the keys that could be compared."""
    said = _DEFAULTS | settings
    found = {"lora_r": config["r"], "lora_alpha": config["lora_alpha"], "lora_dropout": config["lora_dropout"]}
    modules = said.get("lora_target_modules", "all-linear")
    modules = [modules] if isinstance(modules, str) else modules
    if modules != ["all-linear"]:  # which peft has replaced by the names that it found
        said["lora_target_modules"], found["lora_target_modules"] = sorted(modules), sorted(config["target_modules"])
    if states := _states(training):  # a recipe may save no checkpoint
        state = _json(states[-1])
        found["per_device_train_batch_size"] = state["train_batch_size"]
        if said.get("max_steps", -1) > 0:
            found["max_steps"] = state["max_steps"]
        else:  # the last checkpoint may lie before the end
            epochs = state["epoch"] * state["max_steps"] / state["global_step"]
            near = abs(epochs - said["num_train_epochs"]) <= 0.05 * said["num_train_epochs"]
            found["num_train_epochs"] = said["num_train_epochs"] if near else round(epochs, 2)
        if rate := max((entry.get("learning_rate", 0) for entry in state["log_history"]), default=0):
            # The log may miss the peak of the learning rate.
            near = 0.2 * float(said["learning_rate"]) < rate < 1.001 * float(said["learning_rate"])
            found["learning_rate"] = said["learning_rate"] if near else rate
        # If rows had more tokens than the recipe allows, the training had another limit or other data. Of a mixture,
        # the first data set has the spectra; without shares the number of the other rows is not known.
        seen = [(e["num_tokens"], e["epoch"]) for e in state["log_history"] if "num_tokens" in e and e.get("epoch")]
        shares = [part.get("fraction") for part in said.get("datasets") or [{"fraction": 1}]]
        rows = rows * sum(shares) / shares[0] if all(shares) else math.inf
        tokens = seen[-1][0] / (seen[-1][1] * rows) if seen else 0
        if tokens > said.get("max_length", 1024):
            found["max_length"] = f"{tokens:.0f} tokens a row"
    for key, value in found.items():
        if said.get(key) != value:
            raise SpecdataError(
                f"{path}: says {key} = {said.get(key)} but the training had {value}: give the recipe that it was "
                "trained with, and --override for what the command line changed"
            )
    return sorted(found)
