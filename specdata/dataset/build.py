"""The build: from a recipe to a folder that is a Hub data set repository."""

import errno
import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from specdata.archive.fetch import check_astroquery
from specdata.dataset import executors
from specdata.dataset.asked import AskedValues
from specdata.dataset.manifest import MANIFEST, make_manifest, read_manifest
from specdata.dataset.plan import make_plan
from specdata.dataset.sources import list_source
from specdata.dataset.stages import judge, read_shard, write_files
from specdata.dataset.work import (
    LOGS,
    begin,
    clear,
    finished_key,
    job_key,
    load_job,
    locked,
    mark_finished,
    read_plan,
    remove,
)
from specdata.errors import SpecdataError
from specdata.files import check_free, new_folder, remove_folder, sweep
from specdata.hub import public_name
from specdata.prompts import build_row

_CONTENTS = (MANIFEST, "README.md", "figures", "rejected.csv", "spectra", ".gitattributes", ".cache")


def build(recipe, output, *, overwrite=False, progress=True, work=None, shards=None, executor="local", workers=None,
          slurm_options=None) -> dict | None:  # fmt: skip
    """Write the data set of a recipe.

    A build that was interrupted continues when it is called again; see `specdata.dataset.stages`.

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
    shards, workers : int, optional
        Into how many parts the source is divided, which the result does not depend on, and how many of them are worked
        on at the same time; by default one here, and on a cluster as many as it has room for.
    executor : {"local", "slurm", "ray"}
        Who does the parts: this machine or a cluster; `slurm_options` as for `specdata.dataset.executors.submit_slurm`.

    Returns
    -------
    dict or None
        The manifest; None where jobs of a cluster are going to write it.

    Raises
    ------
    SpecdataError
        If no spectrum passes the cuts, too few do for three splits, mocks would go out under the name of SDSS, a number
        of tokens has no room for a single bin, or a tokenizer that the recipe names cannot be loaded.
    """
    check_astroquery(recipe.source)
    output = Path(output).resolve()
    folder = Path(work or f"{output}.parts").resolve()
    if folder.is_relative_to(output) or output.is_relative_to(folder):
        raise SpecdataError(f"--work {folder} and the output {output} lie inside each other; choose another --work")
    if recipe.source.kind in ("folder", "files", "dataset"):
        source = Path(recipe.source.path).resolve()
        if source.is_relative_to(output):
            raise SpecdataError(f"{output}: holds the source {recipe.source.path}; choose another output")
        # so that any process finds it, whatever folder it runs in
        paths = {"path": str(source)}
        if getattr(recipe.source, "catalogue", None):
            paths["catalogue"] = str(Path(recipe.source.catalogue).resolve())
        recipe = recipe.model_copy(update={"source": recipe.source.model_copy(update=paths)})
    tables = [table.model_copy(update={"path": str(Path(table.path).resolve())}) for table in recipe.tables]
    recipe = recipe.model_copy(update={"tables": tables})
    asked = AskedValues(recipe)
    for made in (folder, output):
        sweep(made)
    finished = finished_key(folder, output)
    if finished is None:
        check_free(output, **_replaceable(recipe, output, overwrite))
    executors.check(executor, slurm_options)
    _load_tokenizers(recipe)
    try:
        listing, selection = list_source(recipe, lambda spectrum: judge(recipe, spectrum, asked)[0], progress)
        key = job_key(recipe, listing)
        with locked(folder):
            if key == finished:  # by a command that was killed in its last clean-up
                remove(folder, keep=LOGS if executor == "slurm" else None)
                return read_manifest(output, output)
            check_free(output, **_replaceable(recipe, output, overwrite))
            options = {"overwrite": overwrite, "shards": shards, "workers": workers or 1}
            job = begin(folder, key, recipe, output, listing, selection, **options)
            del listing
            if executor != "slurm":
                return _make_all(job, executor, workers, progress)
        # Not locked, for the last job locks the folder itself.
        tasks = {read_shard: job.shards, make_plan: 1, write_files: job.shards, finish_job: 1}
        return executors.submit_slurm(folder, tasks, workers=workers, options=slurm_options)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        why = os.strerror(error.errno)  # Arrow puts other words around it
        raise SpecdataError(f"{folder}: {why}; make room there and give the same command again") from None


def _make_all(job, executor, workers, progress):
    """Go through all stages; the manifest."""

    def run(stage, count, total, title):
        if executor == "ray":
            return executors.run_ray(job.folder, stage, count, workers=workers)
        bar = {"total": total, "title": title, "progress": progress}
        return executors.run_local(job.folder, stage, count, workers=workers or 1, **bar)

    run(read_shard, job.shards, job.total, "read and cut")
    try:
        make_plan(job.folder, progress=progress)
    except SpecdataError:  # as another attempt would end
        clear(job.folder)
        remove_folder(job.folder)
        raise
    plan = read_plan(job.folder)
    run(write_files, len(plan["files"]), sum(file["stop"] - file["start"] for file in plan["files"]), "write")
    manifest = finish(job.folder)
    remove(job.folder)
    return manifest


def finish(folder) -> dict:
    """Gather what the stages wrote in a work folder, with card, figures and manifest, and give it its name."""
    from specdata.dataset.card import dataset_card, draw_figures
    from specdata.dataset.tokens import token_costs

    job, plan = load_job(folder), read_plan(folder)
    recipe, hashes, values = job.recipe, {}, []
    with new_folder(job.output, **_replaceable(recipe, job.output, job.overwrite)) as data:
        for part, file in zip(job.parts("write", len(plan["files"])), plan["files"], strict=True):
            written = json.loads((part / "written.json").read_text(encoding="utf-8"))
            values.append(written["values"])
            for config, digest in written["hashes"].items():
                (data / config).mkdir(exist_ok=True)
                name = file["spectra" if config == "spectra" else "name"]
                _link(part / f"{config}.parquet", data / config / name)
                hashes[f"{config}/{name}"] = digest
        shutil.copy(folder / "plan" / "rejected.csv", data)
        manifest = make_manifest(recipe, plan, hashes, values, job.selection)
        costs = token_costs(data, manifest, recipe.tokenizers) if recipe.tokenizers else []
        costs = [replace(cost, tokenizer=public_name(cost.tokenizer)) for cost in costs]
        manifest["tokens"] = [asdict(cost) for cost in costs]
        manifest["figures"] = draw_figures(data, manifest)
        (data / "README.md").write_text(dataset_card(data, manifest, recipe.name), encoding="utf-8")
        (data / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        mark_finished(folder, data)
    return manifest


def finish_job(folder, rank, world_size) -> None:
    """`finish` as a job of a cluster, to whose logs it still writes: they stay."""
    with locked(folder):
        finish(folder)
        remove(folder, keep=LOGS)


def _link(path, other):
    """Give a file another name without a copy, where the disk can."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)


def _replaceable(recipe, output, overwrite):
    """What `specdata.files.new_folder` has to know: the names of an earlier data set and of this one."""
    try:
        earlier = list(json.loads((Path(output) / MANIFEST).read_text(encoding="utf-8"))["configs"])
    except (OSError, ValueError, KeyError, TypeError):
        earlier = []
    return {"marker": MANIFEST, "contents": (*_CONTENTS, *recipe.configs, *earlier), "overwrite": overwrite}


def _load_tokenizers(recipe):
    """Try every tokenizer that a recipe names, so that one that is missing is told before hours of work, not after."""
    from specdata.text.tokenizer import load_tokenizer
    from specdata.text.tokens import count_chats

    row = build_row("", 0.0)
    sections = [part for config in recipe.configs.values() for part in (config.grid, config.conversation)]
    needed = {part.tokenizer for part in sections if part and part.tokens}
    for name in [*sorted(needed), *recipe.tokenizers]:
        try:
            count_chats(load_tokenizer(name), [row["prompt"] + row["completion"]])
        except SpecdataError as error:
            hint = "" if name in needed else ", or take it out of the recipe's tokenizers"
            raise SpecdataError(f"{error}{hint}") from None
