"""The folder of an adapter that `trl sft` trained: complete, with an honest card; refused where its parts disagree."""

import json
import re

import pytest
import yaml

from specdata import SpecdataError
from specdata.evaluation.evaluate import evaluate
from specdata.files import find_recipe
from specdata.publish.adapter_card import write_adapter

RECIPE = find_recipe("smollm2-135m/redshift-paper")


@pytest.fixture(scope="module")
def evaluated(trained_demo, tiny_model, mock_data, tmp_path_factory):
    output = tmp_path_factory.mktemp("evaluated") / "out"
    options = {"recipe": RECIPE, "limit": 4, "progress": False}
    evaluate(str(tiny_model), str(mock_data), output, adapter=str(trained_demo), **options)
    return trained_demo, output


def test_the_adapter_folder_is_ready_for_the_hub(evaluated, tiny_model, tmp_path):
    from huggingface_hub import ModelCard
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    training, evaluation = evaluated
    with pytest.raises(SpecdataError, match="is not a name of the Hub: give --base-model"):
        write_adapter(training, evaluation, RECIPE, tmp_path / "out", overrides={"max_steps": "2"})
    write_adapter(
        training, evaluation, RECIPE, tmp_path / "out", base_model="org/tiny",
        overrides={"max_steps": "2", "eval_strategy": "no", "lora_target_modules": "q_proj v_proj"},
    )  # fmt: skip
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "results.json"} < found
    assert set(re.findall(r"\]\((\w+\.png)\)", (tmp_path / "out" / "README.md").read_text())) == {
        "redshift.png", "errors.png", "calibration.png", "examples.png"
    } == {name for name in found if name.endswith(".png")}  # fmt: skip
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
    assert "nearest neighbours, k = " in card.text
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
    options = {"base_model": "org/tiny", "overrides": {"max_steps": "2"}}
    with pytest.raises(SpecdataError, match=r"results.json: metrics: mae: low has no value; evaluate again"):
        write_adapter(training, broken, RECIPE, tmp_path / "out", **options)
    results["metrics"]["mae"]["low"] = 0.1
    del results["dataset"]["n_mock"]
    (broken / "results.json").write_text(json.dumps(results))
    with pytest.raises(SpecdataError, match=r"n_mock has no value; evaluate again"):
        write_adapter(training, broken, RECIPE, tmp_path / "out", **options)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation"]


def test_results_of_another_adapter_are_refused(evaluated, taught_adapter, tmp_path):
    with pytest.raises(SpecdataError, match="holds results of another adapter"):
        write_adapter(taught_adapter, evaluated[1], RECIPE, tmp_path / "out", base_model="org/tiny")


def test_a_recipe_that_it_was_not_trained_with_is_refused(evaluated, tmp_path):
    training, evaluation = evaluated
    changed = tmp_path / "recipe.yaml"
    original = RECIPE.read_text()
    changed.write_text(original.replace("lora_r: 8", "lora_r: 16"))
    with pytest.raises(SpecdataError, match=r"says lora_r = 16 but the training had 8"):
        write_adapter(training, evaluation, changed, tmp_path / "out", base_model="org/tiny")
    changed.write_text(original.replace("learning_rate: 2.0e-3", "learning_rate: 1.0e-6"))
    options = {"base_model": "org/tiny", "overrides": {"max_steps": "2"}}
    with pytest.raises(SpecdataError, match=r"says learning_rate = 1e-06 but the training had 0.00"):
        write_adapter(training, evaluation, changed, tmp_path / "out", **options)
    changed.write_text(original.replace("max_length: 200", "max_length: 50"))
    with pytest.raises(SpecdataError, match=r"says max_length = 50 but the training had \d+ tokens a row"):
        write_adapter(training, evaluation, changed, tmp_path / "out", **options)
    # Two steps were trained, not the recipe's epoch of three.
    with pytest.raises(SpecdataError, match=r"says num_train_epochs = 1 but the training had 0.67"):
        write_adapter(training, evaluation, RECIPE, tmp_path / "out", base_model="org/tiny")


def test_the_rows_of_a_mixture_are_more_than_those_of_its_spectra(tmp_path):
    from specdata.publish.adapter_card import _check_settings

    # 3,000 spectra of 573 tokens and 30 chats of 250 an epoch
    epoch = {"num_tokens": 3000 * 573 + 30 * 250, "epoch": 1.0, "learning_rate": 1e-4}
    state = {"train_batch_size": 8, "epoch": 1.0, "max_steps": 379, "global_step": 379, "log_history": [epoch]}
    (tmp_path / "checkpoint-379").mkdir()
    (tmp_path / "checkpoint-379" / "trainer_state.json").write_text(json.dumps(state))
    path = find_recipe("llama-3.1-8b/redshift-packed")
    recipe = yaml.safe_load(path.read_text()) | {"num_train_epochs": 1}
    config = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.0, "target_modules": ["q_proj", "v_proj"]}
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
