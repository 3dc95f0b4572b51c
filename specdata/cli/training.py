"""Commands of a training: check it, launch it, mix in other data, send it to a cluster, launch many."""

from pathlib import Path
from typing import Annotated

import typer

from specdata.cli.options import Output, Overwrite, SlurmOption, key_values

app = typer.Typer()
_TRL_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}
_Recipe = Annotated[str, typer.Argument(help="Recipe of trl sft; options for trl sft follow after all others.")]


@app.command(context_settings=_TRL_OPTIONS)
def check(
    context: typer.Context,
    recipe: _Recipe,
    device: Annotated[str | None, typer.Option(help="GPU to train on, such as h100-80gb.")] = None,
) -> None:
    """Find out in seconds why a training would fail. Exit code 2 if it would."""
    from specdata.training.check import check as run

    report = run(recipe, context.args, device=device)
    for name, fact in report.facts.items():
        print(f"{name}: {fact}")
    for level, sentence in report.findings:  # the worst first
        print(f"{'FAILS' if level == 'fail' else 'warns'}  {sentence}")
    if report.failed:
        print(f"findings that would make the launch fail: {len(report.failed)}")
        raise typer.Exit(2)
    print("nothing found that would fail")


@app.command(context_settings=_TRL_OPTIONS)
def train(
    context: typer.Context,
    recipe: _Recipe,
    start_from: Annotated[str | None, typer.Option(help="Adapter to go on with: a folder or a name.")] = None,
) -> None:
    """Check a recipe and launch `trl sft` with it. Goes on from the last checkpoint."""
    from specdata.training.launch import train as run

    print(f"trained in {run(recipe, context.args, adapter=start_from)}")


@app.command()
def replay(
    dataset: Annotated[str, typer.Argument(help="Instruction data with conversations: a folder or a Hub name.")],
    output: Output,
    tokenizer: Annotated[str, typer.Option(help="Of the model to train: llama-3.1, a Hub id, a folder.")],
    config: Annotated[str | None, typer.Option(help="Config of the data set.")] = None,
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "train",
    rows: Annotated[int, typer.Option(min=1, help="Conversations to take, at random.")] = 200,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of the longest, chat template included.")] = 573,
    seed: Annotated[int, typer.Option(help="Of the random choice.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Take conversations for a recipe to mix in. With them, the model does not forget how to talk."""
    from specdata.training.replay import write_replay

    record = write_replay(
        dataset, output, tokenizer=tokenizer, config=config, split=split, rows=rows, tokens=tokens, seed=seed,
        overwrite=overwrite,
    )  # fmt: skip
    print(f"taken      {record['rows']} of the {record['looked_at']} looked at; {record['too_long']} were too long")
    print(
        f"mix it in  datasets: [..., {{path: {output}, split: train, columns: [prompt, completion], fraction: 0.01}}]"
    )


@app.command(context_settings=_TRL_OPTIONS)
def slurm(
    context: typer.Context,
    recipe: _Recipe,
    output: Annotated[Path, typer.Option(help="Batch script to write, such as train.sbatch.")],
    nodes: Annotated[int, typer.Option(min=1, help="Nodes.")] = 1,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of each node; 0 to train on CPUs.")] = 8,
    accelerate_config: Annotated[str | None, typer.Option(help="A file, or trl's own name, such as fsdp2.")] = None,
    option: SlurmOption = None,
    setup: Annotated[str | None, typer.Option(help="Shell command first: source .venv/bin/activate.")] = None,
) -> None:
    """Write the batch script that runs a recipe on a Slurm cluster."""
    from specdata.training.slurm import write_slurm

    write_slurm(
        output, recipe, context.args, nodes=nodes, gpus=gpus, accelerate_config=accelerate_config,
        options=key_values("--slurm-option", option, "partition=gpu"), setup=setup,
    )  # fmt: skip
    print(f"written    {output}; submit it with: sbatch {output}")


@app.command(context_settings=_TRL_OPTIONS)
def sweep(
    context: typer.Context,
    recipe: _Recipe,
    output: Annotated[Path, typer.Option(help="Folder with a folder for each run, and the table.")],
    grid: Annotated[str, typer.Option(help="Grid of settings: a YAML file or a shipped one.")] = "sweeps/paper",
    limit: Annotated[int | None, typer.Option(min=1, help="Evaluate only the first rows, a fair sample.")] = None,
) -> None:
    """Train and evaluate every run of a grid. Run again, it goes on where it stopped."""
    from specdata.evaluation.training_figures import draw_sweep
    from specdata.training.sweep import load_grid
    from specdata.training.sweep import sweep as run

    print(f"\n{run(recipe, output, grid=grid, settings=context.args, rows=limit)}")
    drawn = draw_sweep(output, load_grid(grid).published)
    print(f"written    {output}/table.md{' and tradeoff.png, tradeoff.pdf' if drawn else ''}")
