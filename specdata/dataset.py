"""The build: from a recipe to a folder that is a Hub data set repository."""

import csv
import functools
import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
from tqdm import tqdm

import specdata
from specdata import rows
from specdata.binning import median_scale
from specdata.encoding import Encoding, grid_edges
from specdata.errors import SpecdataError
from specdata.files import new_folder
from specdata.selection import CUTS, SPLITS, assign_splits, equal_frequency, hash_order, object_ids, reject
from specdata.shards import BATCH, write_split

MANIFEST = "manifest.json"
_CONTENTS = (MANIFEST, "README.md", "figures", "rejected.csv", "spectra", ".gitattributes", ".cache")


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
        If no spectrum passes the cuts, too few do for three splits, mocks would go out under the name of SDSS, a number
        of tokens has no room for a single bin, or a tokenizer that the recipe names is not to be had.
    """
    from specdata.costs import token_costs
    from specdata.dataset_card import write_card
    from specdata.tokens import cost_dicts

    source = recipe.source
    if source.kind == "folder" and Path(source.path).resolve().is_relative_to(Path(output).resolve()):
        raise SpecdataError(f"{output}: holds the source {source.path}; choose another output")
    _load_tokenizers(recipe)
    contents = (*_CONTENTS, *recipe.configs, *_earlier_configs(output))
    with new_folder(output, marker=MANIFEST, contents=contents, overwrite=overwrite) as folder:
        spool = folder / "spool.arrow"
        meta, rejected, selection = _read_and_cut(recipe, spool, progress)
        objects, chosen, split, counts, table = _sample(recipe, meta, rejected)
        with pa.memory_map(str(spool)) as stream:
            spectra = pa.ipc.open_file(stream).read_all()
            configs = _encodings(recipe, spectra, chosen, meta["scale"], progress)
            encodings = {name: (config["encoding"], meta["scale"][name]) for name, config in configs.items()}
            bar = tqdm(total=len(chosen), unit=" spectra", desc="write", disable=not progress)
            values = {name: dict.fromkeys(("all", "interpolated", "by_width", "clipped"), 0) for name in encodings}
            for name in SPLITS:
                index = chosen[split == name]
                # Hash order: the source's order goes by plate, and the first rows of a split should be a fair sample.
                index = index[np.argsort(hash_order(objects[index], recipe.sample.seed), kind="stable")]
                write_split(folder, name, spectra, index, objects, encodings, values, bar)
            bar.close()
            del spectra
        spool.unlink()
        _write_rejected(folder / "rejected.csv", rejected)
        manifest = _manifest(recipe, folder, counts, table)
        if selection:
            manifest["selection"] = selection
        manifest["configs"] = {
            name: config["encoding"].to_dict() | {"values": values[name]} | config["fit"]
            for name, config in configs.items()
        }
        costs = token_costs(folder, manifest, recipe.tokenizers) if recipe.tokenizers else []
        manifest["tokens"] = cost_dicts(costs)
        write_card(folder, manifest, costs)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def open_source(recipe, on_error, progress):
    """Open the source of a recipe: an iterator of `Spectrum`, how many it will try to give, and how it was selected."""
    source = recipe.source
    if source.kind == "mock":
        from specdata.sources.mock import mock_spectra

        options = source.model_dump(exclude={"kind", "size"})
        return mock_spectra(source.size, **options), source.size, {}
    if source.kind == "sdss":
        from specdata.sources.sdss import fetch_recipe, sdss_spectra

        catalogue, fetched, selection = fetch_recipe(recipe, functools.partial(_judge, recipe), progress=progress)
        spectra = sdss_spectra(catalogue, fetched, on_error=on_error)
        return spectra, len(fetched.rows) + len(fetched.unfit), selection
    from specdata.sources.folder import folder_paths, folder_spectra

    return folder_spectra(source.path, on_error=on_error), len(folder_paths(source.path)), {}


def _judge(recipe, spectrum):
    """Say which cut a spectrum fails and why, or None."""
    spans = sorted({config.grid.span for config in recipe.configs.values()})
    failed = next((f for span in spans if (f := reject(spectrum, recipe.cuts, *span))), None)
    if failed is None:
        try:
            for span in spans:
                median_scale(spectrum, *span)
        except SpecdataError as error:
            return "median_flux", str(error)
    return failed


def _load_tokenizers(recipe):
    """Load every tokenizer that a recipe names, so that a missing one is told before hours of work, not after."""
    from specdata.tokenizer import load_tokenizer

    fitted = {config.grid.tokenizer for config in recipe.configs.values() if config.grid.tokens}
    for name in sorted(fitted):
        load_tokenizer(name)
    for name in recipe.tokenizers:
        try:
            load_tokenizer(name)
        except SpecdataError as error:
            raise SpecdataError(f"{error}, or take it out of the recipe's tokenizers") from None


def _earlier_configs(output):
    """Names of the configs of a data set that stands there already, and may be replaced."""
    try:
        return list(json.loads((Path(output) / MANIFEST).read_text(encoding="utf-8"))["configs"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _read_and_cut(recipe, spool, progress):
    """Pass over the source once: cut, and keep the spectra in a file, so that memory does not grow with pixels."""
    kept = {name: [] for name in ("name", "z", "ra", "dec", "is_mock")}
    scale = {name: [] for name in recipe.configs}
    rejected, seen, batch = [], set(), []

    def unreadable(path, error):
        # The file's name stands beside the reason; the rest of its path is nobody's business.
        rejected.append((Path(path).name, "unreadable", str(error).removeprefix(f"{path}: ")))

    schema = rows.spectra_batch([]).schema
    spectra, total, selection = open_source(recipe, unreadable, progress)
    with pa.OSFile(str(spool), "wb") as stream, pa.ipc.new_file(stream, schema) as writer:
        for spectrum in tqdm(spectra, total=total, unit=" spectra", desc="read and cut", disable=not progress):
            failed = _judge(recipe, spectrum)
            if failed is None and spectrum.name in seen:
                failed = "duplicate", f"{spectrum.name} came before"
            if failed is not None:
                rejected.append((spectrum.source, *failed))
                continue
            seen.add(spectrum.name)
            for name, values in kept.items():
                values.append(getattr(spectrum, name))
            for name, config in recipe.configs.items():
                scale[name].append(1.0 if config.normalisation == "none" else median_scale(spectrum, *config.grid.span))
            batch.append(spectrum)
            if len(batch) == BATCH:
                writer.write_batch(rows.spectra_batch(batch))
                batch.clear()
        if batch:
            writer.write_batch(rows.spectra_batch(batch))
    meta = {name: np.array(values) for name, values in kept.items()}
    meta["scale"] = {name: np.array(values, dtype=np.float32) for name, values in scale.items()}
    return meta, rejected, selection


def _sample(recipe, meta, rejected):
    """Draw sample and splits: objects, chosen rows, their splits, counts, and how each redshift bin fared."""
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
    split = assign_splits(meta["z"][chosen], objects[chosen], train=sizes.train, validation=sizes.validation, **within)
    counts |= {"passed": len(objects), "objects": len(np.unique(objects)), "sampled": len(chosen)}
    counts["asked"] = {"size": sample.size, **sizes.model_dump()}
    counts["splits"] = {name: int((split == name).sum()) for name in SPLITS}
    if not all(counts["splits"].values()):
        raise SpecdataError(
            f"{len(chosen)} spectra of {len(np.unique(objects[chosen]))} objects fill only the splits "
            f"{ {k: n for k, n in counts['splits'].items() if n} }: add spectra or ask for a smaller splits.train"
        )
    return objects, chosen, split, counts, table


def _encodings(recipe, spectra, chosen, scale, progress):
    """The encoding of each text config; where a number of tokens is asked for, with as many bins as have room."""
    from specdata.costs import fit_bins

    configs = {}
    for name, config in recipe.configs.items():
        bins, fit = None, {}
        if config.grid.tokens:
            fit = fit_bins(config, spectra, chosen, scale[name], label=name, progress=progress)
            bins = fit["bins"]
        encoding = Encoding(
            edges=grid_edges(config.grid, bins), normalisation=config.normalisation, scheme=config.scheme
        )
        configs[name] = {"encoding": encoding, "fit": {"fit": fit} if fit else {}}
    return configs


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
    # The path of somebody's disk says nothing to others.
    if recipe.source.kind == "folder":
        content["source"]["path"] = Path(recipe.source.path).resolve().name
    elif recipe.source.kind == "sdss":
        content["source"] = {
            key: content["source"][key] for key in ("kind", "data_release", "on_missing", "connections")
        } | {"catalogue": Path(recipe.source.catalogue).name}
    data = sorted(path for path in folder.rglob("*.parquet"))
    hashes = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in data}
    packages = ("astropy", "datasets", "numpy", "pyarrow")
    return {
        "format": 2,
        "revision": files_revision(hashes),
        "recipe": content,
        "counts": counts,
        "redshift_bins": redshift_table,
        "versions": {"specdata": specdata.__version__, "python": platform.python_version()}
        | {name: version(name) for name in packages},
        "files": hashes,
    }
