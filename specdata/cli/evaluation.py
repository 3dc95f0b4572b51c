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
    config: Annotated[str, typer.Option(help="Text config of the data set.")] = "paper",
    split: Annotated[str, typer.Option(help="validation or test; the training split is refused.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Score only the first rows, which are a fair sample.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts that the model answers at a time.")] = 16,
    device: Device = None,
    posterior: Annotated[bool, typer.Option("--posterior", help="Score p(z), too: CRPS, coverage, PIT.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Score a model on a split of a data set. Run again, it goes on where it stopped."""
    from specdata.evaluation.evaluate import evaluate as run

    results = run(
        model, dataset, output, adapter=adapter, config=config, split=split, limit=limit, batch_size=batch_size,
        device=device, posterior=posterior, overwrite=overwrite,
    )  # fmt: skip
    print_results(results)
    print(f"written to {output}")


def print_results(results: dict) -> None:
    """Print the scores of a model and of the baselines as a table."""
    sets = {"model": results["metrics"]} | {name: b["metrics"] for name, b in results["baselines"].items()}
    data = results["dataset"]
    print(f"\n{data['name']} {data['config']} {data['split']}, n = {data['n']}, revision {data['revision'][:12]}")
    print(f"{'':<20}" + "".join(f"{name:<28}" for name in results["metrics"]))
    for name, scores in sets.items():
        cells = (f"{m['value']:.4f} [{m['low']:.4f}, {m['high']:.4f}]" for m in scores.values())
        print(f"{name.replace('_', ' '):<20}" + "".join(f"{cell:<28}" for cell in cells))
    if "posterior" in results:
        found = results["posterior"]["metrics"]
        cells = (f"{name} {m['value']:.4f} [{m['low']:.4f}, {m['high']:.4f}]" for name, m in found.items())
        print("p(z)                " + ", ".join(cells))
