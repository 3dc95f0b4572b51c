"""Commands that make and show data sets."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from specdata.cli.options import Overwrite, key_values
from specdata.cli.report import print_build, print_preview
from specdata.errors import SpecdataError

app = typer.Typer()


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
    from specdata.dataset.build import build as build_dataset
    from specdata.dataset.recipe import load_data_recipe
    from specdata.files import find_recipe

    content = load_data_recipe(find_recipe(recipe), source=source)
    if dry_run:
        from specdata.archive.query import bin_queries
        from specdata.archive.query import dry_run as describe

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
        slurm_options=key_values("--slurm-option", slurm_option, "partition=cpu"),
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
        int | None, typer.Option(min=1, max=10_000, help="Linear bins of the schemes, instead of the data set's.")
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows to look at, the first of each split.")] = 100_000,
    figure: Annotated[Path | None, typer.Option(help="Draw it, too: a PNG, PDF or SVG file.")] = None,
):
    """Count what the rows of a data set cost with any tokenizer, as they are and in every scheme."""
    from specdata.canvas import FORMATS
    from specdata.dataset.costs import token_costs
    from specdata.dataset.figures import token_figure
    from specdata.dataset.manifest import read_manifest
    from specdata.files import new_file
    from specdata.hub import local_folder
    from specdata.text.tokenizer import LLAMA, SMOLLM2
    from specdata.text.tokens import cost_table

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
    from specdata.dataset.preview import preview as run

    shown = run(dataset, row, output, config=config)
    print_preview(shown)
