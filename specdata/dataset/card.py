"""The card of a data set, with its figures: everything in it comes from the manifest and from the rows themselves."""

from collections import Counter

import numpy as np
import pyarrow.parquet as pq

from specdata import serialize
from specdata.cards import project_url, render
from specdata.dataset import figures, rows
from specdata.dataset.augment import describe
from specdata.dataset.parquet import read_rows
from specdata.dataset.selection import CUTS, CUTS_OF_SKY, SPLITS
from specdata.files import file_sha256
from specdata.spectra.lines import ALTITUDE_MIN, INSTRUMENTS, LINES, TELLURIC
from specdata.targets import Target
from specdata.text.conversation import MAGNITUDE, MOST_EXPOSURES
from specdata.text.encoding import SOFTENING, Encoding
from specdata.text.tokens import TokenCost, cost_table

_EXAMPLES = 4
_MOST_LABELS = 12  # whose numbers of spectra a card tells
_PLURALS = {"GALAXY": "galaxies", "QSO": "quasars", "STAR": "stars"}
_PLURALS |= {"galaxy": "galaxies", "quasar": "quasars", "star": "stars"}
# Each scheme in a card reader's words; `specdata.serialize` has the grammar.
SCHEME_WORDS = {
    "paper": "`4|5|6` is 4.56, `-4|5|6` is negative, `NaN` stands for a missing value, and a comma between two spaces "
    "separates the values: `4|5|6 , 7|5|4`",
    "csv": "`456` is 4.56, `-456` is negative, `NaN` stands for a missing value, and commas separate the values",
    "packed": "three digits a value without separators, `656` is 4.56 and `200` is 0: value = (code - 200) / 100, so "
    "that the error is at most 0.005; `NaN` stands for a missing value",
    "digit": "one digit a value, `0` is 0.8 and `9` is 2.6: value = (digit + 4) / 5, so that the error is at most 0.1; "
    "`N` stands for a missing value",
}
# The inverse of each normalisation, as Python.
RESTORE = {"median": "value * row['scale']", "asinh": f"{SOFTENING} * np.sinh(value) * row['scale']", "none": "value"}


def draw_figures(folder, manifest) -> dict:
    """Draw the figures of a data set from its Parquet files.

    Returns
    -------
    dict
        SHA-256 of each figure by its path in the folder, for the manifest.
    """
    targets = targets_of(manifest)
    first, target = next(iter(targets.items()))
    (folder / "figures").mkdir()
    paths = [folder / "figures" / name for name in (_values_figure(target), "examples.png", "tokens.png")]
    values = {config: _values(folder, config, target) for config, target in targets.items()}
    panels = [(t.label, values[config], _bins(t, values[config], manifest)) for config, t in targets.items()]
    figures.value_histograms(paths[0], panels)
    made, texts = manifest["configs"][first], sorted(folder.glob(f"{first}/train-*.parquet"))
    examples = _rows(texts, _spread(values[first]["train"]))
    axis = Encoding.from_dict(made, first).axis
    unit = axis.values_label if made["normalisation"] == "none" else f"{axis.values} / median {axis.values}"
    figures.example_spectra(paths[1], examples, edges=made["edges"], unit=unit, target=target, axis=axis)
    if manifest["tokens"]:
        costs = [TokenCost(**cost) for cost in manifest["tokens"]]
        figures.token_figure(paths[2], costs)
    return {f"figures/{path.name}": file_sha256(path) for path in paths if path.exists()}


def dataset_card(folder, manifest, name, *, tag=None) -> str:
    """Render the card of a data set from its manifest and its Parquet files.

    Parameters
    ----------
    folder : Path
    manifest : dict
    name : str
        Under which the data set is loaded: a folder, or its name on the Hub.
    tag : str, optional
        For a card on the Hub, the tag of this version, which the examples load.
    """
    configs, counts = manifest["configs"], manifest["counts"]
    first = next(iter(configs))
    encodings = {config: Encoding.from_dict(made, config) for config, made in configs.items()}
    distinct = targets_of(manifest)
    axis = encodings[first].axis
    kinds = manifest["recipe"]["source"].get("kinds", {"galaxy": 1})  # of mocks; earlier versions had galaxies alone
    split = "test" if counts["splits"].get("test") else "train"
    return render(
        "dataset.md",
        name=name,
        tag=tag,
        first=first,
        file=next((file for file in manifest["files"] if file.startswith(f"{first}/{split}-")), None),
        manifest=manifest,
        recipe=manifest["recipe"],
        counts=counts,
        cuts={cut: said for cut, said in CUTS.items() if axis.is_sky or cut not in CUTS_OF_SKY},
        columns={"spectra": _kept(rows.SPECTRA, axis)}
        | {config: _kept(_columns(encoding), axis) for config, encoding in encodings.items()},
        axis=axis,
        conversation={
            "instruments": INSTRUMENTS, "telluric": TELLURIC, "lines": LINES, "times": MOST_EXPOSURES,
            "magnitude": MAGNITUDE, "altitude": ALTITUDE_MIN,
        },
        grids={config: _grid(made["edges"], axis) for config, made in configs.items()},
        schemes=serialize.SCHEMES,
        scheme_words=SCHEME_WORDS,
        instruction=encodings[first].target.instruction,
        targets={config: encoding.target for config, encoding in encodings.items()},
        distinct=list(distinct.values()),
        found=[_found(target, _values(folder, config, target)) for config, target in distinct.items()],
        values_figure=_values_figure(distinct[first]),
        kinds=_in_words([_PLURALS[kind] for kind, share in kinds.items() if share]),
        objects=_in_words([_PLURALS[spectype] for spectype in _classes(manifest["recipe"])]) or axis.plural,
        asked=_in_words([target.words for target in distinct.values()]),
        restore=RESTORE,
        augmented=describe(manifest["recipe"]["augment"]) if manifest["recipe"].get("augment") else None,
        token_table=cost_table([TokenCost(**cost) for cost in manifest["tokens"]]),
        size_category=_size_category(counts["sampled"]),
        examples={config: _example(folder, config) for config in configs},
        short=[row for row in manifest["redshift_bins"] if row["taken"] < row["asked"]],
        project=project_url(),
    )  # fmt: skip


def _columns(encoding):
    """Columns of a text config, with type and meaning."""
    target = encoding.target
    columns = rows.TEXT | (rows.CONVERSATION if encoding.turns else {}) | rows.target_column(target)
    if "target" in columns:
        columns |= {"completion": ("list of messages", f"one assistant message: the {target.words}")}
    return columns


def targets_of(manifest) -> dict[str, Target]:
    """What the configs of a data set ask for, each target once, by the first config that asks for it."""
    found = {}
    for config, made in manifest["configs"].items():
        target = Encoding.from_dict(made, config).target
        if target not in found.values():
            found[config] = target
    return found


def _kept(columns, axis):
    """Those columns of a config that say something, with their meanings for the axis."""
    return {
        name: said for name, said in rows.columns_along(axis, columns).items() if axis.is_sky or name not in rows.OF_SKY
    }


def _values_figure(target):
    """Name of the figure with the numbers of spectra, whose first panel is of a target."""
    return "redshifts.png" if target.stored_in == "z" else "values.png"


def _values(folder, config, target):
    """True values of a target in each split, as lists."""
    where = ("spectra", "z") if target.stored_in == "z" else (config, target.stored_in)
    paths = {split: sorted(folder.glob(f"{where[0]}/{split}-*.parquet")) for split in SPLITS}
    return {
        split: [value for path in found for value in pq.read_table(path, columns=[where[1]])[where[1]].to_pylist()]
        for split, found in paths.items()
    }


def _bins(target, values, manifest):
    """Edges of the bins of a histogram, or labels: those that the data have."""
    if target.stored_in == "z":
        steps = manifest["redshift_bins"]
        if len(steps) > 1:
            return [row["z_min"] for row in steps] + [steps[-1]["z_max"]]
    everything = [value for part in values.values() for value in part]
    if not target.is_number:
        return sorted(set(everything), key=target.labels.index)
    return list(np.linspace(min(everything), max(everything), 31))


def _found(target, values):
    """What the values of a target are, in words."""
    everything = [value for part in values.values() for value in part]
    if target.stored_in == "z":
        return f"{min(everything):z.4f} ≤ z ≤ {max(everything):.4f}"
    if target.is_number:
        low, high = target.show(min(everything)), target.show(max(everything))
        return f"{target.words} from {low} to {high} {target.unit}".rstrip()
    counted = Counter(everything).most_common(_MOST_LABELS)
    more = len(set(everything)) - len(counted)
    shown = [f"{label} ({count:,})" for label, count in counted] + ([f"{more} more"] if more else [])
    return f"{target.words} {_in_words(shown)}"


def _in_words(names):
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _classes(recipe):
    spectype = recipe["cuts"]["spectype"]
    return [spectype] if isinstance(spectype, str) else spectype or []


def _spread(values):
    """Numbers of the rows nearest to evenly spaced values, lowest first, or of the first row of each label."""
    if isinstance(values[0], str):
        return [values.index(label) for label in sorted(set(values))[:_EXAMPLES]]
    values = np.asarray(values)
    nearest = [int(np.argmin(np.abs(values - value))) for value in np.linspace(values.min(), values.max(), _EXAMPLES)]
    return list(dict.fromkeys(nearest))


def _rows(paths, wanted):
    """Rows of some Parquet files that follow on each other, by their numbers."""
    files = [pq.ParquetFile(path) for path in paths]
    return [next(read_rows(files, number, number + 1)).to_pylist()[0] for number in wanted]


def _grid(edges, axis):
    """Bins of a grid in words."""
    widths, unit = np.diff(edges), axis.shown_unit
    ratios = np.divide(edges[1:], edges[:-1])
    width = f"{widths.min():.2f} to {widths.max():.2f} {unit}".rstrip()
    if np.allclose(widths, widths[0]):
        width = f"{widths[0]:.2f} {unit}".rstrip()
    elif np.allclose(ratios, ratios[0]):
        width = f"equal width in log {axis.name}, {width},"
    return f"{len(widths)} bins of {width} from {edges[0]:g} to {edges[-1]:g} {unit}".rstrip()


def _example(folder, config):
    (row,) = _rows(sorted((folder / config).glob("train-*.parquet")), [0])
    prompt = row["prompt"][0]["content"]
    short = prompt if len(prompt) < 160 else prompt[:120] + " … " + prompt[-24:]
    turns = [*row["prompt"][1:], *row["completion"]]
    return [{"role": "user", "content": short}, *turns]


def _size_category(n):
    """The Hub's name for a data set's size."""
    bounds = [(10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M")]
    return next((name for bound, name in bounds if n < bound), "10M<n<100M")
