"""The card of a data set, with its figures: everything in it comes from the manifest and from the rows themselves."""

import numpy as np
import pyarrow.parquet as pq

from specdata import serialize
from specdata.cards import render
from specdata.dataset import figures, rows
from specdata.dataset.selection import CUTS, SPLITS
from specdata.prompts import INSTRUCTION
from specdata.spectra.lines import INSTRUMENTS, LINES, TELLURIC
from specdata.text.conversation import MAGNITUDE, MOST_EXPOSURES
from specdata.text.encoding import SOFTENING
from specdata.text.tokens import cost_table

_EXAMPLES = 4
# Each scheme in a card reader's words; `specdata.serialize` has the grammar.
SCHEME_WORDS = {
    "paper": "`4|5|6` is 4.56, values are separated by ` , `, `-4|5|6` is negative, `NaN` stands for a missing value",
    "csv": "`456` is 4.56, values are separated by commas, `-456` is negative, `NaN` stands for a missing value",
    "packed": "three digits a value without separators, `656` is 4.56 and `200` is 0: value = (code - 200) / 100, so "
    "that the error is at most 0.005; `NaN` stands for a missing value",
}
# The inverse of each normalisation, as Python.
RESTORE = {"median": "value * row['scale']", "asinh": f"{SOFTENING} * np.sinh(value) * row['scale']", "none": "value"}


def write_card(folder, manifest, costs):
    """Write ``README.md`` and the figures into a data set folder.

    Parameters
    ----------
    folder : Path
        Holds the Parquet files.
    manifest : dict
        See `specdata.dataset.build.build`.
    costs : list of TokenCost
        What the rows cost, for the table; it may be empty.
    """
    recipe, counts = manifest["recipe"], manifest["counts"]
    first = next(iter(manifest["configs"]))
    tables = {split: sorted(folder.glob(f"{first}/{split}-*.parquet")) for split in SPLITS}
    redshifts = {split: _column(paths, "z") for split, paths in tables.items()}
    (folder / "figures").mkdir()
    edges = [row["z_min"] for row in manifest["redshift_bins"]] + [manifest["redshift_bins"][-1]["z_max"]]
    kind = "mock galaxies" if counts["mock"] else "galaxies"
    title = f"{recipe['name']}: {counts['sampled']:,} {kind}"
    figures.redshift_histogram(folder / "figures" / "redshifts.png", redshifts, edges=edges, title=title)
    examples = _spread_over_redshift(tables["train"], redshifts["train"])
    edges = manifest["configs"][first]["edges"]
    plain = manifest["configs"][first]["normalisation"] == "none"
    unit = r"flux ($10^{-17}$ erg/s/cm$^2$/Å)" if plain else "flux / median flux"
    figures.example_spectra(folder / "figures" / "examples.png", examples, edges=edges, title=_grid(edges), unit=unit)
    if costs:
        figures.token_figure(folder / "figures" / "tokens.png", costs, title=f"{recipe['name']}: what a sample costs")
    text = render(
        "dataset.md",
        manifest=manifest,
        recipe=recipe,
        counts=counts,
        cuts=CUTS,
        columns={"spectra": rows.SPECTRA}
        | {
            name: rows.TEXT | (rows.CONVERSATION if "turns" in config else {})
            for name, config in manifest["configs"].items()
        },
        conversation={
            "instruments": INSTRUMENTS,
            "telluric": TELLURIC,
            "lines": LINES,
            "times": MOST_EXPOSURES,
            "magnitude": MAGNITUDE,
        },
        grids={name: _grid(config["edges"]) for name, config in manifest["configs"].items()},
        schemes=serialize.SCHEMES,
        scheme_words=SCHEME_WORDS,
        instruction=INSTRUCTION,
        restore=RESTORE,
        rows_counted=costs[0].rows if costs else 0,
        token_table=cost_table(costs),
        size_category=_size_category(counts["sampled"]),
        examples={name: _example(folder, name) for name in manifest["configs"]},
        short=[row for row in manifest["redshift_bins"] if row["taken"] < row["asked"]],
        z_span=[float(f(np.concatenate(list(redshifts.values())))) for f in (np.min, np.max)],
    )
    (folder / "README.md").write_text(text, encoding="utf-8")


def _column(paths, name):
    return np.concatenate([pq.read_table(path, columns=[name])[name].to_numpy() for path in paths])


def _spread_over_redshift(paths, z):
    """Rows nearest to evenly spaced redshifts, lowest first."""
    wanted, found, offset = [], {}, 0
    for target in np.linspace(z.min(), z.max(), _EXAMPLES):
        nearest = int(np.argmin(np.abs(z - target)))
        if nearest not in wanted:
            wanted.append(nearest)
    for path in paths:
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            here = [i for i in wanted if offset <= i < offset + size]
            if here:
                table = file.read_row_group(group)
                found |= {i: table.slice(i - offset, 1).to_pylist()[0] for i in here}
            offset += size
    return [found[i] for i in wanted]


def _grid(edges):
    """Bins of a grid in words."""
    widths = np.diff(edges)
    ratios = np.divide(edges[1:], edges[:-1])
    width = f"{widths.min():.2f} to {widths.max():.2f} Å"
    if np.allclose(widths, widths[0]):
        width = f"{widths[0]:.2f} Å"
    elif np.allclose(ratios, ratios[0]):
        width = f"equal width in log wavelength, {width},"
    return f"{len(widths)} bins of {width} from {edges[0]:g} to {edges[-1]:g} Å"


def _example(folder, config):
    first = sorted((folder / config).glob("train-*.parquet"))[0]
    row = next(pq.ParquetFile(first).iter_batches(batch_size=1)).to_pylist()[0]
    prompt = row["prompt"][0]["content"]
    short = prompt if len(prompt) < 160 else prompt[:120] + " … " + prompt[-24:]
    turns = [*row["prompt"][1:], *row["completion"]]
    return [{"role": "user", "content": short}, *turns]


def _size_category(n):
    """The Hub's name for a data set's size."""
    bounds = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]
    return next((name for bound, name in bounds if n < bound), "10M<n<100M")
