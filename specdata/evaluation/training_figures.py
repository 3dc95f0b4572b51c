"""Figures of trainings: how the loss falls, and what a training, or each run of a sweep, cost in language."""

from pathlib import Path

import numpy as np

from specdata.canvas import BLUE, SKY, legend_above, paper_figure
from specdata.results import RESULTS, RETENTION, load_results, load_retention, target_of

_GREY = "0.45"


def learning_curve(stem, history) -> None:
    """Draw the loss of a training against the rows that it has seen.

    Parameters
    ----------
    stem : Path
        Of the PNG and of the PDF.
    history : list of (float, float)
        Rows seen, and the mean loss of a learned token in the steps up to there, in nats.
    """
    rows, loss = np.array(history).T
    with paper_figure(stem, 1.8) as (_, (axes,)):
        axes.plot(rows, loss, color=BLUE, lw=1)
        axes.set(xlabel="rows seen", ylabel="loss (nats a token)", ylim=(0, None))


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
    """Draw the error of several trainings against what they kept of the answers to questions.

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
        panels[0].set_ylabel("error")
        for axes in panels[1:]:
            axes.sharey(panels[0])
            axes.tick_params(labelleft=False)
        legend_above(panels[0])


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
            results = load_results(run / "evaluation")
            runs[run.name] = results["metrics"][target_of(results).loss], load_retention(path.parent)["groups"]
    if len(runs) > 1:
        tradeoff(folder / "tradeoff", runs, published)
    return len(runs) > 1
