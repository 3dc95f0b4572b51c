"""Which text config an adapter was trained on, and the refusal of another: its prompts would be of another kind."""

import math
from dataclasses import dataclass
from pathlib import Path

from specdata.dataset.manifest import read_manifest
from specdata.errors import SpecdataError, one_line
from specdata.files import read_recipe
from specdata.hub import local_folder
from specdata.results import RESULTS, load_results, target_of
from specdata.targets import TARGETS
from specdata.text.encoding import Encoding

RECIPE = "recipe.yaml"  # of the training, in the folder that `specdata card` makes


@dataclass(frozen=True, eq=False)
class Trained:
    """What is known of an adapter's training: names of text configs, how they write spectra, and which file says so.

    The first config is the one to use where nobody asks for another; several are those of a mixture.
    """

    configs: list
    encoding: Encoding | None
    source: str


def find_trained(folder=None, recipe=None, overrides=None) -> Trained | None:
    """Find out what an adapter was trained on.

    Parameters
    ----------
    folder : path-like, optional
        Folder of the adapter. `specdata card` has put the recipe and the evaluation's results there; what `trl sft`
        leaves does not say it.
    recipe : path-like, optional
        The recipe that it was trained with, which counts before what the folder holds.
    overrides : dict, optional
        Settings that the command line of ``trl sft`` changed.

    Returns
    -------
    Trained or None
        None where it is not known.
    """
    folder = Path(folder) if folder is not None else None
    if recipe is not None:
        return _of_recipe(recipe, overrides or {})
    if folder is not None and (folder / RESULTS).is_file():
        results = load_results(folder)
        config = results["dataset"]["config"]
        return Trained([config], Encoding.from_dict(results["encoding"], config), RESULTS)
    if folder is not None and (folder / RECIPE).is_file():
        return _of_recipe(folder / RECIPE, {})
    return None


def check_config(config, trained) -> None:
    """Refuse a text config that is not the one an adapter was trained on; nothing is refused where that is not known.

    Raises
    ------
    SpecdataError
    """
    if trained is not None and config not in trained.configs:
        raise SpecdataError(
            f"config {config!r}: the adapter was trained on {' and '.join(map(repr, trained.configs))}, says "
            f"{trained.source}; use that, for it cannot read prompts that are written in another way"
        )


def choose_config(name, manifest, config=None, trained=None) -> str:
    """Choose the text config of a data set that suits an adapter.

    Parameters
    ----------
    name : str
        What the user calls the data set.
    manifest : dict
    config : str, optional
        The one that the user asks for.
    trained : Trained, optional

    Raises
    ------
    SpecdataError
        If the data set does not have it, if it is not what the adapter was trained on, or if several would do.
    """
    found = {key: Encoding.from_dict(stored, key) for key, stored in manifest["configs"].items()}
    listed = f"{name} has the text configs {', '.join(found)}"
    chosen = config or (trained.configs[0] if trained else None)
    if chosen is None and len({_way(encoding) for encoding in found.values()}) > 1:
        raise SpecdataError(f"{listed}; say by --config, or by the --recipe of the training, which one to use")
    chosen = chosen or next(iter(found))
    if chosen not in found:
        raise SpecdataError(f"config {chosen!r}: {listed}")
    if trained is None or trained.encoding is None:
        check_config(chosen, trained)
    elif _way(found[chosen]) != _way(trained.encoding):  # whatever its name is in this data set
        check_config(chosen, trained)
        raise SpecdataError(
            f"config {chosen!r}: {name} writes it in another way than the adapter's training data, with other bins, "
            f"scheme or normalisation than {trained.source} says; use a data set that is written the same"
        )
    return chosen


def load_encoding(adapter, dataset=None, config=None) -> Encoding:
    """How the spectra have to be written for an adapter.

    Parameters
    ----------
    adapter : Path
        Folder of the adapter.
    dataset : str, optional
        The data set that it was trained on, a folder or a Hub name; needed where the folder has no results.
    config : str, optional
        The text config that it was trained on.
    """
    if dataset is not None:
        manifest = read_manifest(local_folder(dataset, "dataset"), dataset)
        config = choose_config(dataset, manifest, config, find_trained(adapter))
        return Encoding.from_dict(manifest["configs"][config], config)
    hint = "give --dataset and --config of its training, or the folder that `specdata card` made"
    results = load_results(adapter, hint)
    if config is not None:
        check_config(config, find_trained(adapter))
    return Encoding.from_dict(results["encoding"], results["dataset"]["config"])


def only_target(folder, results) -> bool:
    """Whether an adapter was trained without conversations, as far as its folder says it.

    Parameters
    ----------
    folder : Path
        Folder of the adapter. Of the data sets that its recipe mixes, those count as conversations that are neither the
        text config that was scored nor named as a target is.
    results : dict or None
        Of its evaluation.
    """
    recipe = Path(folder) / RECIPE
    parts = (read_recipe(recipe).get("datasets") if recipe.is_file() else None) or []
    if results is None or results["encoding"].get("turns"):
        return False
    return len(parts) < 2 or all(part.get("name") in {results["dataset"]["config"], *TARGETS} for part in parts)


def training_range(results) -> tuple:
    """Lowest and highest number of an adapter's training rows, such as the redshift; S/N of the rows of its scores.

    Everything lies inside of what is not known.
    """
    z = (results or {}).get("settings", {}).get("unparsed_scores_as") or (-math.inf, math.inf)
    parts = (results or {}).get("subsets", {}).get("snmedian") or [{"low": -math.inf, "high": math.inf}]
    return tuple(z), (min(part["low"] for part in parts), max(part["high"] for part in parts))


def doubts(results) -> list[str]:
    """Reasons to doubt what an adapter says, from its own evaluation, a sentence each."""
    scored, constant, found = results["dataset"], results["baselines"].get("constant"), []
    words = target_of(results).words
    if scored["n_mock_train"]:
        found.append(
            f"{scored['n_mock_train']} of the {scored['n_train']} spectra that the adapter was trained on are mocks; "
            f"the {words} of a real spectrum may be wrong"
        )
    if constant and constant["verdict"] != "better":
        found.append(
            f"on {scored['n']} spectra of the split {scored['split']} the adapter was "
            f"{'worse' if constant['verdict'] == 'worse' else 'not clearly better'} than the same {words} for all of "
            "them; do not use it"
        )
    return found


def other_revision(what, found, stated) -> list[str]:
    """A sentence if a revision is not that of the evaluation; a Hub commit and a hash of files cannot be compared."""
    if len(found) != len(stated) or found == stated:
        return []
    return [f"the {what} has revision {found[:12]}, and the adapter was scored on {stated[:12]}"]


def _way(encoding):
    """What two encodings have in common if they write a spectrum in the same way."""
    return encoding.edges.tobytes(), encoding.normalisation, encoding.scheme


def _of_recipe(path, overrides):
    content = read_recipe(path) | overrides
    try:
        parts = content.get("datasets")
        configs = [part.get("name") for part in parts] if parts else [content.get("dataset_config")]
    except (AttributeError, TypeError, LookupError) as error:
        raise SpecdataError(f"{path}: is not a recipe of trl sft ({one_line(error)})") from None
    if not any(configs):
        raise SpecdataError(f"{path}: names no text config; give dataset_config, or the name of one of datasets")
    return Trained([str(config) for config in configs if config], None, Path(path).name)
