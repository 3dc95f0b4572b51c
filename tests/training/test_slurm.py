"""The batch script of a training: what it says, that bash takes it, and that it trains over two nodes and goes on."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from specdata import SpecdataError
from specdata.training.slurm import slurm_script, write_slurm

# All nodes are this machine, one task each; one that fails ends the others.
SRUN = """#!/usr/bin/env bash
[[ $1 == --kill-on-bad-exit=1 ]] || exit 2
for ((node = 0; node < SLURM_NNODES; node++)); do SLURM_NODEID=$node "${@:2}" & tasks+=($!); done
code=0; for task in "${tasks[@]}"; do wait -n || { code=1; kill "${tasks[@]}"; }; done 2>/dev/null; exit $code
"""
TINY = ["--model_name_or_path", "tiny", "--use_cpu", "true", "--bf16", "false", "--dtype", "float32"]
TINY += ["--dataset_config", "packed", "--per_device_train_batch_size", "2", "--eval_strategy", "no"]
TINY += ["--load_best_model_at_end", "false", "--save_steps", "1", "--warmup_steps", "0", "--output_dir", "over nodes"]


def free_job():
    """Number of a job whose port, which the batch script derives from it, is not taken."""
    for job in range(os.getpid(), os.getpid() + 1000):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", 29500 + job % 1000))
            return job
    raise AssertionError("all ports from 29500 to 30499 are taken")


@pytest.fixture
def run(tmp_path):
    """Runs a batch script as Slurm would, on two nodes with four cores each; with other commands in place of `trl`."""
    for name, code in (("srun", SRUN), ("scontrol", "#!/usr/bin/env bash\necho 127.0.0.1\n")):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(code)
        (tmp_path / "bin" / name).chmod(0o755)

    def run(script, folder, cores=4):
        environment = os.environ | {
            "PATH": f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}", "SLURM_NNODES": "2",
            "SLURM_JOB_ID": str(free_job()), "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_CPUS_PER_TASK": str(cores),
        }  # fmt: skip
        with (tmp_path / "log").open("w+") as log:
            options = {"cwd": folder, "env": environment, "stdout": log, "stderr": log, "start_new_session": True}
            process = subprocess.Popen(["bash", script], **options)
            try:
                code = process.wait(timeout=400)
            finally:  # also what a node has left running
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            log.seek(0)
            said = log.read()
        assert code == 0, said[-3000:]
        return said

    return run


def test_the_script_says_what_was_asked_for():
    options = {"partition": "gpu", "time": "01:00:00"}
    text = slurm_script(
        "llama-3.1-8b/redshift-packed", ["--learning_rate", "5e-5"], nodes=2, gpus=8, accelerate_config="fsdp2",
        options=options, setup="module load cuda",
    )  # fmt: skip
    for line in ("nodes=2", "gpus-per-node=8", "partition=gpu", "time=01:00:00", "ntasks-per-node=1"):
        assert f"#SBATCH --{line}\n" in text
    assert "module load cuda" in text
    assert "--accelerate_config fsdp2 --learning_rate 5e-5 --num_machines 2 --num_processes 16" in text
    assert "--accelerate_config" not in slurm_script("smollm2-135m/redshift-paper", gpus=1)
    assert "gpus-per-node" not in slurm_script("smollm2-135m/redshift-paper", gpus=0)


def test_each_process_gets_its_share_of_the_cores_and_the_newest_checkpoint(tmp_path, run):
    (tmp_path / "bin" / "trl").write_text('#!/usr/bin/env bash\necho "$OMP_NUM_THREADS threads: $*"\n')
    (tmp_path / "bin" / "trl").chmod(0o755)
    settings = ["--output_dir", "my output"]
    for step in (2, 10):
        (tmp_path / "my output" / f"checkpoint-{step}").mkdir(parents=True)
        (tmp_path / "my output" / f"checkpoint-{step}" / "trainer_state.json").touch()
    (tmp_path / "my output" / "checkpoint-12").mkdir()  # without its state, which is written last
    write_slurm(tmp_path / "train.sh", "smollm2-135m/redshift-paper", settings, nodes=2, gpus=4)
    for cores, threads in ((32, 8), (2, 1)):
        lines = run(tmp_path / "train.sh", tmp_path, cores).splitlines()
        assert [line.split(": ")[0] for line in lines] == [f"{threads} threads"] * 2
        assert {line.split("--machine_rank ")[1][0] for line in lines} == {"0", "1"}
        assert all(line.endswith("--resume_from_checkpoint my output/checkpoint-10") for line in lines)


def test_what_trl_would_refuse_is_not_written(tmp_path):
    with pytest.raises(SpecdataError, match="trl sft refuses it"):
        write_slurm(tmp_path / "x.sbatch", "smollm2-135m/redshift-paper", ["--learning_rate", "x"])
    with pytest.raises(SpecdataError, match="give a name that ends in"):
        write_slurm(tmp_path / "x", "smollm2-135m/redshift-paper")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_it_trains_over_two_nodes_and_goes_on_when_it_is_submitted_again(workplace, run, tmp_path):
    for steps in (1, 2):
        settings = [*TINY, "--max_steps", str(steps)]
        write_slurm(tmp_path / "train.sbatch", "smollm2-135m/redshift-packed", settings, nodes=2, gpus=1)
        run(tmp_path / "train.sbatch", workplace, cores=1)
        state = json.loads((workplace / "over nodes" / f"checkpoint-{steps}" / "trainer_state.json").read_text())
        assert state["global_step"] == steps
    assert state["epoch"] * 24 == pytest.approx(8)  # two steps of two rows on two nodes
    assert (workplace / "over nodes" / "adapter_model.safetensors").is_file()
