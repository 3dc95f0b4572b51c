"""A grid of trainings: all done, evaluated and tabled; stopped, it goes on; done, it is skipped."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from questions import write_questions

from specdata import SpecdataError
from specdata.cli import app
from specdata.dataset.build import build
from specdata.dataset.recipe import DataRecipe
from specdata.results import load_results, load_retention
from specdata.training import sweep as module
from specdata.training.recipe import parse_training
from specdata.training.sweep import load_grid, sweep

ROOT = Path(__file__).parents[2]
RECIPE = "llama-3.1-8b/redshift-packed"
CPU = ["--use_cpu", "true", "--bf16", "false", "--dtype", "float32"]
SETTINGS = ["--model_name_or_path", "tiny", *CPU]
SETTINGS += ["--torch_compile", "false", "--max_steps", "2", "--save_steps", "1", "--dataloader_num_workers", "0"]
SETTINGS += ["--per_device_train_batch_size", "2"]
GRID = """
base: {learning_rate: 1e-2, lora_r: 8, eval_strategy: no}
runs:
  reference: {}
  rank-4: {lora_r: 4}
choose_by: 4
retention: --limit 5
published: {reference: {mae: 0.043, science: 0.852}}
published_by: arXiv 0000
"""


def score(value):
    return {"value": value, "low": value and value / 2, "high": value and 2 * value}


def results(split, mae):
    dataset = {"name": "mocks", "config": "packed", "split": split, "n": 6, "n_mock": 6, "revision": "0123456789abcdef"}
    metrics = {"mae": score(mae), "outlier_fraction": score(None), "parse_rate": score(0.25)}
    constant = {"metrics": {"mae": score(0.126), "outlier_fraction": score(0.9)}}
    return {"dataset": dataset, "encoding": {}, "metrics": metrics, "baselines": {"constant": constant}}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the grid, where trainings and evaluations leave files and take no time; and what was done."""
    done = []

    def train(recipe, settings, *, cwd):
        done.append(settings)
        output = Path(settings[settings.index("--output_dir") + 1])
        for step in (1, 2):
            (output / f"checkpoint-{step}").mkdir(parents=True, exist_ok=True)
            (output / f"checkpoint-{step}" / "trainer_state.json").touch()

    def evaluate(run, adapter, output, split, rows):
        done.append((adapter.name, split, rows))
        output.mkdir(parents=True)
        mae = 0.02 if adapter.name == "checkpoint-1" else 0.03
        (output / "results.json").write_text(json.dumps(results(split, mae)))

    def retain(run, adapter, output, options):
        done.append((adapter.name, "questions", options))
        output.mkdir(parents=True)
        groups = {"science": {"at_chance": False, "retained": score(0.9)}, "general": {"at_chance": True}}
        (output / "retention.json").write_text(json.dumps({"groups": groups}))

    monkeypatch.setattr(module, "run_training", train)
    monkeypatch.setattr(module, "_evaluate", evaluate)
    monkeypatch.setattr(module, "_retain", retain)
    monkeypatch.setattr(module, "need", lambda *_, **__: None)
    monkeypatch.setattr(module, "load_retention", lambda folder: json.loads((folder / "retention.json").read_text()))
    monkeypatch.setattr(module, "load_results", lambda folder: json.loads((folder / "results.json").read_text()))
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text(GRID)
    return tmp_path, done


def run(output="swept", *more, **options):
    return sweep(RECIPE, output, grid="grid.yaml", settings=[*SETTINGS, *more], rows=6, **options)


def test_every_run_is_trained_chosen_evaluated_and_tabled(place):
    folder, done = place
    text = run()
    trained = [settings for settings in done if isinstance(settings, list)]
    assert [settings[settings.index("--lora_r") + 1] for settings in trained] == ["8", "4"]
    # The grid's values reach trl as they are written: YAML would make False of `no`, which trl refuses.
    assert all(settings[settings.index("--eval_strategy") + 1] == "no" for settings in trained)
    scored = [("checkpoint-1", "validation", 4), ("checkpoint-2", "validation", 4), ("checkpoint-1", "test", 6)]
    scored.append(("checkpoint-1", "questions", "--limit 5"))
    assert done == [trained[0], *scored, trained[1], *scored]
    chosen = json.loads((folder / "swept" / "rank-4" / "chosen.json").read_text())
    assert chosen["mae"] == {"checkpoint-1": 0.02, "checkpoint-2": 0.03}
    assert text == (folder / "swept" / "table.md").read_text()
    lines = text.splitlines()
    ours = "MAE | outliers | answers that parse | science kept | general kept"
    assert lines[0].startswith(f"| run | learning_rate | lora_r | eval_strategy | {ours} | mae, published |")
    assert lines[2].startswith("| reference (checkpoint-1) | 1e-2 | 8 | no | 0.0200 [0.0100, 0.0400] |  | 0.25")
    assert lines[2].endswith(" | 0.900 [0.450, 1.800] | at chance | 0.043 | 0.852 |")
    assert (
        lines[4]
        == "| *constant, no training* |  |  |  | 0.1260 [0.0630, 0.2520] | 0.9000 [0.4500, 1.8000] |  |  |  |  |  |"
    )
    assert {line.count("|") for line in lines[:5]} == {12}
    assert "2 steps only, mocks packed, test split, n = 6, mocks, revision 0123456789ab; in brackets 95 %" in text
    assert "Published by arXiv 0000: on other data, without intervals, and not measured here" in text


def test_what_is_done_is_skipped_and_a_run_that_fails_does_not_keep_the_others(place, monkeypatch, capsys):
    folder, done = place
    run()
    del done[:]
    run()
    assert (done, capsys.readouterr().out.count("done before")) == ([], 2)
    # As a kill leaves it that comes between the evaluations of the first and the second checkpoint.
    shutil.rmtree(folder / "swept" / "rank-4" / "evaluation")
    shutil.rmtree(folder / "swept" / "rank-4" / "validation" / "checkpoint-2")
    run()
    assert done == [("checkpoint-2", "validation", 4), ("checkpoint-1", "test", 6)]

    def fail(*_, **__):
        raise SpecdataError("trl sft ended with code 1, see above")

    monkeypatch.setattr(module, "run_training", fail)
    with pytest.raises(SpecdataError, match=r"2 of 2 runs failed \(reference, rank-4\), and other/table.md has"):
        run("other")
    assert "| reference | 1e-2 | 8 | no | failed |" in (folder / "other" / "table.md").read_text()


def test_another_sweep_in_the_same_folder_is_refused(place):
    folder, _ = place
    run()
    with pytest.raises(SpecdataError, match="swept: holds a sweep of another recipe, grid or settings; choose another"):
        run("swept", "--gradient_accumulation_steps", "2")
    with pytest.raises(SpecdataError, match="--lora_r: is set by the sweep for each run"):
        run("swept", "--lora_r", "2")
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(SpecdataError, match="exists and is no sweep; choose another --output"):
        run("mine")
    assert [path.name for path in (folder / "mine").iterdir()] == ["thesis.tex"]


def test_a_model_that_is_trained_as_a_whole_is_scored_without_an_adapter(place, monkeypatch):
    commands = []
    monkeypatch.setattr(module, "run_command", lambda command: commands.append(command) or 0)
    recipe = parse_training("from-scratch/redshift-small", [])
    module._command("evaluate", recipe, Path("training/checkpoint-1"), Path("out"), [])
    assert "--adapter" not in commands[0]
    assert commands[0][commands[0].index("--model") + 1] == "training/checkpoint-1"
    Path("grid.yaml").write_text("runs: {reference: {}}\nretention: --limit 5\n")
    with pytest.raises(SpecdataError, match="trains a whole model, which has no adapter to switch off"):
        sweep("from-scratch/redshift-small", "swept", grid="grid.yaml")


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("run: {}", "run: Extra inputs are not permitted; the keys of such a file are base, runs, choose_by"),
        ("runs: {../x: {}}", "String should match pattern"),
        ("choose_by: 0\nruns: {reference: {}}", "choose_by: Input should be greater than or equal to 1"),
        ("runs: [", "not valid YAML"),
    ],
)
def test_a_wrong_grid_is_one_sentence(line, sentence, tmp_path):
    rest = GRID if line == "run: {}" else "base: {}\n" if line.startswith("choose") else ""
    (tmp_path / "grid.yaml").write_text(f"{rest}{line}\n")
    with pytest.raises(SpecdataError) as error:
        load_grid(tmp_path / "grid.yaml")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("paper", "llama-3.1-8b/redshift-paper"),
        ("smollm2", "smollm2-135m/redshift-packed"),
        ("mocks", "smollm2-135m/redshift-packed"),
        ("early-stop", RECIPE),
    ],
)
def test_trl_takes_every_run_of_the_shipped_grids(name, recipe):
    grid = load_grid(f"sweeps/{name}")
    for run_name in grid.runs:
        settings = grid.settings(run_name)
        parsed = parse_training(recipe, settings)
        given = dict(zip(settings[::2], settings[1::2], strict=True))
        source = parsed.sources[0]
        assert given.pop("--dataset_name", source.path) == source.path
        assert given.pop("--dataset_config", source.name) == source.name
        for key, value in given.items():
            found = next(getattr(p, key[2:]) for p in (parsed.training, parsed.model) if hasattr(p, key[2:]))
            assert found == (type(found)(value) if not isinstance(found, list) else [value])


def test_the_paper_grid_has_the_figures_of_the_paper():
    grid = load_grid("sweeps/paper")
    assert {key: float(value) for key, value in grid.base.items()} == {
        "learning_rate": 1e-4, "lora_r": 8, "num_train_epochs": 2,
    }  # fmt: skip
    assert sorted(map(len, grid.runs.values())) == [0, 1, 1, 1, 1, 1, 1]  # the reference, and one change each
    assert {run: tuple(values.values()) for run, values in grid.published.items()} == {
        "reference": (0.043, 0.852, 0.894),
        "lr-1e-5": (0.104, 0.965, 0.951),
        "lr-1e-3": (0.065, 0.762, 0.798),
        "rank-4": (0.078, 0.878, 0.912),
        "rank-16": (0.057, 0.821, 0.867),
        "epochs-1": (0.099, 0.879, 0.915),
        "epochs-3": (0.074, 0.837, 0.881),
    }


@pytest.mark.slow
def test_the_command_trains_and_evaluates_and_goes_on_from_a_checkpoint(workplace):
    questions = write_questions(workplace / "questions")
    (workplace / "grid.yaml").write_text(GRID.replace("--limit 5", f"--limit 5 --questions {questions}"))
    command = [Path(sys.executable).with_name("specdata"), "sweep", RECIPE, "--grid", "grid.yaml", "--output", "swept"]

    def start():
        done = subprocess.run(
            [*command, "--limit", "6", *SETTINGS], cwd=workplace, env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    start()
    table, stopped = (workplace / "swept" / "table.md").read_text(), workplace / "swept" / "rank-4"
    assert "| reference (checkpoint-" in table
    assert "| science kept | general kept |" in table
    assert json.loads((stopped / "training" / "adapter_config.json").read_text())["r"] == 4
    weights = (stopped / "training" / "adapter_model.safetensors").read_bytes()
    # As it is left by a kill between the first and the second checkpoint of a run.
    for name in ("evaluation", "retention", "validation/checkpoint-2", "training/checkpoint-2"):
        shutil.rmtree(stopped / name)
    for name in ("finished", "chosen.json", "training/adapter_model.safetensors"):
        (stopped / name).unlink()
    assert "going on from checkpoint-1" in start()
    assert (stopped / "training" / "adapter_model.safetensors").read_bytes() == weights
    assert (workplace / "swept" / "table.md").read_text() == table


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_grid_for_an_hour_of_one_gpu_runs_whole_on_a_cpu(tmp_path, tiny_model, monkeypatch):
    """benchmarks/gpu-mocks.yaml and sweeps/mocks as they are, but for fewer galaxies, steps and other questions.

    In one process, since the start of a training and of its evaluation takes longer than both.
    """
    from trl.scripts import sft

    def train(recipe, settings, *, cwd):
        script, training, model, mixture = sft.make_parser().parse_args_and_config(["--config", str(recipe), *settings])
        sft.main(script, training, model, mixture)

    monkeypatch.setattr(module, "run_training", train)
    monkeypatch.setattr(module, "run_command", lambda command: app(command[3:], standalone_mode=False) or 0)
    monkeypatch.chdir(tmp_path)
    recipe = yaml.safe_load((ROOT / "benchmarks" / "gpu-mocks.yaml").read_text())
    recipe["source"]["size"], recipe["sample"] = 40, {"size": 24, "redshift_bins": 1}
    recipe["splits"] = {"train": 8, "validation": 2}
    build(DataRecipe.model_validate(recipe), tmp_path / "gpu-mocks", progress=False)
    grid = (ROOT / "recipes" / "sweeps" / "mocks.yaml").read_text()
    groups = re.search(r"^retention: (.*)$", grid, re.MULTILINE)[1]
    questions = f"--limit 2 --questions {write_questions(tmp_path / 'questions')}"
    Path("grid.yaml").write_text(grid.replace(groups, questions).replace("batch_size: 32", "batch_size: 1"))
    settings = ["--model_name_or_path", str(tiny_model), "--max_steps", "1", "--per_device_eval_batch_size", "1", *CPU]
    table = sweep("smollm2-135m/redshift-packed", "swept", grid="grid.yaml", settings=settings, rows=6)
    for name, run in load_grid("sweeps/mocks").runs.items():
        adapter = json.loads(Path("swept", name, "training", "adapter_config.json").read_text())
        found = load_results(Path("swept", name, "evaluation"))
        assert adapter["r"] == int(run.get("lora_r", 8))
        everywhere = any("mlp" in module for module in adapter["target_modules"])
        assert everywhere == (run.get("lora_target_modules") == "all-linear")
        assert (found["dataset"]["config"], found["dataset"]["n"]) == (run["dataset_config"], 6)
        assert found["baselines"].keys() >= {"constant", "ridge", "nearest_neighbours"}
        assert found["posterior"]["metrics"]["coverage_68"]["value"] is not None
        assert load_retention(Path("swept", name, "retention"))["groups"].keys() == {"science", "general"}
        assert f"| {name} | gpu-mocks |" in table
