"""Parts of a build on other cores or machines, by datatrove: one task a shard, and a marker for each that is done.

What a task wrote to its log stands in ``logs/STAGE/logs`` of the work folder, and the markers in
``logs/STAGE/completions``; a relaunch runs the tasks without a marker.
"""

import functools
import multiprocessing
import multiprocessing.connection
import os
import shlex
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from pathlib import Path

from specdata.dataset.work import LOGS
from specdata.errors import SpecdataError

EXECUTORS = ("local", "slurm", "ray")
_SLURM = {"partition": str, "time": str, "qos": str, "cpus_per_task": int, "mem_per_cpu_gb": int}


def check(executor, slurm_options=None):
    """Check that an executor is to be had.

    Raises
    ------
    SpecdataError
        If it is not installed, or lacks an option.
    """
    if executor not in EXECUTORS:
        raise SpecdataError(f"--executor {executor}: give one of {', '.join(EXECUTORS)}")
    if find_spec("datatrove") is None:
        raise SpecdataError(f"--executor {executor}: needs datatrove; install specdata[scale]")
    if executor == "ray" and find_spec("ray") is None:
        raise SpecdataError("--executor ray: needs ray, which is not installed; pip install ray, or choose another")
    if slurm_options and executor != "slurm":
        raise SpecdataError(f"--slurm-option {next(iter(slurm_options))}: goes with --executor slurm alone")
    if executor == "slurm" and "partition" not in (slurm_options or {}):
        raise SpecdataError("--executor slurm: needs --slurm-option partition=NAME; sinfo lists the partitions")


def run(executor, folder, name, stage, tasks, *, workers, title, progress):
    """Run all tasks of a stage that are not done, and wait for them.

    Parameters
    ----------
    executor : {"local", "ray"}
    folder : Path
        The work folder.
    name : str
        Of the stage.
    stage : callable
        Called as ``stage(folder, rank, tasks)``.
    tasks, workers : int
    title : str
        For the progress bar.
    progress : bool

    Raises
    ------
    SpecdataError
        If tasks are not done in the end, and why.
    """
    (_run_ray if executor == "ray" else _run_local)(
        folder, name, stage, tasks, workers or os.cpu_count(), title, progress
    )


def _pipeline(folder, name, stage):
    """Arguments that all executors of datatrove have."""
    from loguru import logger

    logger.disable("datatrove")  # in this process: it would write between the progress bars
    return {"pipeline": [functools.partial(_step, stage, folder)], "logging_dir": str(folder / LOGS / name)}


def _step(stage, folder, data, rank, world_size):
    """A step of a datatrove pipeline, which gets no documents and gives none."""
    stage(folder, rank, world_size)


def _run_local(folder, name, stage, tasks, workers, title, progress):
    from datatrove.executor.local import LocalPipelineExecutor
    from tqdm import tqdm

    executor = LocalPipelineExecutor(tasks=tasks, **_pipeline(folder, name, stage))
    ranks = executor.get_incomplete_ranks()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["specdata.dataset.build"])
    # Its own `run` waits for ever for the task of a process that was killed; this pool says so.
    with (
        tqdm(total=tasks, initial=tasks - len(ranks), unit=" shards", desc=title, disable=not progress) as bar,
        ProcessPoolExecutor(min(workers, tasks), mp_context=context, initializer=_start_worker) as pool,
    ):
        try:
            for future in as_completed([pool.submit(executor._run_for_rank, rank) for rank in ranks]):
                future.result()
                bar.update()
        except BrokenProcessPool:
            _check_done(executor, folder, name, "a process was killed, perhaps for want of memory")
            raise
        except BaseException:
            pool.shutdown(cancel_futures=True)  # what is under way comes to its end
            raise


def _start_worker():
    """Be silent, for each task has a log file, and end when the command ends."""
    sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
    parent = multiprocessing.parent_process().sentinel

    def follow():
        multiprocessing.connection.wait([parent])
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _run_ray(folder, name, stage, tasks, workers, title, progress):
    from datatrove.executor.ray import RayPipelineExecutor

    executor = RayPipelineExecutor(tasks=tasks, workers=workers, **_pipeline(folder, name, stage))
    executor.run()
    _check_done(executor, folder, name, "a task failed")


def _check_done(executor, folder, name, why):
    missing = executor.get_incomplete_ranks()
    if missing:
        raise SpecdataError(
            f"{len(missing)} of {executor.world_size} shards are missing in the stage {name}, for {why} "
            f"({folder / LOGS / name} has the logs); give the same command again, which does only those"
        )


def submit_slurm(folder, stages, *, workers=None, options=None):
    """Hand all stages to Slurm, as jobs of which each waits for the one before it.

    Parameters
    ----------
    folder : Path
        The work folder, on a disk that all nodes see.
    stages : dict of str to (callable, int)
        The stages by name, each with its number of tasks.
    workers : int, optional
        Most tasks at the same time; by default Slurm decides.
    options : dict of str to str
        `partition`, `time`, `qos`, `cpus_per_task`, `mem_per_cpu_gb`; whatever else goes to sbatch as it is.

    Raises
    ------
    SpecdataError
        If sbatch is not there or refuses.
    """
    from datatrove.executor.slurm import SlurmPipelineExecutor

    known = {"time": "24:00:00", "qos": ""}
    for key, value in options.items():
        if key in _SLURM:
            try:
                known[key] = _SLURM[key](value)
            except ValueError:
                raise SpecdataError(f"--slurm-option {key}={value}: give a whole number") from None
    environment = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    job = None
    for name, (stage, tasks) in stages.items():
        job = SlurmPipelineExecutor(
            tasks=tasks, depends=job, workers=workers or -1, job_name=f"specdata-{name}", env_command=environment,
            sbatch_args={key: value for key, value in options.items() if key not in _SLURM},
            **known, **_pipeline(folder, name, stage),
        )  # fmt: skip
    try:
        job.run()
    except FileNotFoundError:
        raise SpecdataError("--executor slurm: there is no sbatch here; go to a login node of the cluster") from None
    except subprocess.CalledProcessError as error:
        raise SpecdataError(f"--executor slurm: sbatch refused the job (exit code {error.returncode})") from None
