"""Scores of p(z) against what is known of distributions, and through an evaluation into the card."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from scipy.stats import norm

from specdata import SpecdataError
from specdata.evaluation.calibration import NAMES, calibration, row_scores
from specdata.evaluation.evaluate import evaluate
from specdata.posterior import STEP, RedshiftPosterior
from specdata.publish.adapter_card import write_adapter

Z = np.arange(10_000) * STEP


def rows_of(z, mean, sigma):
    rest = {"inside": 0.75, "beyond": 0.0, "unresolved": 0.0, "log_start": 0.0}
    p = norm.pdf(Z, mean[:, None], sigma)
    return [row_scores(RedshiftPosterior(z=Z, p=one / one.sum(), **rest), true) for one, true in zip(p, z, strict=True)]


def test_an_honest_p_of_z_is_called_calibrated_and_a_bold_one_is_not():
    rng, sigma = np.random.default_rng(0), 0.02
    mean = rng.uniform(0.2, 0.8, 400)
    z = rng.normal(mean, sigma)
    honest = calibration(rows_of(z, mean, sigma), z)
    scores = honest["metrics"]
    assert set(scores) == set(NAMES)
    for level in (0.68, 0.95):
        score = scores[f"coverage_{100 * level:.0f}"]
        assert score["low"] < level < score["high"]
        assert score["n"] == 400
    # The expected CRPS of a normal forecast of the right width is sigma / sqrt(pi).
    assert scores["crps"]["low"] < sigma / np.sqrt(np.pi) < scores["crps"]["high"]
    assert scores["outside"]["value"] == pytest.approx(0.25)
    assert scores["mae_median"]["value"] == pytest.approx(np.mean(np.abs(mean - z)), abs=1e-4)
    assert sum(honest["pit"]) == 400
    assert max(honest["pit"]) < 70
    bold = calibration(rows_of(z, mean, sigma / 4), z)
    assert bold["metrics"]["coverage_95"]["high"] < 0.95
    assert bold["pit"][0] + bold["pit"][-1] > 200  # U-shaped
    assert bold["metrics"]["crps"]["value"] > scores["crps"]["value"]


@pytest.fixture(scope="module")
def scored(taught_model, taught_adapter, mock_data, tmp_path_factory):
    output = tmp_path_factory.mktemp("scored") / "out"
    options = {"adapter": str(taught_adapter), "limit": 6, "batch_size": 4, "progress": False}
    return evaluate(str(taught_model), str(mock_data), output, posterior=True, **options), output


def test_an_evaluation_keeps_p_of_z_of_every_row(scored):
    results, output = scored
    table = pq.read_table(output / "predictions.parquet").to_pydict()
    assert all(name in table for name in ("posterior_median", "posterior_low_68", "posterior_crps", "posterior_pit"))
    found = results["posterior"]["metrics"]
    assert found["crps"]["value"] == pytest.approx(np.mean(table["posterior_crps"]))
    assert found["mae_median"]["n"] == 6
    inside = [low <= z <= high for low, z, high in zip(
        table["posterior_low_95"], table["z"], table["posterior_high_95"], strict=True)]  # fmt: skip
    assert found["coverage_95"]["value"] == pytest.approx(np.mean(inside))
    # The model says 0.2468 whatever it is asked; its answer is where its p(z) is highest.
    assert set(table["posterior_mode"]) == {0.2468}
    assert (output / "calibration.png").read_bytes().startswith(b"\x89PNG")


def test_the_card_shows_it(scored, taught_adapter, tmp_path):
    results, output = scored
    lora = {"lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "lora_target_modules": ["q_proj"]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(lora))
    write_adapter(taught_adapter, output, tmp_path / "recipe.yaml", tmp_path / "adapter", base_model="org/tiny")
    card = (tmp_path / "adapter" / "README.md").read_text()
    score = results["posterior"]["metrics"]["coverage_68"]
    assert f"| `coverage_68` | {score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}] |" in card
    assert "![Calibration](calibration.png)" in card
    assert (tmp_path / "adapter" / "calibration.png").is_file()
    broken = json.loads((output / "results.json").read_text())
    broken["posterior"]["metrics"]["crps"]["value"] = None
    (tmp_path / "evaluation").mkdir()
    for file in output.iterdir():
        (tmp_path / "evaluation" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "evaluation" / "results.json").write_text(json.dumps(broken))
    with pytest.raises(SpecdataError, match="posterior: metrics: crps: value has no value"):
        write_adapter(
            taught_adapter, tmp_path / "evaluation", tmp_path / "recipe.yaml", tmp_path / "b", base_model="o/t"
        )
