"""The command line: each command is a few lines that call the module of its name, and what it prints."""

import errno
import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Annotated

import typer

import specdata
from specdata.cli import data, evaluation, inference, publish, serve, training
from specdata.cli.options import check_words
from specdata.errors import SpecdataError, one_line

_LONGEST = 2000  # characters of a sentence
app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
for _group in (data, training, inference, evaluation, publish, serve):
    app.add_typer(_group.app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"specdata {specdata.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """SDSS spectra as text for language models: data sets, recipes, adapters and their evaluation."""


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("specdata-demo"),
) -> None:
    """Run every stage on mock galaxies and SmolLM2-135M. Takes minutes, and no GPU, Hub or account."""
    from specdata.demo import demo as run

    evaluation.print_results(run(output))
    print(f"""
The adapter went on from one that comes with specdata, which had read some 3,000 mocks. All of these spectra are
synthetic: this says nothing about SDSS galaxies.

data set     {output}/data
adapter      {output}/adapter, with its card README.md and its figure redshift.png
predictions  {output}/evaluation/predictions.parquet

To load the adapter:
  import peft, transformers
  model = transformers.AutoModelForCausalLM.from_pretrained("{output}/base")
  model = peft.PeftModel.from_pretrained(model, "{output}/adapter")
  tokenizer = transformers.AutoTokenizer.from_pretrained("{output}/adapter")""")


def _refuse(sentence) -> None:
    """Print a sentence in one line that fits a screen, whatever names stand in it, and end with exit code 2."""
    text = " ".join(sentence.encode("utf-8", "backslashreplace").decode("utf-8").splitlines())
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"
    print(f"specdata: {text}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Run the command line; bad input is one sentence on standard error and exit code 2."""
    # Advice and deprecation warnings of other libraries are for developers, not for who runs a command.
    warnings.simplefilter("ignore", FutureWarning)
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    # A batch system's signal ends a command as Ctrl-C does, so that it can clean up.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        check_words(sys.argv[1:])
        app(prog_name="specdata")
    except (SpecdataError, OSError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            where = f"{error.filename}: " if error.filename else ""
            _refuse(f"{where}the disk is full; make room and give the same command again, which goes on where it can")
        if isinstance(error, OSError) and error.filename is None:
            raise  # not of a file or folder
        _refuse(str(error) if isinstance(error, SpecdataError) else f"{error.filename}: {one_line(error)}")
    except SystemExit as end:
        if end.code == 130:  # Typer's exit code for Ctrl-C
            print("specdata: interrupted; nothing is half written, give the same command again", file=sys.stderr)
        raise
