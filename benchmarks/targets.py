"""A small transformer from random weights for all targets of a data set, which `trl sft` then trains.

    python benchmarks/targets.py DATASET OUTPUT

makes the folder of the model: 128 wide, 4 layers, 4 heads, and a tokenizer that writes each value of `packed`, each
label, each digit of an answer and each fixed phrase as one token. docs/targets.md has what it learned.
"""

import re
import sys
from pathlib import Path

from specdata.dataset.manifest import read_manifest
from specdata.text.encoding import Encoding

CHAT = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
)


def phrases(dataset) -> tuple[list[str], list[str]]:
    """What is written as one token: the fixed parts of prompts and answers, and the labels."""
    configs = read_manifest(Path(dataset), dataset)["configs"].items()
    targets = {encoding.target for encoding in (Encoding.from_dict(made, name) for name, made in configs)}
    fixed, labels = set(), set()
    for target in targets:
        head, _, tail = target.format(target.answers(1 if target.is_wide else None)[0]).rpartition("[")
        fixed |= {target.instruction, f"{head}[", f"]{tail.partition(']')[2]}"}
        labels |= set(target.labels)
    return sorted(fixed), sorted(labels)


def make(dataset, output) -> None:
    """Write model and tokenizer."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast

    fixed, labels = phrases(dataset)
    words = [
        "<unk>",
        "<end>",
        *fixed,
        *labels,
        ".",
        "-",
        "NaN",
        *map(str, range(10)),
        *(f"{n:03d}" for n in range(1000)),
    ]
    longest_first = "|".join(map(re.escape, sorted(fixed, key=len, reverse=True)))
    # A label, or the sign and digits of a number, follow the opening bracket; the values of the spectrum do not.
    inside = "|".join([*(re.escape(label) for label in sorted(labels, key=len, reverse=True)), r"[-.\d]"])
    pattern = rf"{longest_first}|NaN|(?<=\[[-.\dA-Za-z ]{{0,40}})(?:{inside})|\d{{3}}"
    backend = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(pattern), "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="<end>", pad_token="<end>", chat_template=CHAT
    )
    torch.manual_seed(0)
    shape = {"n_positions": 256, "n_embd": 128, "n_layer": 4, "n_head": 4, "tie_word_embeddings": False}
    rest = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
    rest |= dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), 1)
    config = GPT2Config(vocab_size=len(words), activation_function="gelu_pytorch_tanh", **shape, **rest)
    AutoModelForCausalLM.from_config(config).save_pretrained(output)
    tokenizer.save_pretrained(output)


if __name__ == "__main__":
    make(*sys.argv[1:])
