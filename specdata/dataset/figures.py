"""Figures of spectra and data sets, each drawn from what the data set holds."""

import numpy as np

from specdata.canvas import BLUE, GREEN, ORANGE, SKY, VERMILION, new_figure, save_figure
from specdata.spectra.lines import LINES, LINES_OF, observed
from specdata.spectra.spectrum import spectrum_name

COLOURS = {"train": BLUE, "validation": ORANGE, "test": GREEN}


def value_histograms(path, panels) -> None:
    """Draw how many values of each split there are, a panel for each target.

    Parameters
    ----------
    path : Path
    panels : list of tuple
        Of each target the label of its axis, its values by split, and the edges of the bins or, of a target with
        labels, these.
    """
    figure, axes_of = new_figure(7, 0.7 + 2.5 * len(panels), rows=len(panels))
    for axes, (label, by_split, bins) in zip(axes_of, panels, strict=True):
        legend = [f"{split} ({len(values):,})" for split, values in by_split.items()]
        colours = [COLOURS[split] for split in by_split]
        if isinstance(bins[0], str):
            values = [[bins.index(value) for value in values] for values in by_split.values()]
            axes.hist(values, np.arange(len(bins) + 1) - 0.5, stacked=True, label=legend, color=colours, rwidth=0.7)
            axes.set_xticks(range(len(bins)), bins, rotation=0 if len(bins) < 8 else 90)
            axes.set(xlabel=label, ylabel="number")
        else:
            axes.hist(list(by_split.values()), bins=bins, stacked=True, label=legend, color=colours)
            axes.set(xlabel=label, ylabel="number per bin", xlim=(bins[0], bins[-1]))
    handles = axes_of[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=len(panels[0][1]), frameon=False)  # no bar hides it there
    save_figure(figure, path)


def example_spectra(path, examples, *, edges, unit, target, axis) -> None:
    """Draw rows of a text config as a model gets them: one value a bin, lines marked where the redshift puts them.

    `edges` are those of the bins along `axis`, `unit` is that of flux / scale, and `target` is what is asked.
    """
    figure, panels = new_figure(9, 2.1 * len(examples) + 0.5, rows=len(examples))
    for axes, row in zip(panels, examples, strict=True):
        wavelength, flux, ivar, mask = (np.asarray(row[name]) for name in ("wavelength", "flux", "ivar", "mask"))
        value = flux / row["scale"]
        sigma = np.where(mask, np.nan, 1 / np.sqrt(np.where(mask, 1, ivar))) / row["scale"]
        axes.fill_between(wavelength, value - sigma, value + sigma, step="mid", color=SKY, alpha=0.5, lw=0)
        axes.stairs(value, edges, color="black", baseline=None, lw=1)
        axes.plot(wavelength[mask], value[mask], "x", color=VERMILION, ms=5, label="interpolated")
        low, high = np.nanpercentile(value, [0, 100])
        axes.set(xlim=(edges[0], edges[-1]), ylim=(min(low, 0) - 0.05 * (high - low), high + 0.35 * (high - low)))
        _mark_lines(axes, row["z"], edges[0], edges[-1], row["spectype"])
        label = "mock" if row["is_mock"] else spectrum_name(row["plate"], row["mjd"], row["fiberid"], row["specobjid"])
        answer = f"{target.symbol} = {target.show(row[target.stored_in])} {target.unit}".rstrip()
        if target.stored_in == "target" and np.isfinite(row["z"]):
            answer += f", z = {row['z']:z.4f}"
        axes.text(0.995, 0.04, f"{label}, {answer}", transform=axes.transAxes, ha="right", fontsize=9)
        if mask.any():
            axes.legend(frameon=False, fontsize=7, loc="lower left")
    panels[-1].set_xlabel(axis.label)
    figure.supylabel(unit, fontsize=10)
    save_figure(figure, path)


def _mark_lines(axes, z, start, stop, spectype):
    """Mark where a redshift puts the lines of a class of spectra."""
    for name, rest in LINES_OF.get(spectype, LINES).items():
        at = observed(rest, z)
        if start < at < stop:
            axes.axvline(at, color="0.7", lw=0.8, zorder=0)
            label = name.replace("-alpha", r"$\alpha$").replace("-beta", r"$\beta$")
            axes.text(
                at, 0.99, label, transform=axes.get_xaxis_transform(), rotation=90, va="top", ha="right", fontsize=7,
                color="0.35",
            )  # fmt: skip


def decoded_spectrum(path, *, loglam, pixels, edges, binned, decoded, z, spectype, title, label, axis) -> None:
    """Draw a spectrum as it was observed, as it was binned, and as its text says it, and what the text left out.

    Parameters
    ----------
    path : path-like
    loglam, pixels : ndarray, shape (n,)
        log10 of the vacuum wavelength in Angstrom, and flux density in 1e-17 erg/s/cm2/A.
    edges : ndarray, shape (m + 1,)
        Bin edges in Angstrom.
    binned, decoded : ndarray, shape (m,)
        Flux density of the bins before and after they were text.
    z : float
    spectype, title, label : str
    axis : specdata.spectra.axis.Axis
    """
    figure, (axes, below) = new_figure(10, 5, rows=2, heights=(4, 1))
    wavelength = 10.0 ** np.asarray(loglam)
    inside = (wavelength > edges[0]) & (wavelength < edges[-1])
    observed = f"observed ({inside.sum()} pixels)"
    axes.plot(wavelength[inside], pixels[inside], color="0.75", lw=0.6, zorder=1, label=observed)
    bins = f"binned ({len(binned)} bins)"
    axes.stairs(binned, edges, baseline=None, color=BLUE, lw=2.4, alpha=0.6, zorder=2, label=bins)
    axes.stairs(decoded, edges, baseline=None, color=VERMILION, lw=0.9, zorder=3, label=label)
    low, high = np.percentile(pixels[inside], [0.2, 99.8])
    low, high = min(low, 0, np.nanmin(decoded)), max(high, np.nanmax(binned))
    axes.set(xlim=(edges[0], edges[-1]), ylim=(low - 0.03 * (high - low), high + 0.3 * (high - low)), title=title)
    axes.set_ylabel(axis.values_label)
    axes.legend(frameon=False, ncols=3, fontsize=8, loc="lower left")
    axes.tick_params(labelbottom=False)
    _mark_lines(axes, z, edges[0], edges[-1], spectype)
    below.stairs(decoded - binned, edges, color=VERMILION, baseline=None, lw=0.9)
    below.axhline(0, color="0.7", lw=0.8, zorder=0)
    below.set(xlim=(edges[0], edges[-1]), xlabel=axis.label, ylabel="text - bins\n(same unit)")
    save_figure(figure, path)


def token_figure(path, costs) -> None:
    """Draw the tokens of a sample by scheme, a panel for each tokenizer; `costs` are of `specdata.text.tokens`."""
    from matplotlib.patches import Patch

    tokenizers = list(dict.fromkeys(cost.tokenizer for cost in costs))
    groups = [[cost for cost in costs if cost.tokenizer == tokenizer] for tokenizer in tokenizers]
    sizes = [len(group) + 1.1 for group in groups]
    figure, panels = new_figure(8, 0.42 * sum(sizes) + 1.1, rows=len(groups), heights=sizes)
    end = 1.45 * max(max(cost.limit, cost.maximum) for cost in costs)  # the words stand to the right of the marks
    for axes, tokenizer, group in zip(panels, tokenizers, groups, strict=True):
        rows = range(len(group))
        fits = [cost.over_limit == 0 for cost in group]
        colours = [BLUE if fit else VERMILION for fit in fits]
        axes.barh(rows, [cost.median for cost in group], height=0.56, color=colours, alpha=0.4, label="median")
        low, high = [cost.minimum for cost in group], [cost.maximum for cost in group]
        axes.hlines(rows, low, high, color="0.15", lw=1.2)
        axes.plot(low + high, [*rows, *rows], "|", color="0.15", ms=9, mew=1.4, label="min and max")
        percentile = [cost.percentile_99 for cost in group]
        axes.plot(percentile, rows, "D", color="0.15", ms=4, mfc="white", label="99 % of the rows")
        limits = [cost.limit for cost in group]
        axes.vlines(limits, [row - 0.5 for row in rows], [row + 0.5 for row in rows], color="0.15", lw=1, ls="--",
                    zorder=0, label="limit " + " or ".join(f"{limit:,}" for limit in sorted(set(limits))))  # fmt: skip
        for row, cost in enumerate(group):
            over = f", {cost.over_limit:,} rows over" if cost.over_limit else ""
            axes.annotate(
                f"{cost.per_value:.2f} a value{over}",
                (max(cost.maximum, cost.limit if cost.maximum > 0.7 * cost.limit else 0), row),
                xytext=(8, 0), textcoords="offset points", va="center", fontsize=8.5, color="0.15",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )  # fmt: skip
        axes.set(xlim=(0, end), ylim=(len(group) - 0.4, -0.6), yticks=rows)
        axes.set_yticklabels([f"{cost.name}, {cost.bins:,} bins".replace("`", "") for cost in group])
        axes.set_title(tokenizer, loc="left", fontsize=10)
        axes.tick_params(axis="y", length=0)
    for axes in panels[:-1]:
        axes.tick_params(labelbottom=False)
    panels[-1].set_xlabel("tokens of a sample, chat template included")
    handles, labels = panels[0].get_legend_handles_labels()
    handles[labels.index("median")] = Patch(facecolor=BLUE, alpha=0.4)
    labels[labels.index("median")] = "median, all rows fit"
    if any(cost.over_limit for cost in costs):
        handles.append(Patch(facecolor=VERMILION, alpha=0.4))
        labels.append("median, some rows do not")
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save_figure(figure, path)
