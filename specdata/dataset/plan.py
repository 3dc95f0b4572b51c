"""What goes where: duplicates, sample, splits and token budgets, from the metadata of all shards of the source."""

import csv
import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from specdata.dataset.parquet import output_shards
from specdata.dataset.selection import CUTS, SPLITS, assign_splits, equal_frequency, hash_order, object_ids
from specdata.dataset.spool import Spool, write_table
from specdata.dataset.work import load_job, new_part, part_names
from specdata.errors import SpecdataError


def make_plan(work, rank=0, world_size=1, *, progress=False):
    """Decide from the metadata of all shards which spectra go where, as one pass over the source would.

    Parameters
    ----------
    work : Path
    rank, world_size : int
        Not looked at: there is one plan.
    progress : bool

    Raises
    ------
    SpecdataError
        If too few spectra are there for three splits, mocks would go out under the name of SDSS, or a number of tokens
        has no room for a single bin.
    """
    job, done = load_job(work), work / "plan"
    if done.is_dir():
        return
    parts = [work / "read" / name for name in part_names(job.shards)]
    missing = [part.name for part in parts if not part.is_dir()]
    if missing:
        raise SpecdataError(f"{work}: shard {missing[0]} is not there; give the build's command again")
    kept, rejected, starts = _merge(parts)
    objects, chosen, split, counts, table = _sample(job.recipe, kept, rejected)
    rows = kept["row"].to_numpy()
    scale = {name: kept[f"scale.{name}"].to_numpy() for name in job.recipe.configs}
    spool = Spool([part / "spectra.arrow" for part in parts], starts)
    configs = _encodings(job.recipe, spool, rows, chosen, scale, progress)
    order = []
    for name in SPLITS:
        index = chosen[split == name]
        # Hash order: the source's order goes by plate, and the first rows of a split should be a fair sample.
        order.append(index[np.argsort(hash_order(objects[index], job.recipe.sample.seed), kind="stable")])
    order = np.concatenate(order)
    placed = {"row": rows[order], "position": kept["position"].to_numpy()[order]}
    placed["object_id"] = pa.array(objects[order], pa.string())
    placed |= {f"scale.{name}": values[order] for name, values in scale.items()}
    with new_part(done) as folder:
        write_table(folder / "rows.arrow", pa.table(placed))
        _write_rejected(folder / "rejected.csv", rejected)
        content = {"counts": counts, "redshift_bins": table, "configs": configs, "starts": starts.tolist()}
        content["outputs"] = output_shards(counts["splits"])
        (folder / "plan.json").write_text(json.dumps(content), encoding="utf-8")


def read_plan(work):
    """What `make_plan` has decided: counts, redshift_bins, configs, outputs, starts; dict."""
    try:
        return json.loads((work / "plan" / "plan.json").read_text(encoding="utf-8"))
    except OSError:
        raise SpecdataError(f"{work}: there is no plan; give the build's command again") from None


def _merge(parts):
    """Metadata of all shards as one pass would have them: a name counts where it comes first.

    Returns
    -------
    kept : pyarrow.Table
        With the `row` of each in the spools.
    rejected : pyarrow.Table
    starts : ndarray of int
        The first row of each spool.
    """
    kept, rejected, starts, row, position = [], [], [], 0, 0
    for part in parts:
        tables = []
        for name in ("kept", "rejected"):
            with pa.memory_map(str(part / f"{name}.arrow")) as stream:
                table = pa.ipc.open_file(stream).read_all()
            moved = pc.add(table["position"], position)
            tables.append(table.set_column(table.column_names.index("position"), "position", moved))
        kept.append(tables[0].append_column("row", pa.array(np.arange(row, row + len(tables[0])))))
        rejected.append(tables[1])
        starts.append(row)
        row, position = row + len(tables[0]), position + len(tables[0]) + len(tables[1])
    kept, rejected = pa.concat_tables(kept).combine_chunks(), pa.concat_tables(rejected).combine_chunks()
    names, first = np.unique(kept["name"].to_numpy().astype("U"), return_index=True)
    at = kept["position"].to_numpy()
    again = np.ones(len(kept), dtype=bool)
    again[first] = False
    # The cut median_flux comes after that of duplicates.
    late = pc.fill_null(pc.equal(rejected["cut"], "median_flux"), False).to_numpy(zero_copy_only=False)
    where = np.minimum(np.searchsorted(names, rejected["name"].to_numpy()[late].astype("U")), max(len(names) - 1, 0))
    same = np.flatnonzero(late)[_came_before(names, at[first], where, rejected.filter(pa.array(late)))]
    before = rejected.take(pa.array(same))
    rejected = rejected.filter(pa.array(~np.isin(np.arange(len(rejected)), same)))
    for table in (kept.filter(pa.array(again)), before):
        reason = pc.binary_join_element_wise(table["name"], "came before", " ")
        cut = pa.array(["duplicate"] * len(table), pa.string())
        found = [table["source"], cut, reason, table["name"], table["position"]]
        rejected = pa.concat_tables([rejected, pa.table(found, schema=rejected.schema)])
    return kept.filter(pa.array(~again)), rejected.sort_by("position"), np.array(starts)


def _came_before(names, positions, where, rejected):
    """Which of the rejected have a name that was kept before; `where` says which name that would be."""
    if not len(names) or not len(rejected):
        return np.zeros(len(rejected), dtype=bool)
    same = names[where] == rejected["name"].to_numpy().astype("U")
    return same & (positions[where] < rejected["position"].to_numpy())


def _sample(recipe, kept, rejected):
    """Draw sample and splits: objects, chosen rows, their splits, counts, and how each redshift bin fared."""
    counts = {"read": len(kept) + len(rejected), "rejected": {name: 0 for name in CUTS}}
    for found in rejected["cut"].value_counts().to_pylist():
        counts["rejected"][found["values"]] = found["counts"]
    if len(kept) < 3:
        found = ", ".join(f"{cut} {n}" for cut, n in counts["rejected"].items() if n)
        raise SpecdataError(
            f"{len(kept)} of {counts['read']} spectra pass the cuts ({found or 'nothing was read'}), "
            "which is too few for three splits: loosen the cuts or add spectra"
        )
    counts["mock"] = pc.sum(kept["is_mock"]).as_py()
    if counts["mock"] and not recipe.says_mock:
        raise SpecdataError(
            f"name: {recipe.name!r} would hold {counts['mock']} mock spectra, which must never pass as SDSS data; "
            "put 'mock' into the recipe's name or take them out of the source"
        )
    cuts, sample, sizes = recipe.cuts, recipe.sample, recipe.splits
    within = {"z_min": cuts.z_min, "z_max": cuts.z_max, "redshift_bins": sample.redshift_bins, "seed": sample.seed}
    z = kept["z"].to_numpy()
    objects = np.array(object_ids(kept["name"].to_pylist(), kept["ra"].to_numpy(), kept["dec"].to_numpy()))
    chosen, table = equal_frequency(z, objects, size=sample.size, **within)
    split = assign_splits(z[chosen], objects[chosen], train=sizes.train, validation=sizes.validation, **within)
    counts |= {"passed": len(objects), "objects": len(np.unique(objects)), "sampled": len(chosen)}
    counts["asked"] = {"size": sample.size, **sizes.model_dump()}
    counts["splits"] = {name: int((split == name).sum()) for name in SPLITS}
    if not all(counts["splits"].values()):
        raise SpecdataError(
            f"{len(chosen)} spectra of {len(np.unique(objects[chosen]))} objects fill only the splits "
            f"{ {k: n for k, n in counts['splits'].items() if n} }: add spectra or ask for a smaller splits.train"
        )
    return objects, chosen, split, counts, table


def _encodings(recipe, spool, rows, chosen, scale, progress):
    """The encoding of each text config; where a number of tokens is asked for, with as many bins as have room."""
    from specdata.dataset.costs import check_longest, fit_bins
    from specdata.text.encoding import Encoding

    configs = {}
    for name, config in sorted(recipe.configs.items(), key=lambda item: item[1].like is not None):
        bins, proven = None, {}
        by_row = np.empty(rows.max() + 1, dtype=np.float32)
        by_row[rows] = scale[name]
        if config.like:  # with as many bins, whatever its conversations cost
            bins = len(configs[config.like]["edges"]) - 1
        elif config.grid.tokens:
            proven["fit"] = fit_bins(config, spool, rows[chosen], by_row, label=name, progress=progress)
            bins = proven["fit"]["bins"]
        encoding = Encoding.from_recipe(config, bins)
        if config.conversation and config.conversation.tokens:
            options = {"label": name, "progress": progress}
            proven["limit"] = check_longest(config, encoding, spool, rows[chosen], by_row, **options)
        configs[name] = encoding.to_dict() | proven
    return {name: configs[name] for name in recipe.configs}


def _write_rejected(path, rejected):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["source", "cut", "reason"])
        for batch in rejected.select(["source", "cut", "reason"]).to_batches(max_chunksize=10_000):
            writer.writerows(zip(*(column.to_pylist() for column in batch.columns), strict=True))
