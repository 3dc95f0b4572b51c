"""Commands that check what the Hub allows, write the card of an adapter, and publish."""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from specdata.cli.options import Output, Overwrite, key_values

app = typer.Typer()


@app.command()
def card(
    training: Annotated[Path, typer.Option(help="Output folder of trl sft.")],
    evaluation: Annotated[Path, typer.Option(help="Output folder of specdata evaluate for that adapter.")],
    recipe: Annotated[Path, typer.Option(help="Recipe that it was trained with.")],
    output: Output,
    base_model: Annotated[str | None, typer.Option(help="Hub name of the base, where a local copy was used.")] = None,
    retention: Annotated[
        Path | None, typer.Option(help="Output folder of specdata retention for that adapter.")
    ] = None,
    override: Annotated[list[str] | None, typer.Option(help="KEY=VALUE that changed the recipe; repeatable.")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Gather an adapter, its results and its card in one folder."""
    from specdata.files import find_recipe
    from specdata.publish.adapter_card import write_adapter

    overrides = key_values("--override", override, "learning_rate=1e-5")
    write_adapter(
        training, evaluation, find_recipe(recipe), output, base_model=base_model, retention=retention,
        overrides=overrides, overwrite=overwrite,
    )  # fmt: skip
    print(f"adapter and card in {output}")


@app.command()
def preflight(
    names: Annotated[list[str] | None, typer.Argument(help="Recipes of trl sft, and models on the Hub.")] = None,
    repo: Annotated[str | None, typer.Option(help="Repository that you will publish to: ORG/NAME.")] = None,
    dataset: Annotated[bool, typer.Option("--dataset", help="The repository is a data set, not an adapter.")] = False,
) -> None:
    """Check before the training what the Hub allows. Access to models and data, and to publish."""
    from specdata.hub import preflight as run

    for what, found in run(names or [], repo=repo, repo_type="dataset" if dataset else "model"):
        print(f"{what:<11}{found}")


@contextlib.contextmanager
def _ended_at_once():
    """Let Ctrl-C and SIGTERM end a publication without waiting for the uploads, which try again for minutes.

    Nothing is lost by it: the Hub shows a commit or none, and what has arrived is not sent again.
    """

    def end(*_):
        print(
            "\nspecdata: interrupted; nothing is half written, give the same command again", file=sys.stderr, flush=True
        )
        os._exit(130)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


publish = typer.Typer(no_args_is_help=True, help="Check a data set or an adapter and publish it in one commit.")
app.add_typer(publish, name="publish")

_Folder = Annotated[Path, typer.Argument(help="The folder that specdata made.")]
_Repo = Annotated[str, typer.Option(help="Repository on the Hub: ORG/NAME. It is made if it does not exist.")]
_Private = Annotated[bool, typer.Option("--private", help="Make a new repository private.")]
_Tag = Annotated[str | None, typer.Option(help="Name of this version, such as v1.0, beside one made of its content.")]
_Message = Annotated[str | None, typer.Option(help="Message of the commit.")]
_Collection = Annotated[str | None, typer.Option(help="Title of a collection of ORG; made if it does not exist.")]
_Allow = Annotated[list[str] | None, typer.Option(help="Text that only looks like a secret or a path; repeatable.")]
_Branch = Annotated[str | None, typer.Option(help="Publish to this branch, made if it does not exist; not to main.")]
_PullRequest = Annotated[bool, typer.Option("--pull-request", help="Open a pull request, and leave main as it is.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and list what would be sent; send nothing.")]


@publish.command()
def dataset(
    folder: _Folder, repo: _Repo, private: _Private = False, tag: _Tag = None, message: _Message = None,
    collection: _Collection = None, branch: _Branch = None, pull_request: _PullRequest = False, allow: _Allow = None,
    dry_run: _DryRun = False,
    replace: Annotated[bool, typer.Option("--replace", help="Publish over a data set of another name.")] = False,
    benchmark: Annotated[bool, typer.Option("--benchmark", help="Add the eval.yaml of a Hub benchmark.")] = False,
) -> None:  # fmt: skip
    """Publish a data set made by specdata build."""
    from specdata.publish.publish import publish_dataset

    with _ended_at_once():
        done = publish_dataset(
            folder, repo, private=private, tag=tag, message=message, collection=collection, branch=branch,
            as_pull_request=pull_request, allow=allow, dry_run=dry_run, replace_other=replace,
            benchmark=benchmark, show=_print_planned,
        )  # fmt: skip
    _print_published(done)


@publish.command()
def adapter(
    folder: _Folder, repo: _Repo, private: _Private = False, tag: _Tag = None, message: _Message = None,
    collection: _Collection = None, branch: _Branch = None, pull_request: _PullRequest = False, allow: _Allow = None,
    dry_run: _DryRun = False,
    dataset: Annotated[str | None, typer.Option(help="Hub name of the data set, where a local copy was used.")] = None,
    base_model: Annotated[str | None, typer.Option(help="Hub name of the base, where a local copy was used.")] = None,
) -> None:  # fmt: skip
    """Publish an adapter made by specdata card."""
    from specdata.publish.publish import publish_adapter

    with _ended_at_once():
        done = publish_adapter(
            folder, repo, dataset=dataset, base_model=base_model, private=private, tag=tag, message=message,
            collection=collection, branch=branch, as_pull_request=pull_request, allow=allow, dry_run=dry_run,
            show=_print_planned,
        )  # fmt: skip
    _print_published(done)


def _print_planned(planned) -> None:
    """Print the files of a publication, and which of them are on the Hub already."""
    kind = "data set" if planned.kind == "dataset" else "adapter"
    print(f"{planned.repo} ({kind}), version {', '.join(planned.tags) or 'without a tag, as a pull request'}")
    sizes = {path: len(c) if isinstance(c, bytes) else c.stat().st_size for path, c in planned.uploads.items()}
    for path, size in sorted(sizes.items()):
        print(f"  {'on the Hub' if path in planned.present else 'new':<10} {size:>15,}  {path}")
    for path in planned.removed:
        print(f"  {'removed':<10} {'':>15}  {path}")
    print(f"  {len(sizes)} files, {sum(sizes.values()):,} bytes; no secret and no local path was found")
    if planned.present:
        print("  of the files on the Hub, only those that have changed are sent")
    for path in planned.left_out:
        print(f"  not published: {path}")
    for note in planned.notes:
        print(f"  note: {note}")


def _print_published(done) -> None:
    from huggingface_hub import constants

    if done.commit is None:
        print("nothing was sent: this was a dry run")
        return
    place = f"{constants.ENDPOINT}/{'datasets/' if done.kind == 'dataset' else ''}{done.repo}"
    new = [name for name in done.tags if name not in done.stay]
    what = "published" if done.is_new else "no change"
    print(f"{what}  {place}, commit {done.commit[:7]}" + (f", tag {', '.join(new)}" if new else ""))
    for name, oid in done.stay.items():
        print(f"tag {name} stays on commit {oid[:7]}, which had the same content first")
    if done.pull_request:
        print(
            f"pull request {done.pull_request}; when it is merged, the same command without --pull-request sets the tag"
        )
    if done.collection:
        print(f"collection {done.collection}")
