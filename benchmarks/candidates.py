#!/usr/bin/env python3
"""Ways of writing numbers that are not shipped, measured as in `information.py`: what 573 tokens hold and keep.

    OMP_NUM_THREADS=1 python benchmarks/candidates.py --output candidates.jsonl
    OMP_NUM_THREADS=1 python benchmarks/candidates.py --output candidates.jsonl --folder ../shared/sdss/spectra
    python benchmarks/candidates.py --output candidates.jsonl --report benchmarks/figures/candidates.png

The schemes are in `candidate_schemes.py`. A reader (`readers.py`) gets decoded numbers, so candidates that differ in
their text alone differ for it by the number of bins alone; where two give the very same numbers, it is asked once.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import candidate_schemes
import numpy as np
from candidate_schemes import Codebook
from information import SPLITS, load_spectra, what_readers_get
from readers import READERS, interval, read, split_objects
from tqdm import tqdm

from specdata.dataset import rows
from specdata.dataset.recipe import Grid
from specdata.dataset.tokens import PAPER_LIMIT
from specdata.errors import SpecdataError
from specdata.serialize import PACKED, SCHEMES
from specdata.text.encoding import grid_edges, normalise
from specdata.text.tokenizer import LLAMA, SMOLLM2, load_tokenizer
from specdata.text.tokens import count_texts

REFERENCE = "packed asinh log"
CANDIDATES = (
    *(REFERENCE, "csv asinh log", "spaced-digits asinh log", "spaced-values asinh log"),
    *("csv none log", "grouped-dot none log", "grouped-zeros none log"),
    *("delta asinh log", "delta-2 asinh log", "pairs asinh log"),
    *("marker32 asinh log", "marker64 asinh log", "quantiles asinh log", "lloyd asinh log"),
    "clipped asinh log",  # no candidate: packed, clipped to the first and the last level of the quantiles
)
# Tokens of a codebook, that of a missing value included: all that Llama-3 keeps free; SmolLM2 has none and gets 256.
CODES = {LLAMA: (248, "<|reserved_special_token_{}|>"), SMOLLM2: (256, "<|flux_{}|>")}
ROUNDS = {"quantiles": 0, "lloyd": 100, "clipped": 0}  # of learning the codebook
MISREAD = ("packed", "delta", "delta-2")


def register(data):
    """Give `specdata.text.encoding` the candidates, where `digits` of `information.py` is, too."""

    def centres(bins):
        edges = grid_edges(Grid(kind="log", start=data.span[0], stop=data.span[1], bins=bins))
        return 0.5 * (edges[1:] + edges[:-1])

    markers = [candidate_schemes.marked(every, centres) for every in (32, 64)]
    SCHEMES.update({scheme.name: scheme for scheme in (*candidate_schemes.ALL, *markers)})
    tokenizer = load_tokenizer(SMOLLM2)
    tokenizer.add_tokens([CODES[SMOLLM2][1].format(number) for number in range(CODES[SMOLLM2][0])])


def unrounded(data, candidate, bins):
    """What a candidate writes, before it is rounded; ndarray of shape (rows, bins)."""
    _, normalisation, kind = candidate.split()
    edges = grid_edges(Grid(kind=kind, start=data.span[0], stop=data.span[1], bins=bins))
    return normalise(rows.bin_rows(data.table, edges).flux, data.scale[:, None], normalisation)


def misread(scheme, x, seed):
    """The rows of x with one digit of each text read as another one; ndarray of the shape of x."""
    rng, found = np.random.default_rng(seed), []
    for text in scheme.encode_batch(x):
        while True:
            at, digit = int(rng.integers(len(text))), str(rng.integers(10))
            if text[at].isdigit() and text[at] != digit:
                try:
                    found.append(scheme.decode(text[:at] + digit + text[at + 1 :]))
                    break
                except SpecdataError:  # no longer a text of the scheme, which a decoder notices
                    continue
    return np.array(found)


def measure(args):
    """Measure all candidates on one kind of data; append a line for each."""
    args.output.touch()  # where that fails, it does so now
    data = load_spectra(args.folder, args.mocks)
    register(data)
    absolute = SimpleNamespace(**vars(data) | {"scale": np.ones_like(data.scale)})  # for `none`
    parts = [split_objects(data.objects, data.shares, seed) for seed in range(SPLITS if args.folder else 1)]
    tested = np.concatenate([data.objects[test] for _, _, test in parts])
    known, reference = {}, {}

    def errors(reader, values, asked=None):
        """Errors of a reader in all splits, of `values` or `asked`, (rows, bins) of each split; asked once for each."""
        digest = hashlib.sha256(b"".join(x.tobytes() for x in [*values, *(asked or [])]))
        label = reader, digest.digest()
        if label not in known:
            z_pred = [
                read(reader, x[train], data.z[train], data.objects[train], other[test]) - data.z[test]
                for x, other, (train, _, test) in zip(values, asked or values, parts, strict=True)
            ]
            known[label] = np.abs(np.concatenate(z_pred))
        return known[label]

    chosen = dict.fromkeys([REFERENCE, *args.candidates])
    for tokenizer, candidate in (bar := tqdm([(name, candidate) for name in CODES for candidate in chosen])):
        bar.set_description(f"{candidate}, {tokenizer}")
        name, normalisation, _ = candidate.split()
        here, learned = absolute if normalisation == "none" else data, None
        if name in ROUNDS:  # learned with some number of bins, since every value costs the same tokens
            flux, (size, word) = unrounded(here, candidate, 514), CODES[tokenizer]
            learned = [Codebook.learn(name, flux[train], size, word, ROUNDS[name]) for train, _, _ in parts]
            SCHEMES[name] = PACKED if name == "clipped" else learned[0]
        scheme = SCHEMES[name]
        task = {"candidate": candidate, "bins": None, "tokens": PAPER_LIMIT, "tokenizer": tokenizer}
        x, line = what_readers_get(here, task)
        exact = unrounded(here, candidate, line["bins"])
        values = [x] * len(parts)
        if name == "clipped":
            values = [np.clip(x, codebook.low, codebook.high) for codebook in learned]
        elif learned:
            values = [codebook.nearest(exact) for codebook in learned]
        off = np.abs(values[0] - exact)
        tokens = count_texts(load_tokenizer(tokenizer), scheme.encode_batch(x, arrow=True))
        line |= {"data": data.name, "tokenizer": tokenizer, "candidate": candidate, "rows": len(x), "readers": {}}
        line |= {"per_value": tokens.mean() / x.shape[1], "long": float((np.abs(x) >= 10).mean())}
        line |= {"rms": float(np.sqrt((off**2).mean())), "rare": float(np.quantile(off, 0.999)), "most": off.max()}
        spoiled = None
        if name in MISREAD:
            spoiled = [misread(scheme, x, seed) for seed in range(len(parts))]
            change = np.abs(np.concatenate(spoiled) - np.tile(x, (len(parts), 1)))
            line["misread"] = {"share": float((change > 1e-9).mean()), "rms": float(np.sqrt((change**2).mean()))}
        for reader in args.readers:
            found = errors(reader, values)
            less = found - reference.setdefault((tokenizer, reader), found)
            cell = {"mae": interval(found, tested).tolist(), "difference": interval(less, tested).tolist()}
            if spoiled and reader != "CNN":
                cell["misread"] = interval(errors(reader, values, spoiled), tested).tolist()
            line["readers"][reader] = cell
        with args.output.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")


def load_results(path):
    """The lines of the output in the order of the tables, the last one of each measurement."""
    if not path.exists() or not path.stat().st_size:
        raise SpecdataError(f"{path}: holds no results; measure first, without --report")
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = {(c["data"], list(CODES).index(c["tokenizer"]), CANDIDATES.index(c["candidate"])): c for c in found}
    return [found[label] for label in sorted(found)]


def markdown(lines):
    """The lines of the output as Markdown tables, for each kind of data."""
    for name in dict.fromkeys(line["data"] for line in lines):
        here = [line for line in lines if line["data"] == name]
        readers = list(here[0]["readers"])
        print(f"\n### {name}\n")
        print(f"| tokenizer | candidate | tokens a value | bins | error | 99.9 % | {' | '.join(readers)} |")
        print(f"|---|---|---:|---:|---:|---:|{'---:|' * len(readers)}")
        for line in here:
            cells = [line["tokenizer"], line["candidate"], f"{line['per_value']:.2f}", str(line["bins"])]
            cells += [f"{line[what]:.4f}" for what in ("rms", "rare")]
            for found in line["readers"].values():
                cells.append("{:.2f}".format(found["mae"][0]))
                if line["candidate"] != REFERENCE:
                    cells[-1] += "; {:+.2f} [{:+.2f}, {:+.2f}]".format(*found["difference"])
            print(f"| {' | '.join(cells)} |")
        print("\n| tokenizer | one digit misread in | bins | values changed | change | nearest neighbours | ridge |")
        print("|---|---|---:|---:|---:|---:|---:|")
        for line in here:
            if "misread" in line:
                cells = [line["tokenizer"], line["candidate"], str(line["bins"])]
                cells += [f"{100 * line['misread']['share']:.1f} %", f"{line['misread']['rms']:.2f}"]
                found = [found for found in line["readers"].values() if "misread" in found]
                cells += ["{:.2f} to {:.2f} [{:.2f}, {:.2f}]".format(c["mae"][0], *c["misread"]) for c in found]
                print(f"| {' | '.join(cells)} |")


def draw(path, lines):
    """Draw what a candidate's error is more than that of packed: a row of panels for each data, one for each reader."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(line["data"] for line in lines))
    figure = Figure(figsize=(10, 3.6 * len(names)), dpi=130, layout="constrained")
    panels = figure.subplots(len(names), len(READERS), squeeze=False, sharey=True)
    shown = [candidate for candidate in CANDIDATES if " none " not in candidate][::-1]
    for row, name in zip(panels, names, strict=True):
        for axes, reader in zip(row, READERS, strict=True):
            here = [c for c in lines if c["data"] == name and c["candidate"] in shown and reader in c["readers"]]
            if not here:
                axes.set_axis_off()
                continue
            axes.set_title(f"{reader}, {name}", fontsize=10)
            axes.set_yticks(range(len(shown)), [candidate.split()[0] for candidate in shown])
            axes.axvline(0, color="0.7", lw=0.9, zorder=0)
            for place, tokenizer in enumerate(CODES):
                mine = [c for c in here if c["tokenizer"] == tokenizer]
                at = np.array([shown.index(c["candidate"]) for c in mine]) + 0.15 - 0.3 * place
                less, low, high = np.array([c["readers"][reader]["difference"] for c in mine]).T
                axes.errorbar(
                    less, at, xerr=[less - low, high - less], ls="", marker="os"[place], ms=4, elinewidth=1,
                    color=("#009E73", "#CC79A7")[place], mfc=("#009E73", "white")[place], label=tokenizer,
                )  # fmt: skip
            axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("mean absolute error of z x 1000, less that of packed with the same tokenizer")
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(path, metadata={"Software": None})


def main():
    """Measure, or write the tables to standard output and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON lines, one for each candidate and tokenizer")
    parser.add_argument("--folder", help="measure the spec files in it instead of mocks")
    parser.add_argument("--mocks", type=int, default=4500, help="number of mocks (default 4500)")
    parser.add_argument("--readers", nargs="+", choices=READERS, help="default: all; on a folder no CNN")
    parser.add_argument("--candidates", nargs="+", choices=CANDIDATES, default=CANDIDATES, help="default: all")
    parser.add_argument("--report", type=Path, help="measure nothing: write the tables, and draw this figure")
    args = parser.parse_args()
    args.readers = args.readers or [name for name in READERS if name != "CNN" or not args.folder]
    try:
        if not args.report:
            measure(args)
        else:
            lines = load_results(args.output)
            markdown(lines)
            draw(args.report, lines)
    except (SpecdataError, OSError) as error:
        sys.exit(f"candidates.py: {error}")


if __name__ == "__main__":
    main()
