"""What goes where: duplicates, sample, splits and token budgets, from the metadata of all shards of the source."""

import csv
import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from specdata.dataset.parquet import split_into_files
from specdata.dataset.selection import CUTS, SPLITS, assign_splits, equal_frequency, hash_order, position_ids
from specdata.dataset.stages import StoredSpectra, value_column
from specdata.dataset.tokens import check_longest, fit_bins
from specdata.dataset.work import load_job, read_table, write_table
from specdata.errors import SpecdataError
from specdata.files import new_folder
from specdata.text.encoding import Encoding


def make_plan(folder, rank=0, world_size=1, *, progress=False) -> None:
    """Decide from the metadata of all shards which spectra go where, as one pass over the source would.

    `folder` is the work folder; there is one plan, whatever `rank` and `world_size` say. It is an error if too few
    spectra are there for three splits, mocks would go out under the name of SDSS, or a number of tokens has no room for
    a single bin.
    """
    job, done = load_job(folder), folder / "plan"
    if done.is_dir():
        return
    parts = job.parts("read")
    missing = [part.name for part in parts if not part.is_dir()]
    if missing:
        raise SpecdataError(f"{folder}: shard {missing[0]} was not read; give the build's command again")
    found = pa.concat_tables([read_table(part / "found.arrow") for part in parts]).combine_chunks()
    passed, rejected = _without_duplicates(found)
    sample, counts, redshift_bins = _draw(job.recipe, passed, rejected)
    configs = _encodings(job, sample, progress)
    augment = job.recipe.augment
    if augment:
        counts["realisations"] = augment.realisations
    with new_folder(done) as folder:
        write_table(folder / "sample.arrow", sample)
        with (folder / "rejected.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["source", "cut", "reason"])
            writer.writerows(rejected)
        files = split_into_files(counts["splits"], augment.realisations if augment else 1)
        content = {"counts": counts, "redshift_bins": redshift_bins, "configs": configs, "files": files}
        (folder / "plan.json").write_text(json.dumps(content), encoding="utf-8")


def _without_duplicates(found):
    """Of spectra with the same name keep the first that passes the cuts.

    Returns what passed, with the `row` that each has in `StoredSpectra`, and source, cut and reason of the others, in
    the order of the source.
    """
    source, cut, reason = (found[name].to_pylist() for name in ("source", "cut", "reason"))
    stored = np.flatnonzero([name is None for name in cut])
    passed = found.take(stored).append_column("row", pa.array(np.arange(len(stored))))
    names = passed["name"].to_pylist()
    first = np.zeros(len(names), dtype=bool)
    first[np.unique(np.array(names, dtype=str), return_index=True)[1]] = True
    for number in np.flatnonzero(~first):
        cut[stored[number]], reason[stored[number]] = "duplicate", f"{names[number]} came before"
    rejected = [row for row in zip(source, cut, reason, strict=True) if row[1] is not None]
    return passed.filter(pa.array(first)).combine_chunks(), rejected


def _draw(recipe, passed, rejected):
    """Draw sample and splits: a table, counts, and how each redshift bin fared (see `equal_frequency`).

    The table holds rows of `passed` with their `position_id`, in the order of the data set, which is split by split.
    """
    n, cuts, sample, sizes = len(passed), recipe.cuts, recipe.sample, recipe.splits
    counts = {"read": n + len(rejected), "rejected": dict.fromkeys(CUTS, 0) | Counter(row[1] for row in rejected)}
    if n < 3:
        failed = ", ".join(f"{cut} {number}" for cut, number in counts["rejected"].items() if number)
        mend = "loosen the cuts or add spectra"
        if counts["rejected"]["target"]:
            mend += f" (target: {CUTS['target']}; see `tables` and the low, high or labels of the target)"
        raise SpecdataError(
            f"{n} of {counts['read']} spectra pass the cuts ({failed or 'nothing was read'}), which is too few for "
            f"three splits: {mend}"
        )
    counts["mock"] = pc.sum(passed["is_mock"]).as_py()
    if counts["mock"] and not recipe.says_mock:
        raise SpecdataError(
            f"name: {recipe.name!r} would hold {counts['mock']} mock spectra, which must never pass as SDSS data; "
            "put 'mock' into the recipe's name or take them out of the source"
        )
    within = {"z_min": cuts.z_min, "z_max": cuts.z_max, "redshift_bins": sample.redshift_bins, "seed": sample.seed}
    z = passed["z"].to_numpy()
    if cuts.z_min is None:  # the redshift does not matter, and may not be known
        z, within = np.zeros(n), within | {"z_min": -1.0, "z_max": 1.0, "redshift_bins": 1}
    objects = np.array(position_ids(passed["name"].to_pylist(), passed["ra"].to_numpy(), passed["dec"].to_numpy()))
    chosen, redshift_bins = equal_frequency(z, objects, size=sample.size, **within)
    if cuts.z_min is None:
        redshift_bins = []
    split = assign_splits(z[chosen], objects[chosen], train=sizes.train, validation=sizes.validation, **within)
    counts |= {"passed": n, "objects": len(np.unique(objects)), "sampled": len(chosen)}
    counts["asked"] = {"size": sample.size, **sizes.model_dump()}
    counts["splits"] = {name: int((split == name).sum()) for name in SPLITS}
    if not all(counts["splits"].values()):
        raise SpecdataError(
            f"{len(chosen)} spectra of {len(np.unique(objects[chosen]))} objects fill only the splits "
            f"{ {name: size for name, size in counts['splits'].items() if size} }: add spectra or ask for a smaller "
            "splits.train"
        )
    order = []
    for name in SPLITS:
        rows = chosen[split == name]
        # Hash order: the source's order goes by plate, and the first rows of a split should be a fair sample.
        order.append(rows[np.argsort(hash_order(objects[rows], sample.seed), kind="stable")])
    order = np.concatenate(order)
    table = passed.take(order).append_column("position_id", pa.array(objects[order], pa.string()))
    return table.combine_chunks(), counts, redshift_bins


def _encodings(job, sample, progress):
    """How each text config is written; where a number of tokens is asked for, with as many bins as have room."""
    spectra, configs = StoredSpectra(job, sample["row"].to_numpy()), {}
    # A config that is like another one takes its number of bins, and so comes after it.
    for name, config in sorted(job.recipe.configs.items(), key=lambda item: item[1].like is not None):
        bins, counted, scale = None, {}, sample[f"scale.{name}"].to_numpy()
        target, values = config.asks, sample[value_column(config.asks, name)].to_pylist()
        if not target.is_number and not target.labels:
            target = replace(target, labels=tuple(sorted(set(values))))
        if not target.is_number and len(set(values)) < 2:
            raise SpecdataError(f"configs.{name}.target: all spectra have the same {target.words}, {values[0]!r}")
        if config.like:
            bins = len(configs[config.like]["edges"]) - 1
        elif config.grid.tokens:
            counted["fit"] = fit_bins(config, target, spectra, scale, values, label=name, progress=progress)
            bins = counted["fit"]["bins"]
        encoding = Encoding.from_recipe(config, bins, target=target, axis=job.recipe.along)
        if config.conversation and config.conversation.tokens:
            counted["limit"] = check_longest(config, encoding, spectra, scale, values, label=name, progress=progress)
        configs[name] = encoding.to_dict() | counted
    return {name: configs[name] for name in job.recipe.configs}
