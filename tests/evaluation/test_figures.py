"""Figures of an evaluation: one column wide, TrueType fonts, and the same bytes from the same files."""

import re
import shutil
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from test_results import example_results, example_retention

from specdata.canvas import COLUMN
from specdata.evaluation import figures, training_figures
from specdata.results import PREDICTIONS, figure_names, save_results, save_retention
from specdata.targets import REDSHIFT


@pytest.fixture
def evaluation(tmp_path):
    """A folder with results and predictions of 60 rows, two of them without an answer."""
    folder = tmp_path / "evaluation"
    folder.mkdir()
    rng = np.random.default_rng(0)
    z = rng.uniform(0.01, 0.5, 60)
    z_pred = np.where(np.arange(60) < 2, np.nan, z + rng.normal(0, 0.02, 60))
    centre = np.nan_to_num(z_pred, nan=0.3)
    quantiles = centre[:, None] + np.linspace(-0.04, 0.04, 101)
    examples = {5: "best", 6: "median", 0: "worst"}
    table = {
        "z": z, "z_pred": pa.array(z_pred, from_pandas=True), "snmedian": rng.uniform(5, 40, 60),
        "z_constant": np.full(60, 0.25), "z_nearest_neighbours": z + 0.01, "posterior_pit": rng.uniform(0, 1, 60),
        "posterior_low_68": centre - 0.02, "posterior_high_68": centre + 0.02, "posterior_quantiles": list(quantiles),
        "example": [examples.get(row) for row in range(60)],
        "spectrum": [[1.0, np.nan, 2.0] if row in examples else None for row in range(60)],
    }  # fmt: skip
    pq.write_table(pa.table(table), folder / PREDICTIONS)
    results = example_results()
    mae = {"value": 0.1, "low": 0.05, "high": 0.2, "n": 60, "interval": "bca"}
    results["encoding"]["edges"] = [3800.0, 5000.0, 7000.0, 9200.0]
    baseline = results["baselines"]["constant"] | {"metrics": {"mae": mae}}
    results["baselines"] = {"constant": baseline, "nearest_neighbours": baseline}
    results["settings"] = {"outlier_threshold": 0.05, "unparsed_scores_as": [0.01, 0.5]}
    save_results(folder, results)
    figures.draw_figures(folder)
    return folder


def test_a_paper_can_take_the_figures_as_they_are(evaluation):
    drawn = {path.name for path in evaluation.iterdir()} - {"results.json", PREDICTIONS}
    assert drawn == {
        f"{name}.{end}" for name in ("redshift", "errors", "calibration", "examples") for end in ("png", "pdf")
    }
    for path in evaluation.glob("*.png"):
        image = Image.open(path)
        assert image.width / image.info["dpi"][0] == pytest.approx(COLUMN, abs=0.01)
        assert len(image.convert("RGB").getcolors(2**24)) > 10
    for path in evaluation.glob("*.pdf"):
        content = path.read_bytes()
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
        assert any(zlib.decompress(s).startswith(b"\0\1\0\0") for s in streams if s.startswith(b"x"))  # a TrueType font
        assert b"/FontFile2" in content
        assert b"/Type3" not in content
        assert b"CreationDate" not in content


def test_the_same_files_give_the_same_figures(evaluation, tmp_path):
    again = tmp_path / "again"
    again.mkdir()
    for name in ("results.json", PREDICTIONS):
        shutil.copyfile(evaluation / name, again / name)
    figures.draw_figures(again)
    assert {p.name: p.read_bytes() for p in again.iterdir()} == {p.name: p.read_bytes() for p in evaluation.iterdir()}


def test_without_p_of_z_there_are_fewer(evaluation):
    results = example_results()
    del results["posterior"]
    assert figure_names(results) == ("redshift", "errors")


def test_one_row_or_no_answer_at_all_is_drawn(tmp_path):
    figures.predicted_values(tmp_path / "none", np.array([0.2]), np.array([np.nan]), interval=None, target=REDSHIFT)
    figures.errors_by(tmp_path / "one", {"redshift": np.array([0.2])}, {"model": np.array([0.1])})
    assert {path.name for path in tmp_path.iterdir()} == {"none.png", "none.pdf", "one.png", "one.pdf"}


def test_a_retention_beside_the_results_is_drawn(evaluation):
    retention = example_retention()
    empty = {"value": None, "low": None, "high": None, "n": 40, "interval": "none"}
    retention["tasks"]["mmlu_astronomy"] = retention["tasks"]["sciq"] | {"at_chance": True, "retained": empty}
    save_retention(evaluation, retention)
    figures.draw_figures(evaluation)
    assert (evaluation / "retention.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(evaluation / "retention.png") as image:
        assert image.height > 250


def test_a_sweep_is_drawn_once_two_runs_have_measured_what_they_cost(tmp_path):
    published = {"one": {"mae": 0.04, "science": 0.85}, "without": {"mae": 0.05}}
    for name in ("one", "two"):
        assert not training_figures.draw_sweep(tmp_path, published)
        for part in ("evaluation", "retention"):
            (tmp_path / name / part).mkdir(parents=True)
        results = example_results()
        results["metrics"]["mae"] = {"value": 0.1, "low": 0.05, "high": 0.2, "n": 60, "interval": "bca"}
        save_results(tmp_path / name / "evaluation", results)
        assert not training_figures.draw_sweep(tmp_path, published)
        save_retention(tmp_path / name / "retention", example_retention())
    assert training_figures.draw_sweep(tmp_path, published)
    assert {path.name for path in tmp_path.glob("*.p*")} == {"tradeoff.png", "tradeoff.pdf"}
