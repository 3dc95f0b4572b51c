#!/usr/bin/env python3
"""What adapters cost in language, as a CSV and as the rows of a Markdown table, from what `specdata retention` wrote.

python benchmarks/retention.py FOLDER ... --output benchmarks/tables/retention.csv
"""

import argparse
import csv
from pathlib import Path

from specdata.results import load_retention

FIGURES = ("before", "after", "retained", "retained_above_chance", "log_likelihood")


def rows(found):
    """Yield the name and the scores of each group, and after it of its tasks."""
    for group, scores in found["groups"].items():
        yield f"**{group}**", "", scores
        yield from ((name, task["split"], task) for name, task in found["tasks"].items() if task["group"] == group)


def cell(score, digits=3):
    """A score with its interval as text, empty where there is none."""
    if score["value"] is None:
        return ""
    return f"{score['value']:.{digits}f} [{score['low']:.{digits}f}, {score['high']:.{digits}f}]"


def main():
    """Read the folders, write the CSV and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="+")
    parser.add_argument("--output", required=True)
    args = parser.parse_args()
    with Path(args.output).open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        names = [f"{name}{end}" for name in FIGURES for end in ("", "_low", "_high")]
        writer.writerow(
            ["base", "adapter", "adapter_revision", "asked", "split", "n", "chance", "at_chance", "lost", "gained",
             "mcnemar_p", *names]
        )  # fmt: skip
        for folder in args.folder:
            found = load_retention(folder)
            model = [found["model"]["base"], found["model"]["adapter"], found["model"]["adapter_revision"][:12]]
            for name, split, row in rows(found):
                values = [row[figure][key] for figure in FIGURES for key in ("value", "low", "high")]
                writer.writerow(
                    [*model, name.strip("*"), split, row["n"], f"{row['chance']:.3f}", row["at_chance"], row["lost"],
                     row["gained"], f"{row['p_value']:.3g}", *("" if v is None else f"{v:.4f}" for v in values)]
                )  # fmt: skip
                kept = [cell(row[figure]) for figure in ("retained", "retained_above_chance")]
                shares = [f"{row[state]['value']:.2f}" for state in ("before", "after")]
                kept = ["at chance", ""] if row["at_chance"] else kept
                print(f"| {' | '.join([name, str(row['n']), *shares, *kept, cell(row['log_likelihood'], 2)])} |")
            print(f"{found['command']}; {found['seconds']:.0f} s")


if __name__ == "__main__":
    main()
