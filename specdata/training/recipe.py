"""A training recipe as `trl sft` reads it, and the command that launches it."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from specdata.errors import SpecdataError, one_line
from specdata.files import find_recipe

_QUIET = {"PYTHONWARNINGS": "ignore", "TRANSFORMERS_VERBOSITY": "error", "DATASETS_VERBOSITY": "error"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set that a recipe trains on; the fields are those of `trl`'s `DatasetConfig`."""

    path: str
    config: str | None
    split: str
    columns: list | None
    fraction: float | None
    data_dir: str | None = None
    data_files: object = None


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingRecipe:
    """What `trl sft` gets from a recipe and the settings on its command line.

    Attributes
    ----------
    path : Path
    settings : list of str
        What the command line adds to the recipe.
    script, training, model, mixture : object
        `trl`'s `ScriptArguments`, `SFTConfig`, `ModelConfig` and `DatasetMixtureConfig`.
    launch : argparse.Namespace
        What is left for `accelerate launch`.
    on_cpu : bool
        Whether `use_cpu` is asked for.
    """

    path: Path
    settings: list
    script: object
    training: object
    model: object
    mixture: object
    launch: object
    on_cpu: bool

    @property
    def sources(self):
        """The data sets of the training rows; list of Source."""
        if self.mixture.datasets:
            return [
                Source(
                    path=part.path, config=part.name, split=part.split, columns=part.columns, fraction=part.fraction,
                    data_dir=part.data_dir, data_files=part.data_files,
                )
                for part in self.mixture.datasets
            ]  # fmt: skip
        script = self.script
        return [
            Source(
                path=script.dataset_name, config=script.dataset_config, split=script.dataset_train_split, columns=None,
                fraction=None,
            )
        ]  # fmt: skip


def parse_training(recipe, settings=()):
    """Read a training recipe as strictly as `trl sft` does, and as fast as that goes: nothing is loaded or launched.

    Parameters
    ----------
    recipe : path-like
        A YAML file, or the name of a shipped recipe.
    settings : sequence of str
        As on the command line of ``trl sft``: ``["--learning_rate", "1e-5"]``.

    Returns
    -------
    TrainingRecipe

    Raises
    ------
    SpecdataError
        If `trl sft` or `accelerate launch` would refuse it, with what they say.
    """
    path, settings = find_recipe(recipe), list(settings)
    try:
        from accelerate.commands.launch import launch_command_parser
        from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser
        from trl.cli.accelerate_config import resolve_accelerate_config_argument
    except ImportError as error:
        raise SpecdataError(
            f"{error.name} is not installed, which training needs: pip install 'specdata[train]'"
        ) from None

    # On a machine without a GPU the parser refuses bf16, which is no fault of the recipe.
    words = ["--config", str(path), *settings, "--use_cpu", "true"]
    with _refusals(path):
        parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig), prog="trl sft")
        script, training, model, mixture, in_file, on_line = parser.parse_args_and_config(
            words, return_remaining_strings=True, separate_remaining_strings=True
        )
        rest = resolve_accelerate_config_argument([str(word) for word in in_file + on_line])
        launch = launch_command_parser().parse_args([*rest, "sft.py"])
    if not script.dataset_name and not mixture.datasets:
        raise SpecdataError(f"{path}: names no data; give dataset_name or datasets")
    if not model.model_name_or_path:
        raise SpecdataError(f"{path}: names no model; give model_name_or_path")
    return TrainingRecipe(
        path=path, settings=settings, script=script, training=training, model=model, mixture=mixture, launch=launch,
        on_cpu=_asks_for_cpu(path, settings),
    )  # fmt: skip


@contextlib.contextmanager
def _refusals(path):
    """Turn what the parsers print and raise into one sentence; what they set in the environment does not stay."""
    import yaml

    printed, environment = io.StringIO(), dict(os.environ)
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(io.StringIO()):
            yield
    except SystemExit:
        said = printed.getvalue().strip().splitlines() or ["no reason given"]
        raise SpecdataError(f"{path}: trl sft refuses it: {said[-1].split('error: ')[-1]}") from None
    except (ValueError, TypeError, KeyError, OSError, yaml.YAMLError) as error:
        raise SpecdataError(f"{path}: trl sft refuses it: {one_line(error)}") from None
    finally:
        os.environ.clear()
        os.environ.update(environment)


def _asks_for_cpu(path, settings):
    import yaml

    value = yaml.safe_load(path.read_text(encoding="utf-8")).get("use_cpu", False)
    for at, word in enumerate(settings):
        if word.split("=")[0] == "--use_cpu":
            following = word.partition("=")[2] or next(iter(settings[at + 1 :]), "true")
            value = following.lower() not in ("false", "no", "0")
    return bool(value)


def trl_command():
    """Path of the command `trl`; SpecdataError if it is not installed."""
    trl = shutil.which("trl", path=str(Path(sys.executable).parent)) or shutil.which("trl")
    if trl is None:
        raise SpecdataError("the command trl is not on the PATH: pip install 'specdata[train]'")
    return trl


def run_training(recipe, settings, *, cwd, offline=False):
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
    command = [trl_command(), "sft", "--config", str(Path(recipe).resolve()), *map(str, settings)]
    checkpoint = last_checkpoint(Path(cwd) / command[command.index("--output_dir") + 1])
    if checkpoint:
        command += ["--resume_from_checkpoint", str(Path(os.path.relpath(checkpoint, cwd)))]
        print(f"going on from {checkpoint.name}", flush=True)
    # accelerate would set one thread; the warnings are about trl's own defaults and would bury the progress bar.
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    )  # the former is Linux's
    threads = os.environ.get("OMP_NUM_THREADS", str(cores))
    environment = os.environ | _QUIET | {"OMP_NUM_THREADS": threads} | ({"HF_HUB_OFFLINE": "1"} if offline else {})
    code = subprocess.run(command, cwd=cwd, env=environment, check=False).returncode
    if code != 0:
        raise SpecdataError(f"trl sft ended with code {code}, see above; give the same command again to go on")


def checkpoints(training):
    """Folders of the complete checkpoints of a training, the oldest first."""
    # The state is written last, so a checkpoint that holds it is complete.
    states = Path(training).glob("checkpoint-*/trainer_state.json")
    return [path.parent for path in sorted(states, key=lambda path: int(path.parent.name[11:]))]


def last_checkpoint(training):
    """The newest complete checkpoint of a training, or None."""
    return next(reversed(checkpoints(training)), None)
