"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from specdata.errors import SpecdataError

Output = Annotated[Path, typer.Option(help="Folder to make; it appears only when it is complete.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier result, the whole folder.")]


def key_values(option, items, example):
    """Split the KEY=VALUE of an option that may be repeated; dict."""
    pairs = {}
    for item in items or []:
        key, equals, value = item.partition("=")
        if not (key and equals):
            raise SpecdataError(f"{option} {item}: write KEY=VALUE, such as {example}")
        pairs[key] = value
    return pairs
