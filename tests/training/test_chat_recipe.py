"""The mixture of redshifts and conversations: the loss is on one assistant turn of each row, and no row is lost."""

import copy
from pathlib import Path

import pytest
import yaml

from specdata.dataset.recipe import load_data_recipe
from specdata.evaluation.evaluate import evaluate
from specdata.prompts import parse_redshift

ROOT = Path(__file__).parents[2]
RECIPES = ["recipes/llama-3.1-8b/redshift-chat.yaml", "recipes/smollm2-135m/redshift-chat.yaml"]


@pytest.mark.parametrize("name", RECIPES)
def test_the_loss_is_on_the_last_assistant_turn(name, mock_data, tiny_model, tokenizer, tmp_path):
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, SFTTrainer, TrlParser, get_dataset

    content = yaml.safe_load((ROOT / name).read_text())
    for part in content["datasets"]:
        part["path"] = str(mock_data)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    arguments = ["--config", str(tmp_path / "recipe.yaml"), "--use_cpu", "true", "--output_dir", str(tmp_path / "out")]
    arguments += ["--bf16", "false", "--activation_checkpointing", "false", "--max_length", "1024"]  # for 60 bins
    script, training, _, mixture = parser.parse_args_and_config(arguments)
    assert not training.assistant_only_loss
    rows = get_dataset(mixture)[script.dataset_train_split]
    assert set(rows.column_names) == {"prompt", "completion"}
    assert len(rows) == 48  # 24 redshifts and 24 conversations
    trainer = SFTTrainer(model=str(tiny_model), args=training, train_dataset=rows)
    assert len(trainer.train_dataset) == len(rows)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
    redshifts = 0
    for i, row in enumerate(rows):
        learned = batch["labels"][i][batch["labels"][i] != -100]
        assert tokenizer.decode(learned).rstrip("\n") == row["completion"][0]["content"] + tokenizer.eos_token
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"]
        assert batch["input_ids"][i][batch["attention_mask"][i] == 1].tolist() == whole  # not cut
        redshifts += parse_redshift(row["completion"][0]["content"]) is not None
    assert redshifts == 24


@pytest.mark.parametrize(
    ("name", "data", "paper"),
    [
        (RECIPES[0], "sdss-folder", "recipes/llama-3.1-8b/redshift-paper.yaml"),
        (RECIPES[0], "sdss-dr16-galaxies", "recipes/llama-3.1-8b/redshift-paper.yaml"),
        (RECIPES[1], "demo-mock", "recipes/smollm2-135m/redshift-demo.yaml"),
    ],
)
def test_it_fits_its_data_and_trains_what_the_other_recipe_of_its_model_does(name, data, paper):
    content, other = (yaml.safe_load((ROOT / path).read_text()) for path in (name, paper))
    configs = load_data_recipe(ROOT / "recipes" / "data" / f"{data}.yaml").configs
    plain, chat = (part["name"] for part in content["datasets"])
    assert configs[chat].like == plain  # the same text of the same spectra
    assert content["max_length"] == configs[chat].conversation.tokens  # which the build proves
    assert configs[chat].conversation.tokenizer == ("llama-3.1" if "llama" in name else "smollm2-135m")
    assert {part["split"] for part in content["datasets"]} == {"train"}
    for key in ("model_name_or_path", "lora_r", "lora_alpha", "lora_target_modules"):
        assert content[key] == other[key]


def test_why_it_is_not_assistant_only_loss(tokenizer):
    """When this fails, trl can mark the assistant's turns of these models, and a row could teach all of its turns."""
    from trl.chat_template_utils import get_training_chat_template, llama3_1_chat_template

    found = copy.copy(tokenizer)
    for template in (tokenizer.chat_template, llama3_1_chat_template):
        found.chat_template = template
        with pytest.raises(ValueError, match="patching is not supported for this template"):
            get_training_chat_template(found)


def test_a_model_is_scored_on_conversations_as_on_their_spectra(mock_data, taught_model, tmp_path):
    scored = {}
    for config in ("packed", "chat"):
        output = tmp_path / config
        scored[config] = evaluate(
            str(taught_model), str(mock_data), output, config=config, split="validation", progress=False
        )  # fmt: skip
    assert scored["chat"]["metrics"] == scored["packed"]["metrics"]  # the redshift in the prompt was not shown
    assert scored["chat"]["metrics"]["mae"]["value"] > 0.01
