"""Commands that speak with the Hub."""

from typing import Annotated

import typer

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
    from specdata.hubaccess import preflight as run

    for what, found in run(names or [], repo=repo, repo_type="dataset" if dataset else "model"):
        print(f"{what:<11}{found}")
