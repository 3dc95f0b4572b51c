"""Figures without global state, written to the same bytes from the same values; and how those for a paper look."""

import contextlib
from collections.abc import Iterator

FORMATS = (".png", ".pdf", ".svg")
COLUMN = 3.35  # inches, a column of most journals
# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, VERMILION, SKY, PINK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7"
_PAPER = {
    "font.size": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "legend.frameon": False, "legend.handlelength": 1.2,
    "axes.linewidth": 0.6, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "lines.linewidth": 1.0,
    "lines.markersize": 3, "savefig.dpi": 300,
}  # fmt: skip


def new_figure(width, height, rows=1, heights=None, columns=1, widths=None) -> tuple:
    """Make a figure of some inches; the figure, and its axes from left to right and from top to bottom."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Figure and canvas directly, not pyplot: no global state, no display, nothing to close.
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, height_ratios=heights, width_ratios=widths, squeeze=False).ravel()
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def save_figure(figure, path) -> None:
    """Write a figure as PNG, PDF or SVG, by the name's end."""
    import matplotlib

    # matplotlib's version and the date would change the bytes.
    changing = {".pdf": ("CreationDate", "Creator", "Producer"), ".svg": ("Date", "Creator")}
    metadata = dict.fromkeys(changing.get(path.suffix.lower(), ("Software",)))
    # A fixed salt, or the identifiers in a SVG are random; TrueType fonts, which journals ask for in a PDF.
    with matplotlib.rc_context({"svg.hashsalt": "specdata", "pdf.fonttype": 42}):
        figure.savefig(path, metadata=metadata)


@contextlib.contextmanager
def paper_figure(stem, height, **options) -> Iterator[tuple]:
    """Draw a figure that is one column wide, and write it as PNG and as PDF.

    Parameters
    ----------
    stem : Path
        Path of the files without the end of their names.
    height : float
        In inches.
    **options
        As for `new_figure`.

    Yields
    ------
    tuple
        As `new_figure` returns.
    """
    import matplotlib

    with matplotlib.rc_context(_PAPER):
        figure, axes = new_figure(COLUMN, height, **options)
        yield figure, axes
        for suffix in (".png", ".pdf"):
            save_figure(figure, stem.with_name(stem.name + suffix))


def legend_above(axes, columns=4) -> None:
    """A legend above the axes, where it hides nothing."""
    axes.legend(ncols=columns, loc="lower left", bbox_to_anchor=(-0.02, 1.0), borderaxespad=0.2, columnspacing=1.0)
