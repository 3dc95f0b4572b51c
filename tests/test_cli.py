"""The command line as a user meets it: what it prints, its exit codes, one sentence for bad input."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SPECDATA = Path(sys.executable).with_name("specdata")
RECIPE = """\
name: mock-cli
title: Mocks
source: {kind: mock, size: 40}
sample: {size: 40, redshift_bins: 2}
splits: {train: 16, validation: 8}
configs: {paper: {grid: {start: 3840, stop: 9160, bins: 8}}}
"""


def run(*arguments, cwd):
    return subprocess.run([SPECDATA, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def test_build_prints_the_counts_and_the_line_that_loads_it(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    done = run("build", "recipe.yaml", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "read       40 spectra; rejected: none" in done.stdout
    assert 'load_dataset("out", "paper")' in done.stdout
    assert "read and cut: 100%" in done.stderr  # progress
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
    assert f"splits     train 16, validation 8, test {counts['splits']['test']}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("build", "nothing.yaml", "--output", "out"), "nothing.yaml: there is no such recipe; give the path"),
        (("build", "bad.yaml", "--output", "out"), "unknown key 'colour'; the keys allowed there are name, title"),
        (("build", "recipe.yaml", "--output", "taken"), "exists already; choose another output, or add --overwrite"),
        (("build", "recipe.yaml", "--output", "taken", "--overwrite"), "holds no manifest.json and so is not"),
        (("build", "recipe.yaml", "--source", ".", "--output", "out"), "--source replaces the path of a folder source"),
        (("evaluate", "--model", "m", "--dataset", "d", "--split", "train", "--output", "out"), "rows it learned from"),
        (("evaluate", "--model", "m", "--dataset", "taken", "--output", "out"), "has no readable manifest.json"),
        (
            ("card", "--training", "t", "--evaluation", "e", "--recipe", "recipe.yaml", "--output", "out"),
            "adapter_config.json: is missing or not JSON; train or evaluate again",
        ),
        (
            ("card", "--training=t", "--evaluation=e", "--recipe=recipe.yaml", "--output=out", "--override=x"),
            "--override x: write KEY=VALUE",
        ),
        (("demo", "--output", "taken"), "exists and is not a demo's folder"),
        (("recipes", "llama-4"), "there is no such recipe; give the path of a YAML file, or one of recipes/"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_exit_code_2(arguments, sentence, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "bad.yaml").write_text(RECIPE + "colour: blue\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("years of work")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("specdata: ")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["bad.yaml", "recipe.yaml", "taken", "thesis.tex"]


def test_a_missing_option_is_exit_code_2_too(tmp_path):
    done = run("build", "recipe.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_recipes_lists_what_ships_and_finds_each(tmp_path):
    names = run("recipes", cwd=tmp_path).stdout.split()
    assert "recipes/data/sdss-folder.yaml" in names
    for name in names:
        assert Path(run("recipes", name, cwd=tmp_path).stdout.strip()).is_file()


def test_control_c_says_so_and_the_same_command_goes_on(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace("size: 40}", "size: 300}", 1))
    command = [SPECDATA, "build", "recipe.yaml", "--output", "out", "--shards", "3"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out.parts/read/00001.*.partial/spectra.arrow")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; nothing is half written, give the same command again" in printed
    assert "Traceback" not in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.parts", "recipe.yaml"]
    assert [path.name for path in (tmp_path / "out.parts" / "read").iterdir()] == ["00000"]
    done = run(*command[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "recipe.yaml"]


def test_the_source_is_never_inside_the_output(tmp_path):
    (tmp_path / "fits").mkdir()
    done = run("build", "recipes/data/sdss-folder.yaml", "--source", "fits", "--output", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "holds the source" in done.stderr


def test_an_override_reaches_the_card_as_the_text_that_was_given(monkeypatch):
    from typer.testing import CliRunner

    from specdata.cli import app

    given = {}
    monkeypatch.setattr(
        "specdata.publish.adapter_card.write_adapter", lambda *_, overrides, **__: given.update(overrides)
    )
    command = ["card", "--training=t", "--evaluation=e", "--recipe=smollm2-135m/redshift-demo", "--output=out"]
    done = CliRunner().invoke(app, [*command, "--override", "eval_strategy=no", "--override", "learning_rate=1e-5"])
    assert done.exit_code == 0, done.output
    assert given == {"eval_strategy": "no", "learning_rate": "1e-5"}
