"""What `docs/learning.md` shows: a model from random weights, and the two recipes whose learning it measures."""

import re
from pathlib import Path

import pytest
from datasets import load_dataset

from specdata.posterior import redshift_posterior
from specdata.training.recipe import parse_training

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def from_scratch(tmp_path_factory):
    """The folder that the first block of Python of the page makes."""
    (code, *_) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs/learning.md").read_text(), re.DOTALL | re.MULTILINE
    )
    folder = tmp_path_factory.mktemp("from_scratch")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, "docs/learning.md", "exec"), {})
    return folder / "from-scratch"


@pytest.fixture(scope="module")
def rows(mock_data):
    return load_dataset(str(mock_data), "packed", split="train").select_columns(["prompt", "completion"])


def test_a_value_is_one_token_and_a_digit_of_the_answer_too(from_scratch, rows):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(from_scratch)
    row = rows[0]
    ids = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"]
    words = tokenizer.convert_ids_to_tokens(ids)
    assert words[1:61] == re.findall("...", row["prompt"][0]["content"].rpartition(" ")[2])
    answer = row["completion"][0]["content"]
    assert words[61:] == ["Redshift: [", *answer[11:-1], "]", "<end>"]
    assert tokenizer.decode(ids[61:], skip_special_tokens=True) == answer


@pytest.mark.parametrize(
    "name",
    [
        "from-scratch/redshift-packed",
        "from-scratch/redshift-small",
        "from-scratch/redshift-sdss",
        "smollm2-135m/redshift-small",
        "smollm2-135m/redshift-answer",
        "smollm2-135m/redshift-sdss",
        "smollm2-135m/redshift-demo",
    ],
)
def test_trl_trains_what_the_recipe_says_and_p_of_z_can_be_read(
    name, from_scratch, tiny_model, rows, tmp_path, monkeypatch
):
    from trl import SFTTrainer, get_peft_config

    monkeypatch.chdir(ROOT)  # the recipe names a file there
    settings = ["--output_dir", str(tmp_path), "--max_length", "300", "--max_steps", "2", "--warmup_steps", "0"]
    recipe = parse_training(name, [*settings, "--per_device_train_batch_size", "2"])
    training, model = recipe.training, recipe.model
    base = tiny_model if model.use_peft else from_scratch
    trainer = SFTTrainer(model=str(base), args=training, train_dataset=rows, peft_config=get_peft_config(model))
    assert len(trainer.train_dataset) == len(rows)
    batch = trainer.data_collator([trainer.train_dataset[0]])
    learned = trainer.processing_class.decode(batch["labels"][0][batch["labels"][0] != -100])
    answer = rows[0]["completion"][0]["content"]
    if name == "smollm2-135m/redshift-small":  # whose chat template begins the answer
        answer = answer.removeprefix("Redshift: [0.")
    assert learned.rstrip("\n") == answer + trainer.processing_class.eos_token
    before = {key: value.clone() for key, value in trainer.model.named_parameters() if value.requires_grad}
    trainer.train()
    changed = [key for key, value in trainer.model.named_parameters() if key in before and (before[key] != value).any()]
    if model.use_peft:
        assert len([key for key in changed if "lora_B" in key]) == 14  # of seven layers in each of two blocks
    else:
        assert len(before) == len(list(trainer.model.parameters()))
        assert {"transformer.wpe.weight", "transformer.h.3.attn.c_attn.weight", "lm_head.weight"} <= set(changed)
    if name == "smollm2-135m/redshift-small":
        return
    found = redshift_posterior(trainer.model.eval(), trainer.processing_class, rows[0]["prompt"])
    assert len(found.z) == 10_000
    assert found.p.sum() == pytest.approx(1)
