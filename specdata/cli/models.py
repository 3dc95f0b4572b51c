"""Commands that score models and write their cards."""

from pathlib import Path
from typing import Annotated

import typer

from specdata.cli.options import Output, Overwrite, key_values
from specdata.cli.report import print_demo, print_results

app = typer.Typer()


@app.command()
def evaluate(
    model: Annotated[str, typer.Option(help="Base model: a folder or a Hub name.")],
    dataset: Annotated[str, typer.Option(help="Data set of `specdata build`: a folder or a Hub name.")],
    output: Output,
    adapter: Annotated[str | None, typer.Option(help="LoRA adapter; without it the base model is scored.")] = None,
    config: Annotated[str, typer.Option(help="Text config of the data set.")] = "paper",
    split: Annotated[str, typer.Option(help="validation or test; the training split is refused.")] = "test",
    limit: Annotated[int | None, typer.Option(help="Score only the first rows, which are a fair sample.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 16,
    device: Annotated[str | None, typer.Option(help="Such as cuda or cpu; a GPU if there is one.")] = None,
    posterior: Annotated[bool, typer.Option("--posterior", help="Score p(z), too: CRPS, coverage, PIT.")] = False,
    overwrite: Overwrite = False,
):
    """Score a model on a split: results.json, predictions.parquet and a figure. Stopped, it goes on where it was."""
    from specdata.evaluation.evaluate import evaluate as run

    results = run(
        model, dataset, output, adapter=adapter, config=config, split=split, limit=limit, batch_size=batch_size,
        device=device, posterior=posterior, overwrite=overwrite,
    )  # fmt: skip
    print_results(results)
    print(f"written to {output}")


@app.command()
def card(
    training: Annotated[Path, typer.Option(help="Output folder of trl sft.")],
    evaluation: Annotated[Path, typer.Option(help="Output folder of specdata evaluate for that adapter.")],
    recipe: Annotated[Path, typer.Option(help="The recipe that it was trained with.")],
    output: Output,
    base_model: Annotated[str | None, typer.Option(help="Hub name of the base, where a local copy was used.")] = None,
    override: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE that the command line of trl sft changed; repeatable.")
    ] = None,
    overwrite: Overwrite = False,
):
    """Gather a trained adapter, its results and its model card in one folder."""
    from specdata.files import find_recipe
    from specdata.publish.adapter_card import write_adapter

    overrides = key_values("--override", override, "learning_rate=1e-5")
    write_adapter(
        training, evaluation, find_recipe(recipe), output, base_model=base_model, overrides=overrides,
        overwrite=overwrite,
    )  # fmt: skip
    print(f"adapter and card in {output}")


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for all that the demo makes.")] = Path("specdata-demo"),
):
    """Run the whole line on mock galaxies and SmolLM2-135M: no hub, no account, no GPU, a few minutes."""
    from specdata.demo import demo as run

    print_results(run(output))
    print_demo(output)
