"""Commands that speak with the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from specdata.cli.report import print_changes, print_published

app = typer.Typer()


@app.command()
def preflight(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Recipes of trl sft and models, such as meta-llama/Llama-3.1-8B-Instruct."),
    ] = None,
    repo: Annotated[str | None, typer.Option(help="Repository that will be published to: ORG/NAME.")] = None,
    dataset: Annotated[bool, typer.Option("--dataset", help="It will be a data set, not an adapter.")] = False,
):
    """Check token, gated models, data sets and the right to publish before the hours of training, not after them."""
    from specdata.hub import preflight as run

    for what, found in run(names or [], repo=repo, repo_type="dataset" if dataset else "model"):
        print(f"{what:<11}{found}")


publish = typer.Typer(no_args_is_help=True, help="Publish a data set or an adapter: checked, scanned, in one commit.")
app.add_typer(publish, name="publish")

Folder = Annotated[Path, typer.Argument(help="The folder that specdata made.")]
Repo = Annotated[str, typer.Option(help="Repository on the Hub: ORG/NAME. It is made if there is none.")]
Private = Annotated[bool, typer.Option("--private", help="Make it a private one.")]
Tag = Annotated[str | None, typer.Option(help="Name of this version, such as v1.0; by default made of its content.")]
Message = Annotated[str | None, typer.Option(help="Of the commit.")]
Collection = Annotated[
    str | None,
    typer.Option(help="Title of a collection of ORG for data, adapters and the paper; made if there is none."),
]
Allow = Annotated[
    list[str] | None, typer.Option(help="A text that looks like a secret or a local path and is none; repeatable.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check, scan and list what would go up; send nothing.")]


@publish.command()
def dataset(
    folder: Folder, repo: Repo, private: Private = False, tag: Tag = None, message: Message = None,
    collection: Collection = None, allow: Allow = None, dry_run: DryRun = False,
):  # fmt: skip
    """Publish a data set of specdata build."""
    from specdata.publish.publish import publish_dataset

    done = publish_dataset(
        folder, repo, private=private, tag=tag, message=message, collection=collection, allow=allow, dry_run=dry_run,
        show=print_changes,
    )  # fmt: skip
    print_published(done)


@publish.command()
def adapter(
    folder: Folder, repo: Repo, private: Private = False, tag: Tag = None, message: Message = None,
    collection: Collection = None, allow: Allow = None, dry_run: DryRun = False,
    dataset: Annotated[str | None, typer.Option(help="Hub name of the data set, where a local copy was used.")] = None,
    base_model: Annotated[str | None, typer.Option(help="Hub name of the base, where a local copy was used.")] = None,
):  # fmt: skip
    """Publish an adapter of specdata card."""
    from specdata.publish.publish import publish_adapter

    done = publish_adapter(
        folder, repo, dataset=dataset, base_model=base_model, private=private, tag=tag, message=message,
        collection=collection, allow=allow, dry_run=dry_run, show=print_changes,
    )  # fmt: skip
    print_published(done)
