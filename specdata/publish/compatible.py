"""Whether PEFT and vLLM will load an adapter, and whether it needs a tokenizer of its own beside its base model's."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

from specdata.errors import SpecdataError, one_line
from specdata.hub import hub_errors
from specdata.inference.adapter import CONFIG, WEIGHTS, check_rank, read_config, tensor_shapes
from specdata.inputs import read_json
from specdata.text.tokenizer import load_tokenizer
from specdata.text.tokens import count_chats

# vLLM takes ranks up to one of these values (--max-lora-rank; 16 if it is not given).
VLLM_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# Settings of PEFT with which vLLM refuses an adapter or computes something else: vLLM scales all weights by
# lora_alpha / r of the config, and knows tensors named lora_A and lora_B only.
_UNSUPPORTED = {
    "modules_to_save": "whole modules trained beside the low-rank ones", "use_dora": "DoRA", "bias": "a bias",
    "lora_bias": "a bias",
    "rank_pattern": "a rank that differs by layer", "alpha_pattern": "an alpha that differs by layer",
    "layer_replication": "replicated layers", "trainable_token_indices": "trained tokens",
    "target_parameters": "parameters that are no modules", "use_qalora": "QALoRA",
}  # fmt: skip
_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
_READS_HIDDEN = re.compile(r"\.(q|k|v|gate|up)_proj\.lora_A\.")
# Parts of tokenizer.json that callers set anew for each text.
_SET_BY_CALLERS = ("truncation", "padding")
# Settings in tokenizer_config.json that change the tokens of a conversation.
_SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token", "add_bos_token", "add_eos_token")


def check_lora(folder) -> int:
    """Check that PEFT and vLLM both load an adapter, from its config and the names and shapes of its tensors.

    Returns
    -------
    int
        The value that vLLM's ``--max-lora-rank`` needs.

    Raises
    ------
    SpecdataError
        If one of them would refuse the adapter in this folder or compute something else with it.
    """
    where, config = f"{folder}/{CONFIG}", read_config(folder)
    rank, modules = config["r"], config["target_modules"]
    if config.get("peft_type") != "LORA":
        raise SpecdataError(f"{where}: is of type {config.get('peft_type')}, and vLLM loads LORA only")
    for key, meaning in _UNSUPPORTED.items():
        if config.get(key) and config[key] != "none":
            raise SpecdataError(f"{where}: {key} is set, that is {meaning}, which vLLM does not load; train without it")
    if rank > VLLM_RANKS[-1]:
        raise SpecdataError(f"{where}: rank {rank} is outside the range that vLLM takes, 1 to {VLLM_RANKS[-1]}")
    check_rank(folder, config)
    sides = {}
    for name in tensor_shapes(folder / WEIGHTS):
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise SpecdataError(f"{WEIGHTS}: vLLM does not know the tensor {name}; train nothing but LoRA weights")
        sides.setdefault(match["module"], set()).add(match["side"])
    single = sorted(module for module, found in sides.items() if len(found) == 1)
    if single or not sides:
        raise SpecdataError(f"{WEIGHTS}: {single[0] if single else 'it'} lacks lora_A or lora_B; train again")
    trained = {module.rpartition(".")[2] for module in sides}
    if isinstance(modules, list) and trained != {module.rpartition(".")[2] for module in modules}:
        names, stated = (", ".join(sorted(found)) for found in (trained, modules))
        raise SpecdataError(f"{WEIGHTS}: holds {names}, but the config names {stated}")
    return next(limit for limit in VLLM_RANKS if limit >= rank)


def check_base(folder, base_model) -> None:
    """Refuse an adapter whose tensors do not fit the modules of its base model on the Hub.

    The names and shapes of the base's tensors are read from the heads of its safetensors files; of a quantised base,
    whose tensors have other shapes, only the width in its config is compared.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, NotASafetensorsRepoError, SafetensorsParsingError

    with hub_errors(base_model):
        try:
            files = HfApi().get_safetensors_metadata(base_model).files_metadata.values()
        except (NotASafetensorsRepoError, SafetensorsParsingError, AttributeError, LookupError, TypeError):
            raise SpecdataError(
                f"{base_model}: has no weights as safetensors, which the adapter could be compared with; give another "
                "by --base-model"
            ) from None
    shapes, wrong = tensor_shapes(folder / WEIGHTS), f"{base_model}: is not the base of this adapter"
    tensors = {name: tensor for file in files for name, tensor in file.tensors.items()}
    if any(tensor.dtype in ("U8", "I8", "I32") and len(tensor.shape) > 1 for tensor in tensors.values()):
        try:
            with hub_errors(base_model):
                width = read_json(hf_hub_download(base_model, "config.json"))["hidden_size"]
        except (EntryNotFoundError, ValueError, LookupError, TypeError):  # of models that are laid out otherwise
            return
        for width_here in (size[1] for name, size in shapes.items() if _READS_HIDDEN.search(name)):
            if width_here != width:
                raise SpecdataError(
                    f"{wrong}: it is {width} wide, not {width_here}; give the right one by --base-model"
                )
        return
    for name in (name for name in shapes if ".lora_A." in name):
        module, size = _TENSOR.fullmatch(name)["module"], [shapes[name.replace("_A.", "_B.")][0], shapes[name][1]]
        # Names of checkpoints and of modules may begin differently; from the number of the layer on they are equal.
        end = re.search(r"(\.\d+\..+|[^.]+)$", module)[0]
        found = [tensor.shape for full, tensor in tensors.items() if full.endswith(f"{end}.weight")]
        if size not in found and size[::-1] not in found:
            has = " x ".join(map(str, found[0])) if found else "missing"
            raise SpecdataError(
                f"{wrong}: {module} is {size[0]} x {size[1]} here and {has} there; give the right one by --base-model"
            )


def check_chat(folder) -> None:
    """Refuse a tokenizer that cannot be read or whose chat template takes no conversation, if transformers is here."""
    if find_spec("transformers") is not None:
        turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}]
        try:
            count_chats(load_tokenizer(str(folder)), [turns])
        except SpecdataError as error:
            raise SpecdataError(f"{folder}: its tokenizer cannot be used ({one_line(error)})") from None


def same_tokenizer(folder, base_model) -> bool:
    """Whether the tokenizer in a folder makes the same tokens as that of a base model on the Hub.

    True also where the folder has no tokenizer; False where the two cannot be compared.
    """
    from huggingface_hub import snapshot_download

    if not (folder / "tokenizer_config.json").is_file():
        return not (folder / "tokenizer.json").is_file()
    with hub_errors(base_model):
        theirs = _token_settings(Path(snapshot_download(base_model, allow_patterns=["tokenizer*.json", "*.jinja"])))
    return theirs is not None and theirs == _token_settings(folder)


def _token_settings(folder):
    """Everything that decides about the tokens of a conversation; None if a file is missing or cannot be read."""
    try:
        model, config = (
            json.loads((folder / name).read_text(encoding="utf-8"))
            for name in ("tokenizer.json", "tokenizer_config.json")
        )
        template = folder / "chat_template.jinja"
        chat = template.read_text(encoding="utf-8") if template.is_file() else config.get("chat_template")
        special = [config.get(key) for key in _SPECIAL_TOKENS]
        special = [item["content"] if isinstance(item, dict) else item for item in special]
        return {key: value for key, value in model.items() if key not in _SET_BY_CALLERS}, chat, special
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        return None
