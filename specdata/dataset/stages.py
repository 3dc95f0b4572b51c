"""The stages of a build. Each reads what the one before it left in the work folder, and leaves its own.

    read    each shard of the source: cut, and spool the spectra that pass     read/00000/, ...
    plan    all shards: duplicates, sample, splits, token budgets              plan/  (specdata.dataset.plan)
    write   each Parquet file of the result, in all configs                    write/00000/, ...

A part that is there is not made again, so that any stage may be called again after it was interrupted. What the parts
hold does not depend on how many shards there are or on who makes them.
"""

import hashlib
import json
from pathlib import Path

import pyarrow as pa

from specdata.dataset.listing import open_items
from specdata.dataset.parquet import write_shard
from specdata.dataset.plan import read_plan
from specdata.dataset.previous import same_file
from specdata.dataset.selection import reject
from specdata.dataset.spool import Spool, SpoolWriter, write_table
from specdata.dataset.work import load_job, new_part, part_names, read_listing
from specdata.errors import SpecdataError
from specdata.spectra.binning import median_scale
from specdata.text.encoding import Encoding

_KEPT = {"position": pa.int64(), "name": pa.string(), "source": pa.string(), "z": pa.float64(), "ra": pa.float64()}
_KEPT |= {"dec": pa.float64(), "is_mock": pa.bool_()}
_REJECTED = {name: pa.string() for name in ("source", "cut", "reason", "name")} | {"position": pa.int64()}


def _nothing(_):
    pass


def judge(recipe, spectrum):
    """Say which cut a spectrum fails and why, or None."""
    return _cut(recipe, spectrum)[0]


def _cut(recipe, spectrum):
    """What `judge` says, and the median flux of a spectrum that passes, by the span of a grid."""
    spans = sorted({config.grid.span for config in recipe.configs.values()})
    failed = next((f for span in spans if (f := reject(spectrum, recipe.cuts, *span))), None)
    if failed:
        return failed, {}
    try:
        return None, {span: median_scale(spectrum, *span) for span in spans}
    except SpecdataError as error:
        return ("median_flux", str(error)), {}


def read_shard(work, rank=0, world_size=1, *, advance=_nothing):
    """Read a shard of the source, cut, and keep the spectra in a file, so that memory does not grow with pixels.

    Parameters
    ----------
    work : Path
    rank : int
        Number of the shard.
    world_size : int
        Not looked at: the job knows the number of shards.
    advance : callable
        Called with the number of spectra read, again and again.
    """
    job, done = load_job(work), work / "read" / f"{rank:05d}"
    if done.is_dir():
        return
    recipe, rejected = job.recipe, {name: [] for name in _REJECTED}
    kept = {name: [] for name in _KEPT}
    scale = {name: [] for name in recipe.configs}

    def refuse(*values):
        for column, value in zip(rejected.values(), (*values, position()), strict=True):
            column.append(value)

    def position():
        return len(kept["z"]) + len(rejected["cut"])

    def unreadable(path, error):
        # The file's name stands beside the reason; the rest of its path is nobody's business.
        refuse(Path(path).name, "unreadable", str(error).removeprefix(f"{path}: "), None)
        advance(1)

    with new_part(done) as folder:
        with SpoolWriter(folder / "spectra.arrow") as spool:
            for spectrum in open_items(recipe, read_listing(work, *job.bounds(rank)), unreadable):
                failed, median = _cut(recipe, spectrum)
                if failed:
                    refuse(spectrum.source, *failed, spectrum.name)
                else:
                    for name, config in recipe.configs.items():
                        scale[name].append(1.0 if config.normalisation == "none" else median[config.grid.span])
                    found = {"position": position()}
                    for name, values in kept.items():
                        values.append(found[name] if name in found else getattr(spectrum, name))
                    spool.write(spectrum)
                advance(1)
        schema = pa.schema(_KEPT | {f"scale.{name}": pa.float32() for name in scale})
        write_table(folder / "kept.arrow", pa.table(kept | {f"scale.{n}": v for n, v in scale.items()}, schema=schema))
        write_table(folder / "rejected.arrow", pa.table(rejected, schema=pa.schema(_REJECTED)))


def write_shards(work, rank=0, world_size=1, *, advance=_nothing):
    """Write every `world_size`-th Parquet file of the plan, in all configs.

    Parameters
    ----------
    work : Path
    rank, world_size : int
        Which: those whose number leaves `rank` when divided by `world_size`.
    advance : callable
        Called with the number of rows written, again and again.
    """
    job, content = load_job(work), read_plan(work)
    spool = Spool([work / "read" / name / "spectra.arrow" for name in part_names(job.shards)], content["starts"])
    for number, output in list(enumerate(content["outputs"]))[rank::world_size]:
        done = work / "write" / f"{number:05d}"
        if done.is_dir():
            continue
        with pa.memory_map(str(work / "plan" / "rows.arrow")) as stream:
            placed = pa.ipc.open_file(stream).read_all()
            placed = placed.slice(output["start"], output["stop"] - output["start"]).combine_chunks()
            encodings = {
                name: (Encoding.from_dict(stored, name), placed[f"scale.{name}"].to_numpy())
                for name, stored in content["configs"].items()
            }
            objects, index, there = placed["object_id"].chunk(0), placed["row"].to_numpy(), None
            if job.recipe.source.kind == "dataset":
                items = read_listing(work, 0, job.total)["item"].take(placed["position"])
                there = same_file(job.recipe.source.path, items.to_pylist(), objects)
            with new_part(done) as folder:
                values = write_shard(folder, spool, index, objects, encodings, advance, there=there)
                hashes = {path.stem: _sha256(path) for path in sorted(folder.glob("*.parquet"))}
                (folder / "written.json").write_text(json.dumps({"values": values, "hashes": hashes}))


def _sha256(path):
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
