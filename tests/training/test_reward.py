"""The reward of `trl grpo`, and the recipe that names it."""

import json

import pytest

from specdata.files import find_recipe
from specdata.training.reward import NEAR, near_redshift


def answers(*texts):
    return [[{"role": "assistant", "content": text}] for text in texts]


def test_the_reward_falls_with_the_distance_and_nothing_else_is_rewarded():
    said = answers("Redshift: [0.1000]", "Redshift: [0.1022]", "Redshift: [0.0978]", "z = 0.1", "Redshift: [0.4000]")
    found = near_redshift(said, z=[0.1] * 5, specobjid=["1"] * 5)
    assert found == pytest.approx([1, 0.3679, 0.3679, 0, 0], abs=1e-4)
    assert found[3] == 0
    assert pytest.approx(0.002) == NEAR


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning")  # of names that trl itself still uses
def test_trl_grpo_finds_the_reward_by_its_name_and_trains(tiny_model, mock_data, tmp_path):
    """The script that `trl grpo` launches, with its own parser."""
    from trl.scripts import grpo

    settings = {"model_name_or_path": tiny_model, "output_dir": tmp_path, "max_steps": 2, "logging_steps": 1}
    settings |= {"per_device_train_batch_size": 4, "num_generations": 4, "save_strategy": "steps"}
    settings |= {"dataset_name": mock_data, "dataset_config": "paper", "save_steps": 2}
    text = find_recipe("grpo/redshift-small").read_text()
    before, _, after = text.partition("datasets:\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(before + after[after.index("reward_funcs") :])
    words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
    parsed = grpo.make_parser().parse_args_and_config(["--config", str(recipe), *words])
    assert parsed[0].reward_funcs == ["specdata.training.reward.near_redshift"]
    grpo.main(*parsed)
    history = json.loads((tmp_path / "checkpoint-2" / "trainer_state.json").read_text())["log_history"]
    assert 0 <= history[0]["rewards/near_redshift/mean"] <= 1
