"""The figures of the cards. Each is drawn from what the data set or the results hold, and is the same byte for byte."""

import numpy as np

# Vacuum wavelengths in Angstrom of the features that carry most redshifts
# (https://classic.sdss.org/dr6/algorithms/linestable.html).
LINES = {
    "[O II]": 3728.5,
    "Ca H+K": 3952.2,
    "G": 4305.6,
    r"H$\beta$": 4862.7,
    "[O III]": 5008.2,
    "Mg b": 5176.6,
    "Na D": 5895.6,
    r"H$\alpha$": 6564.6,
    "[S II]": 6725.5,
}
# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = {"train": "#0072B2", "validation": "#E69F00", "test": "#009E73"}


def _figure(width, height, rows=1, columns=1):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Figure and canvas directly, not pyplot: no global state, no display, nothing to close.
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)[:, 0]


def _save(figure, path):
    figure.savefig(path, metadata={"Software": None})  # matplotlib's version would change the bytes


def redshift_histogram(path, z_by_split, *, edges, title):
    """Draw how many rows of each split fall into each redshift bin.

    Parameters
    ----------
    path : path-like
    z_by_split : dict of str to ndarray
        Redshifts of each split.
    edges : array_like
        Edges of the redshift bins.
    title : str
    """
    figure, (axes,) = _figure(7, 3.2)
    labels = [f"{split} ({len(z):,})" for split, z in z_by_split.items()]
    axes.hist(list(z_by_split.values()), bins=edges, stacked=True, label=labels, color=[COLOURS[s] for s in z_by_split])
    axes.set(xlabel="redshift z", ylabel="spectra per bin", title=title, xlim=(edges[0], edges[-1]))
    figure.legend(loc="outside lower center", ncols=len(labels), frameon=False)  # no bar hides it there
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def example_spectra(path, examples, *, title):
    """Draw spectra as a model gets them: one value a bin, lines marked where the redshift puts them.

    Parameters
    ----------
    path : path-like
    examples : list of dict
        Rows of the `spectra` config.
    title : str
    """
    figure, panels = _figure(9, 2.1 * len(examples) + 0.5, rows=len(examples))
    for axes, row in zip(panels, examples, strict=True):
        wavelength, flux, ivar, mask = (np.asarray(row[name]) for name in ("wavelength", "flux", "ivar", "mask"))
        half = 0.5 * (wavelength[1] - wavelength[0])
        edges = np.append(wavelength - half, wavelength[-1] + half)
        value = flux / row["scale"]
        sigma = np.where(mask, np.nan, 1 / np.sqrt(np.where(mask, 1, ivar))) / row["scale"]
        axes.fill_between(wavelength, value - sigma, value + sigma, step="mid", color="#56B4E9", alpha=0.5, lw=0)
        axes.stairs(value, edges, color="black", baseline=None, lw=1)
        axes.plot(
            wavelength[mask], value[mask], "x", color="#D55E00", ms=5, label="interpolated" if mask.any() else None
        )
        low, high = np.nanpercentile(value, [0, 100])
        axes.set(xlim=(edges[0], edges[-1]), ylim=(min(low, 0) - 0.05 * (high - low), high + 0.35 * (high - low)))
        for name, rest in LINES.items():
            if edges[0] < rest * (1 + row["z"]) < edges[-1]:
                axes.axvline(rest * (1 + row["z"]), color="0.7", lw=0.8, zorder=0)
                axes.text(
                    rest * (1 + row["z"]), 0.99, name, transform=axes.get_xaxis_transform(), rotation=90, va="top",
                    ha="right", fontsize=7, color="0.35",
                )  # fmt: skip
        label = "mock" if row["is_mock"] else f"{row['plate']}-{row['mjd']}-{row['fiberid']}"
        axes.text(0.995, 0.04, f"{label}, z = {row['z']:.4f}", transform=axes.transAxes, ha="right", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        if mask.any():
            axes.legend(frameon=False, fontsize=7, loc="lower left")
    panels[0].set_title(title)
    panels[-1].set_xlabel("observed wavelength (vacuum Å)")
    figure.supylabel("flux / median flux", fontsize=10)
    _save(figure, path)


def predicted_redshifts(path, z, z_pred, *, baseline, threshold, title):
    """Draw predicted against true redshift, and what the nearest neighbours say on the same rows.

    Parameters
    ----------
    path : path-like
    z : ndarray, shape (n,)
        True redshift.
    z_pred : ndarray, shape (n,)
        Predicted redshift; NaN for an answer that did not parse, which is drawn on the lower edge.
    baseline : ndarray, shape (n,)
        Predictions of the nearest-neighbour baseline.
    threshold : float
        An outlier lies further than this from the truth in (z_pred - z) / (1 + z).
    title : str
    """
    figure, (axes,) = _figure(5.6, 5.4)
    parsed = np.isfinite(z_pred)
    high = 1.05 * max(z.max(), baseline.max(), z_pred[parsed].max(initial=0))
    line = np.array([0, high])
    axes.plot(line, line, color="0.4", lw=1)
    for sign in (1, -1):
        axes.plot(line, line + sign * threshold * (1 + line), color="0.6", lw=0.8, ls="--")
    axes.plot(z, baseline, ".", color="#E69F00", ms=4, alpha=0.6, label="nearest neighbours")
    axes.plot(z[parsed], z_pred[parsed], "o", color="#0072B2", ms=4, alpha=0.7, label="language model")
    if not parsed.all():
        failed = z[~parsed]
        at_edge = axes.get_xaxis_transform()
        label = f"no answer that parses ({len(failed)})"
        axes.plot(failed, np.full(len(failed), 0.012), "x", color="#D55E00", ms=6, transform=at_edge, label=label)
    axes.set(xlabel="true redshift", ylabel="predicted redshift", title=title, xlim=(0, high), ylim=(0, high))
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)
