"""A training recipe as `trl sft` reads it."""

import argparse
import contextlib
import io
import math
import os
from dataclasses import dataclass
from pathlib import Path

from specdata.errors import SpecdataError, one_line
from specdata.files import find_recipe, read_recipe

REGIONAL = "ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION"  # which a recipe sets in its `env`


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
        The arguments of `accelerate launch`.
    processes : int
        Processes on all nodes, one for each GPU.
    sharding : {None, "FSDP", "DEEPSPEED"}
        What divides the weights over the processes; None where each process holds them all.
    on_cpu : bool
        Whether `use_cpu` is asked for.
    compiles_layers : bool
        Whether `torch_compile` would compile layer by layer, and not the model as a whole.
    """

    path: Path
    settings: list
    script: object
    training: object
    model: object
    mixture: object
    launch: object
    processes: int
    sharding: str | None
    on_cpu: bool
    compiles_layers: bool

    @property
    def sources(self) -> list:
        """The data sets of the training rows, as `trl`'s `DatasetConfig`."""
        return self.mixture.datasets or [self.source(self.script.dataset_train_split)]

    def source(self, split):
        """A split of the data set that is no mixture, as `trl`'s `DatasetConfig`."""
        from trl.scripts.utils import DatasetConfig

        return DatasetConfig(path=self.script.dataset_name, name=self.script.dataset_config, split=split)

    @property
    def validates(self) -> bool:
        """Whether a validation split is evaluated during the training."""
        return str(getattr(self.training.eval_strategy, "value", self.training.eval_strategy)) != "no"


def parse_training(recipe, settings=()) -> TrainingRecipe:
    """Read a training recipe as strictly as `trl sft` does; nothing is loaded or launched.

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
    path, settings = find_recipe(recipe), [str(word) for word in settings]
    read_recipe(path)  # trl would read YAML of any depth and size
    try:
        from accelerate.commands.config.config_args import load_config_from_file
        from accelerate.commands.launch import launch_command_parser
        from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser
        from trl.cli.accelerate_config import resolve_accelerate_config_argument
    except ImportError as error:
        raise SpecdataError(
            f"{error.name} is not installed, which training needs: pip install 'specdata[train]'"
        ) from None

    # Without use_cpu the parser would refuse bf16 on a machine without a GPU, which is no fault of the recipe.
    words = ["--config", str(path), *settings, "--use_cpu", "true"]
    with _refusals(path):
        os.environ.pop(REGIONAL, None)  # the launcher would overwrite it; what the recipe sets it keeps
        parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig), prog="trl sft")
        script, training, model, mixture, in_file, on_line = parser.parse_args_and_config(
            words, return_remaining_strings=True, separate_remaining_strings=True
        )
        rest = resolve_accelerate_config_argument([str(word) for word in in_file + on_line])
        launch = launch_command_parser().parse_args([*rest, "sft.py"])
        file = load_config_from_file(launch.config_file) if launch.config_file else None
        regional = launch.dynamo_use_regional_compilation or os.environ.get(REGIONAL, "")
    if not script.dataset_name and not mixture.datasets:
        raise SpecdataError(f"{path}: names no data; give dataset_name or datasets")
    for name in ("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "learning_rate"):
        if not 0 < getattr(training, name) < math.inf:
            raise SpecdataError(f"{path}: {name} = {getattr(training, name)}: give a number above 0")
    if not model.model_name_or_path:
        raise SpecdataError(f"{path}: names no model; give model_name_or_path")
    cpu = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    cpu.add_argument("--use_cpu", nargs="?", const="true", default=str(parser.get_default("use_cpu")))
    kind = str(getattr(file.distributed_type, "value", file.distributed_type)) if file else None
    asked = "FSDP" if launch.use_fsdp else "DEEPSPEED" if launch.use_deepspeed else kind
    return TrainingRecipe(
        path=path, settings=settings, script=script, training=training, model=model, mixture=mixture, launch=launch,
        processes=launch.num_processes or (file.num_processes if file else 1),
        sharding=asked if asked in ("FSDP", "DEEPSPEED") else None,
        on_cpu=cpu.parse_known_args(settings)[0].use_cpu.lower() == "true",
        compiles_layers=str(regional).lower() in ("true", "1"),
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


def checkpoints(training) -> list[Path]:
    """Folders of the complete checkpoints of a training, the oldest first."""
    # The state is written last, so a checkpoint that holds it is complete.
    folders = (path.parent for path in Path(training).glob("checkpoint-*/trainer_state.json"))
    return sorted((one for one in folders if one.name[11:].isdecimal()), key=lambda folder: int(folder.name[11:]))
