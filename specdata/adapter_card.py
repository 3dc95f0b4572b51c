"""The adapter's folder: its weights, its card, its results and figure, and nothing else of the training run."""

import json
import shutil
from pathlib import Path

import yaml

from specdata.cards import render
from specdata.errors import SpecdataError
from specdata.evaluate import RESULTS
from specdata.files import new_folder
from specdata.inputs import weights_revision
from specdata.metrics import NAMES

# What makes an adapter: weights, config, and the tokenizer that it was trained with. No checkpoints, no optimizer
# state, no training_args.bin (a pickle), no placeholder card.
_KEPT = ("adapter_model.safetensors", "adapter_config.json", "tokenizer*", "special_tokens_map.json", "*.jinja")
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
        Output folder of `specdata.evaluate.evaluate` for this very adapter.
    recipe : path-like
        The recipe that it was trained with.
    output : path-like
        Folder to make.
    base_model : str, optional
        Hub name of the base model; needed where a local copy of it was used.
    note : str, optional
        A paragraph that the card begins with.
    overrides : dict, optional
        Settings that took the place of the recipe's on the command line of ``trl sft``.
    overwrite : bool

    Raises
    ------
    SpecdataError
        If a file or value is missing, if the results belong to another adapter, or if the adapter was not trained with
        this recipe.
    """
    training, results_folder = Path(training), Path(results_folder)
    config = _json(training / "adapter_config.json")
    results = _json(results_folder / RESULTS)
    if results["model"]["adapter_revision"] != weights_revision(training):
        raise SpecdataError(f"{results_folder}: holds results of another adapter than {training}; evaluate again")
    content = _recipe(recipe, overrides or {})
    _check_recipe(content, recipe, config, training)
    base_model = base_model or results["model"]["base"]
    if base_model.count("/") != 1 or base_model.startswith((".", "/", "~")):
        raise SpecdataError(
            f"base model {base_model!r} is not a Hub name: give --base-model, such as meta-llama/Llama-3.1-8B-Instruct"
        )
    with new_folder(output, marker="adapter_config.json", overwrite=overwrite) as folder:
        for pattern in _KEPT:
            for file in sorted(training.glob(pattern)):
                shutil.copyfile(file, folder / file.name)
        # `trl sft` wrote where the base model lay on its disk; others need its name.
        config["base_model_name_or_path"] = base_model
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for name in (RESULTS, "redshift.png", "predictions.parquet"):
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
            settings={key: content[key] for key in _RECIPE_KEYS if key in content},
            overrides=overrides or {},
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
        raise SpecdataError(f"{path}: cannot be read as a recipe ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise SpecdataError(f"{path}: is not a recipe of trl sft; give the one that the adapter was trained with")
    return content | overrides


def _check_recipe(content, path, config, training):
    """Compare what the recipe says with what the training left behind, as far as it can be told."""
    hint = "give the recipe that it was trained with, and --override for what the command line changed"
    pairs = [("lora_r", config["r"]), ("lora_alpha", config["lora_alpha"]), ("lora_dropout", config["lora_dropout"])]
    for key, found in pairs:
        if content.get(key) != found:
            raise SpecdataError(f"{path}: says {key} = {content.get(key)} but the adapter has {found}: {hint}")
    if sorted(content.get("lora_target_modules", [])) != sorted(config["target_modules"]):
        modules = ", ".join(sorted(config["target_modules"]))
        raise SpecdataError(f"{path}: other lora_target_modules than the adapter's, {modules}: {hint}")
    states = sorted(training.glob("checkpoint-*/trainer_state.json"), key=lambda p: int(p.parent.name[11:]))
    if states:  # a recipe may save no checkpoint
        state = _json(states[-1])
        if content.get("max_steps", -1) > 0:
            key, asked, ran = "max_steps", content["max_steps"], state["max_steps"]
        else:  # the last checkpoint may lie before the end
            epochs = state["epoch"] * state["max_steps"] / state["global_step"]
            key, asked, ran = "num_train_epochs", content.get("num_train_epochs", 3), round(epochs, 2)
        if abs(ran - asked) > 0.05 * asked:
            raise SpecdataError(f"{path}: says {key} = {asked} but the training ran for {ran}: {hint}")
