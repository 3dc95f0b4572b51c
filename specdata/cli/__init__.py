"""The command line: each command is a few lines that call the module of its name."""

import sys
import warnings
from typing import Annotated

import typer

import specdata
from specdata.cli import chat, data, hub, models, training
from specdata.errors import SpecdataError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
for _group in (data, models, training, chat, hub):
    app.add_typer(_group.app)


def _version(wanted: bool):
    if wanted:
        print(f"specdata {specdata.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
):
    """SDSS spectra as text for language models: data sets, recipes, adapters and their evaluation."""


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
