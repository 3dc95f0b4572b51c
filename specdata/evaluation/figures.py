"""Figures of an evaluation, drawn from the files that it wrote; of a sweep; and p(z) of one spectrum."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from specdata.canvas import BLUE, GREEN, ORANGE, SKY, VERMILION, new_figure, paper_figure, save_figure
from specdata.evaluation import metrics
from specdata.posterior import STEP
from specdata.results import (
    PREDICTIONS,
    RESULTS,
    RETENTION,
    RETENTION_FIGURE,
    load_results,
    load_retention,
)

_GREY = "0.45"


def draw_figures(folder) -> None:
    """Draw the figures of an evaluation into its folder, as PNG and PDF, from the results and the predictions there.

    `specdata.results.figure_names` says which there are. Where the folder has a retention, that is drawn too.
    """
    folder = Path(folder)
    results, table = load_results(folder), pq.read_table(folder / PREDICTIONS)
    column = {name: table[name].to_numpy() for name in table.column_names if table[name].type == "double"}
    z, z_pred = column["z"], column["z_pred"]
    read_text = {name: baseline for name, baseline in results["baselines"].items() if baseline["reads"] == "text"}
    best = min(read_text, key=lambda name: read_text[name]["metrics"]["mae"]["value"], default=None)
    interval = None
    if "posterior" in results:
        interval = column["posterior_low_68"], column["posterior_high_68"]
        calibration(folder / "calibration", column["posterior_pit"])
        shown = sorted(table.filter(table["example"].is_valid()).to_pylist(), key=lambda row: row["example"])
        example_spectra(folder / "examples", shown, results["encoding"]["edges"])
    threshold, z_range = results["settings"]["outlier_threshold"], results["settings"]["unparsed_scores_as"]
    predicted_redshifts(folder / "redshift", z, z_pred, interval=interval, threshold=threshold)
    methods = {"model": z_pred, "constant": column["z_constant"]}
    methods |= {best.replace("_", " "): column[f"z_{best}"]} if best else {}
    errors = {name: np.abs(metrics.fill_failures(values, z, z_range) - z) for name, values in methods.items()}
    errors_by(folder / "errors", {"redshift": z, "S/N per pixel": column["snmedian"]}, errors)
    if (folder / RETENTION).exists():
        retention_bars(folder / RETENTION_FIGURE, load_retention(folder))


def draw_sweep(folder, published) -> bool:
    """Draw what the runs of a sweep cost in language against their error, as `tradeoff` in the sweep's folder.

    Parameters
    ----------
    folder : path-like
    published : dict of str to dict of str to float
        See `tradeoff`.

    Returns
    -------
    bool
        Whether there is such a figure: it takes two runs that measured their retention.
    """
    folder, runs = Path(folder), {}
    for path in sorted(folder.glob(f"*/retention/{RETENTION}")):
        run = path.parents[1]
        if (run / "evaluation" / RESULTS).exists():
            runs[run.name] = load_results(run / "evaluation")["metrics"]["mae"], load_retention(path.parent)["groups"]
    if len(runs) > 1:
        tradeoff(folder / "tradeoff", runs, published)
    return len(runs) > 1


def predicted_redshifts(stem, z, z_pred, *, interval, threshold) -> None:
    """Draw predicted against true redshift with the intervals of p(z), and below it the differences.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    z : ndarray, shape (n,)
        True redshift.
    z_pred : ndarray, shape (n,)
        Predicted redshift; NaN where there is no answer, which is marked at the lower edge.
    interval : tuple of ndarray, or None
        Lower and upper ends of the 68 % intervals of p(z).
    threshold : float
        An outlier lies further than this from the truth in dz = (z_pred - z) / (1 + z).
    """
    parsed = np.isfinite(z_pred)
    dz = (z_pred - z) / (1 + z)
    margin = 0.04 * np.ptp(z) + 1e-3
    low, high = z.min() - margin, z.max() + margin
    bottom, top = z_pred[parsed].min(initial=z.min()) - margin, z_pred[parsed].max(initial=z.max()) + margin
    with paper_figure(stem, 4.1, rows=2, heights=(3, 1)) as (_, (axes, below)):
        line = np.array([low, high])
        axes.plot(line, line, color=_GREY, lw=0.8, zorder=1)
        for sign in (1, -1):
            label = f"|dz| = {threshold:g}" if sign == 1 else None
            axes.plot(line, line + sign * threshold * (1 + line), color=_GREY, lw=0.7, ls="--", zorder=1, label=label)
        if interval is not None:
            label = "68 % of p(z)"
            axes.vlines(z[parsed], *(end[parsed] for end in interval), color=SKY, lw=0.7, alpha=0.6, label=label)
        axes.plot(z[parsed], z_pred[parsed], "o", color=BLUE, ms=2, mew=0, alpha=0.8, label="model")
        if not parsed.all():
            at_edge, label = axes.get_xaxis_transform(), f"no answer ({np.sum(~parsed)})"
            axes.plot(z[~parsed], np.full(np.sum(~parsed), 0.01), "x", color=VERMILION, transform=at_edge, label=label)
        axes.set(ylabel="predicted redshift", xlim=(low, high), ylim=(bottom, top))
        _legend_above(axes)
        axes.tick_params(labelbottom=False)
        span = np.nanpercentile(np.abs(dz), 98) if parsed.any() else threshold
        span = 1.3 * min(max(span, 1e-4), 2 * threshold)
        outside = parsed & (np.abs(dz) > span)
        below.axhline(0, color=_GREY, lw=0.8)
        for value in (threshold, -threshold):
            below.axhline(value, color=_GREY, lw=0.7, ls="--")
        below.plot(z[parsed], dz[parsed], "o", color=BLUE, ms=2, mew=0, alpha=0.8)
        for marker, sign in (("^", 1), ("v", -1)):
            here = outside & (np.sign(dz) == sign)
            below.plot(z[here], np.full(here.sum(), sign * 0.97 * span), marker, color=VERMILION, ms=2.5, mew=0)
        below.set(xlabel="true redshift z", ylabel="dz", xlim=(low, high), ylim=(-span, span))


def errors_by(stem, quantities, errors) -> None:
    """Draw the mean absolute error of several methods in parts of the rows, a panel for each quantity.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    quantities : dict of str to ndarray, shape (n,)
        What the rows are divided by, see `specdata.evaluation.metrics.subsets`.
    errors : dict of str to ndarray, shape (n,)
        Absolute error of each row by method, the model first.
    """
    parts = {label: (values, rows) for label, values in quantities.items() if (rows := metrics.subsets(values))}
    parts = parts or {"redshift": (next(iter(quantities.values())), [np.arange(len(next(iter(errors.values()))))])}
    with paper_figure(stem, 2.1 * len(parts), rows=len(parts)) as (_, panels):
        for axes, (label, (values, rows)) in zip(panels, parts.items(), strict=True):
            centre = np.array([np.median(values[part]) for part in rows])
            reach = np.abs([[values[part].min(), values[part].max()] for part in rows] - centre[:, None]).T
            for (name, error), colour, marker in zip(errors.items(), (BLUE, _GREY, ORANGE), "osD", strict=False):
                found = [metrics.interval(np.mean, error[part]) for part in rows]
                value, least, most = np.array([[score[key] for key in ("value", "low", "high")] for score in found]).T
                ends = np.maximum([value - least, most - value], 0)
                axes.errorbar(centre, value, ends, reach, fmt=marker, color=colour, elinewidth=0.8, label=name)
            axes.set(xlabel=label, ylabel="MAE", yscale="log")
        _legend_above(panels[0])


def _legend_above(axes):
    """A legend in one line above the axes, where it hides nothing."""
    axes.legend(ncols=4, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2, columnspacing=1.0)


def calibration(stem, pit) -> None:
    """Draw how p(z) is calibrated: the histogram of PIT, and the share of rows inside central intervals.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    pit : ndarray, shape (n,)
        Of each row the probability below its true redshift.
    """
    from scipy.stats import binom

    with paper_figure(stem, 4.2, rows=2) as (_, (axes, below)):
        bins = metrics.PIT_BINS
        low, high = binom.interval(0.95, len(pit), 1 / bins)
        axes.axhspan(low, high, color="0.88", lw=0, label="95 % of bins, if calibrated")
        axes.hist(pit, bins=np.linspace(0, 1, bins + 1), color=BLUE, alpha=0.75)
        axes.axhline(len(pit) / bins, color=_GREY, ls="--")
        axes.set(xlabel="PIT: probability below the true redshift", ylabel="rows", xlim=(0, 1))
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


def example_spectra(stem, examples, edges) -> None:
    """Draw a few spectra as the model reads them, each with its p(z) beside it.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    examples : list of dict
        Rows of the predictions: `example` says which it is, `spectrum` has a value for each bin, and
        `posterior_quantiles` the redshifts below which equal steps of the probability lie, from none to all of it.
    edges : sequence of float
        Edges of the bins, in vacuum Angstrom.
    """
    edges = np.asarray(edges) / 1000
    options = {"rows": len(examples), "columns": 2, "widths": (1.7, 1)}
    with paper_figure(stem, 1.15 * len(examples) + 0.3, **options) as (figure, panels):
        for row, axes, beside in zip(examples, panels[::2], panels[1::2], strict=True):
            quantiles, marks = np.asarray(row["posterior_quantiles"]), {"true z": (row["z"], VERMILION, "--")}
            if row["z_pred"] is not None:
                marks = {"estimate": (row["z_pred"], BLUE, "-")} | marks
            axes.stairs(np.array(row["spectrum"], dtype=float), edges, baseline=None, color="black", lw=0.7)
            axes.set(xlim=(edges[0], edges[-1]))
            axes.set_title(f"{row['example']}: z = {row['z']:.4f}", fontsize=7, loc="left", pad=2)
            shown = [quantiles[1], quantiles[-2], *(z for z, *_ in marks.values())]
            margin = 0.2 * np.ptp(shown) + 5 * STEP
            low, high = max(min(shown) - margin, 0), max(shown) + margin
            cells = np.linspace(low, high, min(60, int((high - low) / STEP)) + 1)
            below = np.interp(cells, quantiles, np.linspace(0, 1, len(quantiles)))
            beside.stairs(np.diff(below), cells, color=SKY, fill=True, lw=0, label="p(z)")
            for label, (z, colour, style) in marks.items():
                beside.axvline(z, color=colour, ls=style, label=label)
            beside.set(xlim=(low, high), yticks=[])
            beside.locator_params(axis="x", nbins=2)
            beside.spines["left"].set_visible(False)
        panels[-2].set_xlabel(r"observed wavelength ($10^3$ Å)")
        panels[-1].set_xlabel("redshift z")
        figure.supylabel("flux as the model reads it", fontsize=8)
        figure.legend(*panels[1].get_legend_handles_labels(), loc="outside upper right", ncols=3)


def retention_bars(stem, retention) -> None:
    """Draw what a training kept of the answers to questions, by group and by task.

    On the left the accuracy after the training as a share of that before, on the right the mean change of the natural
    logarithm of the probability of the right answer. Where the base is at chance there is no share.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    retention : dict
        As `specdata.results.Retention` says.
    """
    rows = []
    for group, kept in retention["groups"].items():
        rows.append((group, kept, BLUE))
        rows += [(name, task, SKY) for name, task in retention["tasks"].items() if task["group"] == group]
    places, quantities = range(len(rows)), {"retained": 1, "log_likelihood": 0}
    with paper_figure(stem, 0.17 * len(rows) + 0.8, columns=2) as (_, panels):
        for axes, (quantity, unchanged) in zip(panels, quantities.items(), strict=True):
            axes.use_sticky_edges = quantity == "retained"  # a line at 0 needs a margin to be seen
            for place, (_, kept, colour) in zip(places, rows, strict=True):
                score = kept[quantity]
                if score["value"] is None:
                    axes.text(0.02, place, "at chance", transform=axes.get_yaxis_transform(), va="center", fontsize=6)
                else:
                    axes.barh(place, score["value"], color=colour, height=0.7)
                    axes.hlines(place, score["low"], score["high"], color="0.2", lw=0.8)
            axes.axvline(unchanged, color=_GREY, ls="--", lw=0.8)
            axes.set(yticks=places, ylim=(len(rows) - 0.4, -0.6))
            axes.tick_params(axis="y", length=0, labelleft=False)
        panels[0].tick_params(labelleft=True)
        panels[0].set_yticklabels([name.replace("_", " ") for name, *_ in rows], fontsize=6)
        for label, (*_, colour) in zip(panels[0].get_yticklabels(), rows, strict=True):
            label.set_fontweight("bold" if colour == BLUE else "normal")
        panels[0].set_xlabel("accuracy,\nafter / before")
        panels[1].set_xlabel("log-likelihood,\nafter - before")


def tradeoff(stem, runs, published) -> None:
    """Draw the redshift error of several trainings against what they kept of the answers to questions.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    runs : dict of str to tuple
        By name the score of the mean absolute error, and `groups` of `specdata.results.Retention`. Of a group that the
        base answers at chance in every run, the log-likelihood of the right answer is drawn in place of the accuracy.
    published : dict of str to dict of str to float
        What others published, by run: the `mae`, and the share of each group. Drawn with open marks.
    """
    groups = list(dict.fromkeys(group for _, kept in runs.values() for group in kept))
    with paper_figure(stem, 2.4, columns=len(groups)) as (_, panels):
        for axes, group in zip(panels, groups, strict=True):
            in_group = [(kept[group], mae, name) for name, (mae, kept) in runs.items() if group in kept]
            key, label = "retained", "accuracy,\nafter / before"
            if all(kept[key]["value"] is None for kept, *_ in in_group):
                key, label = "log_likelihood", "log-likelihood,\nafter - before"
            theirs = [(run[group], run["mae"]) for run in published.values() if group in run and "mae" in run]
            if theirs and key == "retained":
                axes.plot(*zip(*theirs, strict=True), "s", color=_GREY, mfc="white", label="published")
            found = [(kept[key], mae, name) for kept, mae, name in in_group]
            found = sorted((run for run in found if run[0]["value"] is not None), key=lambda run: run[0]["value"])
            if found:
                ends = ("value", "low", "high")
                x, y = (np.array([[run[part][end] for end in ends] for run in found]).T for part in (0, 1))
                ends = {"xerr": np.abs(x[1:] - x[0]), "yerr": np.abs(y[1:] - y[0])}
                axes.errorbar(x[0], y[0], fmt="o-", color=BLUE, elinewidth=0.6, lw=0.6, label="measured", **ends)
                for (*_, name), *place in zip(found, x[0], y[0], strict=True):
                    axes.annotate(name, place, xytext=(3, 3), textcoords="offset points", fontsize=5.5)
            axes.set(xlabel=f"{group}:\n{label}", ylim=(0, None))
            axes.margins(0.15)
        panels[0].set_ylabel("redshift MAE")
        for axes in panels[1:]:
            axes.sharey(panels[0])
            axes.tick_params(labelleft=False)
        _legend_above(panels[0])


def redshift_density(path, posterior, *, z_greedy, z_file, title) -> None:
    """Draw p(z) of one spectrum, with the greedy answer and the credible intervals.

    Parameters
    ----------
    path : path-like
    posterior : specdata.posterior.RedshiftPosterior
    z_greedy : float or None
        The model's greedy answer.
    z_file : float
        Redshift that the file gives.
    title : str
    """
    figure, (axes,) = new_figure(7, 4)
    inner, outer = posterior.interval(0.68), posterior.interval(0.95)
    marks = [z_file, *outer] + ([] if z_greedy is None else [z_greedy])
    low, high = min(*marks, posterior.quantile(0.001)), max(*marks, posterior.quantile(0.999))
    margin = max(0.15 * (high - low), 0.005)
    low, high = max(low - margin, 0.0), min(high + margin, max(*marks, posterior.z[-1]))
    few = max(1, round((high - low) / 300 / (posterior.z[1] - posterior.z[0])))  # answers in one of about 300 steps
    cells = len(posterior.p) // few * few
    density = posterior.p[:cells].reshape(-1, few).mean(axis=1) / (posterior.z[1] - posterior.z[0])
    edges = np.append(posterior.z[:cells:few], posterior.z[cells - 1] + posterior.z[1]) - posterior.z[1] / 2
    for (start, stop), colour, name in ((outer, "#DCEFFA", "95 %"), (inner, "#A9D8F3", "68 %")):
        axes.axvspan(start, stop, color=colour, lw=0, label=f"{name}: {start:.4f} to {stop:.4f}")
    axes.stairs(density, edges, color="0.15", lw=1, baseline=None)
    axes.axvline(posterior.median, color=BLUE, lw=1.4, label=f"median {posterior.median:.4f}")
    if z_greedy is not None:
        axes.axvline(z_greedy, color=VERMILION, lw=1.4, ls="--", label=f"greedy answer {z_greedy:.4f}")
    axes.axvline(z_file, color=GREEN, lw=1.4, ls=":", label=f"in the file {z_file:.4f}")
    axes.set(xlim=(low, high), xlabel="redshift z", ylabel="p(z)", title=title)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
