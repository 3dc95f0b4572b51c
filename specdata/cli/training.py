"""Commands before and around a training: check it, launch many, hand it to a cluster, take data to mix in."""

from pathlib import Path
from typing import Annotated

import typer

from specdata.cli.options import Output, Overwrite, key_values
from specdata.cli.report import print_check

app = typer.Typer()
_SETTINGS = {"allow_extra_args": True, "ignore_unknown_options": True}
_Recipe = Annotated[str, typer.Argument(help="Recipe of trl sft; what trl sft would be given after it comes last.")]
_Gpus = Annotated[int | None, typer.Option(min=1, help="GPUs of each node; by default what the launch asks for.")]


@app.command(context_settings=_SETTINGS)
def check(
    context: typer.Context,
    recipe: _Recipe,
    device: Annotated[str | None, typer.Option(help="GPU that it is meant for, such as h100-80gb.")] = None,
    gpus: _Gpus = None,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes, each with so many GPUs.")] = 1,
):
    """Tell what a launch would run into, in seconds: exit code 2 if it would fail."""
    from specdata.training.check import check as run

    report = run(recipe, context.args, device=device, gpus=gpus, nodes=nodes)
    print_check(report)
    if report.failed:
        raise typer.Exit(2)


@app.command()
def replay(
    dataset: Annotated[str, typer.Argument(help="Instruction data of chats: a folder or a Hub name.")],
    output: Output,
    tokenizer: Annotated[
        str, typer.Option(help="Of the model to train: llama-3.1, smollm2-135m, a Hub id or a folder.")
    ],
    config: Annotated[str | None, typer.Option(help="Config of the data set.")] = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "train",
    rows: Annotated[int, typer.Option(min=1, help="Conversations to take, at random.")] = 200,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens that one may have, chat template included.")] = 573,
    seed: int = 0,
    overwrite: Overwrite = False,
):
    """Take conversations of an instruction set that a recipe can mix in, so that the model stays able to talk."""
    from specdata.training.replay import write_replay

    record = write_replay(
        dataset, output, tokenizer=tokenizer, config=config, split=split, rows=rows, tokens=tokens, seed=seed,
        overwrite=overwrite,
    )  # fmt: skip
    print(f"taken      {record['rows']} of the {record['looked_at']} looked at; {record['too_long']} were too long")
    print(
        f"mix it in  datasets: [..., {{path: {output}, split: train, columns: [prompt, completion], fraction: 0.05}}]"
    )


@app.command(context_settings=_SETTINGS)
def slurm(
    context: typer.Context,
    recipe: _Recipe,
    output: Annotated[Path, typer.Option(help="Batch script to write, such as train.sbatch.")],
    nodes: Annotated[int, typer.Option(min=1, help="Nodes.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each; 0 for CPUs.")] = 8,
    accelerate_config: Annotated[
        str | None, typer.Option(help="accelerate/fsdp2, accelerate/zero3, a file or trl's own name.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option("--slurm-option", help="KEY=VALUE for #SBATCH, such as partition=gpu; repeatable."),
    ] = None,
    setup: Annotated[str | None, typer.Option(help="Line that makes trl available: source .venv/bin/activate.")] = None,
):
    """Write the batch script that runs a recipe on a Slurm cluster."""
    from specdata.training.slurm import write_slurm

    write_slurm(
        output, recipe, context.args, nodes=nodes, gpus=gpus, accelerate_config=accelerate_config,
        options=key_values("--slurm-option", option, "partition=gpu"), setup=setup,
    )  # fmt: skip
    print(f"written    {output}; submit it by: sbatch {output}")


@app.command(context_settings=_SETTINGS)
def sweep(
    context: typer.Context,
    recipe: _Recipe,
    output: Annotated[Path, typer.Option(help="Folder with a folder for each run, and the table.")],
    grid: Annotated[str, typer.Option(help="Grid of settings: a YAML file or a shipped one.")] = "sweeps/paper",
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate only the first rows, a fair sample.")] = None,
):
    """Train and evaluate every run of a grid, and write one table. Stopped, it goes on where it was."""
    from specdata.training.sweep import sweep as run
    from specdata.training.table import markdown

    print(f"\n{markdown(run(recipe, output, grid=grid, settings=context.args, rows=limit))}")
    print(f"written    {output}/table.md, table.json and table.png")
