"""Every training recipe is strict `trl sft` YAML, trains what it says, and neither cuts nor drops a row."""

import json
import re
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset

from specdata.dataset.build import build
from specdata.dataset.recipe import DataRecipe
from specdata.files import recipe_names, shipped

ROOT = Path(__file__).parents[2]
OTHER = ("recipes/data/", "recipes/accelerate/", "recipes/sweeps/")
TRAINING = [name for name in recipe_names() if not name.startswith(OTHER)]
# What the Hub serves for these models, as far as the number of parameters goes.
ARCHITECTURES = {
    "meta-llama/Llama-3.1-8B-Instruct": {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "meta-llama/Llama-3.1-70B-Instruct": {
        "vocab_size": 128256,
        "hidden_size": 8192,
        "intermediate_size": 28672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
    },
    "HuggingFaceTB/SmolLM2-135M-Instruct": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
}


def parse(path, *overrides):
    """Parse like `trl sft --config PATH`, on a machine without a GPU."""
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser

    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    return parser.parse_args_and_config(["--config", str(path), "--use_cpu", "true", *overrides])


def test_there_are_training_recipes():
    assert "recipes/llama-3.1-8b/redshift-paper.yaml" in TRAINING
    assert "recipes/llama-3.1-8b/redshift-packed.yaml" in TRAINING
    assert "recipes/smollm2-135m/redshift-demo.yaml" in TRAINING


@pytest.mark.parametrize("name", TRAINING)
def test_trl_accepts_every_key(name):
    content = yaml.safe_load((ROOT / name).read_text())
    script, training, model, mixture = parse(ROOT / name)
    for part, given in zip(mixture.datasets, content.pop("datasets", []), strict=True):
        assert {key: getattr(part, key) for key in given} == given
    for key, value in content.items():
        parsed = [getattr(part, key) for part in (script, training, model) if hasattr(part, key)]
        expected = [] if (key, value) == ("report_to", "none") else value
        assert expected in [getattr(item, "value", item) for item in parsed], key
    header = (ROOT / name).read_text().split("\n\n")[0]
    assert f"trl sft --config {name}" in header
    assert "Needs:" in header
    assert training.push_to_hub is False  # TRL would publish a placeholder card


def test_the_check_is_strict(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text((ROOT / TRAINING[0]).read_text() + "overwrite_output_dir: true\n")
    with pytest.raises(ValueError, match="overwrite_output_dir"):
        parse(path)


def test_the_paper_recipe_states_the_paper():
    _, training, model, _ = parse(ROOT / "recipes/llama-3.1-8b/redshift-paper.yaml")
    assert (model.lora_r, training.learning_rate, training.num_train_epochs) == (8, 1e-4, 2)
    assert training.max_length == int(0.07 * 8192) == 573
    assert model.lora_target_modules == ["q_proj", "v_proj"]


@pytest.mark.parametrize("name", TRAINING)
def test_trainable_parameters(name):
    from transformers import LlamaConfig
    from trl import get_peft_config

    from specdata.training.footprint import adapted

    _, _, model_args, _ = parse(ROOT / name)
    if not model_args.use_peft:
        return
    config = LlamaConfig(**ARCHITECTURES[model_args.model_name_or_path])
    found, total = adapted(config, get_peft_config(model_args), torch_bfloat16()).get_nb_trainable_parameters()
    expected = {
        "SmolLM2 all-linear": (4_884_480, 3.5039),
        "Llama-3.1-8B": (3_407_872, 0.0424),
        "Llama-3.1-70B": (16_384_000, 0.0232),
        "SmolLM2": (460_800, 0.3414),
    }
    what = f"{model_args.model_name_or_path} {model_args.lora_target_modules}"
    number, percent = next(value for key, value in expected.items() if all(word in what for word in key.split()))
    assert model_args.lora_r == (16 if "all-linear" in what else 8)
    assert found == number
    assert round(100 * found / total, 4) == percent
    assert f"{number:,} trainable parameters" in (ROOT / name).read_text() or "LoRA\n" in (ROOT / name).read_text()


def torch_bfloat16():
    import torch

    return torch.bfloat16


@pytest.mark.parametrize("name", [name for name in recipe_names() if name.startswith("recipes/accelerate/")])
def test_trl_and_accelerate_take_the_accelerate_files(name):
    from accelerate.commands.config.config_args import load_config_from_file

    from specdata.training.recipe import parse_training

    made = load_config_from_file(str(ROOT / name))
    assert made.distributed_type.value == ("DEEPSPEED" if "zero3" in name else "FSDP")
    assert made.mixed_precision == "bf16"
    recipe = parse_training("llama-3.1-8b/redshift-packed", ["--accelerate_config", str(ROOT / name)])
    assert recipe.launch.config_file == str(ROOT / name)
    assert f"--accelerate_config {name}" in (ROOT / name).read_text()


def test_the_accelerate_files_have_the_keys_of_those_that_trl_ships():
    import trl

    shipped_by_trl = Path(trl.__file__).parent / "accelerate_configs"
    for name in ("fsdp2", "zero3"):
        ours, theirs = (
            yaml.safe_load((folder / f"{name}.yaml").read_text())
            for folder in (ROOT / "recipes/accelerate", shipped_by_trl)
        )
        assert set(ours) <= set(theirs)
        section = {"fsdp2": "fsdp_config", "zero3": "deepspeed_config"}[name]
        assert set(theirs[section]) <= set(ours[section]) | {"fsdp_activation_checkpointing"}


def test_every_command_of_the_table_of_the_paper_is_one_that_trl_takes():
    import shlex

    from specdata.training.grid import load_grid
    from specdata.training.recipe import parse_training

    grid = load_grid("sweeps/paper")
    assert len(grid.runs) == 7
    text = (ROOT / "recipes/README.md").read_text()
    commands = re.findall(r"\| `(trl sft .*?)` \|", text)
    found = []
    for command in commands:
        words = shlex.split(command)
        assert words[:3] == ["trl", "sft", "--config"]
        recipe = parse_training(ROOT / words[3], words[4:])
        found.append((recipe.training.learning_rate, recipe.model.lora_r, recipe.training.num_train_epochs))
    wanted = {
        tuple(grid.settings(run)[key] for key in ("learning_rate", "lora_r", "num_train_epochs")) for run in grid.runs
    }
    assert len(found) == len(set(found)) == 7
    assert set(found) == wanted


def conversations(folder, config="paper"):
    return [row["prompt"] + row["completion"] for rows in load_dataset(str(folder), config).values() for row in rows]


def test_no_row_of_the_demo_is_longer_than_its_recipe_allows(tmp_path, tokenizer):
    recipe = DataRecipe.model_validate(yaml.safe_load(shipped("recipes/data/demo-mock.yaml").read_text()))
    build(recipe, tmp_path / "data", progress=False)
    limit = parse(ROOT / "recipes/smollm2-135m/redshift-demo.yaml")[1].max_length
    lengths = [
        len(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])
        for messages in conversations(tmp_path / "data")
    ]
    assert max(lengths) <= limit


@pytest.fixture(scope="module")
def llama_length():
    """Tokens of a conversation with the real Llama-3 tokenizer and the chat template of Llama-3.1-8B-Instruct."""
    from llama_models.llama3.tokenizer import Tokenizer

    tokenizer = Tokenizer.get_instance()

    def turn(role, content):
        return f"<|start_header_id|>{role}<|end_header_id|>\n\n{content}<|eot_id|>"

    def length(messages):
        # The template always opens with this system turn.
        system = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
        text = "<|begin_of_text|>" + turn("system", system)
        text += "".join(turn(message["role"], message["content"].strip()) for message in messages)
        return len(tokenizer.encode(text, bos=False, eos=False, allowed_special="all"))

    return length


def shipped_configs_fit(folder, llama_length, smollm2):
    """Prove the budgets of `sdss-folder.yaml` with Meta's own tokenizer and with that of SmolLM2."""
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["configs"]) == {"paper", "csv", "packed", "packed-smollm2", "chat"}
    for name, made in manifest["configs"].items():
        rows = conversations(folder, name)
        if name == "chat":
            longest = max(map(llama_length, rows))
            assert longest == made["limit"]["longest"] <= made["limit"]["tokens"] == 1024
            assert made["edges"] == manifest["configs"]["packed"]["edges"]
            continue
        assert len(rows) == manifest["counts"]["sampled"] == made["fit"]["rows"]
        if made["fit"]["tokenizer"] == "llama-3.1":
            longest = max(map(llama_length, rows))
        else:
            longest = max(len(smollm2.apply_chat_template(row, return_dict=True)["input_ids"]) for row in rows)
        assert longest == made["fit"]["longest"] <= 573 < made["fit"]["beyond"]
    bins = {name: len(made["edges"]) - 1 for name, made in manifest["configs"].items()}
    assert bins["packed"] > 6 * bins["paper"]
    return bins


def test_no_mock_in_the_shipped_configs_is_longer_than_573_tokens(tmp_path, llama_length, tokenizer):
    content = yaml.safe_load(shipped("recipes/data/sdss-folder.yaml").read_text())
    content |= {"name": "mock-paper", "source": {"kind": "mock", "size": 200, "seed": 11, "snr_min": 4.0}}
    build(DataRecipe.model_validate(content), tmp_path / "data", progress=False)
    shipped_configs_fit(tmp_path / "data", llama_length, tokenizer)


def test_no_real_galaxy_in_the_shipped_configs_is_longer_than_573_tokens(
    shared_sdss, tmp_path, llama_length, tokenizer
):
    content = yaml.safe_load(shipped("recipes/data/sdss-folder.yaml").read_text())
    content["source"]["path"] = str(shared_sdss / "spectra")
    counts = build(DataRecipe.model_validate(content), tmp_path / "data", progress=False)["counts"]
    assert counts["sampled"] > 780
    bins = shipped_configs_fit(tmp_path / "data", llama_length, tokenizer)
    assert 75 <= bins["paper"] <= 85


def test_the_defaults_that_a_card_assumes_are_those_of_trl():
    from trl import ModelConfig, SFTConfig

    from specdata.publish.adapter_card import _DEFAULTS

    model, training = ModelConfig(), SFTConfig(use_cpu=True, bf16=False, activation_checkpointing=False)
    for key, value in _DEFAULTS.items():
        assert getattr(model if hasattr(model, key) else training, key) == value, key
