"""p(z) of many rows against greedy answers one by one, and what bfloat16 leaves of p(z), in one run on one model.

    specdata demo
    OMP_NUM_THREADS=1 python benchmarks/evaluate.py --model specdata-demo/base --adapter specdata-demo/training \
        --dataset specdata-demo/data --config paper
    python benchmarks/evaluate.py --rounding ...

One by one is what public code for this task does: a prompt is rendered, `generate` continues it greedily, and the text
is parsed. The same rows, the same model and the same machine serve all ways, one after the other; each is run once on a
few rows before its time is taken. With `--rounding` the model computes p(z) in float32, in bfloat16 with the last layer
in float32, as `specdata.posterior` does it, and in bfloat16 throughout.
"""

import argparse
import contextlib
import time

import numpy as np
import torch

from specdata import posterior, prompts
from specdata.evaluation.split import open_split
from specdata.hub import local_folder
from specdata.inference.local import MAX_NEW_TOKENS, Generator


def one_by_one(generator, asked):
    """Redshifts of greedy answers, in the way of public code; list of float or None."""
    model, tokenizer = generator.model, generator.tokenizer
    found = []
    for prompt in asked:
        inputs = tokenizer.apply_chat_template(
            prompt, add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(model.device)
        with torch.inference_mode():
            output = model.generate(**inputs, do_sample=False, max_new_tokens=MAX_NEW_TOKENS)
        new = output[0, inputs["input_ids"].shape[1] :]
        found.append(prompts.parse_redshift(tokenizer.decode(new, skip_special_tokens=True)))
    return found


def timed(function, rows):
    """Run a way on all rows after a few of them; seconds, and what it returns.

    On CPUs they are seconds of work of this process, which other users of the machine disturb least.
    """
    function(rows[:2])
    on_gpu = torch.cuda.is_available()
    clock = time.perf_counter if on_gpu else time.process_time
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    wait()
    start = clock()
    result = function(rows)
    wait()
    return clock() - start, result


def speed(generator, asked, batch_size):
    """Print seconds a row of each way."""

    def read(size):
        return lambda rows: dict(generator.posteriors(rows, batch_size=size))

    def answer(rows):
        parts = [rows[at : at + batch_size] for at in range(0, len(rows), batch_size)]
        return [text for part in parts for text in generator.answer(part)]

    ways = {
        "greedy answers, one by one": lambda rows: one_by_one(generator, rows),
        f"greedy answers, {batch_size} rows at a time": answer,
        "p(z), one row at a time": read(1),
        f"p(z), {batch_size} rows at a time": read(batch_size),
    }
    print("| way | seconds a row | times as fast as one by one |\n|---|---:|---:|")
    first = None
    for name, way in ways.items():
        seconds, found = timed(way, asked)
        first = first or seconds
        print(f"| {name} | {seconds / len(asked):.4f} | {first / seconds:.1f} |", flush=True)
    left = np.mean([one.unresolved for one in found.values()])
    answered = np.mean([one.answered for one in found.values()])
    print(f"\nmean probability of an answer {answered:.4f}; left unresolved {left:.4f} of p(z)")


def rounding(generator, asked, batch_size):
    """Print how far p(z) in bfloat16 lies from p(z) in float32."""
    model = generator.model

    def read():
        return [one for _, one in sorted(generator.posteriors(asked, batch_size=batch_size))]

    exact = (model.to(torch.float32), read())[1]
    rounded = {"last layer in float32": (model.to(torch.bfloat16), read())[1]}
    kept, posterior._float32_logits = posterior._float32_logits, lambda _: contextlib.nullcontext()
    rounded["all in bfloat16"] = read()
    posterior._float32_logits = kept
    print("| bfloat16 | median moves by: mean | at most | cumulative p(z) moves by: mean | at most |")
    print("|---|---:|---:|---:|---:|")
    for name, found in rounded.items():
        moved = np.abs([a.median - b.median for a, b in zip(found, exact, strict=True)])
        apart = np.array([np.abs(a._cdf - b._cdf).max() for a, b in zip(found, exact, strict=True)])
        print(f"| {name} | {moved.mean():.5f} | {moved.max():.5f} | {apart.mean():.4f} | {apart.max():.4f} |")


def main():
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--adapter")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--config")
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--device")
    parser.add_argument("--rounding", action="store_true")
    options = parser.parse_args()
    data = open_split(options.dataset, options.config, limit=options.rows)
    adapter = local_folder(options.adapter, "model") if options.adapter else None
    generator = Generator(options.model, adapter, device=options.device)
    asked = [prompt[:1] for prompt in data.rows["prompt"].to_pylist()]
    machine = f"{generator.device}, {generator.dtype}, {torch.get_num_threads()} threads"
    print(f"{options.model}, {machine}, {len(asked)} rows\n")
    (rounding if options.rounding else speed)(generator, asked, options.batch_size)


if __name__ == "__main__":
    main()
