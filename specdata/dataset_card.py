"""The card of a data set, with its figures: everything in it comes from the manifest and from the rows themselves."""

import numpy as np
import pyarrow.parquet as pq

from specdata import figures, rows
from specdata.cards import render
from specdata.selection import CUTS, SPLITS

_EXAMPLES = 4


def write_card(folder, manifest):
    """Write ``README.md`` and the figures into a data set folder.

    Parameters
    ----------
    folder : Path
        Holds the Parquet files.
    manifest : dict
        See `specdata.dataset.build`.
    """
    recipe, counts = manifest["recipe"], manifest["counts"]
    tables = {split: sorted(folder.glob(f"spectra/{split}-*.parquet")) for split in SPLITS}
    redshifts = {split: _column(paths, "z") for split, paths in tables.items()}
    (folder / "figures").mkdir()
    edges = [row["z_min"] for row in manifest["redshift_bins"]] + [manifest["redshift_bins"][-1]["z_max"]]
    kind = "mock galaxies" if counts["mock"] else "galaxies"
    title = f"{recipe['name']}: {counts['sampled']:,} {kind}"
    figures.redshift_histogram(folder / "figures" / "redshifts.png", redshifts, edges=edges, title=title)
    examples = _spread_over_redshift(tables["train"], redshifts["train"])
    grid = recipe["grid"]
    caption = f"{grid['bins']} bins of {(grid['stop'] - grid['start']) / grid['bins']:.1f} Å"
    figures.example_spectra(folder / "figures" / "examples.png", examples, title=caption)
    text = render(
        "dataset.md",
        manifest=manifest,
        recipe=recipe,
        counts=counts,
        cuts=CUTS,
        columns=rows.CONFIGS,
        size_category=_size_category(counts["sampled"]),
        example=_example(folder, recipe["scheme"]),
        short=[row for row in manifest["redshift_bins"] if row["taken"] < row["asked"]],
        z_span=[float(f(np.concatenate(list(redshifts.values())))) for f in (np.min, np.max)],
        interpolated=_interpolated(tables),
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


def _interpolated(tables):
    """Bins whose flux was interpolated, and bins in all."""
    total = filled = 0
    for path in (path for paths in tables.values() for path in paths):
        for batch in pq.ParquetFile(path).iter_batches(columns=["mask"]):
            flat = batch["mask"].flatten()
            total, filled = total + len(flat), filled + flat.true_count
    return {"bins": total, "filled": filled}


def _example(folder, config):
    first = sorted((folder / config).glob("train-*.parquet"))[0]
    row = next(pq.ParquetFile(first).iter_batches(batch_size=1)).to_pylist()[0]
    prompt = row["prompt"][0]["content"]
    return {"prompt": prompt if len(prompt) < 160 else prompt[:120] + " … " + prompt[-24:]} | {
        "completion": row["completion"][0]["content"]
    }


def _size_category(n):
    """The Hub's name for a data set's size."""
    bounds = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]
    return next((name for bound, name in bounds if n < bound), "10M<n<100M")
