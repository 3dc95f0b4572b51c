"""`specdata check`: every failure that we know of is found before the launch, in one sentence."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from specdata import SpecdataError
from specdata.files import find_recipe
from specdata.training.check import check
from specdata.training.recipe import parse_training

SPECDATA = Path(sys.executable).with_name("specdata")
ON_CPU = ["--use_cpu", "true", "--bf16", "false", "--dtype", "float32", "--torch_compile", "false"]
TINY = ["--model_name_or_path", "tiny", *ON_CPU]
PAPER = [*TINY, "--dataset_name", "sdss-galaxy-spectra", "--dataset_config", "packed"]


def findings(recipe, *settings, **options):
    return check(recipe, settings, progress=False, **options).failed


@pytest.fixture
def here(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    return workplace


def test_a_recipe_that_will_run_has_no_findings_and_says_what_it_takes(here):
    report = check("llama-3.1-8b/redshift-packed", [*TINY, "--max_steps", "25", "--warmup_steps", "2"], progress=False)
    assert report.findings == []
    facts = report.facts
    assert facts["rows of sdss-galaxy-spectra packed train"].startswith("24; tokens ")
    assert facts["rows of replay train"].startswith("1; tokens ")
    assert facts["mixture"].startswith("96% of the rows and ")
    assert facts["trainable parameters"] == "1,792 of 3,166,112 (0.0566 %)"
    assert facts["steps"].startswith("25 of 8 rows, 8 epochs, ")
    assert "TFLOP/s (measured)" in facts["time, estimated"]


def test_the_rows_are_those_that_trl_trains_on(here, tiny_model, tokenizer):
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    from specdata.training.rows import measure_rows

    rows = load_dataset("sdss-galaxy-spectra", "packed")["train"]
    measured = measure_rows("x", rows, tokenizer)
    args = SFTConfig(output_dir="unused", use_cpu=True, bf16=False, report_to=[], activation_checkpointing=False)
    trainer = SFTTrainer(model=str(tiny_model), args=args, train_dataset=rows)
    assert measured.lengths.tolist() == [len(ids) for ids in trainer.train_dataset["input_ids"]]
    assert measured.learned.tolist() == [sum(x != -100 for x in row) for row in trainer.train_dataset["labels"]]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["--max_length", "150"], "24 of 24 rows would be dropped, for their prompts fill max_length = 150"),
        (["--max_length", "CUT"], "24 of 24 rows would lose their tails, the answers, for they are longer"),
        (["--dataset_config", "none"], "config none, split train: cannot be loaded (BuilderConfig 'none' not found"),
        (["--dataset_test_split", "valid"], "split valid: cannot be loaded (Unknown split"),
        (["--dataset_config", "spectra"], "has neither prompt and completion nor messages"),
        (["--lora_target_modules", "query"], "the adapter does not fit the model: Target modules"),
        (["--load_in_4bit", "true"], "bitsandbytes is not installed; pip install bitsandbytes"),
        (["--optim", "paged_adamw_8bit"], "optim paged_adamw_8bit: bitsandbytes is not installed"),
        (["--attn_implementation", "flash_attention_2"], "flash_attention_2: runs on GPUs only"),
        (["--use_cpu", "false", "--bf16", "true"], "bfloat16 on a CPU takes hours a step"),
        (["--report_to", "wandb"], "report_to wandb: wandb is not installed"),
        (["--resume_from_checkpoint", "nowhere"], "resume_from_checkpoint nowhere: there is no such folder"),
        (["--per_device_train_batch_size", "100000"], "memory: about"),
        (["--eos_token", "<|im_start|>"], None),
    ],
)
def test_what_would_fail_is_found(here, settings, sentence):
    if "CUT" in settings:
        longest = check("llama-3.1-8b/redshift-paper", PAPER, progress=False).facts
        most = int(longest["rows of sdss-galaxy-spectra packed train"].split(" to ")[1].split(",")[0])
        settings = ["--max_length", str(most - 1)]
    found = findings("llama-3.1-8b/redshift-paper", *PAPER, *settings)
    if sentence is None:
        assert found == []
        return
    assert any(sentence in line for line in found), found
    assert all("\n" not in line for line in found)


def test_a_mixture_with_validation_or_without_all_shares_is_found(here, tmp_path):
    content = yaml.safe_load(find_recipe("llama-3.1-8b/redshift-packed").read_text())
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(content | {"eval_strategy": "epoch", "save_strategy": "epoch"}))
    assert any("a mixture has no split to evaluate on" in line for line in findings(recipe, *TINY))
    del content["datasets"][0]["fraction"]
    recipe.write_text(yaml.safe_dump(content))
    assert "datasets: give `fraction` for all of them or for none" in findings(recipe, *TINY)
    content["datasets"][0]["columns"] = ["prompt", "answer"]
    recipe.write_text(yaml.safe_dump(content))
    assert any("has no column answer" in line for line in findings(recipe, *TINY))


def test_a_broken_model_folder_is_found(here, tmp_path, tiny_model):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    (broken / "model.safetensors").unlink()
    settings = [*PAPER, "--model_name_or_path", str(broken)]
    assert any("holds no weights" in line for line in findings("llama-3.1-8b/redshift-paper", *settings))
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (broken / "model.safetensors.index.json").write_text(json.dumps(index))
    assert any("2 of 2 weight files are missing" in x for x in findings("llama-3.1-8b/redshift-paper", *settings))
    (broken / "config.json").unlink()
    assert any("its config cannot be read" in line for line in findings("llama-3.1-8b/redshift-paper", *settings))
    mute = tmp_path / "mute"
    shutil.copytree(tiny_model, mute)
    (mute / "chat_template.jinja").unlink()
    settings[-1] = str(mute)
    assert any("has no chat template" in line for line in findings("llama-3.1-8b/redshift-paper", *settings))


def test_a_chat_template_without_an_end_token_is_found(here, tmp_path, tiny_model):
    endless = tmp_path / "endless"
    shutil.copytree(tiny_model, endless)
    (endless / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    found = findings("llama-3.1-8b/redshift-paper", *PAPER, "--model_name_or_path", str(endless))
    assert any("24 answers do not end with the tokenizer's end token" in line for line in found)
    # One that writes an answer's turn otherwise than the beginning of a turn.
    (endless / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'answer now: ' }}{% endif %}"
    )
    found = findings("llama-3.1-8b/redshift-paper", *PAPER, "--model_name_or_path", str(endless))
    assert any("writes 24 prompts differently before an answer than alone" in line for line in found)


def test_old_checkpoints_and_a_folder_that_may_not_be_written_are_found(here, tmp_path):
    (tmp_path / "old" / "checkpoint-3").mkdir(parents=True)
    report = check("llama-3.1-8b/redshift-paper", [*PAPER, "--output_dir", str(tmp_path / "old")], progress=False)
    assert any("holds checkpoints of an earlier run" in sentence for _, sentence in report.findings)
    (tmp_path / "file").touch()
    found = findings("llama-3.1-8b/redshift-paper", *PAPER, "--output_dir", str(tmp_path / "file" / "x"))
    assert any("may not be written to" in line for line in found)


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
    with pytest.raises(SpecdataError, match="trl sft refuses it") as error:
        parse_training("llama-3.1-8b/redshift-paper", settings)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_wrong_key_of_the_file_is_told(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(find_recipe("llama-3.1-8b/redshift-paper").read_text() + "max_seq_length: 573\n")
    with pytest.raises(SpecdataError, match="max_seq_length"):
        parse_training(recipe)


def test_memory_and_time_of_the_8b_model_come_from_its_shapes_alone(here, tiny_model, tmp_path):
    """The 8B shape is a config file: nothing of that size is made."""
    from transformers import LlamaConfig
    from trl import get_peft_config

    from specdata.training.footprint import footprint

    shape = {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32}
    config = LlamaConfig(**shape, num_attention_heads=32, num_key_value_heads=8)
    peft = get_peft_config(parse_training("llama-3.1-8b/redshift-packed").model)
    options = {"rows": 8, "tokens": 576, "learned": 13}
    made = footprint(config, peft, dtype="bfloat16", checkpointing=False, **options)
    assert made.parameters - made.trainable == 8_030_261_248
    assert made.trainable == 3_407_872
    assert made.weights == 2 * 8_030_261_248
    assert made.flops == 4 * 8_030_261_248
    assert 40e9 < made.memory < 80e9
    again = footprint(config, peft, dtype="bfloat16", checkpointing=True, **options)
    assert again.flops == 6 * 8_030_261_248
    assert again.activations < made.activations / 8
    small = footprint(config, peft, dtype="bfloat16", quantised=4, checkpointing=True, **options | {"rows": 4})
    assert small.memory < 24e9
    sharded = footprint(config, peft, dtype="bfloat16", checkpointing=True, shards=8, **options)
    assert sharded.weights < made.weights / 4
    # On the device that is named, and not on this one.
    shutil.copytree(tiny_model, tmp_path / "8b")
    config.save_pretrained(tmp_path / "8b")
    settings = ["--model_name_or_path", str(tmp_path / "8b")]
    report = check("llama-3.1-8b/redshift-packed", settings, device="l4-24gb", progress=False)
    assert any("memory: about" in line and "l4-24gb has 24 GB" in line for line in report.failed)
    report = check("llama-3.1-8b/redshift-packed", settings, device="h200-141gb", gpus=2, nodes=2, progress=False)
    assert report.failed == []
    assert "4 x 989 TFLOP/s (data sheet)" in report.facts["time, estimated"]
    with pytest.raises(SpecdataError, match="--device abacus: give one of"):
        check("llama-3.1-8b/redshift-packed", settings, device="abacus", progress=False)


def test_the_kept_activations_are_those_of_a_real_forward_pass(tiny_model):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from specdata.training.footprint import adapted, kept_bytes

    config = AutoConfig.from_pretrained(tiny_model)
    real = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32, attn_implementation="sdpa")
    shapes = adapted(config, None, torch.float32)
    for parameter in [*real.parameters(), *shapes.parameters()]:
        parameter.requires_grad_(False)
    counted, kept = kept_bytes(shapes, 64), kept_bytes(real, 64)
    assert counted == pytest.approx(kept, rel=0.1)


def test_the_command_exits_with_2_if_the_launch_would_fail(here):
    settings = [*TINY, "--max_length", "100"]
    command = [SPECDATA, "check", "llama-3.1-8b/redshift-packed", *settings]
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "FAILS  data sdss-galaxy-spectra packed train: 24 of 24 rows would be dropped" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_gated_model_is_told_before_anything_else_is_done(here, monkeypatch):
    def refuse(name, repo_type="model"):
        raise SpecdataError(f"{name}: is gated, and the token has no access; ask for it on its page")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("specdata.hub.check_access", refuse)
    found = findings("llama-3.1-8b/redshift-paper", *ON_CPU)
    assert found == ["meta-llama/Llama-3.1-8B-Instruct: is gated, and the token has no access; ask for it on its page"]
