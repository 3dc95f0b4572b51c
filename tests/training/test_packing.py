"""Packed batches taken apart: labels, positions, and that no sample sees another. Seeds and resumed trainings, too."""

import itertools
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from datasets import load_dataset

ROOT = Path(__file__).parents[2]
MOST = 700  # tokens of a pack: the packed rows of `mock_data` have about 240, those of `paper` 100


@pytest.fixture(scope="module")
def packed(tiny_model, mock_data, tmp_path_factory):
    """A trainer of trl with packing, as the recipe sets it but for the packing, and the rows that it packs."""
    from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, SFTConfig, SFTTrainer, TrlParser

    parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
    recipe = str(ROOT / "recipes/smollm2-135m/redshift-demo.yaml")
    folder = str(tmp_path_factory.mktemp("packed"))
    words = ["--config", recipe, "--use_cpu", "true", "--output_dir", folder, "--packing", "true"]
    _, training, _, _ = parser.parse_args_and_config([*words, "--max_length", str(MOST)])
    # Rows of two lengths, so that a pack holds different ones.
    parts = [load_dataset(str(mock_data), config)["train"] for config in ("packed", "paper")]
    rows = [{key: row[key] for key in ("prompt", "completion")} for pair in zip(*parts, strict=True) for row in pair]
    from datasets import Dataset

    trainer = SFTTrainer(model=str(tiny_model), args=training, train_dataset=Dataset.from_list(rows))
    return trainer, rows


def pieces(batch):
    """The samples of a flattened batch, by its positions."""
    starts = [*(batch["position_ids"][0] == 0).nonzero().flatten().tolist(), batch["input_ids"].shape[1]]
    return [slice(a, b) for a, b in itertools.pairwise(starts)]


def test_a_packed_batch_holds_every_row_once_and_learns_its_completion_alone(packed, tokenizer):
    trainer, rows = packed
    assert len(trainer.train_dataset) < len(rows) / 2  # packed indeed
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])
    assert "attention_mask" not in batch  # one row of everything, kept apart by positions and lengths
    parts = pieces(batch)
    assert len(parts) == len(rows)
    found = []
    for part in parts:
        ids, labels = batch["input_ids"][0, part], batch["labels"][0, part]
        assert batch["position_ids"][0, part].tolist() == list(range(len(ids)))
        text = tokenizer.decode(ids)
        (row,) = [row for row in rows if row["prompt"][0]["content"] + tokenizer.eos_token in text]
        learned = tokenizer.decode(labels[labels != -100])
        assert learned.rstrip("\n") == row["completion"][0]["content"] + tokenizer.eos_token
        assert torch.equal(labels[labels != -100], ids[labels != -100])
        found.append(row["prompt"][0]["content"])
    assert sorted(found) == sorted(row["prompt"][0]["content"] for row in rows)
    # What a flash kernel gets: the same boundaries.
    ends = [part.stop for part in parts]
    assert batch["cu_seq_lens_q"].tolist() == batch["cu_seq_lens_k"].tolist() == [0, *ends]
    assert batch["max_length_q"] == max(part.stop - part.start for part in parts)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_no_sample_of_a_pack_sees_another(packed, tiny_model, attention):
    """The logits of a packed batch are those of its samples alone, and changing one changes no other."""
    from transformers import AutoModelForCausalLM

    trainer, _ = packed
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32, attn_implementation=attention).eval()
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    parts = pieces(batch)
    assert len(parts) >= 4
    keys = ("input_ids", "position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
    inputs = {key: batch[key] for key in keys}
    with torch.inference_mode():
        together = model(**inputs, use_cache=False).logits[0]
        for part in parts:
            alone = model(input_ids=batch["input_ids"][:, part], use_cache=False).logits[0]
            torch.testing.assert_close(together[part], alone, rtol=1e-4, atol=1e-4)
        changed = inputs | {"input_ids": batch["input_ids"].clone()}
        changed["input_ids"][0, parts[0]] = 7
        after = model(**changed, use_cache=False).logits[0]
        assert not torch.allclose(after[parts[0]], together[parts[0]])
        torch.testing.assert_close(after[parts[0].stop :], together[parts[0].stop :], rtol=1e-4, atol=1e-4)
        # Without the positions it does see it, so this test can fail.
        mixed = model(input_ids=batch["input_ids"], use_cache=False).logits[0]
        assert not torch.allclose(mixed[parts[1]], together[parts[1]], atol=1e-4)


def test_the_loss_of_a_pack_is_that_of_its_samples(packed):
    trainer, _ = packed
    trainer.model.eval()
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    total, count = 0.0, 0
    with torch.no_grad():
        for part in pieces(batch):
            one = trainer.data_collator(
                [{"input_ids": batch["input_ids"][0, part].tolist(), "labels": batch["labels"][0, part].tolist()}]
            )
            n = int((one["labels"] != -100).sum())
            total += trainer.compute_loss(trainer.model, one).item() * n
            count += n
        together = trainer.compute_loss(trainer.model, batch).item()
    assert together == pytest.approx(total / count, rel=1e-5)


def train(folder, name, *settings):
    """Run `trl sft` with the demo's recipe, packed; folder of the training."""
    recipe = ROOT / "recipes/smollm2-135m/redshift-demo.yaml"
    command = [Path(sys.executable).with_name("trl"), "sft", "--config", recipe, "--model_name_or_path", "tiny"]
    command += ["--dataset_name", "sdss-galaxy-spectra", "--use_cpu", "true", "--packing", "true"]
    command += ["--lora_dropout", "0.1", "--per_device_train_batch_size", "2", "--max_steps", "4", "--save_steps", "2"]
    command += ["--save_total_limit", "5", "--logging_steps", "1", "--output_dir", str(folder / name), *settings]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / name


def losses(training):
    state = json.loads((training / "checkpoint-4" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_loss_and_a_resumed_training_the_same_end(workplace):
    from safetensors.torch import load_file

    with ThreadPoolExecutor(2) as pool:
        runs = (("whole", 0), ("again", 0), ("other", 1))
        futures = [pool.submit(train, workplace, name, "--seed", seed) for name, seed in runs]
        whole, again, other = (future.result() for future in futures)
    stopped = workplace / "stopped"
    shutil.copytree(whole / "checkpoint-2", stopped / "checkpoint-2")
    resumed = train(workplace, "stopped", "--resume_from_checkpoint", stopped / "checkpoint-2")
    assert len(losses(whole)) == 4
    assert losses(again) == losses(whole)
    assert losses(resumed) == losses(whole)
    assert losses(other) != losses(whole)
    ends = [load_file(folder / "adapter_model.safetensors") for folder in (whole, resumed, again)]
    for name, tensor in ends[0].items():
        assert torch.equal(tensor, ends[1][name]), name
        assert torch.equal(tensor, ends[2][name]), name
