"""The launch of `trl sft`: its threads, its last checkpoint, and what is refused before it."""

import json
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from specdata.errors import SpecdataError
from specdata.files import find_recipe
from specdata.training import launch
from specdata.training.launch import run_training, start_from, train
from specdata.training.recipe import parse_training

PAPER = "llama-3.1-8b/redshift-paper"
TINY = ["--use_cpu", "true", "--bf16", "false", "--dtype", "float32", "--dataset_config", "paper"]
TINY += ["--logging_steps", "1", "--save_steps", "1"]


def test_the_cores_are_divided_over_the_processes_and_the_last_checkpoint_is_found(tmp_path, monkeypatch):
    started = {}

    codes = [0, 0, 1]

    def start(command, *, env, **_):
        started.update(command=command, threads=int(env["OMP_NUM_THREADS"]))
        return codes.pop(0)

    monkeypatch.setattr("specdata.training.launch.run_command", start)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS")
    for step in (6, 12, 18):
        (tmp_path / "out" / f"checkpoint-{step}").mkdir(parents=True)
    for step in (6, 12):  # the state is written last: without it a checkpoint is not complete
        (tmp_path / "out" / f"checkpoint-{step}" / "trainer_state.json").touch()
    run_training(find_recipe(PAPER), ["--output_dir", "out", "--num_processes", "4"], cwd=tmp_path)
    assert started["threads"] == 2
    assert started["command"][-2:] == ["--resume_from_checkpoint", "out/checkpoint-12"]
    run_training(find_recipe(PAPER), ["--output_dir", "new"], cwd=tmp_path)
    assert started["threads"] == 8
    assert "--resume_from_checkpoint" not in started["command"]
    with pytest.raises(SpecdataError, match="trl sft ended with code 1, see above; give the same command again"):
        run_training(find_recipe(PAPER), ["--output_dir", "new"], cwd=tmp_path)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_command_ends_the_training_below_its_launcher(stop):
    """The launcher here is a shell and its training a `sleep`: while one of them lives, standard output stays open."""
    code = """
import signal, subprocess
from specdata.training.launch import run_command
wait = subprocess.Popen.wait
subprocess.Popen.wait = lambda *given: print("waiting", flush=True) or wait(*given)
signal.signal(signal.SIGTERM, signal.default_int_handler)
signal.signal(signal.SIGINT, signal.default_int_handler)
run_command(["sh", "-c", "sleep 600 & echo started; wait"])
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert {process.stdout.readline(), process.stdout.readline()} == {b"started\n", b"waiting\n"}
        process.send_signal(stop)
        assert b"KeyboardInterrupt" in process.communicate(timeout=120)[1]


def test_train_launches_nothing_that_would_fail(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(launch, "run_training", None)  # a launch would raise TypeError
    settings = [*TINY, "--model_name_or_path", "tiny", "--max_length", "20"]
    with pytest.raises(SpecdataError, match=r"redshift-paper.yaml: data .* rows are longer than max_length = 20"):
        train("smollm2-135m/redshift-paper", settings)


@pytest.mark.parametrize(
    ("adapter", "settings", "said"),
    [
        ("here", [], "here: is no LoRA adapter, for it lacks adapter_config.json or adapter_model.safetensors"),
        ("other", [], "other: has r = 3, and the recipe 8; add --lora_r 3"),
        ("other", ["--lora_r", "3"], "other: adapts other modules than the recipe; add --lora_target_modules o_proj"),
        ("list", [], "list: its adapter_config.json is not that of an adapter"),
        ("here", ["--save_steps", "0.1"], "save_steps = 0.1: .* needs whole steps; add --save_steps 50"),
    ],
)
def test_what_a_training_cannot_begin_with(adapter, settings, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, config in (
        ("here", None),
        ("other", {"r": 3, "lora_alpha": 16, "target_modules": ["o_proj"]}),
        ("list", []),
    ):
        (tmp_path / name).mkdir()
        if config is not None:
            (tmp_path / name / "adapter_config.json").write_text(json.dumps(config))
            (tmp_path / name / "adapter_model.safetensors").touch()
    recipe = parse_training("smollm2-135m/redshift-paper", settings)
    with pytest.raises(SpecdataError, match=said):
        start_from(adapter, tmp_path / "out", recipe)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_train_trains_and_goes_on_from_its_last_checkpoint(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    settings = [*TINY, "--model_name_or_path", "tiny", "--max_length", "1024", "--output_dir", "trained"]
    for steps in (1, 2):
        folder = train("smollm2-135m/redshift-paper", [*settings, "--max_steps", str(steps)])
    state = json.loads((folder / "checkpoint-2" / "trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"] if "loss" in entry] == [1, 2]
    assert (folder / "adapter_model.safetensors").is_file()
    # Another training goes on with what this one has learned: at a rate of next to nothing, that does not change.
    settings = [*settings[:-1], "continued", "--max_steps", "2", "--learning_rate", "1e-12"]
    again = train("smollm2-135m/redshift-paper", settings, adapter=str(folder))
    state = json.loads((again / "checkpoint-2" / "trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"] if "loss" in entry] == [1, 2]  # as the settings say
    learned, kept = (load_file(path / "adapter_model.safetensors") for path in (folder, again))
    assert learned.keys() == kept.keys()
    for name, weight in learned.items():
        torch.testing.assert_close(kept[name], weight)
