"""Options that several commands share."""

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


def key_values(option: str, items: list[str] | None, example: str) -> dict[str, str]:
    """Split the ``KEY=VALUE`` items of an option that may be given several times; SpecdataError if one is no pair."""
    pairs = {}
    for item in items or []:
        key, equals, value = item.partition("=")
        if not (key and equals):
            raise SpecdataError(f"{option} {item}: write KEY=VALUE, such as {example}")
        pairs[key] = value
    return pairs
