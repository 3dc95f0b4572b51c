"""A grid of trainings by the real `trl sft`: all done, evaluated and tabled; stopped, it goes on; done, skipped."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from specdata import SpecdataError
from specdata.files import find_recipe
from specdata.training.grid import load_grid
from specdata.training.sweep import sweep

SPECDATA = Path(sys.executable).with_name("specdata")
SETTINGS = ["--model_name_or_path", "tiny", "--use_cpu", "true", "--bf16", "false", "--dtype", "float32"]
SETTINGS += ["--torch_compile", "false", "--max_steps", "2", "--save_steps", "1", "--pad_to_multiple_of", "8"]
SETTINGS += ["--per_device_train_batch_size", "2", "--warmup_steps", "0", "--dataloader_num_workers", "0"]
GRID = {
    "base": {"learning_rate": 0.01, "lora_r": 8},
    "runs": {"reference": {}, "rank-4": {"lora_r": 4}},
    "ablations": {"lora_r": ["rank-4", "reference"]},
    "choose": {"split": "validation", "rows": 4},
    "published": {"source": "arXiv 0000", "model": "Large", "values": {"reference": {"mae": 0.043, "science": 0.852}}},
}


def run(folder, *more):
    command = [SPECDATA, "sweep", "llama-3.1-8b/redshift-packed", "--grid", "grid.yaml", "--output", "swept"]
    command += ["--limit", "6", *SETTINGS, *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def swept(workplace):
    (workplace / "grid.yaml").write_text(yaml.safe_dump(GRID, sort_keys=False))
    done = run(workplace)
    assert done.returncode == 0, done.stderr[-3000:]
    return workplace, done.stdout


def test_every_run_is_trained_chosen_evaluated_and_tabled(swept):
    folder, printed = swept
    table = json.loads((folder / "swept" / "table.json").read_text())
    assert [row["run"] for row in table["rows"]] == ["reference", "rank-4"]
    for row in table["rows"]:
        run_folder = folder / "swept" / row["run"]
        config = json.loads((run_folder / "training" / "adapter_config.json").read_text())
        assert config["r"] == row["lora_r"] == {"reference": 8, "rank-4": 4}[row["run"]]
        results = json.loads((run_folder / "evaluation" / "results.json").read_text())
        assert row["metrics"] == results["metrics"]
        assert (results["dataset"]["split"], results["dataset"]["n"]) == ("test", 6)
        chosen = json.loads((run_folder / "chosen.json").read_text())
        assert set(chosen["mae"]) == {"checkpoint-1", "checkpoint-2"}
        assert chosen["mae"][chosen["checkpoint"]] == min(chosen["mae"].values())
        assert results["model"]["adapter"] == chosen["checkpoint"] == row["chosen"]
        scored = json.loads((run_folder / "validation" / "checkpoint-1" / "results.json").read_text())
        assert (scored["dataset"]["split"], scored["dataset"]["n"]) == ("validation", 4)
    text = (folder / "swept" / "table.md").read_text()
    assert text.strip() in printed
    lines = [line for line in text.splitlines() if line.startswith("| reference")]
    assert "| 0.043 | 85.2 % |" in lines[0]
    assert "| nearest neighbours, no training" in text.replace("*", "")
    assert "Published: arXiv 0000, Large, on its own data, without intervals; these columns were not measured" in text
    assert "n = 6 (24 of them mocks)" not in text
    assert "Trained for 2 steps only" in text
    assert (folder / "swept" / "table.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_skipped_and_what_was_stopped_goes_on(swept):
    folder, _ = swept
    whole = (folder / "swept" / "table.json").read_text()
    again = run(folder)
    assert again.returncode == 0, again.stderr[-3000:]
    assert again.stdout.count("done before") == 2
    # As it is left by a kill between the first and the second checkpoint of a run.
    stopped = folder / "swept" / "rank-4"
    weights = (stopped / "training" / "adapter_model.safetensors").read_bytes()
    for name in ("evaluation", "validation/checkpoint-2", "training/checkpoint-2"):
        shutil.rmtree(stopped / name)
    for name in ("finished", "chosen.json", "training/adapter_model.safetensors"):
        (stopped / name).unlink()
    resumed = run(folder)
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    assert "[1/2] reference: done before" in resumed.stdout
    assert "going on from checkpoint-1" in resumed.stdout
    assert (stopped / "training" / "adapter_model.safetensors").read_bytes() == weights
    assert (folder / "swept" / "table.json").read_text() == whole


def test_a_run_that_fails_does_not_keep_the_others_from_being_done(swept, tmp_path, monkeypatch):
    folder, _ = swept
    monkeypatch.chdir(folder)
    asked = []

    def train(recipe, settings, *, cwd):
        asked.append(settings)
        raise SpecdataError("trl sft ended with code 1, see above")

    monkeypatch.setattr("specdata.training.sweep.run_training", train)
    with pytest.raises(SpecdataError, match=r"2 of 2 runs failed \(reference, rank-4\)"):
        sweep("llama-3.1-8b/redshift-packed", tmp_path / "out", grid="grid.yaml", settings=SETTINGS)
    assert [words[words.index("--lora_r") + 1] for words in asked] == ["8", "4"]
    assert "| reference | 0.01 | 8 | 2 | failed |" in (tmp_path / "out" / "table.md").read_text()


def test_another_sweep_in_the_same_folder_is_refused(swept):
    folder, _ = swept
    other = run(folder, "--gradient_accumulation_steps", "2")
    assert other.returncode == 2
    assert "swept: holds a sweep of another recipe, grid or settings; choose another --output" in other.stderr
    varied = run(folder, "--lora_r", "2")
    assert varied.returncode == 2
    assert "--lora_r: is set by the sweep for each run" in varied.stderr


def test_a_folder_of_something_else_is_left_alone(workplace, tmp_path, monkeypatch):
    monkeypatch.chdir(workplace)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SpecdataError, match="exists and is no sweep; choose another --output"):
        sweep("llama-3.1-8b/redshift-paper", tmp_path, settings=SETTINGS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_the_paper_grid_has_the_figures_of_the_paper():
    grid = load_grid("sweeps/paper")
    assert len({tuple(sorted(grid.settings(run).items())) for run in grid.runs}) == 7
    reference = grid.settings("reference")
    assert reference == {"learning_rate": 1e-4, "lora_r": 8, "num_train_epochs": 2}
    recipe = yaml.safe_load(find_recipe("llama-3.1-8b/redshift-paper").read_text())
    assert all(recipe[key] == value for key, value in reference.items())
    for run in set(grid.runs) - {"reference"}:  # one change each
        assert sum(grid.settings(run)[key] != value for key, value in reference.items()) == 1
    printed = {run: tuple(values.values()) for run, values in grid.published.values.items()}
    assert printed == {
        "reference": (0.043, 0.852, 0.894),
        "lr-1e-5": (0.104, 0.965, 0.951),
        "lr-1e-3": (0.065, 0.762, 0.798),
        "rank-4": (0.078, 0.878, 0.912),
        "rank-16": (0.057, 0.821, 0.867),
        "epochs-1": (0.099, 0.879, 0.915),
        "epochs-3": (0.074, 0.837, 0.881),
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"run": {}}, "run: Extra inputs are not permitted"),
        ({"runs": {}}, "runs: Dictionary should have at least 1 item"),
        ({"runs": {"../x": {}}}, "String should match pattern"),
        ({"ablations": {"lora_r": ["none"]}}, "none: is no run; there are reference, rank-4"),
        ({"choose": {"split": "test"}}, "choose.split: Input should be 'validation'"),
    ],
)
def test_a_wrong_grid_is_one_sentence(change, sentence, tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump(GRID | change, sort_keys=False))
    with pytest.raises(SpecdataError) as error:
        load_grid(path)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
