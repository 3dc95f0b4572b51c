"""Numbers to text and back, against the digit loop of LLMTime and a plain Python join, in one run.

    python benchmarks/serialize.py
    python benchmarks/serialize.py --rows 2000 --bins 80 512 --repeat 5

The plain join writes the same text, character by character; the loop errs in the last digit where floors do, and writes
its own separators. Times are seconds of work of this process, which other users of the machine disturb least; the best
of the repeats.
"""

import argparse
import time

import numpy as np

from specdata.serialize import SCHEMES


def llmtime(values, between, separator, end):
    """One series in the manner of LLMTime (arXiv 2310.07820).

    Digits by repeated floor, seven before the decimal point and two after it, as its default of 1e7 has it; then, for
    every value, leading zeros are taken off with numpy and the digits are joined.
    """
    remainder, digits = np.abs(values), []
    for place in range(6, -3, -1):
        digits.append((remainder / 10.0**place).astype(int))
        remainder = remainder - digits[-1] * 10.0**place
    words = []
    for sign, row in zip(np.sign(values), np.stack(digits, axis=-1), strict=True):
        first = np.where(row != 0)[0]
        row = row[first[0] :] if len(first) else np.array([0])
        words.append(("-" if sign < 0 else "") + between.join([str(digit) for digit in row]))
    return separator.join(words) + end


def plain_join(row, scheme):
    """One series as one would write it in plain Python."""
    if scheme == "paper":
        return " , ".join(["|".join(str(round(100 * value))) for value in row]) + " ,"
    if scheme == "csv":
        return ",".join([str(round(100 * value)) for value in row])
    if scheme == "packed":
        return "".join([f"{round(100 * value) + 200:03d}" for value in row])
    return "".join([str(min(max(round(value * 10 / 3) - 1, 0), 9)) for value in row])


def plain_split(text, scheme):
    """The inverse of `plain_join`, as trusting."""
    if scheme == "paper":
        return [int(word.replace("|", "")) / 100 for word in text[:-2].split(" , ")]
    if scheme == "csv":
        return [int(word) / 100 for word in text.split(",")]
    if scheme == "packed":
        return [(int(text[at : at + 3]) - 200) / 100 for at in range(0, len(text), 3)]
    return [(int(digit) + 1) * 3 / 10 for digit in text]


def best(function, repeat):
    """Least work of some runs, in seconds, and what it returns."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        result = function()
        times.append(time.process_time() - start)
    return min(times), result


def measure(scheme, values, repeat):
    """Cells of the table for one scheme and some series, which are all in its range."""
    name, rows, few = scheme.name, values.tolist(), values[: max(1, len(values) // 20)]
    between = "|" if name == "paper" else ""
    ours, texts = best(lambda: scheme.encode_batch(values, arrow=True), repeat)
    joined, plain = best(lambda: [plain_join(row, name) for row in rows], repeat)
    assert plain == texts.to_pylist()
    loop, _ = best(lambda: [llmtime(row, between, " , ", " ,") for row in few], repeat)
    loop *= len(values) / len(few)
    back, decoded = best(lambda: scheme.decode_batch(texts), repeat)
    split, read = best(lambda: [plain_split(text, name) for text in plain], repeat)
    assert np.allclose(decoded, read, rtol=1e-15)
    cells = [f"{len(values) / ours:,.0f}"]
    cells += [f"{len(values) / other:,.0f} ({other / ours:,.0f} x)" for other in (loop, joined)]
    return [*cells, f"{len(values) / back:,.0f}", f"{len(values) / split:,.0f} ({split / back:,.1f} x)"]


def main():
    """Print a table of spectra a second and of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--bins", type=int, nargs="+", default=[80, 512])
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    print("spectra a second; in brackets how many times faster `encode_batch` or `decode_batch` is\n")
    head = ("scheme", "bins", "encode_batch", "LLMTime loop", "Python join", "decode_batch", "Python split")
    print("| " + " | ".join(head) + " |")
    print("|---|" + "---:|" * (len(head) - 1))
    for bins in options.bins:
        # Hundredths, spread as flux over its median is in galaxies.
        flux = np.random.default_rng(0).lognormal(0, 0.4, (options.rows, bins)).round(2)
        for name, scheme in SCHEMES.items():
            cells = measure(scheme, flux.clip(scheme.low, scheme.high), options.repeat)
            print(f"| `{name}` | {bins} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
