"""The table of a sweep: what was measured, beside what is published, and which is which."""

import json

from specdata.canvas import new_figure, save_figure
from specdata.files import new_file

_LABELS = {"learning_rate": "learning rate", "lora_r": "rank", "num_train_epochs": "epochs"}


def write_table(output, grid, parsed, results, failed):
    """Write ``table.json``, ``table.md`` and, as soon as there is a result, ``table.png``.

    Parameters
    ----------
    output : Path
    grid : specdata.training.grid.Grid
    parsed : dict of str to specdata.training.recipe.TrainingRecipe
        The runs in their order.
    results : dict of str to dict
        What `specdata evaluate` wrote, of the runs that are done.
    failed : dict of str to str
        Why runs failed.

    Returns
    -------
    dict
        What stands in ``table.json``.
    """
    published = grid.published.values if grid.published else {}
    rows = [
        {
            "run": name,
            "learning_rate": run.training.learning_rate,
            "lora_r": run.model.lora_r,
            "num_train_epochs": run.training.num_train_epochs,
            "max_steps": run.training.max_steps if run.training.max_steps > 0 else None,
            "state": "done" if name in results else "failed" if name in failed else "not done",
            "metrics": results[name]["metrics"] if name in results else None,
            "chosen": _chosen(output / name),
            "published": published.get(name),
        }
        for name, run in parsed.items()
    ]
    first = next(iter(results.values()), None)
    table = {
        "recipe": next(iter(parsed.values())).path.name,
        "model": next(iter(parsed.values())).model.model_name_or_path,
        "dataset": first["dataset"] if first else None,
        "baselines": first["baselines"] if first else None,
        "published_source": grid.published.source if grid.published else None,
        "published_model": grid.published.model if grid.published else None,
        "rows": rows,
    }
    with new_file(output / "table.json") as partial:
        partial.write_bytes(json.dumps(table, indent=2).encode() + b"\n")
    with new_file(output / "table.md") as partial:
        partial.write_bytes(markdown(table).encode())
    if first:
        figure = output / ".table.partial.png"
        sweep_figure(figure, table, grid.ablations)
        figure.replace(output / "table.png")
    return table


def _chosen(folder):
    path = folder / "chosen.json"
    return json.loads(path.read_text(encoding="utf-8"))["checkpoint"] if path.is_file() else None


def markdown(table):
    """The table as Markdown, with what its figures are."""
    source = table["published_source"]
    kept = list(dict.fromkeys(key for row in table["rows"] for key in row["published"] or {} if key != "mae"))
    head = ["run", *_LABELS.values(), "MAE here", "outliers here", "answers that parse"]
    head += ["MAE, published", *(f"{key} QA kept, published" for key in kept)] if source else []
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for row in table["rows"]:
        name = f"{row['run']} ({row['chosen']})" if row["chosen"] else row["run"]
        cells = [name, *(f"{row[key]:g}" for key in _LABELS)]
        metrics = row["metrics"]
        if metrics:
            cells += [_interval(metrics["mae"], 4)]
            cells += [_interval(metrics[key], 3) for key in ("outlier_fraction", "parse_rate")]
        else:
            cells += [row["state"], "", ""]
        if source:
            there = row["published"] or {}
            cells += [f"{there['mae']:.3f}" if "mae" in there else ""]
            cells += [f"{100 * there[key]:.1f} %" if key in there else "" for key in kept]
        lines.append(f"| {' | '.join(cells)} |")
    data = table["dataset"]
    if table["baselines"]:
        for name, found in table["baselines"].items():
            scores = found["metrics"]
            cells = [f"*{name.replace('_', ' ')}, no training*", "", "", "", _interval(scores["mae"], 4)]
            cells += [_interval(scores["outlier_fraction"], 3), ""] + [""] * (1 + len(kept) if source else 0)
            lines.append(f"| {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n\n"
    if data:
        kind = f" ({data['n_mock']} of them mocks)" if data["n_mock"] else ""
        text += (
            f"Here: {table['model']}, {table['recipe']}, {data['name']} {data['config']}, {data['split']} split, "
            f"n = {data['n']}{kind}, revision {data['revision'][:12]}; in brackets 95 % intervals. "
        )
    steps = {row["max_steps"] for row in table["rows"]} - {None}
    if steps:
        text += f"Trained for {', '.join(map(str, sorted(steps)))} steps only, whatever the epochs say. "
    if source:
        text += (
            f"Published: {source}, {table['published_model']}, on its own data, without intervals; these columns were "
            "not measured here, and nothing here measures how much of the question answering is kept."
        )
    return text.rstrip() + "\n"


def _interval(score, digits):
    return f"{score['value']:.{digits}f} [{score['low']:.{digits}f}, {score['high']:.{digits}f}]"


def sweep_figure(path, table, ablations):
    """Draw the errors of a sweep beside the published ones, a panel for each ablation.

    Parameters
    ----------
    path : Path
    table : dict
        As from `write_table`.
    ablations : dict of str to list of str
        The varied setting, and its runs in order; without any, all runs in one panel.
    """
    from matplotlib.ticker import LogLocator

    rows = {row["run"]: row for row in table["rows"]}
    panels = ablations or {"run": list(rows)}
    figure, axes_list = new_figure(7, 2.2 * len(panels) + 1.2, rows=len(panels))
    for axes, (setting, names) in zip(axes_list, panels.items(), strict=True):
        for at, name in enumerate(names):
            row = rows[name]
            if row["metrics"]:
                mae = row["metrics"]["mae"]
                spread = [[max(mae["value"] - mae["low"], 0)], [max(mae["high"] - mae["value"], 0)]]
                axes.errorbar(at - 0.08, mae["value"], spread, fmt="o", color="#0072B2", capsize=3, label="here")
            if row["published"] and "mae" in row["published"]:
                label = f"published ({table['published_model']}, other data)"
                axes.plot(at + 0.08, row["published"]["mae"], "D", color="#D55E00", mfc="white", label=label)
        for (name, found), style in zip(table["baselines"].items(), ("--", ":"), strict=False):
            label = f"{name.replace('_', ' ')}, here"
            axes.axhline(found["metrics"]["mae"]["value"], color="0.4", lw=1, ls=style, zorder=0, label=label)
        axes.set(yscale="log", xlim=(-0.5, len(names) - 0.5), xticks=range(len(names)))
        axes.set_xticklabels(
            [f"{rows[name][setting]:g}" if setting in rows[name] and setting != "run" else name for name in names]
        )
        axes.set(ylabel="MAE of z", xlabel=_LABELS.get(setting, setting))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.spines[["top", "right"]].set_visible(False)
    found = {}
    for axes in axes_list:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    data = table["dataset"]
    figure.suptitle(f"{data['name']} {data['config']}, {data['split']} split, n = {data['n']}", fontsize=11)
    figure.legend(found.values(), found, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    save_figure(figure, path)
