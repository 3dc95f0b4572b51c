#!/usr/bin/env python3
"""The baselines of `specdata evaluate` on the test split of a data set, without a model.

    OMP_NUM_THREADS=1 python benchmarks/baselines.py DATASET --config paper packed --output baselines.csv
    OMP_NUM_THREADS=1 python benchmarks/baselines.py DATASET --config paper --output baselines.csv --templates FILE

A line of the CSV is one baseline; lines are appended. With templates from a file, only the template fits are run.
"""

import argparse
import csv
from pathlib import Path

from specdata.evaluation import metrics
from specdata.evaluation.baselines.methods import TITLES, run_baselines
from specdata.evaluation.split import open_split

SCORES = ("mae", "mae_share", "nmad", "outlier_fraction")


def measure(args):
    """Yield a dict for each baseline of each config."""
    names = args.baselines or [name for name in TITLES if name.startswith("template") or not args.templates]
    for config in args.config:
        data = open_split(args.dataset, config, limit=args.limit)
        z, z_train = data.rows["z"].to_numpy(), data.train["z"].to_numpy()
        found = run_baselines(
            data, ["constant", *(name for name in names if name != "constant")], templates=args.templates
        )
        constant = found["constant"][1]["chosen"]["z"]
        for name, (z_pred, facts) in found.items():
            if name not in names:
                continue
            line = {"spectra": args.name or data.name, "revision": data.revision[:12], "config": config}
            line |= {"bins": len(data.encoding.wavelength), "training_rows": len(z_train), "n": len(z)}
            line |= {"baseline": facts["title"], "reads": facts["reads"]}
            scores = metrics.score(z_pred, z, (z_train.min(), z_train.max()), constant)
            for score in SCORES:
                line |= {
                    f"{score}{end}": scores[score][key]
                    for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))
                }
            yield line


def main():
    """Measure, print and append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="data set made by `specdata build`: a folder or a Hub name")
    parser.add_argument("--config", nargs="+", required=True, help="text configs")
    parser.add_argument("--name", help="what the CSV calls the spectra; by default the name of the data set")
    parser.add_argument("--limit", type=int, help="take only the first rows of the test split")
    parser.add_argument("--baselines", nargs="+", choices=TITLES, help="only these; by default all")
    parser.add_argument("--templates", type=Path, help="templates in redrock's format")
    parser.add_argument("--output", type=Path, required=True, help="CSV file")
    args = parser.parse_args()
    for line in measure(args):
        new = not args.output.exists()
        with args.output.open("a", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, line, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow({key: f"{x:.6g}" if isinstance(x, float) else x for key, x in line.items()})
        mae = "MAE {mae:.6f} [{mae_low:.6f}, {mae_high:.6f}]".format(**line)
        print(f"{line['config']:<10} {line['baseline']:<64} {mae}", flush=True)


if __name__ == "__main__":
    main()
