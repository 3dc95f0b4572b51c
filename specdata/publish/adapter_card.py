"""The adapter's folder: its weights, its card, its results and figure, and nothing else of the training run."""

import contextlib
import json
import math
import re
import shutil
from pathlib import Path

import yaml

from specdata.cards import render
from specdata.errors import SpecdataError, one_line
from specdata.evaluation.metrics import NAMES, POSTERIOR_NAMES
from specdata.files import new_folder
from specdata.hub import weights_revision
from specdata.results import CALIBRATION, load_results
from specdata.results import CONTENTS as EVALUATION

# What makes an adapter: weights, config, and the tokenizer that it was trained with. No checkpoints, no optimizer
# state, no training_args.bin (a pickle), no placeholder card.
_KEPT = ("adapter_model.safetensors", "adapter_config.json", "tokenizer*", "special_tokens_map.json", "*.jinja")
CONTENTS = (*_KEPT, "README.md", "recipe.yaml", *EVALUATION, ".gitattributes", ".cache")
# What `trl sft` takes for a key that a recipe leaves out.
_DEFAULTS = {"lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.05, "learning_rate": 2e-5, "num_train_epochs": 3,
             "per_device_train_batch_size": 8}  # fmt: skip
_RECIPE_KEYS = (
    "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size", "gradient_accumulation_steps",
    "lr_scheduler_type", "warmup_steps", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "max_length",
    "dtype", "seed",
)  # fmt: skip


def write_adapter(
    training, results_folder, recipe, output, *, base_model=None, note=None, overrides=None, overwrite=False
):
    """Gather a trained adapter, its results and its card in one folder, ready for the Hub.

    Parameters
    ----------
    training : path-like
        Output folder of ``trl sft``.
    results_folder : path-like
        Output folder of `specdata.evaluation.evaluate.evaluate` for this very adapter.
    recipe : path-like
        The recipe that it was trained with.
    output : path-like
        Folder to make.
    base_model : str, optional
        Hub name of the base model; needed where a local copy of it was used.
    note : str, optional
        A paragraph that the card begins with.
    overrides : dict of str to str, optional
        Settings that took the place of the recipe's on the command line of ``trl sft``, as they were written there.
    overwrite : bool

    Raises
    ------
    SpecdataError
        If a file or value is missing, if the results belong to another adapter, or if the adapter was not trained with
        this recipe.
    """
    training, results_folder = Path(training), Path(results_folder)
    config = _json(training / "adapter_config.json")
    results = load_results(results_folder)
    if results["model"]["adapter_revision"] != weights_revision(training):
        raise SpecdataError(f"{results_folder}: holds results of another adapter than {training}; evaluate again")
    content = _recipe(recipe, overrides or {})
    checked = _check_recipe(content, recipe, config, training, results["dataset"]["n_train"])
    base_model = base_model or results["model"]["base"]
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", base_model):
        raise SpecdataError(
            f"base model {base_model!r} is not a Hub name: give --base-model, such as meta-llama/Llama-3.1-8B-Instruct"
        )
    with new_folder(output, marker="adapter_config.json", contents=CONTENTS, overwrite=overwrite) as folder:
        for pattern in _KEPT:
            for file in sorted(training.glob(pattern)):
                shutil.copyfile(file, folder / file.name)
        # `trl sft` wrote where the base model lay on its disk; others need its name.
        config["base_model_name_or_path"] = base_model
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for name in EVALUATION:
            if name != CALIBRATION or "posterior" in results:
                shutil.copyfile(results_folder / name, folder / name)
        shutil.copyfile(recipe, folder / "recipe.yaml")
        text = render(
            "adapter.md",
            base_model=base_model,
            folder=Path(output).name,
            config=config,
            results=results,
            dataset=results["dataset"],
            names=NAMES,
            posterior_names=POSTERIOR_NAMES,
            settings={
                key: value for key in _RECIPE_KEYS if (value := content.get(key, _DEFAULTS.get(key))) is not None
            },
            overrides=overrides or {},
            checked=checked,
            note=note or "",
        )
        (folder / "README.md").write_text(text, encoding="utf-8")


def _json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SpecdataError(f"{path}: is missing or not JSON; train or evaluate again") from None


def _recipe(path, overrides):
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecdataError(f"{path}: cannot be read as a recipe ({one_line(error)})") from None
    if not isinstance(content, dict):
        raise SpecdataError(f"{path}: is not a recipe of trl sft; give the one that the adapter was trained with")
    return content | {key: _value(text) for key, text in overrides.items()}


def _value(text):
    """What `trl sft` makes of a setting on its command line: a number, true or false, a list of words, or text."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return {"true": True, "false": False}.get(text.lower(), text.split() if " " in text else text)


def _check_recipe(content, path, config, training, rows):
    """Compare what the recipe says with what the training left behind, and return the keys that could be compared."""
    said = _DEFAULTS | content
    found = {"lora_r": config["r"], "lora_alpha": config["lora_alpha"], "lora_dropout": config["lora_dropout"]}
    modules = said.get("lora_target_modules", "all-linear")
    modules = [modules] if isinstance(modules, str) else modules
    if modules != ["all-linear"]:  # which peft has replaced by the names that it found
        said["lora_target_modules"], found["lora_target_modules"] = sorted(modules), sorted(config["target_modules"])
    states = sorted(training.glob("checkpoint-*/trainer_state.json"), key=lambda p: int(p.parent.name[11:]))
    if states:  # a recipe may save no checkpoint
        state = _json(states[-1])
        found["per_device_train_batch_size"] = state["train_batch_size"]
        # The last checkpoint may lie before the end, and the log may miss the peak of the learning rate.
        epochs = state["epoch"] * state["max_steps"] / state["global_step"]
        rate = max((entry["learning_rate"] for entry in state["log_history"] if "learning_rate" in entry), default=0)
        if said.get("max_steps", -1) > 0:
            found["max_steps"] = state["max_steps"]
        else:
            near = abs(epochs - said["num_train_epochs"]) <= 0.05 * said["num_train_epochs"]
            found["num_train_epochs"] = said["num_train_epochs"] if near else round(epochs, 2)
        if rate:
            near = 0.2 * float(said["learning_rate"]) < rate < 1.001 * float(said["learning_rate"])
            found["learning_rate"] = said["learning_rate"] if near else rate
        # With rows of more tokens than the recipe lets through, it was another limit, or other data.
        seen = [(e["num_tokens"], e["epoch"]) for e in state["log_history"] if "num_tokens" in e and e.get("epoch")]
        # Of a mixture, the first data set has the spectra; without shares the others' rows are not known.
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
