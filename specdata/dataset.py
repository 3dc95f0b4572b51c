"""The build: from a recipe to a folder that is a Hub data set repository."""

import csv
import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

import specdata
from specdata import rows, serialize
from specdata.binning import bin_spectrum, linear_edges, median_scale
from specdata.errors import SpecdataError
from specdata.files import new_folder
from specdata.selection import CUTS, SPLITS, assign_splits, equal_frequency, hash_order, object_ids, reject

MANIFEST = "manifest.json"
CONTENTS = (MANIFEST, "README.md", "figures", "rejected.csv", *rows.CONFIGS, ".gitattributes", ".cache")
ROWS_PER_SHARD = 50_000
_BATCH = 1000  # rows of a row group: small enough for the Hub's viewer to page through
_SCHEMES = {"paper": serialize.PAPER}


def build(recipe, output, *, overwrite=False, progress=True):
    """Write the data set of a recipe.

    Parameters
    ----------
    recipe : specdata.recipe.DataRecipe
    output : path-like
        Folder to make; it appears only when it is complete.
    overwrite : bool
        Replace an earlier data set in `output`.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    SpecdataError
        If no spectrum passes the cuts, too few do for three splits, or mocks would go out under the name of SDSS.
    """
    from specdata.dataset_card import write_card

    source = recipe.source
    if source.kind == "folder" and Path(source.path).resolve().is_relative_to(Path(output).resolve()):
        raise SpecdataError(f"{output}: holds the source {source.path}; choose another output")
    with new_folder(output, marker=MANIFEST, contents=CONTENTS, overwrite=overwrite) as folder:
        spool = folder / "spool.arrow"
        meta, rejected, by_width = _read_and_bin(recipe, spool, progress)
        counts = {"read": len(meta["z"]) + len(rejected), "rejected": {name: 0 for name in CUTS}}
        for _, cut, _ in rejected:
            counts["rejected"][cut] += 1
        if len(meta["z"]) < 3:
            found = ", ".join(f"{cut} {n}" for cut, n in counts["rejected"].items() if n)
            raise SpecdataError(
                f"{len(meta['z'])} of {counts['read']} spectra pass the cuts ({found or 'nothing was read'}), "
                "which is too few for three splits: loosen the cuts or add spectra"
            )
        counts["mock"] = int(meta["is_mock"].sum())
        if counts["mock"] and not recipe.says_mock:
            raise SpecdataError(
                f"name: {recipe.name!r} would hold {counts['mock']} mock spectra, which must never pass as SDSS data; "
                "put 'mock' into the recipe's name or take them out of the source"
            )
        cuts, sample, sizes = recipe.cuts, recipe.sample, recipe.splits
        within = {"z_min": cuts.z_min, "z_max": cuts.z_max, "redshift_bins": sample.redshift_bins, "seed": sample.seed}
        objects = np.array(object_ids(meta["name"].tolist(), meta["ra"], meta["dec"]))
        chosen, table = equal_frequency(meta["z"], objects, size=sample.size, **within)
        split = assign_splits(
            meta["z"][chosen], objects[chosen], train=sizes.train, validation=sizes.validation, **within
        )
        counts["bins"] = {"all": len(objects) * recipe.grid.bins, "by_width": by_width}
        counts |= {"passed": len(objects), "objects": len(np.unique(objects)), "sampled": len(chosen)}
        counts["asked"] = {"size": sample.size, **sizes.model_dump()}
        counts["splits"] = {name: int((split == name).sum()) for name in SPLITS}
        if not all(counts["splits"].values()):
            raise SpecdataError(
                f"{len(chosen)} spectra of {len(np.unique(objects[chosen]))} objects fill only the splits "
                f"{ {k: n for k, n in counts['splits'].items() if n} }: add spectra or ask for a smaller splits.train"
            )
        with pa.memory_map(str(spool)) as stream:
            table_in = pa.ipc.open_file(stream).read_all()
            for name in SPLITS:
                index = chosen[split == name]
                # Hash order: the source's order goes by plate, and the first rows of a split should be a fair sample.
                index = index[np.argsort(hash_order(objects[index], sample.seed), kind="stable")]
                _write_split(folder, name, table_in, index, objects[index], _SCHEMES[recipe.scheme])
        spool.unlink()
        _write_rejected(folder / "rejected.csv", rejected)
        manifest = _manifest(recipe, folder, counts, table)
        write_card(folder, manifest)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def open_source(recipe, on_error):
    """Open the source of a recipe: an iterator of `Spectrum`, and how many it will try to give."""
    source = recipe.source
    if source.kind == "mock":
        from specdata.sources.mock import mock_spectra

        options = source.model_dump(exclude={"kind", "size"})
        return mock_spectra(source.size, **options), source.size
    from specdata.sources.folder import folder_paths, folder_spectra

    return folder_spectra(source.path, on_error=on_error), len(folder_paths(source.path))


def _read_and_bin(recipe, spool, progress):
    """Pass over the source once: cut, bin, and keep the rows in a file, so that memory does not grow with pixels."""
    edges = linear_edges(recipe.grid.start, recipe.grid.stop, recipe.grid.bins)
    schema = rows.features("spectra").arrow_schema.remove_metadata()
    schema = schema.remove(schema.get_field_index("object_id"))
    kept = {name: [] for name in ("name", "z", "ra", "dec", "is_mock")}
    rejected, seen, by_width = [], set(), 0

    def unreadable(path, error):
        # The file's name stands beside the reason; the rest of its path is nobody's business.
        rejected.append((Path(path).name, "unreadable", str(error).removeprefix(f"{path}: ")))

    spectra, total = open_source(recipe, unreadable)
    with pa.OSFile(str(spool), "wb") as stream, pa.ipc.new_file(stream, schema) as writer:
        batch = []
        for spectrum in tqdm(spectra, total=total, unit=" spectra", desc="read and bin", disable=not progress):
            failed = reject(spectrum, recipe.cuts, edges[0], edges[-1])
            if failed is None and spectrum.name in seen:
                failed = "duplicate", f"{spectrum.name} came before"
            if failed is None:
                try:
                    binned = bin_spectrum(spectrum, edges)
                    batch.append(rows.spectra_row(spectrum, binned, median_scale(binned)))
                except SpecdataError as error:
                    failed = "median_flux", str(error)
            if failed is not None:
                rejected.append((spectrum.source, *failed))
                continue
            seen.add(spectrum.name)
            by_width += int(binned.by_width.sum())
            for name, values in kept.items():
                values.append(getattr(spectrum, name))
            if len(batch) == _BATCH:
                writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
                batch.clear()
        if batch:
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
    return {name: np.array(values) for name, values in kept.items()}, rejected, by_width


def _write_split(folder, split, spool, index, objects, scheme):
    """Write the shards of one split, in all configs, a row group at a time."""
    shards = -(-len(index) // ROWS_PER_SHARD)
    configs = {name: rows.features(name).arrow_schema for name in ("spectra", scheme.name)}
    for shard in range(shards):
        first, last = shard * ROWS_PER_SHARD, min(len(index), (shard + 1) * ROWS_PER_SHARD)
        writers = {}
        for config, schema in configs.items():
            path = folder / config / f"{split}-{shard:05d}-of-{shards:05d}.parquet"
            path.parent.mkdir(exist_ok=True)
            # Page index and content-defined chunks: the viewer reads part of a file, an upload sends only what changed.
            writers[config] = pq.ParquetWriter(
                path, schema, compression="zstd", write_page_index=True, use_content_defined_chunking=True
            )
        for start in range(first, last, _BATCH):
            stop = min(last, start + _BATCH)
            spectra = spool.take(pa.array(index[start:stop])).append_column(
                "object_id", pa.array(objects[start:stop], pa.string())
            )
            spectra = spectra.select(configs["spectra"].names).cast(configs["spectra"])
            writers["spectra"].write_table(spectra)
            text = rows.text_rows(spectra, scheme)
            writers[scheme.name].write_table(pa.Table.from_pylist(text, schema=configs[scheme.name]))
        for writer in writers.values():
            writer.close()


def _write_rejected(path, rejected):
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["source", "cut", "reason"])
        writer.writerows(rejected)


def files_revision(hashes):
    """Revision of a data set: SHA-256 over the names and hashes of its Parquet files, as the manifest lists them."""
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _manifest(recipe, folder, counts, redshift_table):
    content = recipe.model_dump()
    if recipe.source.kind == "folder":  # the path of somebody's disk says nothing to others
        content["source"]["path"] = Path(recipe.source.path).resolve().name
    data = sorted(path for path in folder.rglob("*.parquet"))
    hashes = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in data}
    packages = ("astropy", "datasets", "numpy", "pyarrow")
    return {
        "format": 1,
        "revision": files_revision(hashes),
        "recipe": content,
        "counts": counts,
        "redshift_bins": redshift_table,
        "versions": {"specdata": specdata.__version__, "python": platform.python_version()}
        | {name: version(name) for name in packages},
        "files": hashes,
    }
