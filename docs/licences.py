#!/usr/bin/env python3
"""Write licences.csv beside this script: every package that constraints.txt or the README names, with its licence.

    python docs/licences.py

It reads the metadata of the installed packages: the licence expression, or else the classifiers, or else the first line
of the free text, or else what the licence file begins with.
"""

import csv
import importlib.metadata
import re
from pathlib import Path

HERE = Path(__file__).parent
CLASSIFIER = "License :: "
TEXTS = {  # sentences of licences, by which their files are told
    "Redistribution and use in source and binary forms": "BSD (by its licence file)",
    "Permission is hereby granted, free of charge": "MIT (by its licence file)",
}


def packages() -> dict[str, str]:
    """Versions of the packages to list, by their names."""
    text = "".join((HERE.parent / name).read_text(encoding="utf-8") for name in ("constraints.txt", "README.md"))
    return dict(re.findall(r"([\w.-]+)==([\w.]+)", text))


def stated(distribution) -> str:
    """The licence that a package states."""
    metadata = distribution.metadata
    classifiers = [text for text in metadata.get_all("Classifier") or [] if text.startswith(CLASSIFIER)]
    named = sorted({text.split(" :: ")[-1] for text in classifiers} - {"OSI Approved"})
    free = (metadata.get("License") or "").strip().partition("\n")[0][:60]
    files = [file for file in distribution.files or () if "licen" in file.name.lower()]
    texts = " ".join(" ".join(file.read_text(encoding="utf-8") for file in files).split())
    by_text = next((name for begin, name in TEXTS.items() if begin in texts), "states none")
    return metadata.get("License-Expression") or ", ".join(named) or free or by_text


def main() -> None:
    """Write the table."""
    with (HERE / "licences.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["package", "version", "licence"])
        for name, version in packages().items():
            writer.writerow([name, version, stated(importlib.metadata.distribution(name))])


if __name__ == "__main__":
    main()
