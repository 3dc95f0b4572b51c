"""The batch script that runs a recipe on a Slurm cluster, one launcher a node."""

import shlex

from specdata.files import find_recipe, new_file
from specdata.training.recipe import parse_training


def slurm_script(recipe, settings=(), *, nodes=1, gpus=8, accelerate_config=None, options=None, setup=None) -> str:
    """The batch script of a training.

    Parameters
    ----------
    recipe : path-like
        A recipe of ``trl sft``, or the name of a shipped one.
    settings : sequence of str
        What the command line of ``trl sft`` adds to it.
    nodes, gpus : int
        Nodes, and GPUs of each; 0 for processes on CPUs, one a node.
    accelerate_config : path-like, optional
        A file, or one of `trl`'s own names, such as ``fsdp2``; by default ``multi_gpu`` where there is more than one
        GPU.
    options : dict of str to str
        For ``#SBATCH``: partition, account, time and whatever else the cluster asks for.
    setup : str, optional
        A line that makes `trl` available, such as ``source .venv/bin/activate``.

    Raises
    ------
    SpecdataError
        If `trl sft` would refuse the recipe with these settings.
    """
    path, each = find_recipe(recipe), max(gpus, 1)
    several = accelerate_config is not None or nodes * each > 1
    launch = ["--accelerate_config", str(accelerate_config or "multi_gpu")] if several else []
    output = shlex.quote(parse_training(path, [*settings, *launch]).training.output_dir)
    given = {"job-name": path.stem, "nodes": nodes, "ntasks-per-node": 1, "gpus-per-node": gpus, "time": "24:00:00"}
    given |= {"output": f"{path.stem}-%j.log"} | (options or {})
    lines = "\n".join(f"#SBATCH --{key}={value}" for key, value in given.items() if value != 0)
    command = shlex.join(map(str, ["trl", "sft", "--config", path, *launch, *settings]))
    if several:
        command += f" --num_machines {nodes} --num_processes {nodes * each} --machine_rank $SLURM_NODEID"
        command += " --main_process_ip $MASTER_ADDR --main_process_port $MASTER_PORT"
    command = shlex.quote(f'exec {command} ${{CHECKPOINT:+--resume_from_checkpoint "$CHECKPOINT"}}')
    return f"""#!/usr/bin/env bash
# Made by `specdata slurm` from {path.name}: {nodes} nodes with {gpus} GPUs each. Stopped or out of time, submit it
# again: it goes on from the last checkpoint.
{lines}

set -euo pipefail
{setup or "# Make trl available here, such as by: source .venv/bin/activate"}
export MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_PORT=$((29500 + SLURM_JOB_ID % 1000))
# The cores of a node, divided over its {each} processes
cores=${{SLURM_CPUS_PER_TASK:-1}}
export OMP_NUM_THREADS=$((cores > {each} ? cores / {each} : 1))

# The state is written last, so a checkpoint that holds it is complete
last=$(ls -d {output}/checkpoint-*/trainer_state.json 2>/dev/null | sort -V | tail -n 1 || true)
export CHECKPOINT=${{last%/trainer_state.json}}

# One launcher a node, which starts a process for each of its GPUs
srun --kill-on-bad-exit=1 bash -c {command}
"""


def write_slurm(output, *args, **kwargs) -> None:
    """Write `slurm_script` of the other arguments to a file."""
    text = slurm_script(*args, **kwargs)
    with new_file(output, suffixes=(".sbatch", ".sh", ".slurm")) as partial:
        partial.write_text(text, encoding="utf-8")
