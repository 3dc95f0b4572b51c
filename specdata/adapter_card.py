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


def write_adapter(training, results_folder, recipe, output, *, base_model=None, note=None, overwrite=False):
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
    overwrite : bool

    Raises
    ------
    SpecdataError
        If a file or value is missing, or if the results belong to another adapter.
    """
    training, results_folder = Path(training), Path(results_folder)
    config = _json(training / "adapter_config.json")
    results = _json(results_folder / RESULTS)
    if results["model"]["adapter_revision"] != weights_revision(training):
        raise SpecdataError(f"{results_folder}: holds results of another adapter than {training}; evaluate again")
    settings = _training_settings(recipe)
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
            config=config,
            results=results,
            dataset=results["dataset"],
            names=NAMES,
            settings=settings,
            note=note or "",
        )
        (folder / "README.md").write_text(text, encoding="utf-8")


def _json(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SpecdataError(f"{path}: is missing or not JSON; train or evaluate again") from None


def _training_settings(recipe):
    try:
        content = yaml.safe_load(Path(recipe).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SpecdataError(f"{recipe}: cannot be read as a recipe ({' '.join(str(error).split())})") from None
    return {key: content[key] for key in _RECIPE_KEYS if key in content}
