"""A data set as a benchmark of the Hub: its `eval.yaml`, and what a model submits to its leaderboards.

docs/publishing.md says how a data set becomes one, and how a model is submitted.
"""

import yaml

from specdata.dataset.card import targets_of
from specdata.evaluation.scores import scores_of
from specdata.hub import hub_errors
from specdata.publish.contents import EVAL_RESULTS
from specdata.results import target_of
from specdata.targets import REDSHIFT

FRAMEWORK = "specdata"  # has to be in the Hub's list of frameworks before the Hub takes an eval.yaml with it
# A leaderboard for each of these scores, of which less is better; what it is in the results.
NUMBER_TASKS = {"mae": "mae", "nmad": "nmad", "outliers": "outlier_fraction", "crps": "crps"}
LABEL_TASKS = {"error-rate": "error_rate", "log-loss": "log_loss", "brier": "brier"}


def tasks_of(target) -> dict[str, str]:
    """Leaderboards of a target, whose names begin with its own if it is not the redshift; score of each."""
    begin = "" if target == REDSHIFT else f"{target.name}-"
    return {begin + task: score for task, score in (NUMBER_TASKS if target.is_number else LABEL_TASKS).items()}


def eval_yaml(manifest) -> str:
    """The `eval.yaml` of a data set: the leaderboards of all that its configs ask for, all on the test split.

    A target is the same in all configs that ask for it, and a model may read any of them; so the tasks name `spectra`.
    """
    tasks, meanings = [], []
    for target in targets_of(manifest).values():
        scores = scores_of(target)
        said = scores.names(target) | scores.posterior_names(target)
        for task, score in tasks_of(target).items():
            tasks.append({"id": task, "config": "spectra", "split": "test"})
            meanings.append(f"{task}: {said[score]}.")
    content = {
        "name": manifest["recipe"]["title"],
        "description": "What language models read from spectra written as text, scored by `specdata evaluate` on the "
        f"whole test split. Less is better for all scores. {' '.join(meanings)}",
        "evaluation_framework": FRAMEWORK,
        "tasks": tasks,
    }
    return yaml.safe_dump(content, sort_keys=False, width=120)


def eval_results(results, dataset, repo) -> dict[str, bytes]:
    """What a model submits: a file by its path in the repository; none where the data set is no registered benchmark.

    A registered one carries the tag ``benchmark:official`` on the Hub. Scores of a part of the test split, or of the
    validation split, are not submitted.

    Parameters
    ----------
    results : dict
        As `specdata.results.Results` says.
    dataset, repo : str
        Names on the Hub of the data set and of the model.
    """
    from huggingface_hub import EvalResultEntry, HfApi, eval_result_entries_to_yaml

    scored = results["dataset"]
    if scored["split"] != "test" or scored["n"] < scored["n_in_split"]:
        return {}
    with hub_errors(dataset):
        info = HfApi().dataset_info(dataset, revision=f"data-{scored['revision'][:12]}")
    if "benchmark:official" not in (info.tags or ()):
        return {}
    scores = results["metrics"] | results.get("posterior", {}).get("metrics", {})
    entries = [
        EvalResultEntry(
            dataset_id=dataset,
            task_id=task,
            value=scores[name]["value"],
            dataset_revision=info.sha,
            source_url=f"https://huggingface.co/{repo}",
            source_name="Model card",
            notes=f"config {scored['config']}, {results['estimate']}",
        )
        for task, name in tasks_of(target_of(results)).items()
        if scores.get(name, {}).get("value") is not None
    ]
    return {EVAL_RESULTS: yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False).encode()}
