#!/usr/bin/env python3
"""Write licences.csv beside this script: every package of constraints.txt with the licence that it states.

    python docs/licences.py

It reads the metadata of the installed packages: the licence expression, or else the classifiers, or else the first line
of the free text.
"""

import csv
import importlib.metadata
from pathlib import Path

HERE = Path(__file__).parent
CLASSIFIER = "License :: "


def stated(metadata) -> str:
    """The licence in the metadata of a package."""
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith(CLASSIFIER)]
    named = sorted({text.split(" :: ")[-1] for text in classifiers} - {"OSI Approved"})
    free = (metadata.get("License") or "").strip().partition("\n")[0][:60]
    return metadata.get("License-Expression") or ", ".join(named) or free or "states none"


def main() -> None:
    """Write the table."""
    lines = (HERE.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()
    names = [line.partition("==")[0] for line in lines if "==" in line and not line.startswith("#")]
    with (HERE / "licences.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["package", "version", "licence"])
        for name in names:
            metadata = importlib.metadata.metadata(name)
            writer.writerow([metadata["Name"], metadata["Version"], stated(metadata)])


if __name__ == "__main__":
    main()
