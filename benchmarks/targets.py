"""A small transformer from random weights for all targets of a data set, and baselines from mocks on real spectra.

    python benchmarks/targets.py model DATASET OUTPUT
    python benchmarks/targets.py real MOCKS REAL RESULTS

The first makes the folder of a model that `trl sft` then trains: 128 wide, 4 layers, 4 heads, and a tokenizer that
writes each value of `packed`, each label, each digit of an answer and each fixed phrase as one token. The second takes
the data set of the training, another one with a config of the same name, and the folder of `specdata evaluate` for
that; it scores baselines that learned from the mocks on the same real rows. docs/targets.md has what came out.
"""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from specdata.dataset.manifest import read_manifest
from specdata.evaluation.baselines.methods import run_baselines
from specdata.evaluation.scores import compare, scores_of
from specdata.evaluation.split import open_split
from specdata.results import load_results
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


def score_real(mocks, real, results) -> None:
    """Print a table of the model and of baselines that learned from the mocks, and the answers in small classes."""
    config = load_results(results)["dataset"]["config"]
    data = replace(open_split(real, config), train=open_split(mocks, config).train)
    target, true, scores = data.target, data.true(), scores_of(data.target)
    basis = scores.basis(target, data.true("train"))
    table = pq.read_table(Path(results) / "predictions.parquet")
    column = f"{target.stored_in}_pred"
    methods = {"the transformer": target.code(table[column].to_pylist())}
    names = ["constant", "nearest_neighbours", "pca_neighbours", "ridge", "cnn"]
    methods |= {facts["title"]: found for found, facts in run_baselines(data, names, progress=False).values()}

    def interval(score, digits=3):
        return f"{score['value']:.{digits}f} [{score['low']:.{digits}f}, {score['high']:.{digits}f}]"

    kept = [target.loss] if target.is_number else [target.loss, "balanced_accuracy"]
    head = ["method", "n", *kept, f"{target.loss} of the transformer minus this", *target.labels]
    lines = [head, ["---"] * len(head)]
    for title, found in methods.items():
        made = scores.score(found, true, *basis, target=target)
        difference = compare(methods["the transformer"], found, true, basis[0], target=target)["difference"]
        codes = [true == code for code in range(len(target.labels))]
        right = [f"{np.sum(found[rows] == code)} of {np.sum(rows)}" for code, rows in enumerate(codes)]
        lines.append([title, len(true), *(interval(made[key]) for key in kept), interval(difference), *right])
    print("\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))
    rare = [label for code, label in enumerate(target.labels) if np.sum(true == code) <= 20]
    for row in table.to_pylist():
        if row[target.stored_in] in rare:
            print(row[target.stored_in], row["specobjid"], row[column], row["posterior_p"])


if __name__ == "__main__":
    {"model": make, "real": score_real}[sys.argv[1]](*sys.argv[2:])
