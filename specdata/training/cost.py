"""What a training certainly takes, by counting: parameters, operations, and the memory below which it cannot run."""

import copy
import math
import re

from specdata.errors import SpecdataError, one_line

_TILE = 4096, 32768  # most learned tokens, and scores of each, that trl computes at a time


def model_shape(config, peft_config, dtype):
    """A model with its adapter on the meta device, which has shapes and no memory.

    Parameters
    ----------
    config : transformers.PretrainedConfig
    peft_config : peft.PeftConfig or None
        None to train all weights.
    dtype : torch.dtype

    Returns
    -------
    torch.nn.Module

    Raises
    ------
    SpecdataError
        If the adapter does not fit the model.
    """
    import torch
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        try:
            model = AutoModelForCausalLM.from_config(copy.deepcopy(config), dtype=dtype, attn_implementation="sdpa")
        except Exception as error:  # each class of model raises its own
            raise SpecdataError(f"the model cannot be made from its config ({one_line(error)})") from None
        try:
            return get_peft_model(model, copy.deepcopy(peft_config)) if peft_config else model
        except ValueError as error:
            name = peft_config.target_modules
            if "not found" in str(error) and isinstance(name, str) and name.isidentifier():
                raise SpecdataError(
                    f"lora_target_modules {name}: trl takes a single name for a regular expression of a module's whole "
                    f"name, which no module matches; write '.*{name}'"
                ) from None
            raise SpecdataError(f"the adapter does not fit the model: {one_line(error)}") from None


def flops_per_token(model, *, tokens, learned, recomputed=False) -> float | None:
    """Floating-point operations of a training step for each token of a row.

    A weight takes 2 in the forward pass and 2 in the backward pass, and a trained one 2 more. The backward pass ends at
    the lowest layer that is trained. Causal attention counts half of its square. The head counts the learned tokens
    only, which `trl` scores in both passes.

    Parameters
    ----------
    model : torch.nn.Module
        As from `model_shape`.
    tokens, learned : float
        Mean tokens of a row, and those of them that the loss is on.
    recomputed : bool
        Whether the forward pass is computed twice, by activation checkpointing; PyTorch can stop the second one early,
        which saves up to a tenth.

    Returns
    -------
    float or None
        None for a mixture of experts, of which a token uses only some.
    """
    import torch

    config = model.config.get_text_config()
    if getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None):
        return None
    head = model.get_output_embeddings().weight
    others = {id(head), *(id(part.weight) for part in model.modules() if isinstance(part, torch.nn.Embedding))}
    layers = config.num_hidden_layers
    lowest = min((_layer(name) for name, weight in model.named_parameters() if weight.requires_grad), default=0)
    matrices = {n: w for n, w in model.named_parameters() if w.dim() == 2 and id(w) not in others}
    products = sum(
        w.numel() * (2 if _layer(name) < lowest else (6 if w.requires_grad else 4) + 2 * recomputed)
        for name, w in matrices.items()
    )
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    attention = config.num_attention_heads * width * tokens
    attention *= 2 * lowest + (layers - lowest) * (6 + 2 * recomputed)
    return products + attention + 6 * head.numel() * learned / tokens


def _layer(name):
    """Number of the layer that a weight belongs to; 0 for one of no layer."""
    found = re.search(r"\.(?:layers|h)\.(\d+)\.", name)
    return int(found[1]) if found else 0


def least_memory(parsed, model, learned) -> tuple[float, float]:
    """Bytes of all weights on each GPU, and of all that it needs at least: gradients, moments and scores, too.

    Activations, which depend on the kernels, come on top. `model` is that of `model_shape`, and `learned` the mean
    number of learned tokens of a row.
    """
    training, args = parsed.training, parsed.model
    quantised = args.load_in_4bit or args.load_in_8bit
    # 8 bits a weight, or 4 with a constant for each block of 64, itself in 8 bits or in 32
    packed = 1 if args.load_in_8bit else 0.5 + (1 if args.use_bnb_nested_quant else 4) / 64
    # peft keeps an adapter in float32, and trl one on quantised weights in bfloat16
    width = (2 if quantised else 4) if args.use_peft else model.dtype.itemsize
    moments = 2 if str(getattr(training.optim, "value", training.optim)).startswith("adamw_torch") else 0
    frozen = sum(
        weight.numel() * (packed if quantised and weight.dim() == 2 and "layers." in name else weight.itemsize)
        for name, weight in model.named_parameters() if not weight.requires_grad
    )  # fmt: skip
    trained = width * sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    parts = parsed.processes if parsed.sharding else 1
    frozen /= 1 if quantised else parts  # each GPU loads the whole of a quantised model, whatever divides it later
    scored = min(_TILE[0], math.ceil(training.per_device_train_batch_size * learned))
    scores = 2 * scored * min(_TILE[1], model.config.get_text_config().vocab_size)
    return frozen + trained / parts, frozen + trained * (2 + moments) / parts + scores
