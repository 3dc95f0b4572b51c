"""The real `trl sft` with the shipped recipes, the model swapped for a tiny one."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from small_recipe import GRID, small_recipe

from specdata.dataset.build import build
from specdata.files import recipe_names
from specdata.training.launch import run_training

ROOT = Path(__file__).parents[2]
# test_learning.py trains the last five.
OTHER = tuple(f"recipes/{kind}/" for kind in ("data", "sweeps", "retention", "grpo", "from-scratch"))
OTHER += tuple(f"recipes/smollm2-135m/redshift-{name}" for name in ("small", "answer", "sdss", "demo"))
TRAINING = [name for name in recipe_names() if not name.startswith(OTHER)]
# What a recipe asks of a GPU and of packages for it, and fewer rows of more tokens.
ON_CPU = ["--use_cpu", "true", "--bf16", "false", "--dtype", "float32", "--max_steps", "2", "--save_strategy", "steps"]
ON_CPU += ["--save_steps", "2", "--logging_steps", "1", "--torch_compile", "false", "--load_in_4bit", "false"]
ON_CPU += ["--warmup_steps", "0", "--dataloader_num_workers", "0", "--per_device_train_batch_size", "2"]
ON_CPU += ["--per_device_eval_batch_size", "4", "--max_length", "1024", "--model_name_or_path", "tiny"]


def check_trained(name, folder):
    recipe = yaml.safe_load((ROOT / name).read_text())
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["r"] == recipe["lora_r"]
    if len(recipe["lora_target_modules"]) > 1:  # else it is a regular expression of layers that the tiny model lacks
        assert sorted(config["target_modules"]) == sorted(recipe["lora_target_modules"])
    weights = load_file(folder / "adapter_model.safetensors")
    learned = {key: value.abs().max() for key, value in weights.items() if "lora_B" in key}
    assert len(learned) == 4  # q_proj and v_proj of two layers
    assert max(learned.values()) > 0  # B starts at zero: something was learned
    state = json.loads((folder / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    if recipe.get("load_best_model_at_end"):
        losses = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
        assert len(losses) == 2
        assert state["best_metric"] == min(losses)


@pytest.mark.slow
def test_every_recipe_trains_the_adapter_that_it_states(workplace, tmp_path):
    """In one process, for it takes long to start."""
    configs = {name: {"like": "redshift", "target": name} for name in ("subclass", "vdisp")}
    configs = {"redshift": {"grid": GRID | {"bins": 12}, "scheme": "packed"}} | configs
    build(small_recipe(configs=configs), workplace / "sdss-multitask", progress=False)
    lines = []
    for name in TRAINING:
        recipe = yaml.safe_load((ROOT / name).read_text())
        words = ["--config", str(ROOT / name), *ON_CPU, "--output_dir", str(tmp_path / name)]
        if "dataset_name" in recipe:
            words += ["--dataset_config", recipe["dataset_config"].removesuffix("-smollm2")]
        if len(recipe["lora_target_modules"]) == 1:
            words += ["--lora_target_modules", r".*\.layers\.[01]\.self_attn\.[qv]_proj"]
        if recipe.get("load_best_model_at_end"):
            words += ["--eval_steps", "1", "--save_steps", "1"]
        lines.append(json.dumps(words))
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "sft_in_one_process.py"], cwd=workplace, input="\n".join(lines),
        env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    for name in TRAINING:
        check_trained(name, tmp_path / name)


def test_the_command_trains_the_adapter_that_the_recipe_states(trained_demo):
    check_trained("recipes/smollm2-135m/redshift-paper.yaml", trained_demo)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_loss_and_a_resumed_training_the_same_end(workplace, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recipe, several = ROOT / "recipes/smollm2-135m/redshift-paper.yaml", ["--save_steps", "2", "--max_steps", "4"]
    several += ["--packing", "true", "--lora_dropout", "0.1", "--save_total_limit", "5", "--max_length", "700"]

    def losses(name, seed=0):
        run_training(recipe, [*ON_CPU, *several, "--seed", str(seed), "--output_dir", name], cwd=workplace)
        state = json.loads((workplace / name / "checkpoint-4" / "trainer_state.json").read_text())
        return [entry["loss"] for entry in state["log_history"] if "loss" in entry]

    whole = losses("whole")
    assert len(whole) == 4
    assert losses("other", seed=1) != whole
    shutil.copytree(workplace / "whole" / "checkpoint-2", workplace / "stopped" / "checkpoint-2")
    assert losses("stopped") == whole  # it goes on from the checkpoint
    assert losses("again") == whole
    end = load_file(workplace / "whole" / "adapter_model.safetensors")
    for name in ("stopped", "again"):
        found = load_file(workplace / name / "adapter_model.safetensors")
        assert all(torch.equal(tensor, found[key]) for key, tensor in end.items())
