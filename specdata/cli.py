"""The command line: each command is a few lines that call the module of its name."""

import contextlib
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

import specdata
from specdata.errors import SpecdataError
from specdata.report import print_build, print_demo, print_preview, print_results

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)

Output = Annotated[Path, typer.Option(help="Folder to make; it appears only when it is complete.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result, the whole folder.")]


def _version(wanted: bool):
    if wanted:
        print(f"specdata {specdata.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
):
    """SDSS spectra as text for language models: data sets, recipes, adapters and their evaluation."""


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print the path of this recipe's file.")] = None,
):
    """List the shipped recipes, or print where one lies: trl sft --config "$(specdata recipes NAME)"."""
    from specdata.files import find_recipe, recipe_names

    print("\n".join(recipe_names()) if name is None else find_recipe(name))


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="Recipe of a data set, e.g. recipes/data/sdss-folder.yaml.")],
    output: Annotated[Path | None, typer.Option(help="Folder to make; it appears only when it is complete.")] = None,
    source: Annotated[
        Path | None, typer.Option(help="Folder of spec files, or a data set, in place of the recipe's.")
    ] = None,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be asked of the SDSS archive.")] = False,
    executor: Annotated[str | None, typer.Option(help="Who does the parts: local, slurm or ray.")] = None,
    shards: Annotated[int | None, typer.Option(min=1, help="Parts that the source is divided into.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Parts that are worked on at the same time.")] = None,
    work: Annotated[Path | None, typer.Option(help="Folder for the parts; by default OUTPUT.parts.")] = None,
    slurm_option: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE, such as partition=cpu or account=astro; repeatable.")
    ] = None,
):
    """Turn spectra into a folder that is a Hub data set repository."""
    from specdata.dataset import build as build_dataset
    from specdata.files import find_recipe
    from specdata.recipe import load_data_recipe

    content = load_data_recipe(find_recipe(recipe), source=source)
    if dry_run:
        from specdata.sources.query import bin_queries
        from specdata.sources.query import dry_run as describe

        if content.source.kind != "sdss":
            raise SpecdataError(
                f"--dry-run: shows what is asked of the archive, and {recipe} has no source of kind sdss"
            )
        print(describe(bin_queries(content.cuts, content.sample), content.source.data_release))
        return
    if output is None:
        raise SpecdataError("--output is missing: give the folder to make")
    manifest = build_dataset(
        content, output, overwrite=overwrite, work=work, shards=shards, executor=executor, workers=workers,
        slurm_options=_pairs("--slurm-option", slurm_option, "partition=cpu"),
    )  # fmt: skip
    if manifest is None:
        print(f"submitted  four jobs, the last of which makes {output}; if one fails, give the same command again")
        return
    print_build(manifest, output)


@app.command()
def tokens(
    dataset: Annotated[str, typer.Argument(help="Data set of `specdata build`: a folder or a Hub name.")],
    tokenizer: Annotated[
        list[str] | None,
        typer.Option(help="llama-3.1, smollm2-135m, a Hub id, a folder, a .gguf or a tokenizer.model; repeatable."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Tokens that a row may have.")] = 573,
    context: Annotated[int, typer.Option(min=1, help="Tokens of the model's context.")] = 8192,
    bins: Annotated[
        int | None, typer.Option(min=1, help="Linear bins of the schemes, instead of the data set's.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows to look at, the first of each split.")] = 100_000,
    figure: Annotated[Path | None, typer.Option(help="Draw it, too: a PNG, PDF or SVG file.")] = None,
):
    """Count what the rows of a data set cost with any tokenizer, as they are and in every scheme."""
    from specdata.costs import token_costs
    from specdata.figures import FORMATS, token_figure
    from specdata.files import new_file
    from specdata.inputs import local_folder, read_manifest
    from specdata.tokenizer import LLAMA, SMOLLM2
    from specdata.tokens import cost_table

    folder = local_folder(dataset, "dataset")
    manifest = read_manifest(folder, dataset)
    options = {"limit": limit, "context": context, "most_rows": rows, "bins": bins, "progress": True}
    # The file first, so that a name that will not do is told before the counting.
    with new_file(figure, suffixes=FORMATS) if figure else contextlib.nullcontext() as partial:
        costs = token_costs(folder, manifest, tokenizer or [LLAMA, SMOLLM2], **options)
        print(cost_table(costs), end="")
        if figure:
            token_figure(partial, costs, title=f"{manifest['recipe']['name']}: what a sample costs")
    if figure:
        print(f"\nfigure     {figure}")


@app.command()
def preview(
    dataset: Annotated[str, typer.Argument(help="Data set of `specdata build`: a folder or a Hub name.")],
    row: Annotated[str, typer.Argument(help="SPLIT:NUMBER such as test:0, PLATE-MJD-FIBERID, or a specobjid.")],
    config: Annotated[str | None, typer.Option(help="Text config; by default the first one.")] = None,
    output: Annotated[Path | None, typer.Option(help="PNG, PDF or SVG; by default preview-NAME-CONFIG.png.")] = None,
):
    """Draw a row as it was observed, as it was binned, and as its text says it, over each other."""
    from specdata.preview import preview as run

    shown = run(dataset, row, output, config=config)
    print_preview(shown)


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
    overwrite: Overwrite = False,
):
    """Score a model on a split: results.json, predictions.parquet and a figure. Stopped, it goes on where it was."""
    from specdata.evaluate import evaluate as run

    results = run(
        model, dataset, output, adapter=adapter, config=config, split=split, limit=limit, batch_size=batch_size,
        device=device, overwrite=overwrite,
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
    import yaml

    from specdata.adapter_card import write_adapter
    from specdata.files import find_recipe

    overrides = {}
    for key, value in _pairs("--override", override, "learning_rate=1e-5").items():
        overrides[key] = yaml.safe_load(value)
        if isinstance(overrides[key], str):  # YAML takes 1e-5, without a point, for text
            with contextlib.suppress(ValueError):
                overrides[key] = float(value)
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


def _pairs(option, items, example):
    """Split the KEY=VALUE of an option that may be repeated; dict."""
    pairs = {}
    for item in items or []:
        key, equals, value = item.partition("=")
        if not (key and equals):
            raise SpecdataError(f"{option} {item}: write KEY=VALUE, such as {example}")
        pairs[key] = value
    return pairs


def main():
    """Run the command line; bad input is one sentence on standard error and exit code 2."""
    # Deprecation notes of other libraries are for their developers, not for who runs a command.
    warnings.simplefilter("ignore", FutureWarning)
    try:
        app(prog_name="specdata")
    except SpecdataError as error:
        print(f"specdata: {error}", file=sys.stderr)
        sys.exit(2)
    except SystemExit as end:
        if end.code == 130:  # Typer's answer to Ctrl-C
            print("specdata: interrupted; nothing is half written, give the same command again", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
