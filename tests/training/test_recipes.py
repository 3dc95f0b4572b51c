"""Every shipped training recipe is strict `trl sft` YAML, trains what it says, and neither cuts nor drops a row."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from datasets import load_dataset

from specdata.dataset.build import build
from specdata.dataset.recipe import DataRecipe, load_data_recipe
from specdata.files import find_recipe, recipe_names
from specdata.spectra.binning import log_edges
from specdata.training.check import check
from specdata.training.cost import model_shape
from specdata.training.recipe import parse_training

TRAINING = [
    name
    for name in recipe_names()
    if not name.startswith(tuple(f"recipes/{kind}/" for kind in ("data", "sweeps", "retention", "grpo")))
]
# What the Hub serves for these models, as far as the number of parameters goes.
SHAPES = {
    "8B": {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
           "num_attention_heads": 32, "num_key_value_heads": 8},
    "70B": {"vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80,
            "num_attention_heads": 64, "num_key_value_heads": 8},
    "135M": {"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
             "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True},
}  # fmt: skip


def content(name):
    return yaml.safe_load(find_recipe(name).read_text())


@pytest.mark.parametrize("name", TRAINING)
def test_trl_takes_every_key_as_it_stands(name):
    parsed, given = parse_training(name), content(name)
    for part, asked in zip(parsed.mixture.datasets, given.pop("datasets", []), strict=True):
        assert {key: getattr(part, key) for key in asked} == asked
    given.pop("env", None)
    for key, value in given.items():
        found = next(getattr(p, key) for p in (parsed.script, parsed.training, parsed.model) if hasattr(p, key))
        asked = [] if key == "report_to" else value
        asked = value[0] if key == "lora_target_modules" and len(value) == 1 else asked  # a regular expression
        assert getattr(found, "value", found) == asked, key
    header = find_recipe(name).read_text().split("\n\n")[0]
    # Some trainings go on with an adapter, which takes a command of ours.
    ours = f"specdata train {name.removeprefix('recipes/').removesuffix('.yaml')} --start-from", "specdata demo"
    assert any(command in header for command in (f"trl sft --config {name}", *ours))
    assert "# Needs: " in header


@pytest.mark.parametrize("name", TRAINING)
def test_check_finds_nothing_but_that_the_model_and_the_data_are_away(name, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])  # a recipe names a file there
    device = None if content(name)["dtype"] == "float32" else "h100-80gb"
    found = [line for _, line in check(name, device=device, progress=False).findings]
    missing = ("model ", "data", "load_in_4bit or load_in_8bit: bitsandbytes is not installed")
    assert [line for line in found if not line.startswith(missing)] == []


def test_a_launch_of_the_70b_recipe_shards_bfloat16_or_loads_four_bits_whole():
    lines = find_recipe("llama-3.1-70b/redshift-packed").read_text().splitlines()
    (sharded, whole) = (line.split("redshift-packed.yaml")[1].split() for line in lines if "trl sft --config" in line)
    for words, sharding, four_bits in ((sharded, "FSDP", False), (whole, None, True)):
        parsed = parse_training("llama-3.1-70b/redshift-packed", words)
        assert (parsed.sharding, bool(parsed.model.load_in_4bit)) == (sharding, four_bits)


def test_the_paper_recipe_states_the_paper():
    recipe = content("llama-3.1-8b/redshift-paper")
    assert len(TRAINING) > 8
    assert (recipe["lora_r"], recipe["learning_rate"], recipe["num_train_epochs"]) == (8, 1e-4, 2)
    assert recipe["max_length"] == int(0.07 * 8192) == 573
    assert recipe["lora_target_modules"] == ["q_proj", "v_proj"]


@pytest.mark.parametrize(
    ("name", "number", "percent"),
    [
        ("llama-3.1-8b/redshift-paper", 3_407_872, 0.0424),
        ("llama-3.1-8b/redshift-packed", 3_407_872, 0.0424),
        ("llama-3.1-8b/redshift-chat", 3_407_872, 0.0424),
        ("llama-3.1-70b/redshift-packed", 16_384_000, 0.0232),
        ("smollm2-135m/redshift-packed", 460_800, 0.3414),
        ("smollm2-135m/redshift-paper", 460_800, 0.3414),
        ("smollm2-135m/redshift-chat", 460_800, 0.3414),
        ("smollm2-135m/redshift-small", 4_884_480, 3.5039),
        ("llama-3.1-8b/redshift-upper-layers", 3_407_872, 0.0424),
    ],
)
def test_trainable_parameters_are_those_that_it_states(name, number, percent):
    from transformers import LlamaConfig
    from trl import get_peft_config

    args = parse_training(name).model
    shape = next(shape for size, shape in SHAPES.items() if f"-{size}-" in args.model_name_or_path)
    found, total = model_shape(
        LlamaConfig(**shape), get_peft_config(args), torch.bfloat16
    ).get_nb_trainable_parameters()
    assert (found, round(100 * found / total, 4)) == (number, percent)
    assert f"{number:,} trainable parameters" in find_recipe(name).read_text()


@pytest.mark.parametrize(
    ("name", "data", "paper"),
    [
        ("llama-3.1-8b/redshift-chat", "sdss-folder", "llama-3.1-8b/redshift-paper"),
        ("llama-3.1-8b/redshift-chat", "sdss-dr16-galaxies", "llama-3.1-8b/redshift-paper"),
        ("smollm2-135m/redshift-chat", "demo-mock", "smollm2-135m/redshift-paper"),
    ],
)
def test_a_chat_recipe_fits_its_data_and_trains_what_the_other_recipe_of_its_model_does(name, data, paper):
    recipe, other = content(name), content(paper)
    configs = load_data_recipe(find_recipe(f"data/{data}")).configs
    plain, chat = (part["name"] for part in recipe["datasets"])
    assert configs[chat].like == plain  # the same text of the same spectra
    assert recipe["max_length"] == configs[chat].conversation.tokens  # which the build proves
    assert configs[chat].conversation.tokenizer == ("llama-3.1" if "llama" in name else "smollm2-135m")
    assert {part["split"] for part in recipe["datasets"]} == {"train"}
    for key in ("model_name_or_path", "lora_r", "lora_alpha", "lora_target_modules"):
        assert recipe[key] == other[key]


def conversations(folder, config="paper"):
    return [row["prompt"] + row["completion"] for rows in load_dataset(str(folder), config).values() for row in rows]


@pytest.mark.slow
def test_no_row_of_the_mocks_is_longer_than_their_recipe_allows(tmp_path, tokenizer):
    build(load_data_recipe(find_recipe("data/demo-mock")), tmp_path / "data", progress=False)
    ids = tokenizer.apply_chat_template(conversations(tmp_path / "data"), return_dict=True)["input_ids"]
    assert max(map(len, ids)) <= content("smollm2-135m/redshift-paper")["max_length"]


def llama_length(messages):
    """Tokens of a conversation by Meta's own tokenizer, with the chat template of Llama-3.1-8B-Instruct."""
    from llama_models.llama3.tokenizer import Tokenizer

    def turn(role, text):
        return f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>"

    # The template always opens with this system turn.
    system = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
    text = "<|begin_of_text|>" + turn("system", system)
    text += "".join(turn(message["role"], message["content"].strip()) for message in messages)
    return len(Tokenizer.get_instance().encode(text, bos=False, eos=False, allowed_special="all"))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["mocks", "galaxies"])
def test_no_row_of_the_shipped_configs_is_longer_than_573_tokens(source, tmp_path, tokenizer, request):
    recipe = content("data/sdss-folder")
    if source == "mocks":
        recipe |= {"name": "mock-paper", "source": {"kind": "mock", "size": 200, "seed": 11, "snr_min": 4.0}}
    else:
        recipe["source"]["path"] = str(request.getfixturevalue("shared_sdss") / "spectra")
    build(DataRecipe.model_validate(recipe), tmp_path / "data", progress=False)
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["configs"].pop("packed-16")["edges"] == pytest.approx(log_edges(3840, 9160, 16))
    assert set(manifest["configs"]) == {"paper", "csv", "packed", "packed-smollm2", "chat"}
    for name, made in manifest["configs"].items():
        rows = conversations(tmp_path / "data", name)
        if name == "packed-smollm2":
            longest = max(map(len, tokenizer.apply_chat_template(rows, return_dict=True)["input_ids"]))
        else:
            longest = max(map(llama_length, rows))
        if name == "chat":
            assert longest == made["limit"]["longest"] <= made["limit"]["tokens"] == 1024
            assert made["edges"] == manifest["configs"]["packed"]["edges"]
        else:
            assert len(rows) == manifest["counts"]["sampled"] == made["fit"]["rows"]
            assert longest == made["fit"]["longest"] <= 573 < made["fit"]["beyond"]
    bins = {name: len(made["edges"]) - 1 for name, made in manifest["configs"].items()}
    assert bins["packed"] > 6 * bins["paper"]
    assert source == "mocks" or (manifest["counts"]["sampled"] > 780 and 75 <= bins["paper"] <= 85)
