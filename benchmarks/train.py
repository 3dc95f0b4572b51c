#!/usr/bin/env python3
"""Tokens a second of a LoRA training by our recipe and by trl's defaults, against the GPU's own matrix rate.

    python benchmarks/train.py                                  # LLaMA-3.1-8B's shape on the GPU at hand
    python benchmarks/train.py --without torch_compile          # what one choice of the recipe is worth
    python benchmarks/train.py --recipe llama-3.1-8b/redshift-upper-layers
    python benchmarks/train.py --model tiny --steps 6           # the same code on a CPU, in a minute

The model has random weights, so nothing is downloaded, and the rows have the shape of our `packed` config: 573 tokens,
of which the last 10 are learned, `Redshift: [0.1234]` and the end token. Only 2 of those 10 differ between rows.

`ours` is recipes/llama-3.1-8b/redshift-packed.yaml, or another recipe, as it ships, with these rows in place of its
data and without checkpoints. `plain` has the same adapter, learning rate, seed and batches, and for all that bears on
speed trl's own defaults: float32 weights under bfloat16 autocast, activations computed again, nothing compiled. Each
runs in a process of its own.

Two shares of the matrix rate are printed, that of 8192 x 8192 bfloat16 products measured just before. *Needed* counts
the operations without which there is no gradient (`specdata.training.cost.flops_per_token`), and *done* also those
that activation checkpointing computes twice. The rate leaves out the first steps, in which kernels are compiled; the
time of the paper's whole training, 3,000 rows in 2 epochs, takes them in. The losses of both ways have to agree within
what another seed makes of them, which `--seeds 2` shows.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import ClassVar

TOKENS, LEARNED, SAMPLES, EPOCHS = 573, 10, 3000, 2
RECIPE = "llama-3.1-8b/redshift-packed"
# What makes the recipe fast, and what trl takes where it is left out.
SPEED = ("dtype", "activation_checkpointing", "torch_compile", "dataloader_num_workers")
KEPT = ("use_peft", "lora_task_type", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "learning_rate",
        "lr_scheduler_type", "warmup_steps", "per_device_train_batch_size")  # fmt: skip
DROPPED = ("datasets", "save_steps", "save_total_limit", "output_dir", "num_train_epochs")
SHAPES = {
    "8b": {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
           "num_attention_heads": 32, "num_key_value_heads": 8, "rope_theta": 500000.0},
    "tiny": {"vocab_size": 1200, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2},
}  # fmt: skip


def matrix_rate(device, dtype, size, seconds):
    """Measure how fast a device multiplies square matrices, FLOP/s: the most that a training can reach."""
    import torch

    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    for _ in range(3):  # the first ones do not count
        a @ b
    wait()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds or not count:
        for _ in range(10):
            a @ b
        wait()
        count += 10
    return 2 * size**3 * count / (time.perf_counter() - start)


def rows(vocabulary, count, seed=0):
    """Rows of the packed config's shape: a fixed beginning, values of three digits, and a short answer."""
    import numpy as np
    from datasets import Dataset

    rng = np.random.default_rng(seed)
    values = rng.integers(100, min(1100, vocabulary), (count, TOKENS - 46 - LEARNED))
    head = np.broadcast_to(np.arange(2, 48), (count, 46))
    answer = np.broadcast_to(np.arange(50, 50 + LEARNED), (count, LEARNED)).copy()
    answer[:, 6:8] = values[:, :2]  # that of the answer which depends on the row
    ids = np.concatenate([head, values, answer], axis=1)
    labels = np.where(np.arange(TOKENS) < TOKENS - LEARNED, -100, ids)
    return Dataset.from_dict({"input_ids": ids.tolist(), "labels": labels.tolist()})


def settings(way, without, gpu, name=RECIPE):
    """What `trl sft` is given; dict."""
    import yaml
    from transformers import TrainingArguments

    from specdata.files import find_recipe

    recipe = yaml.safe_load(find_recipe(name if way == "ours" else RECIPE).read_text(encoding="utf-8"))
    if way == "ours":
        content = {key: value for key, value in recipe.items() if key not in (*without, *DROPPED)}
    else:
        content = {key: recipe[key] for key in KEPT}
    if not gpu:  # to try the code where there is none
        content |= {"use_cpu": True, "bf16": False, "dtype": "float32", "torch_compile": False}
    if "activation_checkpointing" in content and not hasattr(TrainingArguments, "activation_checkpointing"):
        content["gradient_checkpointing"] = content.pop("activation_checkpointing")  # as transformers 5.17 calls it
    content |= {"model_name_or_path": "random", "dataset_name": "made", "save_strategy": "no", "logging_steps": 1}
    return content | {"report_to": "none", "eval_strategy": "no", "push_to_hub": False}


def run(way, args):
    """Train one way; dict of what was measured."""
    import torch
    import yaml
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, TrainerCallback
    from trl import (
        DatasetMixtureConfig,
        ModelConfig,
        ScriptArguments,
        SFTConfig,
        SFTTrainer,
        TrlParser,
        get_peft_config,
    )

    from specdata.training.cost import flops_per_token

    gpu = torch.cuda.is_available() and not args.cpu
    device = torch.device("cuda" if gpu else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "recipe.yaml"
        os.environ.pop("ACCELERATE_DYNAMO_USE_REGIONAL_COMPILATION", None)  # the recipe says it, or nobody
        recipe.write_text(yaml.safe_dump(settings(way, args.without, gpu, args.recipe)))
        parser = TrlParser((ScriptArguments, SFTConfig, ModelConfig, DatasetMixtureConfig))
        _, training, model_args, _ = parser.parse_args_and_config(
            ["--config", str(recipe), "--output_dir", folder, "--max_steps", str(args.steps), "--seed", str(args.seed)]
        )
        config = LlamaConfig(**SHAPES[args.model], pad_token_id=0, eos_token_id=1, bos_token_id=None)
        torch.manual_seed(0)
        with device:
            model = AutoModelForCausalLM.from_config(
                config,
                dtype=torch.bfloat16 if gpu else torch.float32,
                attn_implementation=model_args.attn_implementation,
            )
        # The same numbers in both ways, in the recipe's format.
        model = model.to(getattr(torch, model_args.dtype))
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel({"<pad>": 0, "<end>": 1}, unk_token="<pad>")),
            pad_token="<pad>", eos_token="<end>",
        )  # fmt: skip

        class Clock(TrainerCallback):
            """Time at the end of each step."""

            ends: ClassVar = []

            def on_step_end(self, *_, **__):
                if gpu:
                    torch.cuda.synchronize()
                self.ends.append(time.perf_counter())

        batch = training.per_device_train_batch_size
        trainer = SFTTrainer(
            model=model, args=training, train_dataset=rows(config.vocab_size, batch * min(args.steps, 100)),
            processing_class=tokenizer, peft_config=get_peft_config(model_args), callbacks=[Clock()],
        )  # fmt: skip
        if gpu:
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        trainer.train()
        warm = max(1, min(args.warm, args.steps - 2))
        seconds = (Clock.ends[-1] - Clock.ends[warm - 1]) / (len(Clock.ends) - warm)
        # The name of `activation_checkpointing` that every version knows
        again = bool(training.gradient_checkpointing)
        row = {"tokens": TOKENS, "learned": LEARNED}
        peak = torch.cuda.max_memory_allocated() if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        trainable, parameters = trainer.model.get_nb_trainable_parameters()
        first = Clock.ends[warm - 1] - start
        return {
            "way": way,
            "seed": args.seed,
            "parameters": parameters,
            "trainable": trainable,
            "batch": batch,
            "flops_needed": flops_per_token(trainer.model, **row),
            "flops_done": flops_per_token(trainer.model, recomputed=again, **row),
            "seconds_of_first_steps": first,
            "seconds_of_the_paper": first + (SAMPLES * EPOCHS / batch - warm) * seconds,
            "tokens_per_second": batch * TOKENS / seconds,
            "peak_gb": peak / 1e9,
            "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        }


def figure(path, measured):
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    drawn, axes = plt.subplots(figsize=(7, 3.6), dpi=120, layout="constrained")
    colours = {"plain": "#D55E00", "ours": "#0072B2"}
    for number, found in enumerate(measured):
        steps = range(1, len(found["losses"]) + 1)
        axes.plot(steps, found["losses"], color=colours[found["way"]], lw=1.2, ls=["-", "--", ":"][number % 3],
                  label=f"{found['way']}, seed {found['seed']}")  # fmt: skip
    axes.set(xlabel="step", ylabel="loss (nats/token)", title="The same rows by trl's defaults and by our recipe")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    drawn.savefig(path, metadata={"Software": None})


def gap(a, b):
    """Mean and largest difference of two loss curves."""
    differences = [abs(x - y) for x, y in zip(a["losses"], b["losses"], strict=True)]
    return sum(differences) / len(differences), max(differences)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=SHAPES, default="8b")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warm", type=int, default=5, help="first steps that do not count (default 5)")
    parser.add_argument("--without", nargs="*", default=[], choices=SPEED, help="leave these keys of the recipe out")
    parser.add_argument("--recipe", default=RECIPE, help=f"of `ours` (default {RECIPE})")
    parser.add_argument("--seeds", type=int, default=1, help="another run of `plain` with the next seed: 2 (default 1)")
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--output", type=Path, help="JSON of what was measured")
    parser.add_argument("--figure", type=Path, help="PNG of the losses")
    parser.add_argument("--way", choices=("plain", "ours"), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        print(json.dumps(run(args.way, args)))
        return

    import torch

    gpu = torch.cuda.is_available() and not args.cpu
    if not gpu and args.model == "8b":
        sys.exit("there is no GPU here: add --model tiny, which tries the code and measures nothing of interest")
    name = torch.cuda.get_device_name() if gpu else "CPU"
    rate = matrix_rate(*(("cuda", torch.bfloat16, 8192, 3) if gpu else ("cpu", torch.float32, 1024, 0.5)))
    if gpu:
        torch.cuda.empty_cache()
    print(f"{name}: {rate / 1e12:.3g} TFLOP/s of matrix products, measured", flush=True)
    print(f"a row has {TOKENS} tokens, of which {LEARNED} are learned and 2 differ between rows", flush=True)
    measured = []
    # Ours first, so that it has nothing of what the other compiled or cached.
    for way, seed in [("ours", 0), ("plain", 0), *(("plain", seed) for seed in range(1, args.seeds))]:
        words = ["--model", args.model, "--steps", args.steps, "--warm", args.warm, "--recipe", args.recipe]
        words += ["--without", *args.without]
        words += ["--cpu"] if args.cpu else []
        command = [sys.executable, __file__, *map(str, words), "--way", way, "--seed", str(seed)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{way} ended with code {done.returncode}, see above")
        measured.append(json.loads(done.stdout.splitlines()[-1]))
    ours, plain = measured[:2]
    print("| way | batch | tokens/s | needed | done | times plain | peak GB | first steps | the paper's training |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for found in (ours, plain):
        speed = found["tokens_per_second"]
        print(
            f"| {found['way']} | {found['batch']} | {speed:,.0f} | {found['flops_needed'] * speed / rate:.1%} "
            f"| {found['flops_done'] * speed / rate:.1%} | {speed / plain['tokens_per_second']:.2f} "
            f"| {found['peak_gb']:.1f} | {found['seconds_of_first_steps']:.0f} s "
            f"| {found['seconds_of_the_paper'] / 60:.1f} min |"
        )
    print("loss of ours and plain: mean difference {:.4f}, largest {:.4f}".format(*gap(ours, plain)))
    if args.seeds > 1:
        print(
            "loss of plain with another seed: mean difference {:.4f}, largest {:.4f}".format(*gap(plain, measured[2]))
        )
    if args.output:
        args.output.write_text(json.dumps({"device": name, "matrix_rate": rate, "runs": measured}, indent=2) + "\n")
    if args.figure:
        figure(args.figure, measured)


if __name__ == "__main__":
    main()
