"""Which tokens of an answer should carry the loss? LoRA on SmolLM2-135M, a few hundred rows for each choice.

    python benchmarks/answer_loss.py base --data mock-redshifts --loss digits
    python benchmarks/answer_loss.py base --data mock-redshifts --loss answer --learning-rate 4e-4 --warmup 30

BASE is the folder of SmolLM2's weights. `--loss` is ``digits`` (the four decimals alone), ``end`` (the decimals and
what ends the answer: recipes/smollm2-135m/redshift-small.yaml) or ``answer`` (all of it). Every 400 rows the mean loss
of each decimal in them is printed, in nats (knowing nothing is 1.61 for the first, 2.30 for the others), at the end the
greedy answers' mean absolute error on rows of the validation split. The text is that of the config `digit-32`;
`--start` goes on from an adapter that this script has written, with rows that come after `--skip` others.

Results are in docs/learning.md. This is a training loop of its own, because `trl sft` does not tell the losses of
single tokens; the recipes use `trl sft`.
"""

import argparse

import numpy as np
import torch
from datasets import load_dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

BATCH, SHOW = 8, 400


def tokenize(tokenizer, row, template):
    """Tokens of a row, and the number of those before the decimals; an answer begins with ``Redshift: [0.``."""
    asked, answer = row["prompt"][0]["content"], row["completion"][0]["content"]
    if template == "chat":
        asked = f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n"
    else:
        asked = asked.partition(": ")[2] + "\n"
    begun, decimals, end = answer[:13], answer[13:17], answer[17:]
    parts = [tokenizer(part, add_special_tokens=False)["input_ids"] for part in (asked, begun, decimals, end)]
    ids = [token for part in parts for token in part] + [tokenizer.eos_token_id]
    return ids, len(parts[0]), len(parts[0]) + len(parts[1])


def greedy_error(model, tokenizer, rows):
    """Mean absolute error of the greedy decimals."""
    digits = torch.tensor([tokenizer(str(digit))["input_ids"][0] for digit in range(10)])
    errors = []
    with torch.inference_mode():
        for (ids, _, begin), z in rows:
            seen = torch.tensor([ids[:begin]])
            for _ in range(4):
                best = model(seen).logits[0, -1, digits].argmax()
                seen = torch.cat([seen, digits[best].view(1, 1)], dim=1)
            found = tokenizer.decode(seen[0, begin:])
            errors.append(abs(float(f"0.{found}") - z))
    return float(np.mean(errors))


def main():
    """Train, print the losses and the error, and write the adapter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("--data", required=True)
    parser.add_argument("--loss", choices=["digits", "end", "answer"], required=True)
    parser.add_argument("--template", choices=["chat", "none"], default="chat")
    parser.add_argument("--rows", type=int, default=800)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--test", type=int, default=100)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--beta2", type=float, default=0.98)
    parser.add_argument("--warmup", type=int, default=20, help="steps")
    parser.add_argument("--decay", type=int, default=0, help="last steps, in which the rate falls to zero")
    parser.add_argument("--clip", type=float, default=1.0, help="largest norm of a gradient")
    parser.add_argument("--start", help="adapter to go on from")
    parser.add_argument("--output", help="folder for the adapter")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.base)
    model = AutoModelForCausalLM.from_pretrained(options.base, dtype=torch.float32)
    if options.start:
        model = PeftModel.from_pretrained(model, options.start, is_trainable=True)
    else:
        lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, lora)
    data = load_dataset(options.data, "digit-32")
    rows = data["train"].select(range(options.skip, options.skip + options.rows))
    rows = [tokenize(tokenizer, row, options.template) for row in rows]
    test = data["validation"].select(range(options.test))
    test = [(tokenize(tokenizer, row, options.template), row["z"]) for row in test]
    if len({(len(ids), *places) for ids, *places in rows}) > 1:
        parser.error("the rows differ in length")
    ids, (_, asked, begin) = torch.tensor([row[0] for row in rows]), rows[0]
    first, last = {"digits": (begin, begin + 4), "end": (begin, None), "answer": (asked, None)}[options.loss]
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, betas=(0.9, options.beta2), weight_decay=0.0)
    steps, losses = options.rows // BATCH, []
    for step in range(steps):
        rate = min(1.0, (step + 1) / options.warmup, (steps - step) / max(options.decay, 1))
        optimiser.param_groups[0]["lr"] = options.learning_rate * rate
        batch = ids[step * BATCH : (step + 1) * BATCH]
        labels = batch[:, first:last]
        with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
            logits = model(batch, logits_to_keep=batch.shape[1] - first + 1).logits[:, : labels.shape[1]]
        loss = torch.nn.functional.cross_entropy(logits.float().transpose(1, 2), labels, reduction="none")
        loss.mean().backward()
        torch.nn.utils.clip_grad_norm_(weights, options.clip)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.detach().mean(0)[begin - first :][:4].numpy())
        if (step + 1) * BATCH % SHOW == 0:
            print((step + 1) * BATCH, "rows; nats of each decimal:", np.round(np.mean(losses, axis=0), 3), flush=True)
            losses = []
    print(f"greedy MAE {greedy_error(model.eval(), tokenizer, test):.4f} (n = {len(test)})")
    if options.output:
        model.save_pretrained(options.output)


if __name__ == "__main__":
    main()
