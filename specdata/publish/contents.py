"""What goes up: the named files of a data set or an adapter and no others, with the names of the Hub in them."""

import json
import shutil
import tempfile
from pathlib import Path

import yaml

from specdata.dataset.manifest import MANIFEST
from specdata.errors import SpecdataError
from specdata.evaluation.figures import draw_figures
from specdata.evaluation.training_figures import learning_curve
from specdata.inference.adapter import CONFIG, WEIGHTS, read_config
from specdata.inference.decision import CONFIG as DECISION
from specdata.inference.decision import TEMPLATE as DECISION_TEMPLATE
from specdata.inputs import read_json
from specdata.results import CONTENTS as EVALUATION
from specdata.results import (
    PREDICTIONS,
    RESULTS,
    RETENTION,
    Part,
    check_results,
    load_retention,
    rename,
    rename_retention,
)

RECIPE, CARD = "recipe.yaml", "README.md"
CARD_DATA = "card.json"
LEARNING_FIGURE = "learning"
EVAL_YAML, EVAL_RESULTS = "eval.yaml", ".eval_results/specdata.yaml"  # see `specdata.publish.benchmark`
TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
)  # fmt: skip
DECISIONS = (DECISION, DECISION_TEMPLATE)
# What an earlier publication may have put into a repository; a later one replaces or removes it, and nothing else.
OWNED = {
    "dataset": ("*.parquet", "figures/*.png", "rejected.csv", MANIFEST, CARD, EVAL_YAML),
    "model": (
        WEIGHTS,
        CONFIG,
        *TOKENIZER,
        *DECISIONS,
        CARD,
        CARD_DATA,
        RECIPE,
        *EVALUATION,
        EVAL_RESULTS,
        f"{LEARNING_FIGURE}.png",
    ),
}


class Cost(Part):
    """What a training took, as far as its folder says: of the trainer, and of codecarbon."""

    hours: float | None = None
    tokens: float | None = None
    flops: float | None = None
    kwh: float | None = None
    grams: float | None = None
    hardware: str | None = None


class CardData(Part):
    """What a card says that no other file of an adapter's folder holds. It is published beside the card.

    `overrides` are the settings that the command line of the training changed, `checked` the settings that were
    compared with the trainer's log, and `history` has rows seen and loss of its steps.
    """

    note: str
    overrides: dict[str, str]
    checked: list[str]
    licence: dict[str, str | list[str]] | None = None
    cost: Cost
    history: list[tuple[float, float]]


def load_card_data(folder) -> dict:
    """Read what `CardData` says from an adapter's folder; SpecdataError if it is missing or of other types."""
    path, hint = folder / CARD_DATA, "make the folder again by `specdata card`"
    try:
        content = read_json(path)
    except (OSError, ValueError):
        raise SpecdataError(f"{path}: is missing or not JSON; {hint}") from None
    check_results(content, path, CardData, hint)
    return CardData(**content).model_dump(exclude_none=True)


def dataset_files(folder, manifest) -> dict:
    """Files of a data set beside its card: paths by name in the repository.

    One that is missing or is a link is an error. `read_manifest` has refused names that `specdata build` does not give.
    """
    names = (MANIFEST, "rejected.csv", *manifest["figures"], *manifest["files"])
    return {name: regular_file(folder, name) for name in names}


def adapter_files(folder, results, repo, names) -> dict:
    """Files of an adapter beside its card: content or paths by name in the repository.

    Parameters
    ----------
    folder : Path
        See `specdata.publish.adapter_card.write_adapter`. A file that is missing or is a link is an error.
    results : dict
        Its evaluation.
    repo : str
        Its name on the Hub.
    names : dict of str to str
        Names on the Hub of its `dataset`, `base_model` and `tokenizer`, which replace local names everywhere. The
        tokenizer goes along if it is named `repo`.
    """
    config = read_config(folder)
    config["base_model_name_or_path"] = names["base_model"]
    scored, recipe = results["dataset"]["name"], regular_file(folder, RECIPE).read_text(encoding="utf-8")
    results = rename(results, dataset=names["dataset"], base=names["base_model"], adapter=repo)
    made = {name: json.dumps(content, indent=2) + "\n" for name, content in ((CONFIG, config), (RESULTS, results))}
    if (folder / RETENTION).exists():
        retention = rename_retention(load_retention(folder), base=names["base_model"], adapter=repo)
        made[RETENTION] = json.dumps(retention, indent=2) + "\n"
    made[RECIPE] = _with_hub_names(recipe, names["base_model"], names["dataset"], scored)
    files = [WEIGHTS, PREDICTIONS, CARD_DATA, *(name for name in DECISIONS if (folder / name).exists())]
    files += [name for name in TOKENIZER if names["tokenizer"] == repo and (folder / name).exists()]
    paths = {name: regular_file(folder, name) for name in files}
    return {name: text.encode() for name, text in made.items()} | paths | _drawn_again(folder)


def _drawn_again(folder):
    """The figures of an evaluation, drawn from its predictions: the card shows what the published numbers are."""
    with tempfile.TemporaryDirectory() as drawn:
        for name in (RESULTS, PREDICTIONS, *([RETENTION] if (folder / RETENTION).exists() else [])):
            shutil.copyfile(folder / name, Path(drawn) / name)
        draw_figures(drawn)
        if history := load_card_data(folder)["history"]:
            learning_curve(Path(drawn) / LEARNING_FIGURE, history)
        return {path.name: path.read_bytes() for path in sorted(Path(drawn).glob("*.png"))}


def regular_file(folder, name) -> Path:
    """Path of a file that lies in a folder itself: a link could bring any file of this disk to the Hub."""
    path = Path(folder).resolve() / name
    if not path.is_file() or path.resolve() != path:
        raise SpecdataError(f"{folder}: {name} is missing, or is a link to another file; make the folder again")
    return path


def left_out(folder, uploads) -> list:
    """Files of a folder that stay where they are, other than traces of git and of the Hub's clients."""
    paths = (path.relative_to(folder) for path in sorted(Path(folder).rglob("*")) if path.is_file())
    traces = (".cache", ".git", ".gitattributes")
    return [path.as_posix() for path in paths if path.as_posix() not in uploads and path.parts[0] not in traces]


def _with_hub_names(recipe, base_model, dataset, scored):
    """Put names of the Hub into a recipe, whose comments stay; of a mixture, into the parts of the scored data set."""
    places = []
    for key, value in yaml.compose(recipe).value:
        if key.value in ("model_name_or_path", "dataset_name"):
            places.append((value, base_model if key.value == "model_name_or_path" else dataset))
        elif key.value == "datasets":
            for item, path in (pair for part in value.value for pair in part.value):
                if item.value == "path" and path.value.rpartition("/")[2] == scored.rpartition("/")[2]:
                    places.append((path, dataset))
    for node, name in sorted(places, key=lambda place: -place[0].start_mark.index):
        recipe = recipe[: node.start_mark.index] + name + recipe[node.end_mark.index :]
    return recipe
