"""The folder of an adapter that `trl sft` trained: complete, with an honest card; refused where its parts disagree."""

import json
import re
from pathlib import Path

import pytest
import yaml
from test_results import SCORE, example_results, example_retention

from specdata import SpecdataError
from specdata.evaluation import metrics
from specdata.evaluation.evaluate import evaluate
from specdata.files import find_recipe
from specdata.publish.adapter_card import _cost, _licence, adapter_card, write_adapter

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
    assert {"decision.json", "decision_template.jinja"} < found
    temperature = json.loads((tmp_path / "out" / "decision.json").read_text())["temperature"]["choice"]
    assert temperature == json.loads((evaluation / "results.json").read_text())["posterior"]["temperature"]
    assert set(re.findall(r'src="(\w+\.png)"', (tmp_path / "out" / "README.md").read_text())) == {
        "redshift.png", "errors.png", "calibration.png", "examples.png", "learning.png"
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


CARD_DATA = {"note": "", "overrides": {}, "checked": ["lora_r"], "cost": {}, "history": []}


@pytest.fixture
def made_up(tmp_path):
    """A folder with what a card is made of, and a function that changes its files and renders the card."""
    score = SCORE | {"n": 160}
    results = example_results()
    results["dataset"] |= {"n": 160, "n_in_split": 160, "n_mock": 0, "n_mock_train": 0}
    results["metrics"] = results["greedy"]["metrics"] = dict.fromkeys(metrics.NAMES, score)
    results["posterior"]["metrics"] = dict.fromkeys(metrics.POSTERIOR_NAMES, score)
    results["subsets"] = {"z": [], "snmedian": []}
    results["settings"] = {
        "confidence": 0.95, "bootstrap_resamples": 2000, "unparsed_scores_as": [0.0, 0.5], "decoding": "greedy",
        "max_new_tokens": 24,
    }  # fmt: skip
    folder = tmp_path / "made-up"
    folder.mkdir()
    config = {"r": 8, "target_modules": ["q_proj"], "base_model_name_or_path": "org/base"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (folder / "recipe.yaml").write_text(RECIPE.read_text())

    def card(verdicts, retention=None, **card_data):
        results["baselines"] = {
            name: {
                "title": f"the {name}", "reads": reads, "chosen": {}, "note": f"Of {name}." if name == "fit" else "",
                "seconds": 1.0, "metrics": results["metrics"] | {"mae": score | {"value": mae}}, "difference": score,
                "verdict": verdict,
            }
            for name, (reads, mae, verdict) in verdicts.items()
        }  # fmt: skip
        (folder / "results.json").write_text(json.dumps(results))
        if retention:
            (folder / "retention.json").write_text(json.dumps(retention))
        (folder / "card.json").write_text(json.dumps(CARD_DATA | card_data))
        return adapter_card(folder, "adapter")

    return card


BEATEN = {"constant": ("nothing", 0.2, "better")}


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (BEATEN, None),
        (BEATEN | {"ridge": ("text", 0.01, "worse")}, r'"the ridge" is lower: 0\.0100'),
        (BEATEN | {"ridge": ("text", 0.09, "undecided")}, r'"the ridge" does not clearly differ: 0\.0900'),
        (
            BEATEN | {"ridge": ("text", 0.15, "better"), "fit": ("pixels", 0.001, "worse")},
            r'"the fit" is lower: 0\.0010(?s:.*)best is "the ridge":\n> 0\.1500.*, which is higher than the adapter',
        ),
    ],
)  # fmt: skip
def test_a_card_begins_with_the_baseline_that_is_not_beaten(made_up, verdicts, said):
    card = made_up(verdicts)
    top = card.split("## Evaluation")[0]
    assert ("This adapter has not beaten its baselines" in top) == (said is not None)
    assert said is None or re.search(said, top)
    for title, (reads, _, _) in ((f"the {name}", verdict) for name, verdict in verdicts.items()):
        assert f"| {title} | {reads} | 160 |" in card
    assert ("**Of fit.**" in card) == ("fit" in verdicts)  # what has to stand beside a score, once
    assert "licence is not known here" in card
    assert "How long it took was not recorded. Its emissions were not recorded." in card
    assert "language ability is left was not measured" in card


def test_a_card_says_how_transformers_reads_p_of_z(made_up, tmp_path):
    assert "decision" not in made_up(BEATEN)
    decision = {"labels": {"choice": list("0123456789")}, "temperature": {"choice": 1.2}}
    (tmp_path / "made-up" / "decision.json").write_text(json.dumps(decision))
    card = made_up(BEATEN)
    assert 'decision_config="adapter"' in card
    assert '`"instructions": "Redshift: [0.1"`' in card
    assert "divides the logits by 1.2, fitted on rows of the validation split." in card


def test_a_card_says_what_the_training_cost(made_up):
    retention = example_retention() | {"command": "specdata retention --model /there/base --adapter out --limit 40"}
    chance = {"value": None, "low": None, "high": None, "n": 40, "interval": "none"}
    retention["tasks"]["sciq"] |= {"at_chance": True, "retained": chance, "retained_above_chance": chance}
    cost = {"hours": 0.4, "grams": 12.5, "kwh": 0.05, "hardware": "1 x NVIDIA H100", "flops": 2e15, "tokens": 1.5e6}
    card = made_up(BEATEN, retention, cost=cost, licence={"license": "apache-2.0"})
    assert "| **science** | 40 | 0.900 [0.800, 1.000] |" in card
    assert re.search(r"\| `sciq`, validation \| 40 \|.*\| at chance \| at chance \| 0\.90 \[", card)
    assert "specdata retention --model org/base --adapter adapter --limit 40" in card
    assert '<img src="retention.png"' in card
    assert "was not measured" not in card
    assert "| training time | 0.4 h on 1 x NVIDIA H100 |" in card
    assert "0.05 kWh, 12.5 g of CO2 equivalent" in card
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["co2_eq_emissions"] == {
        "emissions": 12.5, "source": "codecarbon", "training_type": "fine-tuning", "hardware_used": "1 x NVIDIA H100"
    }  # fmt: skip
    assert head["license"] == "apache-2.0"


def test_what_a_training_left_behind_tells_its_cost(tmp_path):
    assert _cost(tmp_path) == {}
    (tmp_path / "checkpoint-2").mkdir()
    log = [{"num_tokens": 5e5}, {"num_tokens": 1e6}, {"train_runtime": 7200.0}]
    (tmp_path / "checkpoint-2" / "trainer_state.json").write_text(json.dumps({"total_flos": 1e12, "log_history": log}))
    assert _cost(tmp_path) == {"flops": 1e12, "tokens": 1e6, "hours": 2}
    emissions = tmp_path / "emissions.csv"
    emissions.write_text("duration,emissions,energy_consumed,cpu_model,gpu_model\n3600,0.0125,0.05,Xeon,1 x A100\n")
    assert _cost(tmp_path) | {"hours": 1, "grams": 12.5, "kwh": 0.05, "hardware": "1 x A100"} == _cost(tmp_path)
    emissions.write_text("something\nelse\n")
    with pytest.raises(SpecdataError, match=r"emissions.csv: is not what codecarbon writes"):
        _cost(tmp_path)


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
    changed.write_text(original.replace("learning_rate: 2.0e-3", "learning_rate: fast"))
    with pytest.raises(SpecdataError, match=r"is not what trl writes or takes \(could not convert string to float"):
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


def test_the_licence_of_a_base_beside_the_training_is_read_without_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("specdata.cards.check_access", lambda name: Path(name).is_dir() or pytest.fail("asks the Hub"))
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").write_text("---\nlicense: mit\n---\n")
    # As `trl sft` wrote it, which ran in the folder of both.
    assert _licence(tmp_path / "training", "base", "org/base") == {"license": "mit"}
