"""The real `trl sft` with every recipe, the model swapped for a tiny one; then evaluation and card of what it made."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset

from specdata import SpecdataError
from specdata.evaluation.evaluate import evaluate
from specdata.files import recipe_names
from specdata.publish.adapter_card import write_adapter

ROOT = Path(__file__).parents[2]
# What test_learning.py trains is left out.
OTHER = (
    "recipes/data/",
    "recipes/accelerate/",
    "recipes/sweeps/",
    "recipes/from-scratch/",
    "recipes/smollm2-135m/redshift-small",
)
TRAINING = [name for name in recipe_names() if not name.startswith(OTHER)]
DEMO = "recipes/smollm2-135m/redshift-demo.yaml"
ON_CPU = ["--use_cpu", "true", "--bf16", "false", "--dtype", "float32", "--max_steps", "2"]
SAVED = ["--save_strategy", "steps", "--save_steps", "2", "--logging_steps", "1"]
# What a recipe asks of a GPU and of packages for it, and fewer rows of fewer tokens.
NO_GPU = ["--torch_compile", "false", "--load_in_4bit", "false", "--optim", "adamw_torch", "--warmup_steps", "0"]
NO_GPU += ["--dataloader_num_workers", "0", "--per_device_train_batch_size", "2", "--pad_to_multiple_of", "8"]


def trl_sft(recipe, folder, *arguments):
    trl = Path(sys.executable).with_name("trl")
    done = subprocess.run(
        [trl, "sft", "--config", str(ROOT / recipe), "--output_dir", "training", *ON_CPU, *arguments],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "training"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_model, mock_data, workplace):
    """Output folders of every recipe, trained for two steps; those of a mixture find their data in `workplace`."""
    folder = tmp_path_factory.mktemp("trained")
    folders = {name: folder / name.replace("/", "-") for name in TRAINING}
    lines = []
    for name in TRAINING:
        content = yaml.safe_load((ROOT / name).read_text())
        words = ["--config", str(ROOT / name), "--output_dir", str(folders[name]), *ON_CPU, *SAVED, *NO_GPU]
        words += ["--model_name_or_path", str(tiny_model), "--per_device_eval_batch_size", "4"]
        if "dataset_name" in content:
            found = content["dataset_config"] if content["dataset_config"] in ("paper", "packed") else "packed"
            words += ["--dataset_name", str(mock_data), "--dataset_config", found]
        if content.get("load_best_model_at_end"):
            words += ["--eval_steps", "1", "--save_steps", "1"]
        if name != DEMO:
            lines.append(json.dumps(words))
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "sft_in_one_process.py"], cwd=workplace, input="\n".join(lines),
        env=os.environ | {"OMP_NUM_THREADS": "2"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    swapped = ["--model_name_or_path", str(tiny_model), "--dataset_name", str(mock_data), *SAVED]
    (folder / "demo").mkdir()
    folders[DEMO] = trl_sft(DEMO, folder / "demo", *swapped)
    return folders


@pytest.fixture(scope="module")
def evaluated(trained, tiny_model, mock_data, tmp_path_factory):
    training = trained["recipes/smollm2-135m/redshift-demo.yaml"]
    output = tmp_path_factory.mktemp("evaluated") / "out"
    options = {"recipe": ROOT / DEMO, "limit": 4, "progress": False}
    evaluate(str(tiny_model), str(mock_data), output, adapter=str(training), **options)
    return training, output


@pytest.mark.parametrize("name", TRAINING)
def test_the_recipe_trains_the_adapter_that_it_states(name, trained):
    from safetensors.numpy import load_file

    recipe = yaml.safe_load((ROOT / name).read_text())
    config = json.loads((trained[name] / "adapter_config.json").read_text())
    assert config["r"] == recipe["lora_r"]
    assert sorted(config["target_modules"]) == sorted(recipe["lora_target_modules"])
    weights = load_file(trained[name] / "adapter_model.safetensors")
    learned = {key: abs(value).max() for key, value in weights.items() if "lora_B" in key}
    assert len(learned) == 4  # q_proj and v_proj of two layers
    assert max(learned.values()) > 0  # B starts at zero: something was learned
    state = json.loads((trained[name] / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    if recipe.get("load_best_model_at_end"):
        losses = [entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry]
        assert len(losses) == 2
        assert state["best_metric"] == min(losses)


def test_the_loss_is_on_the_completion_and_no_row_is_lost(tiny_model, tokenizer, mock_data, tmp_path):
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, SFTTrainer, TrlParser

    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    recipe = str(ROOT / "recipes/smollm2-135m/redshift-demo.yaml")
    arguments = ["--config", recipe, "--use_cpu", "true", "--output_dir", str(tmp_path)]
    _, training, _, _ = parser.parse_args_and_config(arguments)
    rows = load_dataset(str(mock_data), "paper")["train"]
    trainer = SFTTrainer(model=str(tiny_model), args=training, train_dataset=rows)
    assert len(trainer.train_dataset) == len(rows)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
    for i, row in enumerate(rows):
        learned = batch["labels"][i][batch["labels"][i] != -100]
        text = tokenizer.decode(learned)
        assert text.rstrip("\n") == row["completion"][0]["content"] + tokenizer.eos_token
        seen = tokenizer.decode(batch["input_ids"][i][batch["attention_mask"][i] == 1])
        assert row["prompt"][0]["content"] in seen
        assert seen.count(row["completion"][0]["content"]) == 1


def test_the_adapter_folder_is_ready_for_the_hub(evaluated, tiny_model, tmp_path):
    from huggingface_hub import ModelCard
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    training, evaluation = evaluated
    recipe = ROOT / "recipes/smollm2-135m/redshift-demo.yaml"
    with pytest.raises(SpecdataError, match="is not a name of the Hub: give --base-model"):
        write_adapter(training, evaluation, recipe, tmp_path / "out", overrides={"max_steps": "2"})
    write_adapter(
        training, evaluation, recipe, tmp_path / "out", base_model="org/tiny",
        overrides={"max_steps": "2", "eval_strategy": "no", "lora_target_modules": "q_proj v_proj"},
    )  # fmt: skip
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "results.json", "redshift.png"} < found
    assert not any(name.startswith("checkpoint") or name.endswith((".bin", ".pt")) for name in found)
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text())["base_model_name_or_path"] == "org/tiny"
    for file in ("README.md", "results.json", "adapter_config.json", "recipe.yaml"):
        assert str(training.parent) not in (tmp_path / "out" / file).read_text()

    results = json.loads((evaluation / "results.json").read_text())
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.base_model == "org/tiny"
    assert {r.metric_type: r.metric_value for r in card.data.eval_results} == {
        name: score["value"] for name, score in results["metrics"].items() if score["value"] is not None
    }
    assert all(r.dataset_revision == results["dataset"]["revision"] for r in card.data.eval_results)
    assert "Trained and scored on mocks" in card.text
    # As it was written on the command line: `no` must not become False, which trl refuses.
    assert "recipe.yaml --max_steps 2 --eval_strategy no --lora_target_modules q_proj v_proj\n" in card.text
    compared = card.text.split("`recipe.yaml` is beside this card. ")[1].split(" were compared with")[0]
    for key in ("lora_r", "lora_target_modules", "learning_rate", "max_steps", "per_device_train_batch_size"):
        assert f"`{key}`" in compared
    assert "nearest neighbours (k = " in card.text
    assert f"{results['metrics']['mae']['value']:.4f}" in card.text
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert PeftModel.from_pretrained(base, tmp_path / "out").peft_config["default"].r == 8


def test_a_card_with_a_missing_value_is_not_written(evaluated, tmp_path):
    training, evaluation = evaluated
    broken = tmp_path / "evaluation"
    broken.mkdir()
    for file in evaluation.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    results = json.loads((broken / "results.json").read_text())
    results["metrics"]["mae"]["low"] = None
    (broken / "results.json").write_text(json.dumps(results))
    recipe = ROOT / "recipes/smollm2-135m/redshift-demo.yaml"
    options = {"base_model": "org/tiny", "overrides": {"max_steps": "2"}}
    with pytest.raises(SpecdataError, match=r"results.json: metrics: mae: low has no value; evaluate again"):
        write_adapter(training, broken, recipe, tmp_path / "out", **options)
    results["metrics"]["mae"]["low"] = 0.1
    del results["dataset"]["n_mock"]
    (broken / "results.json").write_text(json.dumps(results))
    with pytest.raises(SpecdataError, match=r"n_mock has no value; evaluate again"):
        write_adapter(training, broken, recipe, tmp_path / "out", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation"]


def test_results_of_another_adapter_are_refused(evaluated, trained, tmp_path):
    other = trained["recipes/llama-3.1-8b/redshift-paper.yaml"]
    recipe = ROOT / "recipes/llama-3.1-8b/redshift-paper.yaml"
    with pytest.raises(SpecdataError, match="holds results of another adapter"):
        write_adapter(other, evaluated[1], recipe, tmp_path / "out", base_model="org/tiny")


def test_a_recipe_that_it_was_not_trained_with_is_refused(evaluated, tmp_path):
    training, evaluation = evaluated
    changed = tmp_path / "recipe.yaml"
    original = (ROOT / "recipes/smollm2-135m/redshift-demo.yaml").read_text()
    changed.write_text(original.replace("lora_r: 8", "lora_r: 16"))
    with pytest.raises(SpecdataError, match=r"says lora_r = 16 but the training had 8"):
        write_adapter(training, evaluation, changed, tmp_path / "out", base_model="org/tiny")
    recipe = ROOT / "recipes/smollm2-135m/redshift-demo.yaml"
    changed.write_text(original.replace("learning_rate: 2.0e-3", "learning_rate: 1.0e-6"))
    options = {"base_model": "org/tiny", "overrides": {"max_steps": "2"}}
    with pytest.raises(SpecdataError, match=r"says learning_rate = 1e-06 but the training had 0.00"):
        write_adapter(training, evaluation, changed, tmp_path / "out", **options)
    changed.write_text(original.replace("max_length: 200", "max_length: 50"))
    with pytest.raises(SpecdataError, match=r"says max_length = 50 but the training had \d+ tokens a row"):
        write_adapter(training, evaluation, changed, tmp_path / "out", **options)
    # Two steps were trained, not the recipe's epoch of three.
    with pytest.raises(SpecdataError, match=r"says num_train_epochs = 1 but the training had 0.67"):
        write_adapter(training, evaluation, recipe, tmp_path / "out", base_model="org/tiny")


def test_the_rows_of_a_mixture_are_more_than_those_of_its_spectra(tmp_path):
    from specdata.publish.adapter_card import _check_settings

    # 3,000 spectra of 573 tokens and 158 chats of 250 an epoch
    epoch = {"num_tokens": 3000 * 573 + 158 * 250, "epoch": 1.0, "learning_rate": 1e-4}
    state = {"train_batch_size": 8, "epoch": 1.0, "max_steps": 395, "global_step": 395, "log_history": [epoch]}
    (tmp_path / "checkpoint-395").mkdir()
    (tmp_path / "checkpoint-395" / "trainer_state.json").write_text(json.dumps(state))
    path = ROOT / "recipes/llama-3.1-8b/redshift-packed.yaml"
    recipe = yaml.safe_load(path.read_text()) | {"num_train_epochs": 1}
    config = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.05, "target_modules": ["q_proj", "v_proj"]}
    assert "max_length" not in _check_settings(recipe, path, config, tmp_path, 3000)
    with pytest.raises(SpecdataError, match=r"says max_length = 500 but the training had \d+ tokens a row"):
        _check_settings(recipe | {"max_length": 500}, path, config, tmp_path, 3000)


def test_an_adapter_of_another_model_is_refused(evaluated, mock_data, tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=49152, **shape)).save_pretrained(tmp_path / "wide")
    with pytest.raises(SpecdataError, match="does not load on"):
        evaluate(
            str(tmp_path / "wide"), str(mock_data), tmp_path / "out", adapter=str(evaluated[0]), config="paper",
            progress=False,
        )  # fmt: skip
