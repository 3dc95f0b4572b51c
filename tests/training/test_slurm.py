"""The batch script of a training: what it says, that bash takes it, and that it trains over two nodes and goes on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from specdata import SpecdataError
from specdata.training.slurm import slurm_script, write_slurm

# All nodes are this machine, one task each.
SRUN = """#!/usr/bin/env bash
while [[ $1 == -* ]]; do shift; done
for ((node = 0; node < SLURM_NNODES; node++)); do SLURM_NODEID=$node "$@" & tasks+=($!); done
code=0; for task in "${tasks[@]}"; do wait "$task" || code=1; done; exit $code
"""
TINY = ["--model_name_or_path", "tiny", "--use_cpu", "true", "--bf16", "false", "--dtype", "float32"]
TINY += ["--dataset_config", "packed", "--per_device_train_batch_size", "2", "--eval_strategy", "no"]
TINY += ["--load_best_model_at_end", "false", "--save_steps", "1", "--warmup_steps", "0", "--output_dir", "over nodes"]


def run(script, folder, bin_folder):
    environment = os.environ | {
        "PATH": f"{bin_folder}:{Path(sys.executable).parent}:{os.environ['PATH']}", "SLURM_NNODES": "2",
        "SLURM_JOB_ID": str(os.getpid()), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": "1",
    }  # fmt: skip
    done = subprocess.run(["bash", script], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture
def cluster(tmp_path):
    for name, code in (("srun", SRUN), ("scontrol", "#!/usr/bin/env bash\necho 127.0.0.1\n")):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
        path.chmod(0o755)
    return tmp_path / "bin"


def test_the_script_says_what_was_asked_for():
    options = {"partition": "gpu", "time": "01:00:00"}
    text = slurm_script(
        "llama-3.1-8b/redshift-packed", ["--learning_rate", "5e-5"], nodes=2, gpus=8,
        accelerate_config="accelerate/fsdp2", options=options, setup="module load cuda",
    )  # fmt: skip
    for line in ("nodes=2", "gpus-per-node=8", "partition=gpu", "time=01:00:00", "ntasks-per-node=1"):
        assert f"#SBATCH --{line}\n" in text
    assert "module load cuda" in text
    assert "recipes/accelerate/fsdp2.yaml --learning_rate 5e-5 --num_machines 2 --num_processes 16" in text
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    single = slurm_script("smollm2-135m/redshift-demo", gpus=1)
    assert "--accelerate_config" not in single
    subprocess.run(["bash", "-n"], input=single, text=True, check=True)


def test_what_trl_would_refuse_is_not_written(tmp_path):
    with pytest.raises(SpecdataError, match="trl sft refuses it"):
        write_slurm(tmp_path / "x.sbatch", "smollm2-135m/redshift-demo", ["--learning_rate", "x"])
    with pytest.raises(SpecdataError, match="give a name that ends in"):
        write_slurm(tmp_path / "x", "smollm2-135m/redshift-demo")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_it_trains_over_two_nodes_and_goes_on_when_it_is_submitted_again(workplace, cluster, tmp_path):
    script = tmp_path / "train.sbatch"
    write_slurm(script, "smollm2-135m/redshift-packed", [*TINY, "--max_steps", "1"], nodes=2, gpus=1)
    run(script, workplace, cluster)
    state = json.loads((workplace / "over nodes" / "checkpoint-1" / "trainer_state.json").read_text())
    assert state["global_step"] == 1

    write_slurm(script, "smollm2-135m/redshift-packed", [*TINY, "--max_steps", "2"], nodes=2, gpus=1)
    run(script, workplace, cluster)
    state = json.loads((workplace / "over nodes" / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    assert state["epoch"] * 24 == pytest.approx(8)  # two steps of two rows on two nodes
    assert (workplace / "over nodes" / "adapter_model.safetensors").is_file()
