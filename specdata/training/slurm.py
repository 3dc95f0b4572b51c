"""The batch script that runs a recipe on a Slurm cluster, one launcher a node."""

import shlex
from pathlib import Path

from specdata.errors import SpecdataError
from specdata.files import find_recipe, new_file
from specdata.training.recipe import parse_training

_PORT = 29500


def slurm_script(recipe, settings=(), *, nodes=1, gpus=8, accelerate_config=None, options=None, setup=None):
    """Write the batch script of a training.

    Parameters
    ----------
    recipe : path-like
        A recipe of ``trl sft``, or the name of a shipped one.
    settings : sequence of str
        What the command line of ``trl sft`` adds to it.
    nodes, gpus : int
        Nodes, and GPUs of each; 0 for processes on CPUs, one a node.
    accelerate_config : path-like, optional
        A file, a shipped one such as ``accelerate/fsdp2``, or one of `trl`'s own names; by default `trl`'s
        ``multi_gpu`` where there is more than one GPU.
    options : dict of str to str
        For ``#SBATCH``: partition, account, time and whatever else the cluster asks for.
    setup : str, optional
        A line that makes `trl` available, such as ``source .venv/bin/activate``.

    Returns
    -------
    str

    Raises
    ------
    SpecdataError
        If `trl sft` would refuse the recipe with these settings.
    """
    path = find_recipe(recipe)
    processes = nodes * max(gpus, 1)
    launch = []
    if accelerate_config is not None or processes > 1:
        launch = ["--accelerate_config", _accelerate(accelerate_config or "multi_gpu")]
    output = parse_training(path, [*settings, *launch]).training.output_dir
    given = {"job-name": path.stem, "nodes": nodes, "ntasks-per-node": 1}
    given |= {"gpus-per-node": gpus} if gpus else {}
    given |= {"time": "24:00:00", "output": f"{path.stem}-%j.log"} | (options or {})
    lines = [f"#SBATCH --{key}={value}" for key, value in given.items()]
    command = ["trl", "sft", "--config", str(path), *launch, *settings]
    command = " ".join(shlex.quote(str(word)) for word in command)
    node = (
        f"exec {command} --num_machines {nodes} --num_processes {processes} --machine_rank $SLURM_NODEID "
        "--main_process_ip $MASTER_ADDR --main_process_port $MASTER_PORT"
        if launch
        else f"exec {command}"
    )
    script = f"""#!/usr/bin/env bash
# Made by `specdata slurm` from {path.name}: {nodes} nodes with {gpus} GPUs each. Stopped or out of time, submit it
# again: it goes on from the last checkpoint.
{chr(10).join(lines)}

set -euo pipefail
{setup or "# Make trl available here, such as by: source .venv/bin/activate"}
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$(({_PORT} + SLURM_JOB_ID % 1000))
export OMP_NUM_THREADS=${{SLURM_CPUS_PER_TASK:-1}}
"""
    return (
        script
        + f"""
# The state is written last, so a checkpoint that holds it is complete
last=$(ls -d {shlex.quote(output)}/checkpoint-*/trainer_state.json 2>/dev/null | sort -V | tail -n 1 || true)
export CHECKPOINT=${{last%/trainer_state.json}}

# One launcher a node, which starts a process for each of its GPUs
srun --kill-on-bad-exit=1 bash -c {shlex.quote(node + ' ${CHECKPOINT:+--resume_from_checkpoint "$CHECKPOINT"}')}
"""
    )


def write_slurm(output, *args, **kwargs):
    """Write `slurm_script` of the other arguments to a file."""
    text = slurm_script(*args, **kwargs)
    with new_file(output, suffixes=(".sbatch", ".sh", ".slurm")) as partial:
        Path(partial).write_text(text, encoding="utf-8")


def _accelerate(name):
    """The path of an accelerate config that is a file or ships, or the name as it is, for trl to find."""
    try:
        return str(find_recipe(name))
    except SpecdataError:
        return str(name)
