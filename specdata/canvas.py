"""A figure without global state, and how it is written: the same byte for byte from the same values."""

FORMATS = (".png", ".pdf", ".svg")


def new_figure(width, height, rows=1, heights=None):
    """Make a figure of some inches; the figure, and its axes from top to bottom."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # Figure and canvas directly, not pyplot: no global state, no display, nothing to close.
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, height_ratios=heights, squeeze=False)[:, 0]


def save_figure(figure, path):
    """Write a figure as PNG, PDF or SVG, by the name's end."""
    # matplotlib's version and the date would change the bytes.
    changing = {".pdf": "CreationDate", ".svg": "Date"}.get(path.suffix.lower(), "Software")
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "specdata"}):  # or its identifiers are random
        figure.savefig(path, metadata={changing: None})
