"""What vLLM's LoRA loader asks of an adapter beyond what PEFT does."""

import json
import re

from specdata.errors import SpecdataError

# vLLM takes ranks up to one of these (--max-lora-rank, 16 if it is not given).
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# Settings with which vLLM refuses an adapter, or would read it otherwise than PEFT: it scales all weights by
# lora_alpha / r of the config, and knows tensors lora_A and lora_B alone.
_PLAIN = {
    "modules_to_save": "whole modules beside the low-rank ones", "use_dora": "DoRA", "lora_bias": "a bias",
    "rank_pattern": "a rank that differs by layer", "alpha_pattern": "an alpha that differs by layer",
    "layer_replication": "replicated layers", "trainable_token_indices": "trained tokens",
    "target_parameters": "parameters that are no modules", "use_qalora": "QALoRA",
}  # fmt: skip
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


def check_lora(folder):
    """Check that PEFT and vLLM both load an adapter, from its config and the names and shapes of its tensors.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    int
        The value of vLLM's ``--max-lora-rank`` that it needs.

    Raises
    ------
    SpecdataError
        If one of them would not, or would compute something else.
    """
    where = f"{folder}/adapter_config.json"
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        rank, _, modules = config["r"], config["lora_alpha"], config["target_modules"]
    except (OSError, ValueError, KeyError, TypeError):
        raise SpecdataError(f"{where}: is missing or lacks r, lora_alpha or target_modules; gather it anew") from None
    if config.get("peft_type") != "LORA":
        raise SpecdataError(f"{where}: is of type {config.get('peft_type')}, and vLLM loads LORA alone")
    if config.get("bias", "none") != "none":
        raise SpecdataError(f"{where}: bias is {config['bias']!r}, which vLLM does not load; train with bias none")
    for key, meaning in _PLAIN.items():
        if config.get(key):
            raise SpecdataError(f"{where}: {key} is set, that is {meaning}, which vLLM does not load; train without it")
    if not isinstance(rank, int) or not 1 <= rank <= VLLM_RANKS[-1]:
        raise SpecdataError(f"{where}: rank {rank} lies outside of 1 to {VLLM_RANKS[-1]}, which is what vLLM takes")
    found = _shapes(folder / "adapter_model.safetensors")
    pairs = {}
    for name, shape in found.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise SpecdataError(f"adapter_model.safetensors: vLLM does not know the tensor {name}; train LoRA alone")
        if shape[0 if match["side"] == "A" else 1] != rank:
            raise SpecdataError(
                f"adapter_model.safetensors: {name} has the shape {shape}, with rank {rank} in the config"
            )
        pairs.setdefault(match["module"], set()).add(match["side"])
    single = sorted(module for module, sides in pairs.items() if len(sides) == 1)
    if single or not pairs:
        raise SpecdataError(f"adapter_model.safetensors: {single[0] if single else 'it'} lacks lora_A or lora_B")
    reached = {module.rpartition(".")[2] for module in pairs}
    if isinstance(modules, list) and reached != {module.rpartition(".")[2] for module in modules}:
        raise SpecdataError(
            f"adapter_model.safetensors: holds {', '.join(sorted(reached))}, and its config names "
            f"{', '.join(sorted(modules))}"
        )
    return next(limit for limit in VLLM_RANKS if limit >= rank)


def safetensors_header(path):
    """The JSON with which a safetensors file begins, as bytes: names, types, shapes and places of its tensors."""
    with path.open("rb") as stream:
        return stream.read(int.from_bytes(stream.read(8), "little"))


def _shapes(path):
    try:
        header = json.loads(safetensors_header(path))
        return {name: tensor["shape"] for name, tensor in header.items() if name != "__metadata__"}
    except (OSError, ValueError, TypeError, KeyError, OverflowError):
        raise SpecdataError(f"{path.name}: is missing or no safetensors file; gather the adapter anew") from None
