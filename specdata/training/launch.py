"""The launch of `trl sft` with a recipe, from its last checkpoint on."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from specdata.errors import SpecdataError, one_line
from specdata.files import new_folder
from specdata.hub import local_folder
from specdata.inputs import read_json
from specdata.training.check import check
from specdata.training.recipe import checkpoints, parse_training

# The warnings are about trl's own defaults and would bury the progress bar.
_QUIET = {"PYTHONWARNINGS": "ignore", "TRANSFORMERS_VERBOSITY": "error", "DATASETS_VERBOSITY": "error"}
_STATE = "trainer_state.json"


def train(recipe, settings=(), *, adapter=None) -> Path:
    """Launch a recipe if nothing is found that would make it fail.

    Parameters
    ----------
    recipe : path-like
        A recipe of ``trl sft``, or the name of a shipped one.
    settings : sequence of str
        What the command line of ``trl sft`` adds to it.
    adapter : str, optional
        A trained adapter to go on with, instead of a new one; see `start_from`.

    Returns
    -------
    Path
        Folder of the trained adapter or model.

    Raises
    ------
    SpecdataError
        If `specdata.training.check.check` finds what would fail, or the training fails.
    """
    parsed = parse_training(recipe, settings)
    failed = check(recipe, settings).failed
    if failed:
        more = f" (`specdata check` says {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise SpecdataError(f"{parsed.path}: {failed[0]}{more}")
    output = Path(parsed.training.output_dir)
    if adapter is not None:
        start_from(adapter, output, parsed)
    run_training(parsed.path, [*parsed.settings, "--output_dir", str(output)], cwd=Path.cwd())
    return output


def start_from(adapter, output, recipe) -> None:
    """Let a training begin with the weights of an adapter: they become the checkpoint of its step 0.

    Nothing is done where the training has checkpoints already.

    Parameters
    ----------
    adapter : str
        A folder or a Hub name; of the rank, alpha and modules that the recipe says.
    output : path-like
        The training's `output_dir`.
    recipe : specdata.training.recipe.TrainingRecipe
        Its batch size, and how often it writes, which the Trainer takes from a checkpoint rather than from its recipe.

    Raises
    ------
    SpecdataError
        If the recipe gives those as shares of a number of steps that is not known yet, or if the adapter has another
        rank, alpha or other modules.
    """
    from transformers import TrainerControl, TrainerState

    output, folder = Path(output), local_folder(adapter, "model")
    if checkpoints(output):
        return
    training, model = recipe.training, recipe.model
    every = {key: getattr(training, key) for key in ("logging_steps", "save_steps", "eval_steps")}
    every = {key: steps for key, steps in every.items() if steps is not None}
    for key, steps in every.items():
        if steps < 1:
            raise SpecdataError(
                f"{key} = {steps:g}: a training that begins with an adapter needs whole steps; add --{key} 50"
            )
    files = [folder / name for name in ("adapter_config.json", "adapter_model.safetensors")]
    if not all(path.is_file() for path in files):
        raise SpecdataError(f"{adapter}: is no LoRA adapter, for it lacks {files[0].name} or {files[1].name}")
    try:
        config = read_json(files[0])
        for key, asked in (("r", model.lora_r), ("lora_alpha", model.lora_alpha)):
            if config[key] != asked:
                option = f"--lora_{key.removeprefix('lora_')} {config[key]}"
                raise SpecdataError(f"{adapter}: has {key} = {config[key]}, and the recipe {asked}; add {option}")
        if isinstance(model.lora_target_modules, list) and set(model.lora_target_modules) != {
            *config["target_modules"]
        }:
            modules = " ".join(sorted(config["target_modules"]))
            raise SpecdataError(f"{adapter}: adapts other modules than the recipe; add --lora_target_modules {modules}")
    except (OSError, TypeError, KeyError, json.JSONDecodeError) as error:
        raise SpecdataError(f"{adapter}: its {files[0].name} is not that of an adapter ({one_line(error)})") from None
    with new_folder(output / "checkpoint-0", marker=_STATE, overwrite=True) as first:
        for path in files:
            shutil.copyfile(path, first / path.name)
        state = TrainerState(stateful_callbacks=[TrainerControl()], **every)
        state.train_batch_size = training.per_device_train_batch_size
        state.save_to_json(str(first / _STATE))


def run_training(recipe, settings, *, cwd, offline=False) -> None:
    """Launch ``trl sft`` with a recipe, and wait for it; it goes on from its last checkpoint where there is one.

    Parameters
    ----------
    recipe : path-like
    settings : sequence of str
        For the command line; must name ``--output_dir``.
    cwd : path-like
        Folder that relative paths start from.
    offline : bool
        Ask no hub for anything.

    Raises
    ------
    SpecdataError
        If it fails.
    """
    trl = shutil.which("trl", path=str(Path(sys.executable).parent)) or shutil.which("trl")
    if trl is None:
        raise SpecdataError("the command trl is not on the PATH: pip install 'specdata[train]'")
    command = [trl, "sft", "--config", str(Path(recipe).resolve()), *map(str, settings)]
    output = len(command) - 1 - command[::-1].index("--output_dir")  # the last of them counts
    found = checkpoints(Path(cwd) / command[output + 1])
    if found and not any(word.startswith("--resume_from_checkpoint") for word in command):
        command += ["--resume_from_checkpoint", os.path.relpath(found[-1], cwd)]
        print(f"going on from {found[-1].name}", flush=True)
    # accelerate would give every process one thread; the cores are shared by the processes.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processes = int(command[command.index("--num_processes") + 1]) if "--num_processes" in command else 1
    environment = {"OMP_NUM_THREADS": str(max(cores // processes, 1))} | os.environ | _QUIET
    environment |= {"HF_HUB_OFFLINE": "1"} if offline else {}
    code = run_command(command, cwd=cwd, env=environment)
    if code != 0:
        raise SpecdataError(f"trl sft ended with code {code}, see above; give the same command again to go on")


def run_command(command, **options) -> int:
    """Run a command to its end and return its exit code; `options` are those of `subprocess.Popen`.

    If this process is interrupted meanwhile, by Ctrl-C or SIGTERM, the command ends with all that it started: the
    launcher of accelerate, when it alone is ended, leaves its training behind.
    """
    process = subprocess.Popen(command, **options)
    try:
        return process.wait()
    except BaseException:
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(process.pid)
            family = [started, *started.children(recursive=True)]
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.terminate()
            for member in psutil.wait_procs(family, timeout=30)[1]:
                member.kill()
        process.wait()
        raise
