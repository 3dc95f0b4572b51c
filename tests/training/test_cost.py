"""The figures of `specdata check` are counts: held against PyTorch, and against the shapes of 8B and 70B."""

import pytest
import torch
import torch.utils.checkpoint

from specdata.training.cost import flops_per_token, least_memory, model_shape
from specdata.training.recipe import parse_training

LLAMA = {"vocab_size": 128256, "num_key_value_heads": 8}
SHAPES = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "70b": {"hidden_size": 8192, "intermediate_size": 28672, "num_hidden_layers": 80, "num_attention_heads": 64},
}
FOUR_BITS = ["--load_in_4bit", "true", "--use_bnb_nested_quant", "true"]


def shape(size, *settings):
    from transformers import LlamaConfig
    from trl import get_peft_config

    parsed = parse_training("llama-3.1-8b/redshift-packed", settings)
    return parsed, model_shape(LlamaConfig(**LLAMA, **SHAPES[size]), get_peft_config(parsed.model), torch.bfloat16)


def test_operations_of_the_8b_model():
    _, model = shape("8b")
    row = {"tokens": 573, "learned": 10}
    products = 4 * 32 * (2 * 4096**2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)  # of the decoder layers: 27.9 GFLOP
    assert products < flops_per_token(model, **row) < 1.03 * products
    assert flops_per_token(model, **row) == pytest.approx(28.4e9, rel=0.01)
    assert flops_per_token(model, recomputed=True, **row) == pytest.approx(42.6e9, rel=0.01)


def test_adapters_in_the_upper_half_of_the_layers_take_three_quarters_of_the_operations():
    from transformers import LlamaConfig
    from trl import get_peft_config

    recipe = parse_training("llama-3.1-8b/redshift-upper-layers")
    model = model_shape(LlamaConfig(**LLAMA, **SHAPES["8b"]), get_peft_config(recipe.model), torch.bfloat16)
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) == 3_407_872
    assert flops_per_token(model, tokens=573, learned=10) == pytest.approx(21.3e9, rel=0.01)


@pytest.mark.parametrize(
    ("targets", "recomputed"),
    [
        (["q_proj", "v_proj"], False),
        (["q_proj", "v_proj"], True),
        (r".*\.([6-9]|1\d)\.self_attn\.[qv]_proj", False),
    ],
)
def test_operations_are_those_that_pytorch_counts(targets, recomputed):
    from peft import LoraConfig
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=256, hidden_size=64, intermediate_size=128, num_hidden_layers=12, num_attention_heads=4
    )
    model = model_shape(config, LoraConfig(r=4, target_modules=targets), torch.float32)
    model.to_empty(device="cpu").train()
    ids = torch.zeros(1, 16, dtype=torch.long)
    if isinstance(targets, list):  # all layers
        model.enable_input_require_grads()
    if recomputed:
        model.activation_checkpointing_enable({"use_reentrant": False})
    # PyTorch would leave out the last product of each layer when it computes the forward pass again.
    with FlopCounterMode(display=False) as counted, torch.utils.checkpoint.set_checkpoint_early_stop(False):
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    found = 16 * flops_per_token(model, tokens=16, learned=16, recomputed=recomputed)
    # The head is computed once here, and twice by trl; PyTorch does not count attention on a CPU. In the last case the
    # backward pass ends within the lowest trained layer, which is one of six.
    assert found == pytest.approx(counted.get_total_flops(), rel=0.08)


@pytest.mark.parametrize(
    ("size", "settings", "weights"),
    [
        ("8b", [], 16.1),
        ("8b", FOUR_BITS, 5.7),
        ("70b", FOUR_BITS, 39.5),
        ("70b", ["--accelerate_config", "fsdp2", "--num_processes", "4"], 35.3),
        ("70b", ["--accelerate_config", "multi_gpu", "--num_processes", "4"], 141.2),
        # Each GPU loads the whole of a quantised model, whatever divides it later.
        ("70b", [*FOUR_BITS, "--accelerate_config", "zero3", "--num_processes", "4"], 39.5),
    ],
)
def test_memory_that_a_training_needs_at_least(size, settings, weights):
    found, least = least_memory(*shape(size, *settings), learned=10)
    assert found / 1e9 == pytest.approx(weights, abs=0.05)
    assert found < least < found + 0.3e9


def test_all_weights_are_trained_without_an_adapter():
    parsed, model = shape("8b", "--use_peft", "false")
    assert least_memory(parsed, model, 10)[1] == pytest.approx(4 * 2 * 8.03e9, rel=0.01)


def test_a_mixture_of_experts_has_no_figure():
    from transformers import MixtralConfig

    config = MixtralConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=1, vocab_size=64, num_attention_heads=4
    )
    assert flops_per_token(model_shape(config, None, torch.float32), tokens=8, learned=1) is None
