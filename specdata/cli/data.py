"""Commands that make and show data sets, and list the recipes."""

import contextlib
import math
from pathlib import Path
from typing import Annotated

import typer

from specdata.cli.options import Overwrite, SlurmOption, key_values, warn
from specdata.errors import SpecdataError

app = typer.Typer()
_Dataset = Annotated[str, typer.Argument(help="Data set made by `specdata build`: a folder or a Hub name.")]


@app.command()
def recipes(name: Annotated[str | None, typer.Argument(help="Print the path of this recipe's file.")] = None) -> None:
    """List the recipes, or print where one lies. For example: trl sft --config "$(specdata recipes NAME)"."""
    from specdata.files import find_recipe, recipe_names

    if name is not None:
        print(find_recipe(name))
        return
    names = recipe_names()
    for name in names:  # the first line of a recipe is a comment that says what it is
        with find_recipe(name).open(encoding="utf-8") as file:
            print(f"{name:<{max(map(len, names))}}  {file.readline().lstrip('# ').rstrip()}")


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="Recipe of a data set, such as recipes/data/sdss-folder.yaml.")],
    output: Annotated[Path | None, typer.Option(help="Folder to make; it appears only when it is complete.")] = None,
    source: Annotated[Path | None, typer.Option(help="Spec files, or a data set, instead of the recipe's.")] = None,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the queries to the SDSS archive only.")] = False,
    executor: Annotated[str, typer.Option(help="What runs the parts: local, slurm or ray.")] = "local",
    shards: Annotated[int | None, typer.Option(min=1, help="Parts that the source is divided into.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Parts that run at the same time.")] = None,
    work: Annotated[Path | None, typer.Option(help="Folder for the parts; by default OUTPUT.parts.")] = None,
    slurm_option: SlurmOption = None,
) -> None:
    """Make a data set from spectra, ready for the Hub.

    Downloads from SDSS (recipes with a source of kind sdss) have not been run against the live servers yet.
    """
    from specdata.dataset.build import build as build_dataset
    from specdata.dataset.recipe import load_data_recipe
    from specdata.files import find_recipe

    content = load_data_recipe(find_recipe(recipe), source=source)
    if dry_run:
        from specdata.archive.skyserver import bin_queries
        from specdata.archive.skyserver import dry_run as describe

        if content.source.kind != "sdss":
            raise SpecdataError(f"--dry-run shows the queries to the SDSS archive, and {recipe} makes none")
        print(
            describe(
                bin_queries(content.cuts, content.sample, content.source.data_release), content.source.data_release
            )
        )
        return
    if output is None:
        raise SpecdataError("--output is missing: give the folder to make")
    manifest = build_dataset(
        content, output, overwrite=overwrite, work=work, shards=shards, executor=executor, workers=workers,
        slurm_options=key_values("--slurm-option", slurm_option, "partition=cpu"),
    )  # fmt: skip
    if manifest is None:
        print(f"submitted  four jobs, the last of which makes {output}; if one fails, give the same command again")
    else:
        print_build(manifest, output)


def print_build(manifest: dict, output: Path) -> None:
    """Print from its manifest what a build has made."""
    counts = manifest["counts"]
    if selection := manifest.get("selection"):
        listed = f"{manifest['recipe']['source']['catalogue']}.failed.csv, which the next run tries again"
        lost = len(selection["missing"])
        said = f"{lost}, replaced from their redshift bins as far as these go; listed in {listed}" if lost else "none"
        print(f"missing    {said}")
    rejected = ", ".join(f"{cut} {n}" for cut, n in counts["rejected"].items() if n) or "none"
    print(f"read       {counts['read']} spectra; rejected: {rejected}")
    bins, size = manifest["redshift_bins"], counts["asked"]["size"]
    short = sum(row["taken"] < row["asked"] for row in bins)
    ran_short = f"; {short} of {len(bins)} redshift bins ran short (the card has the table)" if short else ""
    print(f"sampled    {counts['sampled']} of the {size} asked for{ran_short}")
    print("splits     " + ", ".join(f"{name} {n}" for name, n in counts["splits"].items()))
    print(f"revision   {manifest['revision'][:12]}")
    for name, config in manifest["configs"].items():
        fit = config.get("fit")
        fitted = f", the most within {fit['tokens']} tokens of {fit['tokenizer']} ({fit['longest']})" if fit else ""
        clipped = f", {config['values']['clipped']} values clipped" if config["values"]["clipped"] else ""
        print(f"config     {name}: {len(config['edges']) - 1} bins{fitted}{clipped}")
    print(f'load it    load_dataset("{output}", "{next(iter(manifest["configs"]))}")')


@app.command()
def tokens(
    dataset: _Dataset,
    tokenizer: Annotated[list[str] | None, typer.Option(help="A name, Hub id, folder or file; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Tokens that a row may have; else the recipe's.")] = None,
    context: Annotated[int, typer.Option(min=1, help="Tokens of the model's context.")] = 8192,
    bins: Annotated[int | None, typer.Option(min=1, max=10_000, help="Linear bins instead of the data set's.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Rows to look at, the first of each split.")] = 100_000,
    figure: Annotated[Path | None, typer.Option(help="Draw the counts: a PNG, PDF or SVG file.")] = None,
) -> None:
    """Count the tokens of a data set's rows with any tokenizer. Counts them in every other scheme, too."""
    from specdata.canvas import FORMATS
    from specdata.dataset.figures import token_figure
    from specdata.dataset.manifest import read_manifest
    from specdata.dataset.tokens import token_costs
    from specdata.files import new_file
    from specdata.hub import local_folder
    from specdata.text.tokenizer import LLAMA, SMOLLM2
    from specdata.text.tokens import cost_table

    folder = local_folder(dataset, "dataset")
    manifest = read_manifest(folder, dataset)
    options = {"limit": limit, "context": context, "most_rows": rows, "bins": bins, "progress": True}
    # The file first, so that an impossible name is told before the counting.
    with new_file(figure, suffixes=FORMATS) if figure else contextlib.nullcontext() as partial:
        costs = token_costs(folder, manifest, tokenizer or [LLAMA, SMOLLM2], **options)
        print(cost_table(costs), end="")
        if figure:
            token_figure(partial, costs)
    if figure:
        print(f"\nfigure     {figure}")


@app.command()
def preview(
    dataset: _Dataset,
    row: Annotated[str, typer.Argument(help="SPLIT:NUMBER such as test:0, PLATE-MJD-FIBERID, a specobjid, or a file.")],
    config: Annotated[str | None, typer.Option(help="Text config; by default the first one.")] = None,
    output: Annotated[Path | None, typer.Option(help="PNG, PDF or SVG; by default preview-NAME-CONFIG.png.")] = None,
) -> None:
    """Draw a row: as observed, as binned, and as its text says it."""
    from specdata.dataset.preview import preview as run

    shown = run(dataset, row, output, config=config)
    text = shown["text"] if len(shown["text"]) < 100 else f"{shown['text'][:72]} … {shown['text'][-20:]}"
    clipped = f", {shown['clipped']} values clipped" if shown["clipped"] else ""
    asked = f", {shown['asked']}" if "asked" in shown else ""
    at = f"{shown['split']}:{shown['number']}, {shown['name']}" if shown["split"] else row
    print(f"row        {at}" + (f", z = {shown['z']:z.4f}" if math.isfinite(shown["z"]) else "") + asked)
    warn(*shown["warnings"])
    print(f"text       {shown['config']}, {shown['bins']} values: {text}")
    print(f"error      at most {shown['error']:.4f} of the normalised flux{clipped}")
    print(f"figure     {shown['path']}")
