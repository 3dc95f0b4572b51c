"""What a model says to each row of a split, kept beside the output as it comes, so that a stopped run can go on."""

import contextlib
import hashlib
import json
import os
import time

from tqdm import tqdm

from specdata.errors import SpecdataError
from specdata.evaluation.scores import scores_of
from specdata.inference.decision import fit_temperature
from specdata.inference.local import Generator, most_tokens


def predict_rows(
    model,
    adapter,
    prompts,
    values,
    target,
    journal,
    identity,
    *,
    z_max=1,
    greedy_only=False,
    batch_size,
    validation=None,
    device=None,
    server=None,
    progress=True,
) -> tuple[list[dict], dict]:
    """Read probabilities and greedy answers of all rows, as far as an earlier run did not.

    Parameters
    ----------
    model : str
        Base model, a folder or a Hub name.
    adapter : Path or None
    prompts : sequence of list of dict
    values : sequence of float or str
        True values of the target.
    target : specdata.targets.Target
    journal : Path
        File that each result is added to.
    identity : dict
        What the results depend on; those of an earlier run with another identity are not used.
    z_max : int
        Of a target with too many answers: p is read from 0 to here.
    greedy_only : bool
        Leave the probabilities out.
    batch_size : int
        Most rows that are read together.
    validation : tuple of sequences, optional
        Prompts and true values of rows on which the temperature is fitted.
    device : str, optional
    server : specdata.inference.endpoint.Endpoint, optional
        What answers, in place of the model and the adapter.
    progress : bool

    Returns
    -------
    rows : list of dict
        Of each row the `answer`, the `posterior` of `row_scores` in the module of the scores (unless it was left out)
        and the `seconds` that both took.
    made_by : dict
        The base model's `commit` (None for a local folder), `device`, `hardware` and `dtype`, the number of
        `prompt_tokens` of all rows, and the `temperature`, None where there is none.
    """
    wanted = ["answer"] if greedy_only else ["posterior", "answer"]
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    head, found = _read(journal, len(prompts))
    if head.get("key") == key and all(name in row for name in wanted for row in found):
        return found, head["made_by"]
    generator = server or Generator(model, adapter, device=device)
    made_by = {"commit": generator.revision, "prompt_tokens": generator.count_tokens(prompts)}
    made_by |= {name: getattr(generator, name) for name in ("device", "hardware", "dtype")}
    temperature = head.get("made_by", {}).get("temperature")
    goes_on = head == {"key": key, "made_by": made_by | {"temperature": temperature}}
    if not goes_on:  # of another run, or the base model's branch moved on
        found, temperature = [{} for _ in prompts], None
        if validation is not None and server is None:
            with contextlib.suppress(SpecdataError):  # a tokenizer with which it cannot be used
                temperature = fit_temperature(generator.model, generator.tokenizer, *validation, target)
    else:  # a line that was cut short goes; what an earlier run found stays where it is, should this one be killed, too
        os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)
    made_by |= {"temperature": temperature}
    with (
        journal.open("a" if goes_on else "w", encoding="utf-8") as stream,
        tqdm(total=len(wanted) * len(prompts), unit=" rows", desc="evaluate", disable=not progress) as bar,
    ):
        clock = time.perf_counter()

        def keep(number, **values):
            nonlocal clock
            now = time.perf_counter()
            values = {"seconds": found[number].get("seconds", 0) + now - clock} | values
            clock = now
            found[number] |= values
            stream.write(json.dumps({"row": number} | values) + "\n")
            stream.flush()
            bar.update(len(values.keys() & {*wanted}))

        if not goes_on:
            stream.write(json.dumps({"key": key, "made_by": made_by}) + "\n")
        bar.update(sum(name in row for row in found for name in wanted))
        left = {name: [number for number, row in enumerate(found) if name not in row] for name in wanted}
        if "posterior" in left:
            asked = [prompts[number] for number in left["posterior"]]
            for at, posterior in generator.posteriors(asked, target=target, z_max=z_max, batch_size=batch_size):
                number = left["posterior"][at]
                keep(number, posterior=scores_of(target).row_scores(posterior, values[number]))
        for start in range(0, len(left["answer"]), batch_size):
            batch = left["answer"][start : start + batch_size]
            answers = generator.answer([prompts[number] for number in batch], max_new_tokens=most_tokens(target))
            for number, answer in zip(batch, answers, strict=True):
                keep(number, answer=answer)
    return found, made_by


def _read(journal, n):
    """First line of a journal and what it holds of each of n rows; as if it were empty where it is damaged."""
    head, found = {}, [{} for _ in range(n)]
    try:
        lines = journal.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last line's end was cut short
        head = dict(json.loads(lines[0]))
        for line in lines[1:]:
            values = json.loads(line)
            found[values.pop("row")] |= values
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}, [{} for _ in range(n)]
    return head, found
