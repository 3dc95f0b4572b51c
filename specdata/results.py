"""`results.json` and `retention.json`, which evaluations write and cards and tables use: their schemas, load and save.

The classes below are the documentation of the files: `Results` and `Retention` are the whole of each. The JSON schemas
beside this module say the same to other programs. A format's number grows when a key changes its meaning or goes away.
"""

import json
import shlex
from pathlib import Path
from typing import Literal

import pydantic
from pydantic_core import PydanticCustomError

from specdata.errors import SpecdataError
from specdata.inputs import read_json
from specdata.targets import REDSHIFT, Target

RESULTS = "results.json"
PREDICTIONS = "predictions.parquet"  # what the results were computed from, a row for each spectrum
FORMAT = 3
GREEDY = "greedy answer"  # what `estimate` says where the probabilities were left out
RETENTION = "retention.json"
RETENTION_FIGURE = "retention"
SAMPLES = "samples.parquet"  # what the retention was computed from, a row for each question
RETENTION_FORMAT = 1
_FIGURES, _POSTERIOR_FIGURES = ("redshift", "prediction", "confusion", "errors"), ("calibration", "examples")
CONTENTS = (  # of the folder that an evaluation writes, into which a retention may be put
    RESULTS, PREDICTIONS, RETENTION,
    *(f"{name}.{end}" for name in (*_FIGURES, *_POSTERIOR_FIGURES, RETENTION_FIGURE) for end in ("png", "pdf")),
)  # fmt: skip


class Part(pydantic.BaseModel):
    """A part of the file; a key that it does not know is an error."""

    model_config = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)


class Score(Part):
    """One number over `n` rows, with a 95 % interval from `low` to `high`.

    The interval is of the bootstrap (``bca``, or ``percentile`` where that is not defined) or, of a rate, ``exact``
    (Clopper and Pearson). The value is null where it would flatter: see `specdata.evaluation.metrics.names`.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int
    interval: Literal["bca", "percentile", "exact", "none"]

    @pydantic.model_validator(mode="after")
    def _whole(self):
        empty = [name for name in ("value", "low", "high") if getattr(self, name) is None]
        if empty and self.interval != "none":
            raise ValueError(empty[0])
        return self


class Scored(Part):
    """Rows that were scored: `n` of the `n_in_split` of a split of a data set on the Hub or in a folder."""

    name: str
    revision: str
    config: str
    split: str
    n: int
    n_in_split: int
    n_train: int
    n_mock: int
    n_mock_train: int


class Model(Part):
    """What was scored. A revision is a commit of the Hub or, of a folder, the SHA-256 over its weights.

    `device` is that of torch, such as ``cuda``, and `hardware` the name of the GPU, or the kind of processor.
    """

    base: str
    base_revision: str
    adapter: str | None
    adapter_revision: str
    device: str
    hardware: str = ""
    dtype: str


class Written(Part):
    """How spectra are written as text; see `specdata.text.encoding.Encoding`. Edges in vacuum Angstrom.

    `target` is what is asked, as `specdata.targets.Target` says; without it, the redshift. `axis` says what the
    edges are of where they are no wavelengths, see `specdata.spectra.axis.Axis`.
    """

    edges: list[float]
    normalisation: str
    scheme: str
    turns: int = 0
    target: dict | None = None
    axis: dict[str, str] | None = None

    @pydantic.field_validator("target")
    @classmethod
    def _is_a_target(cls, stored):
        try:
            if stored is not None:
                Target.from_dict(stored)
        except (TypeError, ValueError, AttributeError):
            raise PydanticCustomError("target", "no target that this version of specdata knows") from None
        return stored


class Reliability(Part):
    """Of the `n` rows in one step: the mean probability of the most probable label, and the share of right labels."""

    n: int
    confidence: float
    accuracy: float


class Confusion(Part):
    """Numbers of rows of each true label by the label of the estimate; the last column has those without an answer."""

    labels: list[str]
    rows: list[list[int]]


class Posterior(Part):
    """Scores of the probabilities of all answers, and how well they are calibrated.

    Of a number: how many rows have their PIT in each of ten equal steps from 0 to 1, and the `step` of the grid; of a
    redshift, p(z) reaches from 0 to `z_max`. Of labels: the `reliability` in steps of the most probable one's
    probability.

    `temperature` is the one of the logits with which rows of the validation split are most probable: over 1 where the
    model is too sure. The scores are of the probabilities without it; transformers' decisions use it.
    """

    metrics: dict[str, Score]
    pit: list[int] = []
    reliability: list[Reliability] = []
    z_max: int | None
    step: float | None
    tail: float
    temperature: float | None = None


class Greedy(Part):
    """Scores of the greedy answers, and how many different values are among them."""

    metrics: dict[str, Score]
    distinct_answers: int


class Speed(Part):
    """Seconds in which the model read p(z) and greedy answers of all rows, without the time to load it.

    `prompt_tokens` are those of all prompts, chat template included, each row counted once.
    """

    seconds: float
    prompt_tokens: int
    tokens_per_second: float | None


class Baseline(Part):
    """Scores of a simple or classical method on the same rows.

    `title` names it for a table; `reads` says what of a spectrum it gets: ``nothing``, the numbers of the ``text`` that
    the model reads, or all ``pixels``, where its error is a bound for what any text can give. `chosen` holds what it
    chose with the training rows, `note` a sentence that has to stand beside its scores, if there is one, and `seconds`
    how long it took, its choices included.

    `difference` is the mean absolute error of the model's estimate (of labels, the error rate) minus that of the
    method, row by row; the `verdict` on the model is ``better`` or ``worse`` only where the interval of the difference
    leaves out zero.
    """

    title: str
    reads: Literal["nothing", "text", "pixels"]
    chosen: dict[str, float | int | str]
    note: str
    seconds: float
    metrics: dict[str, Score]
    difference: Score
    verdict: Literal["better", "worse", "undecided"]


class Subset(Part):
    """Scores of the rows with a true value or a signal-to-noise ratio from `low` to `high`, or with a true `label`."""

    low: float
    high: float
    label: str | None = None
    metrics: dict[str, Score]


class Results(Part):
    """The file. `task` names the target; `command` makes the file again; `metrics` are those of the `estimate`."""

    format: Literal[3]
    task: str
    command: str
    dataset: Scored
    model: Model
    speed: Speed
    encoding: Written
    estimate: str
    metrics: dict[str, Score]
    greedy: Greedy
    baselines: dict[str, Baseline]
    subsets: dict[Literal["z", "target", "snmedian"], list[Subset]]
    posterior: Posterior | None = None
    confusion: Confusion | None = None
    settings: dict
    versions: dict[str, str]

    @pydantic.field_validator("estimate")
    @classmethod
    def _is_of_the_target(cls, estimate, info):
        if encoding := info.data.get("encoding"):
            target = Target.from_dict(encoding.target) if encoding.target else REDSHIFT
            if estimate not in (estimate_name(target, True), GREEDY) or info.data.get("task") != target.name:
                raise PydanticCustomError("target", f"no estimate of the {target.words}")
        return estimate


class Kept(Part):
    """How well questions are answered before and after a training, without and with the adapter.

    `before` and `after` are accuracies, `chance` the one of guessing. `lost` counts the questions that only the base
    answers right, `gained` those that only the adapted model does; `p_value` is of McNemar's exact test on the two.
    `retained` is after / before, and `retained_above_chance` is (after - chance) / (before - chance), both with a
    bootstrap interval over the questions; both are empty where `at_chance` says that the interval of `before` includes
    chance or lies below it, for then there was nothing to keep. `log_likelihood` is the mean change of the natural
    logarithm of the probability of the right answer, question by question.
    """

    n: int
    chance: float
    before: Score
    after: Score
    lost: int
    gained: int
    p_value: float
    at_chance: bool
    retained: Score
    retained_above_chance: Score
    log_likelihood: Score


class KeptTask(Kept):
    """The same of one task of lm-evaluation-harness: the first `n` of the `n_in_split` questions of a split.

    `source` says where the questions came from, `questions` is a SHA-256 over the hashes of the questions and prompts,
    `version` the harness's number of the task, and `metric` the accuracy by which an answer is right.
    """

    group: str
    source: str
    split: str
    n_in_split: int
    questions: str
    version: float
    metric: Literal["acc", "acc_norm"]


class Retention(Part):
    """The file. In a group every question counts the same, whatever task it is of.

    `tasks_from` names the file of groups. `chat_template` is the SHA-256 of the base's template, or null where the
    questions were put as plain text. `limit` is the most questions of a task, null where all were asked.
    """

    format: Literal[1]
    model: Model
    tasks_from: str
    chat_template: str | None
    limit: int | None
    groups: dict[str, Kept]
    tasks: dict[str, KeptTask]
    settings: dict
    seconds: float
    command: str
    versions: dict[str, str]


def format_score(score, empty="–") -> str:
    """A score with its interval for a table, such as ``0.0430 [0.0391, 0.0472]``; six decimals if it is below 0.001."""
    if score["value"] is None:
        return empty
    decimals = 4 if abs(score["value"]) >= 0.001 or score["value"] == 0 else 6
    return "{value:.{d}f} [{low:.{d}f}, {high:.{d}f}]".format(d=decimals, **score)


def evaluation_command(results) -> str:
    """The command that makes results again, from what they say of themselves; a str."""
    data, model, settings = (results[name] for name in ("dataset", "model", "settings"))
    options = {"model": model["base"], "adapter": model["adapter"], "dataset": data["name"]}
    options |= {"config": data["config"], "split": data["split"]}
    options["limit"] = data["n"] if data["n"] < data["n_in_split"] else None
    options |= {"batch-size": settings.get("batch_size"), "device": model["device"]}
    if "endpoint" in settings:  # whose address concerns nobody else
        options |= {"device": None, "endpoint": "URL"}
    options |= {"templates": settings.get("templates"), "baselines": ",".join(results["baselines"])}
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    words += ["--greedy-only"] if results["estimate"] == GREEDY else []
    return shlex.join(["specdata", "evaluate", *words, "--output", "evaluation"])


def rename(results, *, dataset, base, adapter) -> dict:
    """The results with other names for the data set, the base model and the adapter, in their command, too."""
    results = results | {
        "dataset": results["dataset"] | {"name": dataset},
        "model": results["model"] | {"base": base, "adapter": adapter},
    }
    return results | {"command": evaluation_command(results)}


def rename_retention(retention, *, base, adapter) -> dict:
    """The retention with other names for the base model and the adapter, in its command, too."""
    words = shlex.split(retention["command"])
    for option, name in (("--model", base), ("--adapter", adapter)):
        if option in words:
            words[words.index(option) + 1] = name
    model = retention["model"] | {"base": base, "adapter": adapter}
    return retention | {"model": model, "command": shlex.join(words)}


def target_of(results) -> Target:
    """What the results are about."""
    stored = results["encoding"].get("target")
    return Target.from_dict(stored) if stored else REDSHIFT


def estimate_name(target, with_posterior) -> str:
    """What `estimate` says of a target, where the probabilities were read and where not."""
    if not with_posterior:
        return GREEDY
    return f"median of p({target.symbol})" if target.is_number else f"most probable {target.words}"


def main_figure(target) -> str:
    """Name, without .png or .pdf, of the figure that shows the predictions of a target."""
    return "redshift" if target == REDSHIFT else "prediction" if target.is_number else "confusion"


def figure_names(results) -> tuple[str, ...]:
    """Names, without .png or .pdf, of the figures that belong to results; some need the probabilities."""
    return (main_figure(target_of(results)), "errors", *(_POSTERIOR_FIGURES if "posterior" in results else ()))


def load_results(folder, hint="give the folder of an evaluation") -> dict:
    """Read the results of a folder.

    Parameters
    ----------
    folder : path-like
    hint : str
        How to mend it if there are none; ends the error's sentence.

    Returns
    -------
    dict
        As `Results` says; where p(z) was not scored it has no `posterior`.

    Raises
    ------
    SpecdataError
        If the file is missing, of another version of specdata, or incomplete.
    """
    return _load(folder, RESULTS, Results, FORMAT, hint)


def load_retention(folder, hint="give the folder of specdata retention") -> dict:
    """Read the retention of a folder, as `Retention` says; parameters and errors as of `load_results`."""
    return _load(folder, RETENTION, Retention, RETENTION_FORMAT, hint)


def save_results(folder, results) -> None:
    """Write results to a folder, if they are complete."""
    _save(Path(folder) / RESULTS, results, Results)


def save_retention(folder, retention) -> None:
    """Write a retention to a folder, if it is complete."""
    _save(Path(folder) / RETENTION, retention, Retention)


def _load(folder, name, schema, number, hint):
    try:
        results = read_json(Path(folder) / name)
        found = results["format"]
    except (OSError, ValueError, KeyError, TypeError):
        raise SpecdataError(f"{folder}: has no {name} of specdata; {hint}") from None
    if found != number:
        raise SpecdataError(f"{folder}/{name}: is of format {found}, and this specdata reads {number}; {hint}")
    check_results(results, f"{folder}/{name}", schema)
    return results


def _save(path, results, schema):
    check_results(results, path, schema)
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


def check_results(results, where, schema=Results, hint="evaluate again") -> None:
    """Refuse results in which a value is missing or of another kind than the schema says, naming it."""
    try:
        schema.model_validate(results)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ": ".join(map(str, first["loc"]))
        if first["type"] == "value_error":  # of a score
            key = f"{key}: {first['ctx']['error']}"
        empty = first["type"] in ("missing", "value_error") or first["input"] is None
        what = "has no value" if empty else f"is {str(first['input'])[:80]} ({first['msg']})"
        raise SpecdataError(f"{where}: {key} {what}; {hint}") from None
