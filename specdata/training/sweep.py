"""Many trainings of one recipe over a grid of settings: each by `trl sft`, each evaluated, and a table of them all."""

import hashlib
import json
import shlex
import sys
from pathlib import Path
from typing import Annotated

from filelock import FileLock, Timeout
from pydantic import BaseModel, Field, StringConstraints

from specdata.errors import SpecdataError
from specdata.extras import need
from specdata.files import find_recipe, new_file
from specdata.inputs import read_settings
from specdata.results import RESULTS, RETENTION, format_score, load_results, load_retention, target_of
from specdata.training.launch import run_command, run_training
from specdata.training.recipe import checkpoints, parse_training

_SCORES = {  # of a target with numbers (True) or labels (False)
    True: {"mae": "MAE", "outlier_fraction": "outliers", "parse_rate": "answers that parse"},
    False: {"error_rate": "error rate", "balanced_accuracy": "balanced accuracy", "parse_rate": "answers that parse"},
}
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]


class Grid(BaseModel, extra="forbid"):
    """Settings of `trl sft` for every run, and those of each run, which win; all as they stand on a command line.

    With `choose_by`, the checkpoint of a run that counts is the one with the least error on so many validation rows.
    With `retention`, options of ``specdata retention``, the table has what each run kept of each group of questions.
    `published` has scores of the same runs by others, who are named by `published_by`.
    """

    base: dict[str, str] = {}
    runs: dict[Name, dict[str, str]] = Field(min_length=1)
    choose_by: int | None = Field(None, ge=1)
    retention: str | None = None
    published: dict[Name, dict[str, float]] = {}
    published_by: str = ""

    def settings(self, run) -> list[str]:
        """All settings of a run, as words of a command line."""
        return [word for key, value in (self.base | self.runs[run]).items() for word in (f"--{key}", *value.split())]


def load_grid(path) -> Grid:
    """Read a grid; SpecdataError in one sentence if something is wrong with it."""
    # Scalars stay the text that they are: YAML would make False of `no`, which trl refuses.
    return read_settings(find_recipe(path), Grid, as_text=True)


def sweep(recipe, output, *, grid="sweeps/paper", settings=(), rows=None) -> str:
    """Train and evaluate every run of a grid that is not done yet, one after the other.

    A run that was stopped goes on from its last checkpoint, and an evaluation from its last answer, when the same
    command is given again. The table is written anew after every run.

    Parameters
    ----------
    recipe : path-like
        A recipe of ``trl sft``, or the name of a shipped one.
    output : path-like
        Folder to make, with a folder for each run and ``table.md``.
    grid : path-like
        A YAML file, or the name of a shipped one.
    settings : sequence of str
        For the command line of ``trl sft`` in every run.
    rows : int, optional
        Evaluate only the first rows of the test split, which are a fair sample.

    Returns
    -------
    str
        The table, in Markdown.

    Raises
    ------
    SpecdataError
        If the folder is another sweep's, or if runs failed; the others are done all the same.
    """
    output, settings, grid = Path(output), [str(word) for word in settings], load_grid(grid)
    varied = set(grid.base).union(*grid.runs.values()) | {"output_dir", "resume_from_checkpoint"}
    for word in settings:
        if word.startswith("--") and word[2:].split("=")[0].replace("-", "_") in varied:
            raise SpecdataError(f"{word}: is set by the sweep for each run; change the grid instead")
    runs = {name: parse_training(recipe, grid.settings(name) + settings) for name in grid.runs}
    if grid.retention:
        need("retention", "lm_eval", what="the grid's retention")
    if grid.retention and not all(run.model.use_peft for run in runs.values()):
        raise SpecdataError(
            f"{recipe}: trains a whole model, which has no adapter to switch off for the grid's retention"
        )
    _check_folder(output, runs, rows)
    failed = {}
    try:
        with FileLock(output / ".lock", timeout=0):
            for number, (name, run) in enumerate(runs.items(), start=1):
                print(f"[{number}/{len(runs)}] {name}", end="", flush=True)
                try:
                    _run(output / name, run, grid, rows)
                except SpecdataError as error:
                    failed[name] = str(error)
                    print(f"specdata: {name}: {error}", file=sys.stderr, flush=True)
                table = _table(output, grid, runs, failed)
                _write(output / "table.md", table)
    except Timeout:
        raise SpecdataError(f"{output}: another sweep is at work there; wait for it") from None
    if failed:
        raise SpecdataError(
            f"{len(failed)} of {len(runs)} runs failed ({', '.join(failed)}), and {output}/table.md has the others; "
            "mend that and give the same command again"
        )
    return table


def _write(path, content):
    """Write text, or anything else as JSON."""
    with new_file(path) as partial:
        partial.write_text(content if isinstance(content, str) else json.dumps(content, indent=2), encoding="utf-8")


def _check_folder(output, runs, rows):
    """Take an empty folder, or one in which the same sweep was begun."""
    recipe = hashlib.sha256(next(iter(runs.values())).path.read_bytes()).hexdigest()
    made_by = {"recipe": recipe, "runs": {name: run.settings for name, run in runs.items()}, "rows": rows}
    state = output / "sweep.json"
    if state.is_file():
        if json.loads(state.read_text(encoding="utf-8")) != made_by:
            raise SpecdataError(
                f"{output}: holds a sweep of another recipe, grid or settings; choose another --output, or give the "
                "command that it was begun with"
            )
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise SpecdataError(f"{output}: exists and is no sweep; choose another --output")
    else:
        _write(state, made_by)


def _run(folder, run, grid, rows):
    """Train, choose, evaluate and ask questions, as far as it is not done."""
    evaluated = (folder / "evaluation" / RESULTS).is_file()
    asked = grid.retention is None or (folder / "retention" / RETENTION).is_file()
    if evaluated and asked:
        print(": done before", flush=True)
        return
    print(flush=True)
    training, finished = folder / "training", folder / "finished"
    if not finished.exists():
        run_training(run.path, [*run.settings, "--output_dir", str(training)], cwd=Path.cwd())
        finished.touch()
    adapter = _choose(folder, run, grid.choose_by) if grid.choose_by else training
    if not evaluated:
        _evaluate(run, adapter, folder / "evaluation", "test", rows)
    if not asked:
        _retain(run, adapter, folder / "retention", grid.retention)


def _choose(folder, run, rows):
    """The checkpoint with the least error on the validation split."""
    scores, found = {}, checkpoints(folder / "training")
    if not found:
        raise SpecdataError(f"{folder / 'training'}: holds no checkpoint to choose from; set save_steps")
    for checkpoint in found:
        scored = folder / "validation" / checkpoint.name
        if not (scored / RESULTS).is_file():
            _evaluate(run, checkpoint, scored, "validation", rows)
        results = load_results(scored)
        loss = target_of(results).loss
        scores[checkpoint.name] = results["metrics"][loss]["value"]
    best = min(scores, key=scores.get)
    _write(folder / "chosen.json", {"checkpoint": best, "split": "validation", "rows": rows, loss: scores})
    print(f"chosen: {best}, {_SCORES[target_of(results).is_number][loss]} {scores[best]:.4f} on validation", flush=True)
    return folder / "training" / best


def _evaluate(run, adapter, output, split, rows):
    source = run.sources[0]
    options = ["--dataset", source.path, "--split", split, *(["--config", source.name] if source.name else [])]
    options += ["--limit", str(rows)] if rows else []
    options += ["--baselines", "constant"] if split == "validation" else []
    _command("evaluate", run, adapter, output, options)


def _retain(run, adapter, output, options):
    # All runs share the answers of the base model.
    options = ["--answers", str(output.parents[1] / "answers"), *shlex.split(options)]
    _command("retention", run, adapter, output, options)


def _command(name, run, adapter, output, options):
    """Run a command of specdata in a process of its own, which gives the GPU back at its end."""
    trained = ["--model", run.model.model_name_or_path, "--adapter", str(adapter)]
    if not run.model.use_peft:
        trained = ["--model", str(adapter)]
    command = [sys.executable, "-m", "specdata", name, *trained, "--output", str(output), *options]
    command += ["--device", "cpu"] if run.on_cpu else []
    code = run_command(command)
    if code != 0:
        raise SpecdataError(f"specdata {name} ended with code {code}, see above")


def _table(output, grid, runs, failed):
    """The settings and scores of each run as Markdown, beside those of others and of baselines."""
    folders = {name: output / name / "evaluation" for name in runs}
    results = {name: load_results(folder) for name, folder in folders.items() if (folder / RESULTS).is_file()}
    keys = list(dict.fromkeys(key for run in ({}, *grid.runs.values()) for key in grid.base | run))
    others = list(dict.fromkeys(key for values in grid.published.values() for key in values))
    places = {name: output / name / "retention" for name in runs if grid.retention}
    kept = {name: load_retention(place)["groups"] for name, place in places.items() if (place / RETENTION).is_file()}
    groups = next(iter(kept.values()), {})
    named = _SCORES[all(target_of(found).is_number for found in results.values())]
    ours = [*named.values(), *(f"{group} kept" for group in groups)]
    head = ["run", *keys, *ours, *(f"{key}, published" for key in others)]
    lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
    for name in runs:
        chosen, settings = output / name / "chosen.json", grid.base | grid.runs[name]
        label = f"{name} ({json.loads(chosen.read_text())['checkpoint']})" if chosen.is_file() else name
        state = ["failed" if name in failed else "not done", *[""] * (len(ours) - 1)]
        scores = state
        if name in results:
            scores = _scores(results[name]["metrics"], named) + [
                _kept(kept.get(name, {}).get(group)) for group in groups
            ]
        printed = [f"{value:.3f}" if (value := grid.published.get(name, {}).get(key)) else "" for key in others]
        lines.append([label, *(settings.get(key, "") for key in keys), *scores, *printed])
    first, run = next(iter(results.values()), {}), next(iter(runs.values()))
    for name, found in first.get("baselines", {}).items():
        label = f"*{name.replace('_', ' ')}, no training*"
        lines.append(
            [
                label,
                *[""] * len(keys),
                *_scores(found["metrics"], named),
                *[""] * (len(head) - 1 - len(keys) - len(named)),
            ]
        )
    text = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    if first:
        data, steps = first["dataset"], run.training.max_steps
        text += (
            f"\n{run.model.model_name_or_path}, {run.path.name}{f', {steps} steps only' * (steps > 0)}, {data['name']} "
            f"{data['config']}, {data['split']} split, n = {data['n']}{', mocks' * (data['n_mock'] > 0)}, revision "
            f"{data['revision'][:12]}; in brackets 95 % intervals.\n"
        )
    if kept:
        text += (
            "\nKept is accuracy after / before, on the same questions of lm-evaluation-harness; at chance means that "
            "the base model itself answers no better than by guessing.\n"
        )
    if grid.published:
        text += f"\nPublished by {grid.published_by}: on other data, without intervals, and not measured here.\n"
    return text


def _scores(metrics, named):
    """Scores with their intervals; one that was not measured, or would flatter, is left out."""
    found = [metrics.get(key, {"value": None}) for key in named]
    return [format_score(score, empty="") for score in found]


def _kept(group):
    """What a run kept of a group of questions, with its interval; nothing where that is not known."""
    if group is not None and group["at_chance"]:
        return "at chance"
    if group is None or group["retained"]["value"] is None:
        return ""
    return "{value:.3f} [{low:.3f}, {high:.3f}]".format(**group["retained"])
