"""What a training takes: parameters, memory, steps and time, against what the GPUs have."""

import math

from specdata.errors import SpecdataError
from specdata.training.footprint import SHARE, footprint
from specdata.training.machine import shards


def estimate(parsed, config, rows, target, findings):
    """The `Footprint` of a training, or None where its adapter does not fit the model, which joins the findings."""
    from trl import get_peft_config

    training, model = parsed.training, parsed.model
    longest = training.max_length or 1024
    learned = longest
    if rows is not None:
        longest = int(rows[0].lengths.max()) if not training.packing else longest
        learned = int(rows[0].learned.max()) if not training.packing else longest
    if multiple := training.pad_to_multiple_of:
        longest = math.ceil(longest / multiple) * multiple
    bits = 4 if model.load_in_4bit else 8 if model.load_in_8bit else None
    dtype = model.dtype if model.dtype not in (None, "auto") else str(config.dtype or "float32").removeprefix("torch.")
    try:
        return footprint(
            config, get_peft_config(model), dtype=dtype, quantised=bits,
            rows=training.per_device_train_batch_size, tokens=longest, learned=learned,
            checkpointing=bool(training.activation_checkpointing), shards=shards(parsed, target.count),
        )  # fmt: skip
    except SpecdataError as error:
        findings.append(("fail", str(error)))
        return None


def cost_facts(parsed, made, rows, target, findings):
    """What a training will take, in words; what it has no room for joins the findings."""
    training = parsed.training
    share = 100 * made.trainable / made.parameters
    facts = {"trainable parameters": f"{made.trainable:,} of {made.parameters:,} ({share:.4f} %)"}
    parts = {
        "weights": made.weights, "adapter": made.adapter, "activations": made.activations, "logits": made.logits,
        "other": made.other,
    }  # fmt: skip
    split = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in parts.items())
    facts["memory, estimated"] = (
        f"{made.memory / 1e9:.1f} GB of {target.memory / 1e9:.0f} GB of {target.name} ({split})"
    )
    needed, there = f"{made.memory / 1e9:.0f} GB", f"{target.memory / 1e9:.0f} GB"
    if made.memory > target.memory:
        ways = "lower per_device_train_batch_size, set activation_checkpointing or load_in_4bit, or shard it"
        findings.append(("fail", f"memory: about {needed} are needed and {target.name} has {there}; {ways}"))
    elif made.memory > 0.92 * target.memory:
        findings.append(("warn", f"memory: the estimate of {needed} leaves little of {there}"))
    if rows is None:
        return facts
    count = len(rows[0].lengths)
    tokens = int(rows[0].lengths.sum())
    batch = training.per_device_train_batch_size * training.gradient_accumulation_steps * target.count
    packed = math.ceil(tokens / training.max_length) if training.packing and training.max_length else count
    epochs = training.num_train_epochs
    steps = math.ceil(packed / batch) * epochs
    if training.max_steps > 0:
        steps, epochs = training.max_steps, training.max_steps * batch / packed
    facts["steps"] = f"{steps:,.0f} of {batch} rows, {epochs:g} epochs, {tokens * epochs:,.0f} tokens"
    if training.warmup_steps >= max(steps, 2):
        warm = f"warmup_steps {training.warmup_steps:g}: the training has {steps:,.0f} steps"
        findings.append(("warn", f"{warm}, so the learning rate is never reached"))
    seconds = made.flops * tokens * epochs / (SHARE * target.rate * target.count)
    kind = "measured" if target.measured else "data sheet"
    facts["time, estimated"] = (
        f"{_duration(seconds)} at {SHARE:.0%} of {target.count} x {target.rate / 1e12:.3g} TFLOP/s ({kind}); the share "
        "is an assumption, see benchmarks/train.py"
    )
    return facts


def _duration(seconds):
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
