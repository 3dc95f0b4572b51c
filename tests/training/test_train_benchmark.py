"""The training benchmark on a CPU with a tiny model: both ways train the same rows to the same losses."""

import argparse
from pathlib import Path

import pytest
import yaml

from specdata.files import find_recipe

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train.py"


@pytest.fixture(scope="module")
def benchmark(script):
    return script("train")


def test_our_way_is_the_shipped_recipe_and_the_plain_one_has_trl_s_defaults(benchmark):
    recipe = yaml.safe_load(find_recipe(benchmark.RECIPE).read_text())
    ours, plain = (benchmark.settings(way, [], gpu=True) for way in ("ours", "plain"))
    for key in (*benchmark.SPEED, *benchmark.KEPT, "attn_implementation", "bf16", "seed", "env"):
        assert ours[key] == recipe[key], key
    assert not set(benchmark.SPEED) & set(plain)
    assert all(plain[key] == recipe[key] for key in benchmark.KEPT)
    assert "torch_compile" not in benchmark.settings("ours", ["torch_compile"], gpu=True)
    upper = benchmark.settings("ours", [], True, "llama-3.1-8b/redshift-upper-layers")
    assert upper["lora_target_modules"] != ours["lora_target_modules"]


def test_the_rows_have_the_shape_of_the_packed_config(benchmark):
    rows = benchmark.rows(1200, 5)
    assert {len(ids) for ids in rows["input_ids"]} == {573}
    assert {sum(label != -100 for label in labels) for labels in rows["labels"]} == {10}
    assert max(max(ids) for ids in rows["input_ids"]) < 1200
    assert rows[0]["input_ids"] != rows[1]["input_ids"]


def test_it_knows_the_older_name_of_activation_checkpointing(benchmark, monkeypatch):
    import transformers

    monkeypatch.setattr(transformers, "TrainingArguments", object)  # as of transformers 5.17, which lacks the new name
    old = benchmark.settings("ours", [], gpu=True)
    assert old["gradient_checkpointing"] is False
    assert "activation_checkpointing" not in old


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_both_ways_come_to_the_same_losses(benchmark, tmp_path):
    args = argparse.Namespace(model="tiny", steps=3, warm=1, without=[], cpu=True, seed=0, recipe=benchmark.RECIPE)
    plain, ours = (benchmark.run(way, args) for way in ("plain", "ours"))
    assert ours["parameters"] == plain["parameters"]
    assert ours["trainable"] == plain["trainable"] > 0
    assert len(ours["losses"]) == 3
    assert ours["losses"] == pytest.approx(plain["losses"], abs=0.01)
    assert ours["losses"][-1] < ours["losses"][0] + 0.05
    assert ours["tokens_per_second"] > 0
    assert ours["flops_done"] == ours["flops_needed"] == plain["flops_needed"] < plain["flops_done"]
    assert benchmark.gap(plain, ours)[1] < 0.01
    benchmark.figure(tmp_path / "losses.png", [plain, ours])
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
