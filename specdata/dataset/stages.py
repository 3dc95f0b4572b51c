"""The stages of a build. Each reads what the one before it left in the work folder, and leaves its own.

    read    each shard of the source: cut, and store the spectra that pass     read/00000/, ...
    plan    all shards: duplicates, sample, splits, token budgets              plan/  (specdata.dataset.plan)
    write   each Parquet file of the result, in all configs                    write/00000/, ...

A part that is there is not made again, so that any stage may be called again after it was interrupted. What the parts
hold does not depend on how many shards there are or on who makes them.
"""

import json
import mmap
from pathlib import Path

import numpy as np
import pyarrow as pa

from specdata.dataset.asked import AskedValues
from specdata.dataset.parquet import write_parquet
from specdata.dataset.rows import spectra_batch
from specdata.dataset.selection import reject
from specdata.dataset.sources import open_source
from specdata.dataset.work import load_job, read_plan, read_table, write_table
from specdata.errors import SpecdataError
from specdata.files import file_sha256, new_folder
from specdata.spectra.binning import median_scale
from specdata.text.encoding import Encoding

_STORED = 100  # spectra of a batch: few enough to be in memory as Python objects beside the same as Arrow
_FOUND = {name: pa.string() for name in ("source", "name", "cut", "reason")}
_FOUND |= {"z": pa.float64(), "ra": pa.float64(), "dec": pa.float64(), "is_mock": pa.bool_()}


def judge(recipe, spectrum, asked) -> tuple[tuple[str, str] | None, dict]:
    """Say which cut a spectrum fails and why (None if it passes all).

    If it passes, there are the scale of each config and, where the spectra do not hold it, the true value of its target
    (see `specdata.dataset.asked.AskedValues`), as columns of the table of what was found.
    """
    spans = sorted({config.grid.span for config in recipe.configs.values()})
    failed = next((f for span in spans if (f := reject(spectrum, recipe.cuts, *span, recipe.along))), None)
    if failed:
        return failed, {}
    scaled = {config.grid.span for config in recipe.configs.values() if config.normalisation != "none"}
    try:
        median = {span: median_scale(spectrum, *span) for span in scaled}
    except SpecdataError as error:
        return ("median_flux", str(error)), {}
    values = asked.of(spectrum)
    if missing := next((name for name, value in values.items() if value is None), None):
        return ("target", f"no {recipe.configs[missing].asks.words} that can be asked for"), {}
    row = {}
    for name, config in recipe.configs.items():
        row[f"scale.{name}"] = 1.0 if config.normalisation == "none" else median[config.grid.span]
        if config.asks.stored_in == "target":
            row[f"target.{name}"] = values[name]
    return None, row


def read_shard(folder, rank, world_size=None, *, advance=lambda count: None) -> None:
    """Read a shard of the source, cut, and store the spectra that pass, so that memory does not grow with pixels.

    `rank` is the number of the shard; the job knows how many there are (`world_size`). `advance` is called with the
    number of spectra read, again and again.
    """
    job = load_job(folder)
    done, found, passed = job.parts("read")[rank], [], []

    def unreadable(path, error):
        # Only the file's name: the folders above it are private.
        reason = str(error).removeprefix(f"{path}: ")
        found.append({"source": Path(path).name, "cut": "unreadable", "reason": reason})
        advance(1)

    if done.is_dir():
        return
    columns, asked = {f"scale.{name}": pa.float32() for name in job.recipe.configs}, AskedValues(job.recipe)
    for name, config in job.recipe.configs.items():
        if config.asks.stored_in == "target":
            columns[f"target.{name}"] = pa.float64() if config.asks.is_number else pa.string()
    schema = pa.schema(_FOUND | columns)
    with new_folder(done) as part:
        with pa.ipc.new_file(str(part / "spectra.arrow"), spectra_batch([]).schema) as spectra:
            for spectrum in open_source(job.recipe, job.read_listing(rank), unreadable):
                failed, found_here = judge(job.recipe, spectrum, asked)
                row = {name: getattr(spectrum, name) for name in ("source", "name", "z", "ra", "dec", "is_mock")}
                if failed:
                    row["cut"], row["reason"] = failed
                else:
                    passed.append(spectrum)
                found.append(row | found_here)
                advance(1)
                if len(passed) == _STORED:
                    spectra.write_batch(spectra_batch(passed))
                    passed.clear()
            spectra.write_batch(spectra_batch(passed))
        write_table(part / "found.arrow", pa.Table.from_pylist(found, schema=schema))


def value_column(target, config) -> str:
    """Column of the table of what was found that has the true values of a config's target."""
    return "z" if target.stored_in == "z" else f"target.{config}"


class StoredSpectra:
    """The spectra that `read_shard` stored, of all shards, as a table of which only the rows asked for are in memory.

    `rows` are the numbers of the spectra that are the rows of this table, counted through all shards of the `job`.
    """

    def __init__(self, job, rows):
        self._maps = []
        for part in job.parts("read"):
            with (part / "spectra.arrow").open("rb") as stream:
                self._maps.append(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        self._files = [pa.ipc.open_file(pa.py_buffer(found)) for found in self._maps]
        self._starts = np.cumsum([0, *(file.count_rows() for file in self._files)])
        self._rows = np.asarray(rows)

    def __len__(self):
        return len(self._rows)

    def take(self, index) -> pa.Table:
        """Rows of the `spectra` config, without `position_id`, in the order of `index` and in one chunk."""
        rows = self._rows[index]
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        batches, rows = np.divmod(rows - self._starts[shards], _STORED)
        places = zip(shards.tolist(), batches.tolist(), rows.tolist(), strict=True)
        found = [self._files[shard].get_batch(batch).slice(row, 1) for shard, batch, row in places]
        table = pa.Table.from_batches(found).combine_chunks()
        for shard in np.unique(shards):  # or the process's memory would grow with every page that was ever read
            self._maps[shard].madvise(mmap.MADV_DONTNEED)
        return table


def write_files(folder, rank, world_size, *, advance=lambda count: None) -> None:
    """Write every `world_size`-th Parquet file of the plan, in all configs.

    That is those whose number leaves `rank` when divided by `world_size`. `advance` is called with the number of rows
    written, again and again.
    """
    job, plan = load_job(folder), read_plan(folder)
    sample = read_table(folder / "plan" / "sample.arrow")
    files = list(zip(job.parts("write", len(plan["files"])), plan["files"], strict=True))
    for done, file in files[rank::world_size]:
        if done.is_dir():
            continue
        rows = sample.slice(file["start"], file["stop"] - file["start"]).combine_chunks()
        spectra = StoredSpectra(job, rows["row"].to_numpy())
        encodings = {}
        for name, made in plan["configs"].items():
            encoding = Encoding.from_dict(made, name)
            values = rows[value_column(encoding.target, name)].to_pylist()
            encodings[name] = encoding, rows[f"scale.{name}"].to_numpy(), values
        with new_folder(done) as part:
            altered = {"augment": job.recipe.augment, "realisation": file["realisation"]}
            values = write_parquet(part, spectra, rows["position_id"].chunk(0), encodings, advance, **altered)
            hashes = {path.stem: file_sha256(path) for path in sorted(part.glob("*.parquet"))}
            (part / "written.json").write_text(json.dumps({"values": values, "hashes": hashes}), encoding="utf-8")
