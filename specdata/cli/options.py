"""Options that several commands share."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from specdata.errors import SpecdataError

Output = Annotated[Path, typer.Option(help="Folder to make; it appears only when it is complete.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the folder of an earlier result.")]
SlurmOption = Annotated[
    list[str] | None,
    typer.Option("--slurm-option", help="KEY=VALUE for #SBATCH, such as partition=gpu; repeatable."),
]
Device = Annotated[str | None, typer.Option(help="Such as cuda or cpu; by default a GPU if there is one.")]
Endpoint = Annotated[
    str | None, typer.Option(help="Ask a server, such as http://127.0.0.1:8000; its key is SPECDATA_API_KEY.")
]
ServedModel = Annotated[str | None, typer.Option(help="Name of the adapter on that server, if it has several.")]


def warn(*sentences: str) -> None:
    """Print warnings on standard error, a line each."""
    for sentence in sentences:
        print(f"specdata: warning: {sentence}", file=sys.stderr)


def check_words(words: list[str]) -> None:
    """Refuse words of a command line that are not UTF-8, which no file that we write could hold."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise SpecdataError(f"{word!a}: is not UTF-8; rename the file, or write it otherwise") from None


def key_values(option: str, items: list[str] | None, example: str) -> dict[str, str]:
    """Split the ``KEY=VALUE`` items of an option that may be given several times; SpecdataError if one is no pair."""
    pairs = {}
    for item in items or []:
        key, equals, value = item.partition("=")
        if not (key and equals):
            raise SpecdataError(f"{option} {item}: write KEY=VALUE, such as {example}")
        if not item.isprintable():
            raise SpecdataError(f"{option} {item!r}: holds a line break, or another character that is not printable")
        pairs[key] = value
    return pairs
