"""Figures of an evaluation, drawn from the files that it wrote, and of the answers to one spectrum."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from specdata.canvas import BLUE, GREEN, ORANGE, SKY, VERMILION, legend_above, new_figure, paper_figure
from specdata.evaluation import metrics
from specdata.evaluation.scores import scores_of
from specdata.evaluation.training_figures import retention_bars
from specdata.results import (
    PREDICTIONS,
    RETENTION,
    RETENTION_FIGURE,
    load_results,
    load_retention,
    main_figure,
    target_of,
)
from specdata.text.encoding import Encoding

_GREY = "0.45"


def draw_figures(folder) -> None:
    """Draw the figures of an evaluation into its folder, as PNG and PDF, from the results and the predictions there.

    `specdata.results.figure_names` says which there are. Where the folder has a retention, that is drawn too.
    """
    folder = Path(folder)
    results, table = load_results(folder), pq.read_table(folder / PREDICTIONS)
    target = target_of(results)
    scores, name = scores_of(target), target.stored_in
    bounds, _ = scores.stored_basis(results, target)

    def codes(column):
        return target.code(table[f"{name}{column}"].to_pylist())

    true, pred, signal = codes(""), codes("_pred"), table["snmedian"].to_numpy()
    read_text = {method: baseline for method, baseline in results["baselines"].items() if baseline["reads"] == "text"}
    best = min(read_text, key=lambda method: read_text[method]["metrics"][target.loss]["value"], default=None)
    interval = None
    if "posterior" in results:
        shown = sorted(table.filter(table["example"].is_valid()).to_pylist(), key=lambda row: row["example"])
        if target.is_number:
            interval = table["posterior_low_68"].to_numpy(), table["posterior_high_68"].to_numpy()
            calibration(folder / "calibration", table["posterior_pit"].to_numpy(), target)
        else:
            reliability(folder / "calibration", results["posterior"]["reliability"])
        example_spectra(
            folder / "examples", shown, Encoding.from_dict(results["encoding"], results["dataset"]["config"])
        )
    main = folder / main_figure(target)
    if target.is_number:
        predicted_values(main, true, pred, interval=interval, target=target)
    else:
        confusion_matrix(main, results["confusion"])
    methods = {"model": pred, "constant": codes("_constant")}
    methods |= {best.replace("_", " "): codes(f"_{best}")} if best else {}
    errors = {method: scores.losses(values, true, bounds) for method, values in methods.items()}
    quantities = {target.label: true} if target.is_number else {}
    score = "MAE" if target.is_number else "error rate"
    errors_by(folder / "errors", quantities | {"S/N per pixel": signal}, errors, score=score)
    if (folder / RETENTION).exists():
        retention_bars(folder / RETENTION_FIGURE, load_retention(folder))


def predicted_values(stem, z, z_pred, *, interval, target) -> None:
    """Draw predicted against true values with the intervals of p, and below it the differences.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    z : ndarray, shape (n,)
        True value, such as the redshift.
    z_pred : ndarray, shape (n,)
        Predicted value; NaN where there is no answer, which is marked at the lower edge.
    interval : tuple of ndarray, or None
        Lower and upper ends of the 68 % intervals of p.
    target : specdata.targets.Target
        An outlier lies further than its `far` from the truth, of a redshift in dz = (z_pred - z) / (1 + z).
    """
    threshold, difference = target.far, "dz" if target.relative else "difference"
    parsed = np.isfinite(z_pred)
    scale = 1 + z if target.relative else np.ones_like(z)
    dz = (z_pred - z) / scale
    margin = 0.04 * np.ptp(z) + 10 * target.step
    low, high = z.min() - margin, z.max() + margin
    bottom, top = z_pred[parsed].min(initial=z.min()) - margin, z_pred[parsed].max(initial=z.max()) + margin
    with paper_figure(stem, 4.1, rows=2, heights=(3, 1)) as (_, (axes, below)):
        line = np.array([low, high])
        axes.plot(line, line, color=_GREY, lw=0.8, zorder=1)
        for sign in (1, -1):
            label = f"|{difference}| = {threshold:g}" if sign == 1 else None
            edge = line + sign * threshold * (1 + line if target.relative else 1)
            axes.plot(line, edge, color=_GREY, lw=0.7, ls="--", zorder=1, label=label)
        if interval is not None:
            label = f"68 % of p({target.symbol})"
            axes.vlines(z[parsed], *(end[parsed] for end in interval), color=SKY, lw=0.7, alpha=0.6, label=label)
        axes.plot(z[parsed], z_pred[parsed], "o", color=BLUE, ms=2, mew=0, alpha=0.8, label="model")
        if not parsed.all():
            at_edge, label = axes.get_xaxis_transform(), f"no answer ({np.sum(~parsed)})"
            axes.plot(z[~parsed], np.full(np.sum(~parsed), 0.01), "x", color=VERMILION, transform=at_edge, label=label)
        axes.set(ylabel=f"predicted {target.label}", xlim=(low, high), ylim=(bottom, top))
        legend_above(axes, 4 if target.relative else 2)
        axes.tick_params(labelbottom=False)
        span = np.nanpercentile(np.abs(dz), 98) if parsed.any() else threshold
        span = 1.3 * min(max(span, target.step), 2 * threshold)
        outside = parsed & (np.abs(dz) > span)
        below.axhline(0, color=_GREY, lw=0.8)
        for value in (threshold, -threshold):
            below.axhline(value, color=_GREY, lw=0.7, ls="--")
        below.plot(z[parsed], dz[parsed], "o", color=BLUE, ms=2, mew=0, alpha=0.8)
        for marker, sign in (("^", 1), ("v", -1)):
            here = outside & (np.sign(dz) == sign)
            below.plot(z[here], np.full(here.sum(), sign * 0.97 * span), marker, color=VERMILION, ms=2.5, mew=0)
        label = "true redshift z" if target.symbol == "z" else f"true {target.label}"
        below.set(xlabel=label, ylabel=difference, xlim=(low, high), ylim=(-span, span))


def confusion_matrix(stem, confusion) -> None:
    """Draw which labels were answered for each true one, as shares of its rows with the numbers of rows.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    confusion : dict
        As `specdata.results.Confusion` says.
    """
    rows, labels = np.array(confusion["rows"]), confusion["labels"]
    columns = [*labels, "no answer"] if rows[:, -1].any() else labels
    rows = rows[:, : len(columns)]
    share = rows / rows.sum(axis=1, keepdims=True).clip(1)
    with paper_figure(stem, min(6.0, 0.9 + 0.35 * len(labels))) as (_, (axes,)):
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        if len(labels) <= 12:
            for (row, column), count in np.ndenumerate(rows):
                colour = "white" if share[row, column] > 0.6 else "black"
                axes.text(column, row, count, ha="center", va="center", color=colour, fontsize=7)
        rotation = 0 if len(columns) < 5 else 90
        axes.set_xticks(range(len(columns)), columns, rotation=rotation, fontsize=7)
        axes.set_yticks(range(len(labels)), labels, fontsize=7)
        axes.set(xlabel="estimate", ylabel="true")


def reliability(stem, steps) -> None:
    """Draw how often the most probable label is right, against its probability, with the exact 95 % intervals.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    steps : list of dict
        As `specdata.results.Reliability` says.
    """
    from scipy.stats import binomtest

    confidence, accuracy, n = (np.array([step[key] for step in steps]) for key in ("confidence", "accuracy", "n"))
    right = np.rint(accuracy * n).astype(int)
    ends = [binomtest(k, int(of)).proportion_ci(0.95, method="exact") for k, of in zip(right, n, strict=True)]
    low, high = np.array([[end.low, end.high] for end in ends]).T
    with paper_figure(stem, 3.2) as (_, (axes,)):
        axes.plot([0, 1], [0, 1], color=_GREY, ls="--", label="calibrated")
        errors = np.maximum([accuracy - low, high - accuracy], 0)
        axes.errorbar(confidence, accuracy, errors, fmt="o", color=BLUE, ms=3, elinewidth=0.8, label="model")
        for x, y, count in zip(confidence, high, n, strict=True):
            place = {"xytext": (0, 2), "textcoords": "offset points", "ha": "center", "fontsize": 6}
            axes.annotate(f"{count}", (x, min(y, 1.0)), **place)
        axes.set(xlabel="probability of the most probable label", ylabel="share of right labels")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.08))
        axes.legend(loc="lower right")


def errors_by(stem, quantities, errors, *, score="MAE") -> None:
    """Draw the mean loss of several methods in parts of the rows, a panel for each quantity.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    quantities : dict of str to ndarray, shape (n,)
        What the rows are divided by, see `specdata.evaluation.metrics.subsets`.
    errors : dict of str to ndarray, shape (n,)
        Loss of each row by method, the model first.
    score : str
        Name of their mean, such as the mean absolute error.
    """
    parts = {label: (values, rows) for label, values in quantities.items() if (rows := metrics.subsets(values))}
    if not parts:
        label, values = next(iter(quantities.items()))
        parts = {label: (values, [np.arange(len(values))])}
    with paper_figure(stem, 2.1 * len(parts), rows=len(parts)) as (_, panels):
        for axes, (label, (values, rows)) in zip(panels, parts.items(), strict=True):
            centre = np.array([np.median(values[part]) for part in rows])
            reach = np.abs([[values[part].min(), values[part].max()] for part in rows] - centre[:, None]).T
            for (name, error), colour, marker in zip(errors.items(), (BLUE, _GREY, ORANGE), "osD", strict=False):
                found = [metrics.interval(np.mean, error[part]) for part in rows]
                value, least, most = np.array([[score[key] for key in ("value", "low", "high")] for score in found]).T
                ends = np.maximum([value - least, most - value], 0)
                axes.errorbar(centre, value, ends, reach, fmt=marker, color=colour, elinewidth=0.8, label=name)
            axes.set(xlabel=label, ylabel=score, yscale="log" if score == "MAE" else "linear")
        legend_above(panels[0])


def calibration(stem, pit, target) -> None:
    """Draw how p is calibrated: the histogram of PIT, and the share of rows inside central intervals.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    pit : ndarray, shape (n,)
        Of each row the probability below its true value.
    target : specdata.targets.Target
    """
    from scipy.stats import binom

    with paper_figure(stem, 4.2, rows=2) as (_, (axes, below)):
        bins = metrics.PIT_BINS
        low, high = binom.interval(0.95, len(pit), 1 / bins)
        axes.axhspan(low, high, color="0.88", lw=0, label="95 % of bins, if calibrated")
        axes.hist(pit, bins=np.linspace(0, 1, bins + 1), color=BLUE, alpha=0.75)
        axes.axhline(len(pit) / bins, color=_GREY, ls="--")
        axes.set(xlabel=f"PIT: probability below the true {target.words}", ylabel="rows", xlim=(0, 1))
        axes.set_ylim(top=1.2 * axes.get_ylim()[1])
        axes.legend(loc="upper right")
        level = np.linspace(0, 1, 101)
        share = np.array([np.mean(np.abs(pit - 0.5) <= one / 2 + 1e-9) for one in level])
        chance = np.array(binom.interval(0.95, len(pit), level)) / len(pit)
        below.fill_between(level, *chance, color="0.88", lw=0, label="95 %, if calibrated")
        below.plot([0, 1], [0, 1], color=_GREY, ls="--")
        below.plot(level, share, color=BLUE, label="model")
        below.set(xlabel="level of the central interval", ylabel="share of rows inside", xlim=(0, 1), ylim=(0, 1.02))
        below.legend(loc="upper left")


def example_spectra(stem, examples, encoding) -> None:
    """Draw a few spectra as the model reads them, each with the probabilities of its answers beside it.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    examples : list of dict
        Rows of the predictions: `example` says which it is, `spectrum` has a value for each bin, and
        `posterior_quantiles` the values below which equal steps of the probability lie, from none to all of it, or
        `posterior_p` the probability of each label.
    encoding : specdata.text.encoding.Encoding
    """
    target, axis, edges = encoding.target, encoding.axis, encoding.edges
    options = {"rows": len(examples), "columns": 2, "widths": (1.7, 1)}
    with paper_figure(stem, 1.15 * len(examples) + 0.3, **options) as (figure, panels):
        for row, axes, beside in zip(examples, panels[::2], panels[1::2], strict=True):
            axes.stairs(np.array(row["spectrum"], dtype=float), edges, baseline=None, color="black", lw=0.7)
            axes.set(xlim=(edges[0], edges[-1]))
            true = row[target.stored_in]
            title = f"{row['example']}: {target.symbol} = {target.show(true)} {target.unit}".rstrip()
            axes.set_title(title, fontsize=7, loc="left", pad=2)
            (_density if target.is_number else _bars)(beside, row, target)
            beside.spines["left"].set_visible(False)
        panels[-2].set_xlabel(axis.label)
        panels[-1].set_xlabel(f"{target.words} {target.symbol}" if target.relative else target.label)
        figure.supylabel(f"{axis.values} as the model reads it", fontsize=8)
        figure.legend(*panels[1].get_legend_handles_labels(), loc="outside upper right", ncols=3)


def _density(axes, row, target):
    """The density of p of one row, with its estimate and the true value."""
    quantiles, true, step = np.asarray(row["posterior_quantiles"]), row[target.stored_in], target.step
    marks, found = {f"true {target.symbol}": (true, VERMILION, "--")}, row[f"{target.stored_in}_pred"]
    if found is not None:
        marks = {"estimate": (found, BLUE, "-")} | marks
    shown = [quantiles[1], quantiles[-2], *(value for value, *_ in marks.values())]
    margin = 0.2 * np.ptp(shown) + 5 * step
    low, high = max(min(shown) - margin, target.low), max(shown) + margin
    cells = np.linspace(low, high, max(1, min(60, int((high - low) / step))) + 1)
    below = np.interp(cells, quantiles, np.linspace(0, 1, len(quantiles)))
    axes.stairs(np.diff(below), cells, color=SKY, fill=True, lw=0, label=f"p({target.symbol})")
    for label, (value, colour, style) in marks.items():
        axes.axvline(value, color=colour, ls=style, label=label)
    axes.set(xlim=(low, high), yticks=[])
    axes.locator_params(axis="x", nbins=2)


def _bars(axes, row, target):
    """The probabilities of the most probable labels of one row, the true one in another colour."""
    p, place = np.array(row["posterior_p"]), target.labels.index(row[target.stored_in])
    most = np.argsort(-p, kind="stable")[:4]
    if place not in most:
        most[-1] = place
    for height, code in enumerate(most):
        is_true = code == place
        axes.barh(-height, p[code], color=VERMILION if is_true else SKY, height=0.7, label="true" if is_true else None)
    axes.set_yticks(-np.arange(len(most)), [target.labels[code] for code in most], fontsize=6)
    axes.set(xlim=(0, 1), xticks=[0, 1])


def answer_figure(posterior, *, greedy, stated, title="", size=(7, 4)):
    """Draw the probabilities of all answers for one spectrum, with the greedy answer and the credible intervals.

    Parameters
    ----------
    posterior : specdata.posterior.NumberPosterior or LabelPosterior
    greedy, stated : float, str or None
        The value of the model's greedy answer, and that in the file.
    title : str
    size : tuple of float
        Width and height in inches.

    Returns
    -------
    matplotlib.figure.Figure
    """
    target = posterior.target
    figure, (axes,) = new_figure(*size)
    values = {"greedy answer": (greedy, VERMILION, "--"), "in the file": (stated, GREEN, ":")}
    values = {label: mark for label, mark in values.items() if mark[0] is not None and mark[0] == mark[0]}  # no NaN
    draw = _draw_numbers if target.is_number else _draw_labels
    draw(axes, posterior, values)
    axes.set(title=title)
    if target.is_number or values:
        figure.legend(loc="outside lower center", ncols=3 if size[0] > 6 else 2, frameon=False, fontsize=9)
    return figure


def _draw_numbers(axes, posterior, values):
    target, grid, step = posterior.target, posterior.values, posterior.target.step
    inner, outer = posterior.interval(0.68), posterior.interval(0.95)
    marks = [*outer, *(value for value, *_ in values.values())]
    low, high = min(*marks, posterior.quantile(0.01)), max(*marks, posterior.quantile(0.99))
    margin = max(0.15 * (high - low), 50 * step)
    low, high = max(low - margin, grid[0]), min(high + margin, max(*marks, grid[-1]))
    few = max(1, round((high - low) / 300 / step))  # answers in one of about 300 steps
    cells = len(posterior.p) // few * few
    density = posterior.p[:cells].reshape(-1, few).mean(axis=1) / step
    edges = np.append(grid[:cells:few], grid[cells - 1] + step) - step / 2
    for (start, stop), colour, name in ((outer, "#DCEFFA", "95 %"), (inner, "#A9D8F3", "68 %")):
        axes.axvspan(start, stop, color=colour, lw=0, label=f"{name}: {target.show(start)} to {target.show(stop)}")
    axes.stairs(density, edges, color="0.15", lw=1, baseline=None)
    axes.axvline(posterior.median, color=BLUE, lw=1.4, label=f"median {target.show(posterior.median)}")
    for label, (value, colour, style) in values.items():
        axes.axvline(value, color=colour, lw=1.4, ls=style, label=f"{label} {target.show(value)}")
    label = f"{target.words} {target.symbol}" if target.relative else target.label
    axes.set(xlim=(low, high), xlabel=label, ylabel=f"p({target.symbol})")
    axes.set_ylim(bottom=0)


def _draw_labels(axes, posterior, values):
    most = np.argsort(-posterior.p, kind="stable")[:12]
    axes.bar(range(len(most)), posterior.p[most], color=SKY, width=0.7)
    axes.set_xticks(range(len(most)), [posterior.values[place] for place in most], fontsize=8)
    for label, (value, colour, style) in values.items():
        places = [place for place, code in enumerate(most) if posterior.values[code] == value]
        axes.axvline(places[0] if places else -1, color=colour, lw=1.4, ls=style, label=f"{label}: {value}")
    axes.set(xlim=(-0.6, len(most) - 0.4), ylim=(0, 1), xlabel=posterior.target.words, ylabel="probability")
