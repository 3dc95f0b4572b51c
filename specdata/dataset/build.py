"""The build: from a recipe to a folder that is a Hub data set repository."""

import errno
import functools
import json
import os
import platform
import shutil
from collections import Counter
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

from tqdm import tqdm

import specdata
from specdata.dataset import executors, stages
from specdata.dataset.listing import list_source
from specdata.dataset.manifest import MANIFEST, files_revision
from specdata.dataset.plan import make_plan, read_plan
from specdata.dataset.work import LOGS, alone, begin, load_job, part_names, sweep
from specdata.errors import SpecdataError
from specdata.files import check_free, new_folder
from specdata.prompts import build_row

_CONTENTS = (MANIFEST, "README.md", "figures", "rejected.csv", "spectra", ".gitattributes", ".cache")
_ON_DISK = ("folder", "dataset")  # sources with a path


def build(recipe, output, *, overwrite=False, progress=True, work=None, shards=None, executor=None, workers=None,
          slurm_options=None):  # fmt: skip
    """Write the data set of a recipe.

    A build that was stopped, by whatever, goes on where it was when it is called again; see `specdata.dataset.stages`.

    Parameters
    ----------
    recipe : specdata.dataset.recipe.DataRecipe
    output : path-like
        Folder to make; it appears only when it is complete.
    overwrite : bool
        Replace an earlier data set in `output`.
    progress : bool
        Show a progress bar on standard error.
    work : path-like, optional
        Folder for what is made on the way, by default ``OUTPUT.parts``; it is removed in the end.
    shards : int, optional
        Into how many parts the source is divided, which the result does not depend on.
    executor : {"local", "slurm", "ray"}, optional
        Who does the parts; by default this process, or more than one of this machine where `workers` says so.
    workers : int, optional
        How many parts are worked on at the same time.
    slurm_options : dict of str to str, optional
        See `specdata.dataset.executors.submit_slurm`.

    Returns
    -------
    dict or None
        The manifest; None where jobs of a cluster are going to write it.

    Raises
    ------
    SpecdataError
        If no spectrum passes the cuts, too few do for three splits, mocks would go out under the name of SDSS, a number
        of tokens has no room for a single bin, or a tokenizer that the recipe names is not to be had.
    """
    source = recipe.source
    if source.kind in _ON_DISK and Path(source.path).resolve().is_relative_to(Path(output).resolve()):
        raise SpecdataError(f"{output}: holds the source {source.path}; choose another output")
    output, _ = check_free(output, **_replaceable(recipe, output, overwrite))
    if executor is None and (workers or 1) > 1:
        executor = "local"
    if executor is not None:
        executors.check(executor, slurm_options)
    _load_tokenizers(recipe)
    listing, selection = list_source(recipe, functools.partial(stages.judge, recipe), progress)
    folder = Path(work or f"{output}.parts").resolve()
    at_least = workers or os.cpu_count() if executor else 1
    try:
        with begin(
            folder, recipe, output, listing, selection, overwrite=overwrite, shards=shards, at_least=at_least
        ) as job:
            del listing
            if executor == "slurm":
                todo = {"read": (stages.read_shard, job.shards), "plan": (make_plan, 1)}
                todo |= {"write": (stages.write_shards, job.shards), "finish": (_finish_in_a_job, 1)}
                return executors.submit_slurm(folder, todo, workers=workers, options=slurm_options)
            run = functools.partial(_run, folder, job, executor, workers, progress)
            run("read", stages.read_shard, "read and cut", job.total)
            try:
                make_plan(folder, progress=progress)
            except SpecdataError:  # which would come again
                shutil.rmtree(folder)
                raise
            run("write", stages.write_shards, "write", read_plan(folder)["counts"]["sampled"])
            manifest = finish(folder)
            shutil.rmtree(folder)
            return manifest
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        why = os.strerror(error.errno)  # without the words that Arrow puts around it
        raise SpecdataError(f"{folder}: {why}; make room there and give the same command again") from None


def _run(folder, job, executor, workers, progress, name, stage, title, total):
    """Run a stage for all shards, here or with an executor."""
    if executor is not None:
        executors.run(executor, folder, name, stage, job.shards, workers=workers, title=title, progress=progress)
        return
    with tqdm(total=total, unit=" spectra", desc=title, disable=not progress) as bar:
        for rank in range(job.shards):
            stage(folder, rank, job.shards, advance=bar.update)


def finish(folder, rank=0, world_size=1):
    """Gather what the stages wrote in a folder, with card, figures and manifest, and give it its name.

    Parameters
    ----------
    folder : Path
        The work folder.
    rank, world_size : int
        Not looked at: there is one end.

    Returns
    -------
    dict
        The manifest.
    """
    from specdata.dataset.card import write_card
    from specdata.dataset.costs import token_costs

    job, plan = load_job(folder), read_plan(folder)
    recipe, data = job.recipe, folder / "dataset"
    shutil.rmtree(data, ignore_errors=True)  # of a run that was killed
    data.mkdir()
    hashes, values = {}, {name: Counter() for name in recipe.configs}
    for part, output in zip(part_names(len(plan["outputs"])), plan["outputs"], strict=True):
        written = json.loads((folder / "write" / part / "written.json").read_text(encoding="utf-8"))
        for config in ("spectra", *recipe.configs):
            (data / config).mkdir(exist_ok=True)
            _link(folder / "write" / part / f"{config}.parquet", data / config / output["name"])
            hashes[f"{config}/{output['name']}"] = written["hashes"][config]
        for name, found in written["values"].items():
            values[name].update(found)
    shutil.copy(folder / "plan" / "rejected.csv", data)
    manifest = _manifest(recipe, plan, dict(sorted(hashes.items(), key=lambda item: item[0].split("/"))))
    if job.selection:
        manifest["selection"] = job.selection
    manifest["configs"] = {}
    for name, found in plan["configs"].items():
        proven = {key: found.pop(key) for key in ("fit", "limit") if key in found}
        for proof in proven.values():
            proof["tokenizer"] = _public(proof["tokenizer"])
        manifest["configs"][name] = found | {"values": dict(values[name])} | proven
    costs = token_costs(data, manifest, recipe.tokenizers) if recipe.tokenizers else []
    costs = [replace(cost, tokenizer=_public(cost.tokenizer)) for cost in costs]
    manifest["tokens"] = [asdict(cost) for cost in costs]
    write_card(data, manifest, costs)
    (data / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    with new_folder(job.output, **_replaceable(recipe, job.output, job.overwrite)) as final:
        for entry in data.iterdir():
            shutil.move(entry, final / entry.name)
    return manifest


def _finish_in_a_job(folder, rank, world_size):
    """`finish`, where nobody holds the work folder; the log files stay, into which the job still writes."""
    with alone(folder):
        finish(folder)
        sweep(folder, whole=True, but=LOGS)


def _link(path, other):
    """Give a file another name without a copy, where the disk can."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def _replaceable(recipe, output, overwrite):
    """What `specdata.files.new_folder` has to know."""
    contents = (*_CONTENTS, *recipe.configs, *_earlier_configs(output))
    return {"marker": MANIFEST, "contents": contents, "overwrite": overwrite}


def _load_tokenizers(recipe):
    """Try every tokenizer that a recipe names, so that what one lacks is told before hours of work, not after."""
    from specdata.text.tokenizer import load_tokenizer
    from specdata.text.tokens import count_chats

    row = build_row("", 0.0)
    sections = [part for config in recipe.configs.values() for part in (config.grid, config.conversation) if part]
    for name in sorted({part.tokenizer for part in sections if part.tokens}):
        count_chats(load_tokenizer(name), [row["prompt"] + row["completion"]])
    for name in recipe.tokenizers:
        try:
            count_chats(load_tokenizer(name), [row["prompt"] + row["completion"]])
        except SpecdataError as error:
            raise SpecdataError(f"{error}, or take it out of the recipe's tokenizers") from None


def _earlier_configs(output):
    """Names of the configs of a data set that stands there already, and may be replaced."""
    try:
        return list(json.loads((Path(output) / MANIFEST).read_text(encoding="utf-8"))["configs"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _public(name):
    """Of a path the last part: the rest of somebody's disk says nothing to others. Another name as it is."""
    return Path(name).resolve().name if Path(name).exists() else name


def _manifest(recipe, plan, hashes):
    content = recipe.model_dump()
    # The path of somebody's disk says nothing to others.
    if recipe.source.kind in _ON_DISK:
        content["source"]["path"] = Path(recipe.source.path).resolve().name
    elif recipe.source.kind == "sdss":
        content["source"] = {
            key: content["source"][key] for key in ("kind", "data_release", "on_missing", "connections")
        } | {"catalogue": Path(recipe.source.catalogue).name}
    content["tokenizers"] = [_public(name) for name in recipe.tokenizers]
    for config in content["configs"].values():
        for part in (config["grid"], config["conversation"]):
            if part and part["tokenizer"]:
                part["tokenizer"] = _public(part["tokenizer"])
    packages = ("astropy", "datasets", "numpy", "pyarrow")
    return {
        "format": 2,
        "revision": files_revision(hashes),
        "recipe": content,
        "counts": plan["counts"],
        "redshift_bins": plan["redshift_bins"],
        "versions": {"specdata": specdata.__version__, "python": platform.python_version()}
        | {name: version(name) for name in packages},
        "files": hashes,
    }
