"""Figures of predicted redshifts: against the true ones, how well p(z) is calibrated, and one p(z)."""

import numpy as np

from specdata.canvas import new_figure, save_figure


def predicted_redshifts(path, z, z_pred, *, baseline, threshold, title) -> None:
    """Draw predicted against true redshift, and what the nearest neighbours say on the same rows.

    Parameters
    ----------
    path : path-like
    z : ndarray, shape (n,)
        True redshift.
    z_pred : ndarray, shape (n,)
        Predicted redshift; NaN where there is no answer, which is drawn on the lower edge.
    baseline : ndarray, shape (n,)
        Predictions of the nearest-neighbour baseline.
    threshold : float
        An outlier lies further than this from the truth in (z_pred - z) / (1 + z).
    title : str
    """
    figure, (axes,) = new_figure(5.6, 5.4)
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
        label = f"no answer ({len(failed)})"
        axes.plot(failed, np.full(len(failed), 0.012), "x", color="#D55E00", ms=6, transform=at_edge, label=label)
    axes.set(xlabel="true redshift", ylabel="predicted redshift", title=title, xlim=(0, high), ylim=(0, high))
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


def calibration(path, pit, *, title) -> None:
    """Draw how p(z) is calibrated: the histogram of PIT, and the share of rows inside central intervals.

    Parameters
    ----------
    path : path-like
    pit : ndarray, shape (n,)
        Of each row the probability below its true redshift.
    title : str
    """
    from scipy.stats import binom

    figure, (axes, below) = new_figure(5.6, 7.4, rows=2)
    bins = 10
    low, high = binom.interval(0.95, len(pit), 1 / bins)
    axes.axhspan(low, high, color="0.88", lw=0, label="95 % of bins, if calibrated")
    axes.hist(pit, bins=np.linspace(0, 1, bins + 1), color="#0072B2", alpha=0.75)
    axes.axhline(len(pit) / bins, color="0.4", lw=1, ls="--")
    axes.set(xlabel="PIT: probability below the true redshift", ylabel="rows", title=title, xlim=(0, 1))
    axes.legend(frameon=False, fontsize=8)
    level = np.linspace(0, 1, 101)
    share = np.array([np.mean(np.abs(pit - 0.5) <= one / 2 + 1e-9) for one in level])
    chance = np.array(binom.interval(0.95, len(pit), level)) / len(pit)
    below.fill_between(level, *chance, color="0.88", lw=0, label="95 %, if calibrated")
    below.plot([0, 1], [0, 1], color="0.4", lw=1, ls="--")
    below.plot(level, share, color="#0072B2", lw=1.6, label="language model")
    below.set(xlabel="level of the central interval", ylabel="share of rows inside", xlim=(0, 1), ylim=(0, 1.02))
    below.legend(frameon=False, fontsize=8, loc="upper left")
    for panel in (axes, below):
        panel.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)


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
    axes.axvline(posterior.median, color="#0072B2", lw=1.4, label=f"median {posterior.median:.4f}")
    if z_greedy is not None:
        axes.axvline(z_greedy, color="#D55E00", lw=1.4, ls="--", label=f"greedy answer {z_greedy:.4f}")
    axes.axvline(z_file, color="#009E73", lw=1.4, ls=":", label=f"in the file {z_file:.4f}")
    axes.set(xlim=(low, high), xlabel="redshift z", ylabel="p(z)", title=title)
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    save_figure(figure, path)
