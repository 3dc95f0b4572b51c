#!/usr/bin/env python3
"""Error against rows seen: of models at their checkpoints, and of simple readers of the same text.

    python benchmarks/learning.py checkpoints RUN --data mock-redshifts --config packed-64 --output curve.csv
    python benchmarks/learning.py readers --data mock-redshifts --config packed-64 --output curve.csv
    python benchmarks/learning.py figure --output curve.csv --figure curve.png
    python benchmarks/learning.py blocks MODEL --data mock-redshifts --test sdss-spectra --config packed-64
    python benchmarks/learning.py calibration MODEL --data mock-redshifts --config packed-64 --limit 300

The first scores each checkpoint of a run of `trl sft` by its greedy answers. The second teaches nearest neighbours,
ridge regression, a small convolutional network (`readers.py`) and a template fit (its templates come from 600 rows at
most) the first 500, 1,000, ... training rows. Both take the same first rows of the test split. A line of the CSV is one
point; what it holds already is not measured again.
`blocks` shows which part of the spectrum misleads a model on other spectra than those it learned from: each eighth of
their bins takes the values of the nearest training spectrum in turn. `calibration` asks why the intervals of p(z) hold
more or less than they should: how well each digit is known, given those before it, and whether a temperature or other
levels, both fitted on validation rows, mend it.
"""

import argparse
import csv
import dataclasses
import functools
from pathlib import Path

import numpy as np
from readers import READERS, interval, read

from specdata import prompts, serialize
from specdata.evaluation.metrics import fill_failures

Z_RANGE = (0.01, 0.5)  # of the training rows
FIELDS = (
    "reader",
    "config",
    "test",
    "rows_seen",
    "distinct_rows",
    "seed",
    "n",
    "mae",
    "low",
    "high",
    "parsed",
    "command",
)
SIZES = (500, 1000, 2000, 4000, 8000, 16000, 40000, 160000)
STYLES = {
    "constant": ("#999999", "-", ""), "nearest neighbours": ("#E69F00", "--", "s"), "ridge": ("#CC79A7", "--", "^"),
    "CNN": ("#56B4E9", "--", "D"), "template fit": ("#D55E00", "--", "x"),
    "from scratch, batches of 8": ("#009E73", ":", "v"), "from scratch": ("#009E73", "-", "o"),
    "SmolLM2-135M": ("#0072B2", "-", "o"),
}  # fmt: skip


def load_split(data, config, split, rows=None):
    """Prompts, and redshifts of shape (rows,), of the first rows of a split."""
    from datasets import load_dataset

    found = load_dataset(str(data), config, split=split).select_columns(["prompt", "z"])
    found = found.select(range(min(rows or len(found), len(found))))
    return found["prompt"][:], np.array(found["z"][:], dtype=np.float64)


def series(asked, scheme="packed"):
    """The numbers that stand in prompts; ndarray of shape (rows, bins)."""
    return serialize.SCHEMES[scheme].decode_batch([prompts.read_series(prompt) for prompt in asked])


class Curve:
    """The CSV file: the points that it holds, and new ones after them."""

    def __init__(self, path):
        self.path = Path(path)
        self.points = []
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                self.points = list(csv.DictReader(file))

    def holds(self, **point):
        """Whether a point was measured before."""
        wanted = {key: str(value) for key, value in point.items()}
        return any(wanted.items() <= found.items() for found in self.points)

    def add(self, errors, point):
        """Append a point, with the interval of the mean of its errors, shape (n,)."""
        mean, low, high = interval(errors, np.arange(len(errors))) / 1000
        point |= {"n": len(errors), "mae": f"{mean:.5f}", "low": f"{low:.5f}", "high": f"{high:.5f}"}
        self.points.append({field: str(point[field]) for field in FIELDS})
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(self.points[-1])
        print(*(f"{key} {value}" for key, value in self.points[-1].items() if key != "command"), sep="  ", flush=True)


def score_checkpoints(args):
    """Greedy answers of every checkpoint of a run, or of every `--every`th step."""
    import torch

    from specdata.inference.local import Generator

    torch.set_num_threads(1)
    curve = Curve(args.output)
    asked, z = load_split(args.test or args.data, args.config, "test", args.limit)
    shared = {"reader": args.name, "config": args.config, "test": Path(args.test or args.data).name, "n": len(z)}
    for folder in sorted(args.run.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])):
        step = int(folder.name.rpartition("-")[2])
        point = shared | {"rows_seen": args.before + step * args.batch, "seed": args.seed}
        if step % args.every or curve.holds(**point):
            continue
        model = Generator(*((args.base, str(folder)) if args.base else (str(folder),)))
        answers = []
        for start in range(0, len(asked), 128):
            answers += model.answer(asked[start : start + 128])
        # A chat template may have begun the answer as part of the prompt (recipes/smollm2-135m/answer-begun.jinja).
        answers = [answer if "[" in answer else f"Redshift: [0.{answer}" for answer in answers]
        z_pred = np.array([prompts.parse_redshift(answer) for answer in answers], dtype=float)  # None is NaN
        point |= {"distinct_rows": min(point["rows_seen"], args.distinct), "command": args.command}
        point["parsed"] = 1 - np.isnan(z_pred).mean()
        curve.add(np.abs(fill_failures(z_pred, z, Z_RANGE) - z), point)


@functools.cache
def read_by_templates(data, config, rows, limit):
    """Redshifts of test rows, shape (limit,), by fitting templates made of the first training rows to the text."""
    from specdata.evaluation.baselines.methods import run_baselines
    from specdata.evaluation.split import open_split

    split = open_split(data, config, limit=limit)
    split = dataclasses.replace(split, train=split.train.slice(0, rows))
    return run_baselines(split, ["template_fit"], progress=False)["template_fit"][0]


def score_readers(args):
    """The constant, the readers of `readers.py` and a template fit, each taught so many training rows."""
    from specdata.evaluation.baselines.methods import TRAINING_ROWS

    curve = Curve(args.output)
    asked, z = load_split(args.test or args.data, args.config, "test", args.limit)
    asked_train, z_train = load_split(args.data, args.config, "train")
    x, x_train = (series(texts, args.config.partition("-")[0]) for texts in (asked, asked_train))
    for rows in [n for n in SIZES if n <= len(z_train)]:
        # A template fit needs the spectra, which `--test` may lack.
        for name in ("constant", *READERS, *([] if args.test else ["template fit"])):
            point = {"reader": name, "config": args.config, "test": Path(args.test or args.data).name, "n": len(z)}
            point |= {"rows_seen": rows, "seed": 0}
            if not curve.holds(**point):
                if name == "constant":
                    z_pred = np.full(len(z), np.median(z_train[:rows]))
                elif name == "template fit":
                    z_pred = read_by_templates(args.data, args.config, min(rows, TRAINING_ROWS), args.limit)
                else:
                    z_pred = read(name, x_train[:rows], z_train[:rows], np.arange(rows), x)
                command = f"learning.py readers --config {args.config}"
                curve.add(np.abs(z_pred - z), point | {"distinct_rows": rows, "parsed": 1.0, "command": command})


def exchange_blocks(args):
    """Print the error on other spectra, and when a part of each is that of its nearest training spectrum."""
    import torch

    from specdata.evaluation.baselines.simple import nearest
    from specdata.inference.local import Generator

    torch.set_num_threads(1)
    model = Generator(str(args.model))
    asked, z = load_split(args.test, args.config, "test", args.limit)
    asked_train, _ = load_split(args.data, args.config, "train")
    x, x_train = series(asked), series(asked_train)
    nearby = x_train[nearest(x_train, x, 1)[:, 0]]

    def report(what, values):
        texts = serialize.SCHEMES["packed"].encode_batch(values)
        answers = model.answer([[{"role": "user", "content": prompts.INSTRUCTION + text}] for text in texts])
        z_pred = np.array([prompts.parse_redshift(answer) for answer in answers], dtype=float)  # None is NaN
        error = np.abs(fill_failures(z_pred, z, Z_RANGE) - z)
        print(
            f"{what}: mean absolute error {error.mean():.4f}, bias {np.nanmean(z_pred - z):+.4f}, n {len(z)}",
            flush=True,
        )

    report("as they are", x)
    report("the nearest training spectra", nearby)
    for block in np.array_split(np.arange(x.shape[1]), 8):
        mixed = x.copy()
        mixed[:, block] = nearby[:, block]
        report(f"bins {block[0]} to {block[-1]} of the nearest", mixed)


def probabilities(model, asked):
    """p(z) of each prompt on the grid of four decimals below 1; ndarray of shape (rows, 10000)."""
    p = np.zeros((len(asked), 10_000))
    for row, found in model.posteriors(asked):
        at = np.rint(np.asarray(found.values) * 10_000).astype(int)
        p[row, at[at < 10_000]] = found.p[at < 10_000]
    return p / p.sum(axis=1, keepdims=True)


def quantile(p, level):
    """Redshift below which `level` of each row of p lies; shape (rows,)."""
    return np.array([np.searchsorted(row, level * row[-1]) for row in np.cumsum(p, axis=1)]) / 10_000


def interval_of(p, z, level):
    """Share of redshifts that the central intervals hold, and the median of half their widths."""
    low, high = quantile(p, (1 - level) / 2), quantile(p, (1 + level) / 2)
    return np.mean((z > low - 1e-4) & (z < high + 1e-4)), np.median(high - low) / 2


def surprise(p, z):
    """Mean of -log p of the true answers, in nats."""
    return -np.log(np.maximum(p[np.arange(len(z)), np.rint(z * 10_000).astype(int)], 1e-9)).mean()


def score_calibration(args):
    """Print how well each digit is known, and how many redshifts the intervals hold, as read and after a fit."""
    import torch

    from specdata.inference.local import Generator

    torch.set_num_threads(1)
    model = Generator(str(args.model))
    (asked, z), (asked_fit, z_fit) = (load_split(args.data, args.config, s, args.limit) for s in ("test", "validation"))
    p, p_fit = probabilities(model, asked), probabilities(model, asked_fit)

    def report(what, p, levels=(0.68, 0.95)):
        error = np.abs(quantile(p, 0.5) - z)
        parts = [f"{share:.3f} (half {half:.4f})" for share, half in (interval_of(p, z, level) for level in levels)]
        print(f"{what}: median {error.mean():.4f}, intervals hold {', '.join(parts)}, {surprise(p, z):.3f} nats")

    number = np.rint(z * 10_000).astype(int)
    for digit in range(4):
        size = 10 ** (3 - digit)  # answers that share the digits up to this one
        start = number // (10 * size) * 10 * size
        at = start[:, None] + size * np.arange(11)
        below = np.pad(np.cumsum(p, axis=1), ((0, 0), (1, 0)))
        share = np.diff(np.take_along_axis(below, at, axis=1), axis=1)
        known = share.sum(axis=1) > 1e-6
        share, true = share[known] / share[known].sum(axis=1, keepdims=True), (number // size % 10)[known]
        nats = -np.log(np.maximum(share[np.arange(len(true)), true], 1e-9)).mean()
        right = (share.argmax(axis=1) == true).mean()
        print(f"digit {digit + 1}: {nats:.3f} nats, most probable {share.max(axis=1).mean():.3f}, right {right:.3f}")
    report("as read", p)

    def cooled(p, temperature):
        power = p ** (1 / temperature)
        return power / power.sum(axis=1, keepdims=True)

    fitted = min(np.geomspace(0.3, 3, 47), key=lambda t: surprise(cooled(p_fit, t), z_fit))
    report(f"temperature {fitted:.2f}", cooled(p, fitted))
    below = np.cumsum(p_fit, axis=1)[np.arange(len(z_fit)), np.rint(z_fit * 10_000).astype(int)]
    levels = np.quantile(2 * np.abs(below - 0.5), [0.68, 0.95])
    report(f"levels {levels[0]:.2f} and {levels[1]:.2f}", p, levels)


def draw_panel(axes, points):
    """A line with its 95 % band for each reader."""
    for reader in dict.fromkeys(point["reader"] for point in points):
        colour, line, marker = STYLES[next(name for name in STYLES if reader.startswith(name))]
        own = sorted((point for point in points if point["reader"] == reader), key=lambda p: int(p["rows_seen"]))
        x, y, low, high = (np.array([float(p[k]) for p in own]) for k in ("rows_seen", "mae", "low", "high"))
        axes.plot(x, y, line, color=colour, marker=marker, ms=4, lw=1.3, label=reader)
        axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
    axes.grid(alpha=0.3, which="both", lw=0.4)
    axes.legend(fontsize=7.5)


def draw(args):
    """All points of each test data set in a panel of its own; both axes logarithmic."""
    from matplotlib.figure import Figure

    points = Curve(args.output).points
    figure = Figure(figsize=(1 + 5.2 * len(args.tests), 4.6), dpi=130, layout="constrained")
    panels = figure.subplots(1, len(args.tests), sharey=True, squeeze=False)[0]
    for test, axes in zip(args.tests, panels, strict=True):
        shown = [point for point in points if point["test"] == test]
        draw_panel(axes, shown)
        axes.set(xscale="log", yscale="log", xlabel="rows seen (simple readers: training rows)")
        axes.set_title(f"Mock galaxies in {shown[0]['config'].rpartition('-')[2]} bins", fontsize=10)
    panels[0].set_ylabel("mean absolute error of z")
    figure.savefig(args.figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    functions = {"checkpoints": score_checkpoints, "readers": score_readers, "figure": draw, "blocks": exchange_blocks}
    functions["calibration"] = score_calibration
    for name, function in functions.items():
        command = commands.add_parser(name)
        command.set_defaults(function=function)
        command.add_argument("--output", type=Path, default=Path("curve.csv"))
        if name == "figure":
            command.add_argument("--figure", type=Path, default=Path("curve.png"))
            command.add_argument("--tests", nargs="+", default=["mock-redshifts"], help="test data sets, a panel each")
            continue
        command.add_argument("--data", required=True)
        command.add_argument("--config", default="packed-64")
        command.add_argument("--test", help="data set whose test rows are read, if not those of --data")
        command.add_argument("--limit", type=int, default=1000, help="test rows")
        if name in ("blocks", "calibration"):
            command.add_argument("model", type=Path)
        if name == "checkpoints":
            command.add_argument("run", type=Path)
            command.add_argument("--base", help="base model of an adapter")
            command.add_argument("--name", default="from scratch")
            command.add_argument("--batch", type=int, default=32, help="rows of a step")
            command.add_argument("--before", type=int, default=0, help="rows seen by the model that the run began with")
            command.add_argument("--distinct", type=int, default=40000, help="training rows")
            command.add_argument("--every", type=int, default=1, help="take checkpoints of steps that this divides")
            command.add_argument("--seed", type=int, default=0, help="of the training")
            command.add_argument("--command", default="")
    args = parser.parse_args()
    args.function(args)


if __name__ == "__main__":
    main()
