"""What `trl` makes of our rows: the loss is on the answers alone, no row is lost, and none of a pack sees another."""

import copy
import itertools

import pytest
import torch
import yaml
from datasets import Dataset, load_dataset

from specdata.files import find_recipe
from specdata.prompts import parse_redshift


def parse(recipe, output, *words):
    """What `trl sft` makes of a recipe: script, training, model and mixture."""
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, TrlParser

    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    words = ["--use_cpu", "true", "--bf16", "false", "--activation_checkpointing", "false", *words]
    return parser.parse_args_and_config(["--config", str(recipe), "--output_dir", str(output), *words])


def trainer_of(training, model, rows, **options):
    from trl import SFTTrainer

    return SFTTrainer(model=str(model), args=training, train_dataset=rows, **options)


@pytest.mark.parametrize(
    "name", ["smollm2-135m/redshift-paper", "llama-3.1-8b/redshift-chat", "smollm2-135m/redshift-chat"]
)
def test_the_loss_is_on_the_last_answer_and_no_row_is_cut_or_lost(name, mock_data, tiny_model, tokenizer, tmp_path):
    from trl import get_dataset

    content = yaml.safe_load(find_recipe(name).read_text())
    for part in content.get("datasets", []):
        part["path"] = str(mock_data)
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    script, training, _, mixture = parse(tmp_path / "recipe.yaml", tmp_path, "--max_length", "1024")  # for 60 bins
    assert not training.assistant_only_loss
    mixed = get_dataset(mixture) if mixture.datasets else load_dataset(str(mock_data), "paper")
    rows = mixed[script.dataset_train_split]
    trainer = trainer_of(training, tiny_model, rows)
    assert len(trainer.train_dataset) == len(rows) == (48 if "chat" in name else 24)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(rows))])
    redshifts = 0
    for i, row in enumerate(rows):
        learned = batch["labels"][i][batch["labels"][i] != -100]
        assert tokenizer.decode(learned).rstrip("\n") == row["completion"][0]["content"] + tokenizer.eos_token
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], return_dict=True)["input_ids"]
        assert batch["input_ids"][i][batch["attention_mask"][i] == 1].tolist() == whole
        redshifts += parse_redshift(row["completion"][0]["content"]) is not None
    assert redshifts == 24


def test_why_it_is_not_assistant_only_loss(tokenizer):
    """When this fails, trl can mark the assistant's turns of these models, and a row could teach all of its turns."""
    from trl.chat_template_utils import get_training_chat_template, llama3_1_chat_template

    found = copy.copy(tokenizer)
    for template in (tokenizer.chat_template, llama3_1_chat_template):
        found.chat_template = template
        with pytest.raises(ValueError, match="patching is not supported for this template"):
            get_training_chat_template(found)


@pytest.mark.filterwarnings("ignore")  # of the compiler, inside of torch
@pytest.mark.parametrize(
    ("change", "flash"),
    [({}, True), ({"env": {}}, False), ({"pad_to_multiple_of": 64, "torch_compile": False}, False)],
    ids=["as shipped", "compiled whole", "padded"],
)
def test_the_recipe_keeps_flash_attention(change, flash, tiny_model, workplace, tmp_path, monkeypatch):
    """PyTorch's attention takes its flash kernel where it gets no mask. The compiler only traces here."""
    monkeypatch.setenv("ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION", "false")  # the parser sets it; restored afterwards
    content = yaml.safe_load(find_recipe("llama-3.1-8b/redshift-packed").read_text()) | change
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    words = ["--max_steps", "1", "--per_device_train_batch_size", "2"]
    words += ["--torch_compile_backend", "eager"] if content["torch_compile"] else []
    words += ["--save_strategy", "no", "--dataloader_num_workers", "0"]
    _, training, _, _ = parse(tmp_path / "recipe.yaml", tmp_path, *words)
    masks, attention = [], torch.nn.functional.scaled_dot_product_attention

    def look(*tensors, attn_mask=None, **options):
        masks.append(attn_mask is not None)
        return attention(*tensors, attn_mask=attn_mask, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", look)
    one = load_dataset(str(workplace / "sdss-galaxy-spectra"), "packed")["train"].select([0] * 2)  # of equal length
    trainer_of(training, tiny_model, one.select_columns(["prompt", "completion"])).train()
    torch.compiler.reset()
    assert set(masks) == {not flash}


def test_a_pack_keeps_its_samples_apart(tiny_model, mock_data, tmp_path):
    """The logits and the loss of a packed batch are those of its samples alone, and changing one changes no other."""
    words = ["--packing", "true", "--max_length", "700"]  # the rows have about 240 and 100 tokens
    _, training, _, _ = parse(find_recipe("smollm2-135m/redshift-paper"), tmp_path, *words)
    parts = [load_dataset(str(mock_data), config)["train"].select(range(6)) for config in ("packed", "paper")]
    rows = [{key: row[key] for key in ("prompt", "completion")} for pair in zip(*parts, strict=True) for row in pair]
    trainer = trainer_of(training, tiny_model, Dataset.from_list(rows))
    model = trainer.model.eval()
    whole = trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])
    assert (whole["position_ids"] == 0).sum() == len(rows)  # each row once
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    assert "attention_mask" not in batch  # kept apart by positions and lengths
    starts = [*(batch["position_ids"][0] == 0).nonzero().flatten().tolist(), batch["input_ids"].shape[1]]
    pieces = [slice(a, b) for a, b in itertools.pairwise(starts)]
    assert len(pieces) >= 4
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == starts  # what a flash kernel gets
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    with torch.no_grad():
        together, losses = model(**inputs, use_cache=False).logits[0], []
        for piece in pieces:
            alone = model(input_ids=batch["input_ids"][:, piece], use_cache=False).logits[0]
            torch.testing.assert_close(together[piece], alone, rtol=1e-4, atol=1e-4)
            one = trainer.data_collator([{key: batch[key][0, piece].tolist() for key in ("input_ids", "labels")}])
            losses.append((trainer.compute_loss(model, one).item(), int((one["labels"] != -100).sum())))
        mean = sum(loss * count for loss, count in losses) / sum(count for _, count in losses)
        assert trainer.compute_loss(model, batch).item() == pytest.approx(mean, rel=1e-5)
        changed = inputs | {"input_ids": batch["input_ids"].clone()}
        changed["input_ids"][0, pieces[0]] = 7
        after = model(**changed, use_cache=False).logits[0]
        assert not torch.allclose(after[pieces[0]], together[pieces[0]])
        torch.testing.assert_close(after[pieces[0].stop :], together[pieces[0].stop :], rtol=1e-4, atol=1e-4)
        # Without the positions it does see it, so this test can fail.
        mixed = model(input_ids=batch["input_ids"], use_cache=False).logits[0]
        assert not torch.allclose(mixed[pieces[1]], together[pieces[1]], atol=1e-4)
