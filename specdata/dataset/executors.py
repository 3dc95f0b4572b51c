"""Who does the parts of a stage: this process, several of this machine, or a cluster by way of datatrove.

Parts that are there are not made again, so that the same command goes on after any interruption. On a cluster each part
is a task of datatrove, whose logs and markers of what is done lie in ``logs/STAGE`` of the work folder.
"""

import functools
import multiprocessing
import os
import shlex
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from specdata.dataset.work import LOGS, PER_WORKER
from specdata.errors import SpecdataError

EXECUTORS = ("local", "slurm", "ray")
_SLURM = ("partition", "time", "qos", "cpus_per_task", "mem_per_cpu_gb")  # what datatrove has names for


def check(executor, slurm_options=None) -> None:
    """Refuse an executor that is not installed, or options that do not go with it."""
    if executor not in EXECUTORS:
        raise SpecdataError(f"--executor {executor}: give one of {', '.join(EXECUTORS)}")
    if executor != "local" and find_spec("datatrove") is None:
        raise SpecdataError(f"--executor {executor}: needs datatrove; install specdata[scale]")
    if executor == "ray" and find_spec("ray") is None:
        raise SpecdataError("--executor ray: needs ray, which is not installed; pip install ray, or choose another")
    if slurm_options and executor != "slurm":
        raise SpecdataError(f"--slurm-option {next(iter(slurm_options))}: goes with --executor slurm alone")
    if executor == "slurm" and "partition" not in (slurm_options or {}):
        raise SpecdataError("--executor slurm: needs --slurm-option partition=NAME; sinfo lists the partitions")


def run_local(folder, stage, count, *, workers=1, total, title, progress) -> None:
    """Make the parts of a stage, in this process or in several.

    Calls ``stage(folder, rank, count, advance=...)`` for each of `count` parts, which hold `total` spectra together. At
    most so many `workers` are started, and fewer where there is little to do. A worker that is killed is an error.
    """
    workers = min(workers, count, total // PER_WORKER)
    if workers < 2:
        with tqdm(total=total, unit=" spectra", desc=title, disable=not progress) as bar:
            for rank in range(count):
                stage(folder, rank, count, advance=bar.update)
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["specdata.dataset.stages"])  # what takes long to import is there before the fork
    with (
        tqdm(total=count, unit=" parts", desc=title, disable=not progress) as bar,
        ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent) as pool,
    ):
        try:
            for future in as_completed([pool.submit(stage, folder, rank, count) for rank in range(count)]):
                future.result()
                bar.update()
        except BrokenProcessPool:
            raise SpecdataError(
                "a worker process was killed, perhaps because memory ran out; give the same command again, which goes "
                "on where this one stopped"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)  # the parts under way come to their end
            raise


def _end_with_parent():
    """End this worker when the command ends, even if that was killed."""

    def wait():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run_ray(folder, stage, count, *, workers=None) -> None:
    """Make the parts of a stage that are missing on a Ray cluster, and wait for them; arguments as for `run_local`."""
    from datatrove.executor.ray import RayPipelineExecutor

    executor = RayPipelineExecutor(tasks=count, workers=workers or -1, **_pipeline(folder, stage))
    executor.run()
    if missing := executor.get_incomplete_ranks():
        raise SpecdataError(
            f"{len(missing)} of {count} parts of {stage.__name__} failed; see {folder / LOGS}, and give the same "
            "command again, which does only those"
        )


def submit_slurm(folder, stages, *, workers=None, options) -> None:
    """Hand all stages to Slurm, as jobs of which each waits for the one before it.

    All nodes have to see the work folder. `stages` gives the number of tasks of each, of which at most `workers` run at
    the same time; by default Slurm decides. Of the `options`, datatrove has names for those in `_SLURM`; whatever else
    there is goes to sbatch as it is.
    """
    from datatrove.executor.slurm import SlurmPipelineExecutor

    known = {"time": "24:00:00", "qos": ""} | {key: options[key] for key in _SLURM if key in options}
    others = {key: options[key] for key in options if key not in _SLURM}
    environment = f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH"
    job = None
    for stage, tasks in stages.items():
        job = SlurmPipelineExecutor(
            tasks=tasks, depends=job, workers=workers or -1, job_name=f"specdata-{stage.__name__}",
            env_command=environment, sbatch_args=others, **known, **_pipeline(folder, stage),
        )  # fmt: skip
    try:
        job.run()
    except FileNotFoundError:
        raise SpecdataError("--executor slurm: there is no sbatch here; go to a login node of the cluster") from None
    except subprocess.CalledProcessError as error:
        raise SpecdataError(f"--executor slurm: sbatch refused the job (exit code {error.returncode})") from None


def _pipeline(folder, stage):
    """Arguments that all executors of datatrove have."""
    from loguru import logger

    logger.disable("datatrove")  # in this process: it would write between the progress bars
    return {"pipeline": [functools.partial(_step, stage, folder)], "logging_dir": str(folder / LOGS / stage.__name__)}


def _step(stage, folder, data, rank, world_size):
    """A step of a datatrove pipeline, which gets no documents and gives none."""
    stage(folder, rank, world_size)
