"""The command that scores a model."""

from typing import Annotated

import typer

from specdata.cli.options import Device, Output, Overwrite

app = typer.Typer()


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
    greedy_only: Annotated[bool, typer.Option("--greedy-only", help="Leave out p(z); score greedy answers.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Score a model on a split of a data set. Run again, it goes on where it stopped."""
    from specdata.evaluation.evaluate import evaluate as run
    from specdata.files import find_recipe

    results = run(
        model, dataset, output, adapter=adapter, config=config, recipe=recipe and find_recipe(recipe), split=split,
        limit=limit, batch_size=batch_size, device=device, greedy_only=greedy_only, overwrite=overwrite,
    )  # fmt: skip
    print_results(results)
    print(f"written to {output}")


def print_results(results: dict) -> None:
    """Print the scores of a model and of the baselines as a table, and whether it is better than they are."""

    def cell(score):
        if score["value"] is None:
            return "-"
        return f"{score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}]"

    data, methods = results["dataset"], {results["estimate"]: results["metrics"]}
    methods["greedy answer"] = results["greedy"]["metrics"]
    methods |= {name.replace("_", " "): found["metrics"] for name, found in results["baselines"].items()}
    print(f"\n{data['name']} {data['config']} {data['split']}, n = {data['n']}, revision {data['revision'][:12]}")
    print(f"{'':<18}" + "".join(f"{name:<28}" for name in methods))
    for name in results["metrics"]:
        print(f"{name:<18}" + "".join(f"{cell(scores[name]):<28}" for scores in methods.values()))
    for name, score in results.get("posterior", {}).get("metrics", {}).items():
        print(f"{name:<18}{cell(score)}")
    for name, found in results["baselines"].items():
        said = {"undecided": "not clearly different from"}.get(found["verdict"], f"{found['verdict']} than")
        print(f"{said} {name.replace('_', ' ')}: the MAE differs by {cell(found['difference'])}")
