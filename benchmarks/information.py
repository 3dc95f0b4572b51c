#!/usr/bin/env python3
"""How much of the redshift each way of writing a spectrum keeps within a number of tokens, for simple readers.

    OMP_NUM_THREADS=1 python benchmarks/information.py --output information.jsonl
    OMP_NUM_THREADS=1 python benchmarks/information.py --output information.jsonl --folder ../shared/sdss/spectra
    python benchmarks/information.py --output information.jsonl --report benchmarks/figures/information.png

The first measures mock galaxies to z = 0.5, the second real spectra with the cuts of `recipes/data/sdss-folder.yaml`,
the third writes the tables and draws the figure. What stands in the output already is not measured again.

A candidate is a scheme, a normalisation and a kind of grid, with the most bins that fit over a sample of the very rows.
The readers (`readers.py`) get what the texts say, decode(encode(x)); with "exact" they get it without rounding.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from readers import READERS, interval, read, split_objects
from tqdm import tqdm

from specdata import prompts
from specdata.dataset import rows
from specdata.dataset.recipe import Grid, TextConfig, load_data_recipe
from specdata.dataset.selection import position_ids, reject
from specdata.dataset.sources import folder_paths, read_folder
from specdata.dataset.tokens import PAPER_LIMIT, fit_bins
from specdata.errors import SpecdataError
from specdata.evaluation.metrics import nmad
from specdata.serialize import SCHEMES
from specdata.serialize.schemes import FixedScheme
from specdata.spectra.binning import median_scale
from specdata.spectra.mock.spectrum import mock_spectra
from specdata.targets import REDSHIFT
from specdata.text.encoding import Encoding, grid_edges, normalise
from specdata.text.tokenizer import load_tokenizer
from specdata.text.tokens import count_chats

CANDIDATES = (
    *("paper median linear", "paper asinh linear", "csv median linear", "csv asinh log", "packed median linear"),
    *("packed asinh linear", "packed asinh log", "digits asinh linear", "digits asinh log"),
)
SCHEMES["digits"] = FixedScheme("digits", width=1, step=(3, 10), offset=-1)  # one digit a value: 0.3 to 3.0
BUDGETS = ((PAPER_LIMIT, "llama-3.1"), (PAPER_LIMIT, "smollm2-135m"), (300, "llama-3.1"), (1100, "llama-3.1"))
TOKENS = sorted({tokens for tokens, _ in BUDGETS})
EXACT, EXACT_BINS = "exact asinh log", (40, 80, 160, 250, 500, 1000, 1500)
LABEL = ("data", "tokens", "tokenizer", "candidate", "bins", "reader")
SPLITS, CNN_SPLITS, SAMPLE = 20, 3, 300  # splits of real spectra; rows over which the number of bins is found
COLOURS = {"paper": "#0072B2", "csv": "#E69F00", "packed": "#009E73", "digits": "#CC79A7"}  # Okabe and Ito's
LINES = {"median linear": ("-", "o"), "asinh linear": ("--", "s"), "asinh log": (":", "D")}


def load_spectra(folder, mocks):
    """Read the spec files of a folder that pass the recipe's cuts, or make so many mocks.

    Returns
    -------
    SimpleNamespace
        `name`; `table` (rows of the `spectra` config), `scale`, `z`, `objects` (numbers); `span`, Angstrom; `shares`.
    """
    recipe = load_data_recipe(Path(__file__).parent.parent / "recipes/data/sdss-folder.yaml")
    found = (
        read_folder(folder_paths(folder), on_error=lambda path, error: None) if folder else mock_spectra(mocks, seed=11)
    )
    spans = [config.grid.span for config in recipe.configs.values()]
    span = min(start for start, _ in spans), max(stop for _, stop in spans)
    kept = {}
    for spectrum in tqdm(found, unit=" spectra", desc="read" if folder else "make"):
        if not folder or reject(spectrum, recipe.cuts, *span) is None:
            kept.setdefault(spectrum.name, spectrum)
    if len(kept) < 100:
        raise SpecdataError(f"{len(kept)} spectra: three splits and 13 neighbours take at least 100; give more")
    table = rows.spectra_batch(list(kept.values()))
    data = SimpleNamespace(name=f"{len(kept):,} {'SDSS spectra' if folder else 'mocks'}", table=table, span=span)
    data.scale = np.array([median_scale(pixels, *data.span) for pixels in rows.stored_pixels(table)], np.float32)
    objects = position_ids(list(kept), table["ra"].to_numpy(), table["dec"].to_numpy())
    data.objects, data.z = np.unique(objects, return_inverse=True)[1], table["z"].to_numpy()
    data.shares = (0.6, 0.8) if folder else (2 / 3, 7 / 9)
    return data


def what_readers_get(data, task):
    """Write all rows within a number of tokens and read them back.

    Returns
    -------
    x : ndarray, shape (rows, bins), float64
    facts : dict
        `bins`; `longest`, the most tokens of all rows, and `over`, the rows over the limit that the sample missed.
    """
    scheme, normalisation, kind = task["candidate"].split()
    room = {name: task[name] for name in ("bins", "tokens", "tokenizer") if task[name] is not None}
    grid = Grid(kind=kind, start=data.span[0], stop=data.span[1], **room)
    if task["candidate"] == EXACT:
        return normalise(rows.bin_rows(data.table, grid_edges(grid)).flux, data.scale[:, None], normalisation), {}
    config = TextConfig.model_construct(grid=grid, normalisation=normalisation, scheme=scheme)  # any scheme
    sample = np.unique(np.linspace(0, len(data.z) - 1, SAMPLE).astype(int))
    here = data.table.take(sample), data.scale[sample], data.z[sample].tolist()
    bins = fit_bins(config, REDSHIFT, *here, label="grid", progress=False)["bins"]
    encoding = Encoding(edges=grid_edges(grid, bins), normalisation=normalisation, scheme=scheme)
    texts, _ = encoding.encode(rows.bin_rows(data.table, encoding.edges).flux, data.scale)
    made = map(prompts.build_row, texts.to_pylist(), data.z)
    counts = count_chats(load_tokenizer(task["tokenizer"]), [row["prompt"] + row["completion"] for row in made])
    facts = {"bins": bins, "longest": int(counts.max()), "over": int((counts > task["tokens"]).sum())}
    return SCHEMES[scheme].decode_batch(texts), facts


def key(result):
    """What makes a line of the output another measurement, in the order of the tables; the seed is the last."""
    exact, budget = result["candidate"] == EXACT, (result["tokens"], result["tokenizer"])
    place = (result["bins"],) if exact else (BUDGETS.index(budget), CANDIDATES.index(result["candidate"]))
    return "SDSS" in result["data"], result["data"], exact, place, result["reader"], result["seed"]


def load_results(path):
    """The lines of the output so far; an empty list if there is no such file."""
    results = []
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], 1):
        try:
            results.append(json.loads(line))
            key(results[-1])
        except (ValueError, KeyError, TypeError):
            raise SpecdataError(f"{path}, line {number}: is no result of this script; delete the line") from None
    return sorted(results, key=key)


def measure(args):
    """Measure what `args` ask for and is not in the output; append a line for each reader and seed."""
    done = {key(result) for result in load_results(args.output)}
    args.output.touch()  # where that fails, it does so now
    data = load_spectra(args.folder, args.mocks)
    tasks = [(*budget, candidate, None) for budget in BUDGETS if budget[0] in args.tokens for candidate in CANDIDATES]
    tasks += [(None, None, EXACT, bins) for bins in EXACT_BINS]
    bar = tqdm([dict(zip(("tokens", "tokenizer", "candidate", "bins"), task, strict=True)) for task in tasks])
    for task in bar:
        # On mocks one large test set, and the network's beginning differs; on few spectra many splits.
        of_cnn = CNN_SPLITS if args.folder else 2 if task["tokens"] == PAPER_LIMIT else 1
        runs = {reader: SPLITS if args.folder else 1 for reader in READERS} | {"CNN": of_cnn}
        labels = [task | {"data": data.name, "reader": r, "seed": n} for r in args.readers for n in range(runs[r])]
        labels = [label for label in labels if key(label) not in done]
        bar.set_description(f"{task['candidate']}, {task['tokens'] or task['bins']}")
        x, facts = what_readers_get(data, task) if labels else (None, None)
        for label in labels:
            parts = split_objects(data.objects, data.shares, label["seed"] if args.folder else 0)
            train, _, test = parts
            z = data.z[test]
            z_pred = read(label["reader"], x[train], data.z[train], data.objects[train], x[test], label["seed"])
            line = label | facts | {"rows": [int(part.sum()) for part in parts], "z": z.tolist()}
            line |= {"z_pred": z_pred.round(6).tolist(), "object": data.objects[parts[2]].tolist()}
            with args.output.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")


def scores(results, against):
    """Put the runs of each measurement together, and compare it with another candidate (`against`).

    Returns
    -------
    list of dict
        Its labels; `mae` with the ends of its interval, x 1000; `score`, `difference` and `n` for the tables.
    """
    groups, cells = {k: list(runs) for k, runs in itertools.groupby(results, key=lambda r: key(r)[:-1])}, []
    for (*where, place, reader), runs in groups.items():
        z, z_pred, objects = (np.concatenate([run[name] for run in runs]) for name in ("z", "z_pred", "object"))
        error, outlier = np.abs(z_pred - z), np.abs(z_pred - z) > REDSHIFT.far * (1 + z)
        cell = {name: runs[0][name] for name in LABEL} | {"mae": interval(error, objects), "difference": "–"}
        cell["score"] = "{:.2f} [{:.2f}, {:.2f}]; ".format(*cell["mae"])
        cell["score"] += f"{1000 * nmad(z_pred, z):.2f}; {100 * outlier.mean():.1f} %"
        sizes = "{:,} / {:,} / {:,} rows for training / validation / test".format(*runs[0]["rows"])
        cell["n"] = f"- {reader}, {len(runs)} runs: {sizes}, {len(np.unique(objects)):,} objects tested"
        other = groups.get((*where, (place[0], CANDIDATES.index(against)), reader), runs)
        if other is not runs and [run["seed"] for run in other] == [run["seed"] for run in runs]:
            theirs = np.concatenate([np.abs(np.subtract(run["z_pred"], run["z"])) for run in other])
            cell["difference"] = "{:+.2f} [{:+.2f}, {:+.2f}]".format(*interval(error - theirs, objects))
        cells.append(cell)
    return cells


def markdown(cells, against):
    """The tables of `scores` as Markdown: for each data the scores, and the differences to another candidate."""
    lines, what = [], "Mean absolute error x 1000 [95 % bootstrap interval over objects]"
    titles = {"score": f"{what}; NMAD x 1000; outliers", "difference": f"{what}, less that of `{against}`"}
    for data, here in itertools.groupby(cells, key=lambda cell: cell["data"]):
        here = list(here)
        lines += [f"\n### {data}\n", *sorted({cell["n"] for cell in here})]
        for of, title in titles.items():
            lines += [f"\n{title}:\n", f"| {' | '.join([*LABEL[1:5], *READERS])} |\n|---:|---|---|{'---:|' * 4}"]
            for label, row in itertools.groupby(here, key=lambda cell: [cell[name] for name in LABEL[1:5]]):
                found = {cell["reader"]: cell[of] for cell in row}
                texts = ["–" if name is None else str(name) for name in label] + [found.get(r, "–") for r in READERS]
                lines += [f"| {' | '.join(texts)} |"] if set(found.values()) != {"–"} else []
    return "\n".join(lines)


def draw(path, cells):
    """Draw tokens of a sample against the error: a row of panels for each data, a panel for each reader."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys(cell["data"] for cell in cells))
    figure = Figure(figsize=(10, 3.4 * len(names) + 0.8), dpi=130, layout="constrained")
    panels = figure.subplots(len(names), len(READERS), squeeze=False, sharex=True)
    for (data, reader), axes in zip(itertools.product(names, READERS), panels.flat, strict=True):
        here = [cell for cell in cells if (cell["data"], cell["reader"]) == (data, reader)]
        for place, which in enumerate(itertools.product(("llama-3.1", "smollm2-135m"), CANDIDATES)):
            mine = [(c["tokens"], *c["mae"]) for c in here if (c["tokenizer"], c["candidate"]) == which]
            tokens, mae, low, high = np.array(sorted(mine)).reshape(-1, 4).T
            scheme, form = which[1].split(" ", 1)
            axes.errorbar(  # beside each other, so that no interval hides another one
                tokens * np.exp(0.018 * (place - 6)), mae, yerr=[mae - low, high - mae], lw=1.1, elinewidth=0.7, ms=4,
                color=COLOURS[scheme], ls=LINES[form][0], marker=LINES[form][1], mfc="white" if place > 8 else None,
            )  # fmt: skip
        for cell in [cell for cell in here if cell["tokens"] is None and cell["bins"] in (80, 500)]:
            axes.axhline(cell["mae"][0], color="0.7", lw=0.9, zorder=0)
            axes.annotate(cell["bins"], (1.01, cell["mae"][0]), xycoords=("axes fraction", "data"), fontsize=8)
        axes.set(xscale="log", yscale="log", xlim=(240, 1400), title=f"{reader}, {data}")
        axes.set_xticks(TOKENS, map(str, TOKENS))
        axes.set_xticks([], minor=True)
        axes.yaxis.set(major_formatter="{x:g}", minor_formatter="{x:g}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("most tokens of a sample, chat template included")
    figure.supylabel("mean absolute error of z x 1000")
    handles = [Line2D([], [], color=colour, lw=4, label=scheme) for scheme, colour in COLOURS.items()]
    lines = LINES | {"tokens of SmolLM2": ("", "$○$"), "not rounded, 80 and 500 bins": ("-", "")}
    handles += [Line2D([], [], color="0.4", ls=ls, marker=marker, label=name) for name, (ls, marker) in lines.items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, frameon=False, fontsize=9, handlelength=3)
    figure.savefig(path, metadata={"Software": None})


def main():
    """Measure, or write the tables to standard output and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON lines, one for each reader and run")
    parser.add_argument("--folder", help="measure the spec files in it instead of mocks")
    parser.add_argument("--mocks", type=int, default=4500, help="number of mocks (default 4500)")
    parser.add_argument("--tokens", type=int, nargs="+", choices=TOKENS, default=TOKENS, help="default: all")
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS), help="default: all")
    parser.add_argument("--report", type=Path, help="measure nothing: write the tables, and draw this figure")
    parser.add_argument("--against", choices=CANDIDATES, default=CANDIDATES[0], help="what the tables compare with")
    args = parser.parse_args()
    try:
        if not args.report:
            measure(args)
        elif not (cells := scores(load_results(args.output), args.against)):
            raise SpecdataError(f"{args.output}: holds no results; measure first, without --report")
        else:
            print(markdown(cells, args.against))
            draw(args.report, cells)
    except (SpecdataError, OSError) as error:
        sys.exit(f"information.py: {error}")


if __name__ == "__main__":
    main()
