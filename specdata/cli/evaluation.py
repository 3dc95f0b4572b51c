"""The commands that score a model."""

from typing import Annotated

import typer

from specdata.cli.options import Device, Endpoint, Output, Overwrite, ServedModel

app = typer.Typer()
# Scores that are printed as a percentage, with so many decimals, and those of numbers (True) and labels (False).
_SHARES = {"mae_share": 0, "error_share": 0, "outlier_fraction": 1, "parse_rate": 0}
_COLUMNS = {
    True: {
        "MAE": "mae", "of constant's": "mae_share", "NMAD": "nmad", "outliers": "outlier_fraction",
        "answers": "parse_rate",
    },
    False: {
        "error rate": "error_rate", "of constant's": "error_share", "balanced accuracy": "balanced_accuracy",
        "answers": "parse_rate",
    },
}  # fmt: skip


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="Base model: a folder or a Hub name.")],
    dataset: Annotated[str, typer.Option(help="Data set made by `specdata build`: a folder or a Hub name.")],
    output: Output,
    adapter: Annotated[str | None, typer.Option(help="LoRA adapter; without it the base model is scored.")] = None,
    config: Annotated[str | None, typer.Option(help="Text config; by default the one of the training.")] = None,
    recipe: Annotated[str | None, typer.Option(help="Recipe of the training, which says the config.")] = None,
    split: Annotated[str, typer.Option(help="validation or test; the training split is refused.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Score only the first rows, which are a fair sample.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most prompts that are read together.")] = 16,
    device: Device = None,
    endpoint: Endpoint = None,
    served_model: ServedModel = None,
    greedy_only: Annotated[bool, typer.Option("--greedy-only", help="Leave out p(z); score greedy answers.")] = False,
    baselines: Annotated[str | None, typer.Option(help="Only these, such as constant,ridge; by default all.")] = None,
    templates: Annotated[
        str | None, typer.Option(help="Galaxy templates in redrock's format; by default made of the training spectra.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Score a model on a split of a data set. Run again, it goes on where it stopped."""
    from specdata.evaluation.evaluate import evaluate as run
    from specdata.files import find_recipe

    results = run(
        model, dataset, output, adapter=adapter, config=config, recipe=recipe and find_recipe(recipe), split=split,
        limit=limit, batch_size=batch_size, device=device, endpoint=endpoint, served=served_model,
        greedy_only=greedy_only,
        baselines=baselines and baselines.split(","), templates=templates, overwrite=overwrite,
    )  # fmt: skip
    print_results(results)
    print(f"written to {output}")


@app.command()
def retention(
    model: Annotated[str, typer.Option(help="Base model: a folder or a Hub name.")],
    adapter: Annotated[str, typer.Option(help="LoRA adapter: a folder or a Hub name.")],
    output: Output,
    groups: Annotated[str, typer.Option(help="Groups of questions, with commas between.")] = "science,general",
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first questions of each task.")] = None,
    chat_template: Annotated[bool, typer.Option("--chat-template", help="Ask by turns of a chat.")] = False,
    small: Annotated[
        bool | None, typer.Option(help="Score answers, not their letters; by default below 2e9 parameters.")
    ] = None,
    questions: Annotated[
        str, typer.Option(help="Groups of tasks: a YAML file or a shipped one.")
    ] = "retention/questions",
    answers: Annotated[str | None, typer.Option(help="Folder that keeps answers for other adapters.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Most texts that are read together.")] = 8,
    device: Device = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure what a training cost in language. Run again, it goes on where it stopped.

    The same questions are asked with the adapter switched off and on.
    """
    from specdata.evaluation.retention import measure_retention

    found = measure_retention(
        model, adapter, output, questions=questions, groups=[name.strip() for name in groups.split(",")], small=small,
        limit=limit, chat_template=chat_template, batch_size=batch_size, device=device, answers=answers,
        overwrite=overwrite,
    )  # fmt: skip
    print_retention(found)
    print(f"written to {output}")


def print_retention(found: dict) -> None:
    """Print what is kept of each group and each task as a table."""

    def cell(score, sign=""):
        if score["value"] is None:
            return "-"
        return f"{score['value']:{sign}.3f} [{score['low']:{sign}.3f}, {score['high']:{sign}.3f}]"

    print(f"\n{'':<38}{'n':>6} {'before':>7} {'after':>7}  {'kept':<23}{'kept above chance':<24}log-likelihood, nats")
    for group, scores in found["groups"].items():
        tasks = {name: task for name, task in found["tasks"].items() if task["group"] == group}
        for name, row in {group: scores, **{f"  {name}": task for name, task in tasks.items()}}.items():
            kept = f"{'the base is at chance':<47}"
            if not row["at_chance"]:
                kept = f"{cell(row['retained']):<23}{cell(row['retained_above_chance']):<24}"
            shares = f"{row['before']['value']:7.3f} {row['after']['value']:7.3f}"
            print(f"{name:<38}{row['n']:>6} {shares}  {kept}{cell(row['log_likelihood'], '+')}")
    print("kept = accuracy after / before; in brackets 95 % intervals over the questions")


def print_results(results: dict) -> None:
    """Print the scores of a model and of the baselines, a line for each, and then those of the probabilities."""
    from specdata.results import GREEDY, format_score, target_of

    def cell(name, score):
        value = score["value"]
        if value is None or name not in _SHARES:
            return format_score(score, "-")
        return f"{100 * value:.3g} %" if name.endswith("_share") else f"{100 * value:.{_SHARES[name]}f} %"

    def line(title, found, said=""):
        return title, *(cell(name, found[name]) for name in columns.values()), said

    data, speed, columns = results["dataset"], results["speed"], _COLUMNS[target_of(results).is_number]
    lines = [("", *columns, f"{next(iter(columns))} of the model, by comparison")]
    lines.append(line(results["estimate"], results["metrics"]))
    if results["estimate"] != GREEDY:
        lines.append(line("greedy answer", results["greedy"]["metrics"]))
    for found in results["baselines"].values():
        said = f"{found['verdict']}, by {format_score(found['difference'])}"
        lines.append(line(found["title"], found["metrics"], said))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    print(f"\n{data['name']} {data['config']} {data['split']}, n = {data['n']}, revision {data['revision'][:12]}")
    for cells in lines:
        print("  ".join(f"{text:<{width}}" for text, width in zip(cells, widths, strict=True)).rstrip())
    for note in dict.fromkeys(found["note"] for found in results["baselines"].values() if found["note"]):
        print(note)
    for name, score in results.get("posterior", {}).get("metrics", {}).items():
        print(f"{name:<{widths[0]}}  {format_score(score, '-')}")
    if speed["tokens_per_second"]:
        print(f"{speed['seconds']:.0f} s, {speed['tokens_per_second']:.0f} tokens of prompts a second")
