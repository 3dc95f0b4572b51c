"""What a training takes: parameters, memory and time, from the model's config alone, without its weights."""

import contextlib
import copy
from dataclasses import dataclass

from specdata.errors import SpecdataError, one_line

# Memory in GB (1e9 bytes) and dense bfloat16 rate in TFLOP/s by the makers' data sheets.
DEVICES = {
    "a10-24gb": (24, 125),
    "a100-40gb": (40, 312),
    "a100-80gb": (80, 312),
    "h100-80gb": (80, 989),
    "h200-141gb": (141, 989),
    "l4-24gb": (24, 121),
    "l40s-48gb": (48, 362),
    "rtx3090-24gb": (24, 71),
    "rtx4090-24gb": (24, 165),
}
# The share of that rate that a training reaches: an assumption, until benchmarks/train.py has been run on the device.
SHARE = 0.4
_LOGITS_ROWS = 3  # float32 copies of the logits of the learned tokens that exist at a time
_CONTEXT = 1.5e9  # bytes of CUDA, its libraries and their workspaces
_SLACK = 1.1  # the allocator's fragments


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a training takes on each device; memory in bytes.

    Attributes
    ----------
    parameters, trainable : int
    weights, adapter, activations, logits, other : float
        Memory: of the base model; of the adapter with its gradients and optimizer states; of what is kept for the
        backward pass; of the scores over the vocabulary; of the device's own libraries and fragments.
    flops : float
        Of one token: 4 a parameter, 6 where activations are computed again.
    """

    parameters: int
    trainable: int
    weights: float
    adapter: float
    activations: float
    logits: float
    other: float
    flops: float

    @property
    def memory(self):
        """All of it, bytes."""
        return self.weights + self.adapter + self.activations + self.logits + self.other


def read_config(name, revision=None):
    """Read the config of a model, from a folder or from the Hub; SpecdataError if it cannot be had."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise SpecdataError(f"model {name}: its config cannot be read ({one_line(error)})") from None


def adapted(config, peft_config, dtype, layers=None):
    """A model with its adapter on the meta device: shapes without memory.

    Parameters
    ----------
    config : transformers.PretrainedConfig
    peft_config : peft.PeftConfig or None
    dtype : torch.dtype
    layers : int, optional
        Take only so many decoder layers.

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

    config = copy.deepcopy(config)
    if layers is not None:
        config.num_hidden_layers = layers
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
        if peft_config is None:
            return model
        try:
            return get_peft_model(model, copy.deepcopy(peft_config))
        except ValueError as error:
            raise SpecdataError(f"the adapter does not fit the model: {one_line(error)}") from None


def kept_bytes(model, tokens):
    """Bytes that a forward pass over one row keeps for the backward pass, parameters left out.

    Attention scores, which only PyTorch's slowest attention keeps, are left out, too. Under bfloat16 autocast a little
    less is kept.

    Parameters
    ----------
    model : torch.nn.Module
        On the meta device, which makes this a count and not a computation, or on any other.
    tokens : int
    """
    import torch

    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        square = tensor.dim() >= 2 and tensor.shape[-1] == tensor.shape[-2] == tokens
        if storage._cdata not in own and not square:
            seen[storage._cdata] = storage  # kept alive, or another tensor could get its address
        return tensor

    device = next(model.parameters()).device
    ids = torch.zeros(1, tokens, dtype=torch.long, device=device)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    model.train()
    base.enable_input_require_grads()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        # A mask of its own: transformers would look into the tokens' positions, and there are none.
        mask = torch.zeros(1, 1, tokens, tokens, dtype=base.dtype, device=device)
        output = base.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    del output
    return sum(storage.nbytes() for storage in seen.values())


def footprint(config, peft_config, *, dtype, quantised=None, rows, tokens, learned, checkpointing, shards=1):
    """Reckon what a LoRA training takes on each device.

    Parameters
    ----------
    config : transformers.PretrainedConfig
    peft_config : peft.PeftConfig or None
        None trains all weights.
    dtype : str
        Of the weights, such as ``bfloat16``.
    quantised : {None, 4, 8}
        Bits of the weights of the decoder layers.
    rows, tokens : int
        Rows that a device takes at a time, and tokens of each.
    learned : int
        Most tokens of a row that the loss is on.
    checkpointing : bool
        Whether activations are computed again.
    shards : int
        Devices that weights, adapter and optimizer are divided over.

    Returns
    -------
    Footprint
    """
    import torch

    element = getattr(torch, dtype)
    with _silent():
        whole = adapted(config, peft_config, element)
        one, two = (kept_bytes(adapted(config, peft_config, element, layers), tokens) for layers in (1, 2))
    counts = [(p.numel(), p.requires_grad, "layers." in name) for name, p in whole.named_parameters()]
    trainable = sum(n for n, learns, _ in counts if learns)
    frozen = [(n, inside) for n, learns, inside in counts if not learns]
    width = element.itemsize
    bits = {4: 0.53, 8: 1.0}  # bytes a weight, 4 bits with the constants of each block of 64
    weights = sum(n * (bits[quantised] if quantised and inside else width) for n, inside in frozen)
    largest = max((n * width for n, _, inside in counts if inside), default=0) * 8 if shards > 1 or quantised else 0
    layer, ends = two - one, max(2 * one - two, 0)
    layers, hidden = config.num_hidden_layers, config.hidden_size
    kept = layers * hidden * width * tokens + layer if checkpointing else layers * layer
    activations = rows * (kept + ends)
    logits = _LOGITS_ROWS * 4 * config.vocab_size * rows * min(learned, tokens)
    # Weights of the adapter in float32, its gradients, and two moments.
    sharded = (weights + 16 * trainable) / shards + largest
    used = sharded + activations + logits
    parameters = sum(n for n, *_ in counts)
    backward = 2 if peft_config is not None else 4
    return Footprint(
        parameters=parameters,
        trainable=trainable,
        weights=weights / shards + largest,
        adapter=16 * trainable / shards,
        activations=activations,
        logits=logits,
        other=_CONTEXT + (_SLACK - 1) * used,
        flops=(2 + backward + (2 if checkpointing else 0)) * (parameters - trainable),
    )


@contextlib.contextmanager
def _silent():
    """Keep quiet about attention that is not to be had for shapes without memory."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def matrix_rate(device, dtype, size=None, seconds=0.5):
    """Measure how fast a device multiplies square matrices, FLOP/s: the most that a training can reach.

    Parameters
    ----------
    device : str or torch.device
    dtype : torch.dtype
    size : int, optional
        Rows and columns; by default 8192 on a GPU and 1024 on a CPU.
    seconds : float
        How long, after a first product that does not count.
    """
    import time

    import torch

    gpu = torch.device(device).type == "cuda"
    size = size or (8192 if gpu else 1024)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    wait = torch.cuda.synchronize if gpu else lambda: None
    for _ in range(3):
        a @ b
    wait()
    start, count = time.perf_counter(), 0
    while (spent := time.perf_counter() - start) < seconds or count == 0:
        for _ in range(10 if gpu else 1):
            a @ b
            count += 1
        wait()
    return 2 * size**3 * count / spent if spent else 0.0
