"""The files of a LoRA adapter, looked at before any library loads them: its config, and the head of its weights."""

import json
from pathlib import Path

from specdata.errors import SpecdataError, one_line
from specdata.hub import weight_files
from specdata.inputs import check_regular, read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_LARGEST_HEAD = 100_000_000  # bytes, the limit of the format itself


def read_config(folder, name=None) -> dict:
    """Read the config of an adapter.

    Parameters
    ----------
    folder : path-like
    name : str, optional
        What the user calls the adapter; by default the folder.

    Raises
    ------
    SpecdataError
        If there is none, or it is not the config of an adapter with `r`, `lora_alpha`, `target_modules` and the name of
        the base model.
    """
    path, name = Path(folder) / CONFIG, name or folder
    if not path.is_file():
        raise SpecdataError(f"{name}: has no {CONFIG}; give the folder of a LoRA adapter")
    try:
        config = read_json(path)
        wrong = [key for key in ("r", "lora_alpha", "target_modules", "base_model_name_or_path") if key not in config]
        if wrong or not isinstance(config, dict) or not isinstance(config["base_model_name_or_path"], str):
            raise ValueError(f"no {wrong[0]}" if wrong else "no names and values")
        modules = config["target_modules"]
        right = {
            "r": type(config["r"]) is int and config["r"] > 0,
            "lora_alpha": type(config["lora_alpha"]) in (int, float),
            "target_modules": all(isinstance(module, str) for module in modules),  # of a text, too
        }
        for key in (key for key, is_right in right.items() if not is_right):
            raise ValueError(f"{key} is {str(config[key])[:40]}")
    except (OSError, ValueError, TypeError) as error:
        raise SpecdataError(f"{name}: its {CONFIG} is not that of a LoRA adapter ({one_line(error)})") from None
    return config


def safetensors_header(path) -> bytes:
    """The JSON at the start of a safetensors file: names, types, shapes and places of its tensors.

    A ValueError if the file cannot have such a head, an OSError if it cannot be read.
    """
    check_regular(path)
    with Path(path).open("rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        if not 0 < size <= _LARGEST_HEAD:
            raise ValueError("its head has an impossible length")
        return stream.read(size)


def tensor_shapes(path) -> dict:
    """Shapes of the tensors in a safetensors file by name, each a list of int.

    Raises
    ------
    SpecdataError
        If the file is missing or is no safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        weight_files(path.parent)  # which names a pickle
    try:
        header = json.loads(safetensors_header(path))
        shapes = {name: list(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__"}
        if not all(type(size) is int and size >= 0 for shape in shapes.values() for size in shape):
            raise ValueError("sizes that are no numbers")
        return shapes
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise SpecdataError(f"{path.name}: is missing or not a safetensors file; run `specdata card` again") from None


def check_rank(folder, config) -> None:
    """Refuse an adapter whose tensors have another rank than its config says; PEFT would make room for it first."""
    if config.get("rank_pattern"):
        return
    for name, shape in tensor_shapes(Path(folder) / WEIGHTS).items():
        side = 0 if ".lora_A." in name else 1
        if (".lora_A." in name or ".lora_B." in name) and (len(shape) != 2 or shape[side] != config["r"]):
            raise SpecdataError(f"{WEIGHTS}: {name} has the shape {shape}, but the rank in the config is {config['r']}")
