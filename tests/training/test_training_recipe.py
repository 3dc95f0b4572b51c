"""A training recipe is read as `trl sft` reads it, and what that refuses is one sentence."""

import os

import pytest

from specdata import SpecdataError
from specdata.files import find_recipe
from specdata.training.recipe import parse_training

PAPER = "llama-3.1-8b/redshift-paper"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["--learning_rate", "fast"], "invalid float value: 'fast'"),
        (["--colour", "blue"], "trl sft refuses it: unrecognized arguments: --colour"),
        (["--accelerate_config", "nothing"], "Accelerate config nothing is neither a file nor a valid config"),
        (["--load_best_model_at_end", "true", "--eval_strategy", "no"], "requires the save and eval strategy to match"),
    ],
)
def test_what_trl_refuses_is_one_sentence(settings, sentence):
    before = dict(os.environ)
    with pytest.raises(SpecdataError, match="trl sft refuses it") as error:
        parse_training(PAPER, settings)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("per_device_train_batch_size", "0"), ("gradient_accumulation_steps", "-1"), ("num_train_epochs", "nan")],
)
def test_a_number_that_trl_takes_and_no_training_can_have_is_refused(name, value):
    with pytest.raises(SpecdataError, match=rf"{name} = {value}: give a number above 0"):
        parse_training(PAPER, [f"--{name}={value}"])


def test_a_wrong_key_of_the_file_is_refused(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(find_recipe(PAPER).read_text() + "max_seq_length: 573\n")
    with pytest.raises(SpecdataError, match="max_seq_length"):
        parse_training(recipe)


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ([], (1, None)),
        (["--accelerate_config", "fsdp2"], (8, "FSDP")),  # what trl's own file says
        (["--accelerate_config", "fsdp2", "--num_processes", "4"], (4, "FSDP")),
        (["--accelerate_config", "zero3", "--num_processes", "16", "--num_machines", "2"], (16, "DEEPSPEED")),
        (["--accelerate_config", "multi_gpu"], (8, None)),
    ],
)
def test_processes_and_sharding_are_those_of_the_launch(settings, found):
    recipe = parse_training(PAPER, settings)
    assert (recipe.processes, recipe.sharding) == found


def test_what_the_command_line_says_last_counts():
    assert not parse_training(PAPER).on_cpu
    assert parse_training(PAPER, ["--use_cpu", "true"]).on_cpu
    assert not parse_training(PAPER, ["--use_cpu", "true", "--use_cpu", "false"]).on_cpu
