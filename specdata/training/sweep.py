"""Many trainings of one recipe: each by `trl sft`, each evaluated, and one table of them all."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from filelock import FileLock, Timeout

from specdata.errors import SpecdataError
from specdata.files import new_file
from specdata.results import RESULTS, load_results
from specdata.training.grid import load_grid
from specdata.training.recipe import checkpoints, parse_training, run_training
from specdata.training.table import write_table

_MADE_BY, _TRAINED, _CHOSEN = "sweep.json", "finished", "chosen.json"


def sweep(recipe, output, *, grid="sweeps/paper", settings=(), rows=None):
    """Train and evaluate every run of a grid that is not done yet, one after the other.

    A run that was stopped goes on from its last checkpoint, and an evaluation from its last answer, when the same
    command is given again. The table is written anew after every run.

    Parameters
    ----------
    recipe : path-like
        A recipe of ``trl sft``, or the name of a shipped one.
    output : path-like
        Folder with a folder for each run, ``table.md``, ``table.json`` and ``table.png``.
    grid : path-like
        A YAML file, or the name of a shipped one.
    settings : sequence of str
        For the command line of ``trl sft`` in every run.
    rows : int, optional
        Evaluate only the first rows of the test split, which are a fair sample.

    Returns
    -------
    dict
        What stands in ``table.json``.

    Raises
    ------
    SpecdataError
        If the folder is another sweep's, or if runs failed; the others are done all the same.
    """
    output, settings = Path(output), [str(word) for word in settings]
    plan = load_grid(grid)
    varied = set(plan.base).union(*plan.runs.values()) | {"output_dir", "resume_from_checkpoint"}
    for word in settings:
        if word.startswith("--") and word[2:].split("=")[0].replace("-", "_") in varied:
            raise SpecdataError(f"{word}: is set by the sweep for each run; change the grid instead")
    parsed = {name: parse_training(recipe, _words(plan.settings(name)) + settings) for name in plan.runs}
    _check_folder(output, parsed, settings, rows)
    failed = {}
    try:
        with FileLock(output / ".lock", timeout=0):
            for number, (name, run) in enumerate(parsed.items(), start=1):
                print(f"[{number}/{len(parsed)}] {name}", end="", flush=True)
                try:
                    _run(output, name, run, plan, settings, rows)
                except SpecdataError as error:
                    failed[name] = str(error)
                    print(f"specdata: {name}: {error}", file=sys.stderr, flush=True)
                table = write_table(output, plan, parsed, _results(output, parsed), failed)
    except Timeout:
        raise SpecdataError(f"{output}: another sweep is at work there; wait for it") from None
    if failed:
        raise SpecdataError(
            f"{len(failed)} of {len(parsed)} runs failed ({', '.join(failed)}), and {output}/table.md has the others; "
            "mend that and give the same command again"
        )
    return table


def _words(settings):
    """Settings as words of a command line."""
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


def _check_folder(output, parsed, settings, rows):
    """Take an empty folder, or one in which the same sweep was begun."""
    first = next(iter(parsed.values()))
    made_by = {
        "recipe": hashlib.sha256(first.path.read_bytes()).hexdigest(),
        "runs": {name: run.settings for name, run in parsed.items()},
        "rows": rows,
    }
    state = output / _MADE_BY
    if state.is_file():
        if json.loads(state.read_text(encoding="utf-8")) != made_by:
            raise SpecdataError(
                f"{output}: holds a sweep of another recipe, grid or settings; choose another --output, or give the "
                "command that it was begun with"
            )
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise SpecdataError(f"{output}: exists and is no sweep; choose another --output")
    else:
        with new_file(state) as partial:
            partial.write_bytes(json.dumps(made_by, indent=2).encode() + b"\n")


def _run(output, name, run, plan, settings, rows):
    """Train, choose and evaluate, as far as it is not done."""
    folder = output / name
    if (folder / "evaluation" / RESULTS).is_file():
        print(": done before", flush=True)
        return
    print(flush=True)
    training = folder / "training"
    if not (folder / _TRAINED).exists():
        run_training(run.path, [*_words(plan.settings(name)), *settings, "--output_dir", str(training)], cwd=Path.cwd())
        (folder / _TRAINED).touch()
    adapter = _choose(folder, run, plan.choose) if plan.choose else training
    _evaluate(run, adapter, folder / "evaluation", "test", rows)


def _choose(folder, run, choice):
    """The checkpoint with the least error on the validation split."""
    found = checkpoints(folder / "training")
    if not found:
        raise SpecdataError(f"{folder / 'training'}: holds no checkpoint to choose from; set save_steps")
    scores = {}
    for checkpoint in found:
        scored = folder / "validation" / checkpoint.name
        if not (scored / RESULTS).is_file():
            _evaluate(run, checkpoint, scored, choice.split, choice.rows)
        scores[checkpoint.name] = load_results(scored)["metrics"]["mae"]["value"]
    best = min(scores, key=scores.get)
    with new_file(folder / _CHOSEN) as partial:
        record = {"checkpoint": best, "split": choice.split, "rows": choice.rows, "mae": scores}
        partial.write_bytes(json.dumps(record, indent=2).encode() + b"\n")
    print(f"chosen: {best}, MAE {scores[best]:.4f} on {choice.split}", flush=True)
    return folder / "training" / best


def _evaluate(run, adapter, output, split, rows):
    """Evaluate in a process of its own, which gives the GPU back at its end."""
    source = run.sources[0]
    command = [sys.executable, "-m", "specdata", "evaluate", "--model", run.model.model_name_or_path]
    command += ["--adapter", str(adapter), "--dataset", source.path, "--output", str(output), "--split", split]
    command += ["--config", source.config] if source.config else []
    command += ["--limit", str(rows)] if rows else []
    command += ["--device", "cpu"] if run.on_cpu else []
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise SpecdataError(f"specdata evaluate ended with code {code}, see above")


def _results(output, names):
    """Results of the runs that are done."""
    folders = {name: output / name / "evaluation" for name in names}
    return {name: load_results(folder) for name, folder in folders.items() if (folder / RESULTS).is_file()}
