"""The command line as a user meets it: what it prints, its exit codes, one sentence for bad input."""

import json
import os
import subprocess
import sys
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
tokenizers: []
"""


@pytest.fixture(autouse=True)
def recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)


def test_build_prints_the_counts_and_the_line_that_loads_it(command, tmp_path):
    code, printed, progress = command("build", "recipe.yaml", "--output", "out")
    assert code == 0, progress
    assert "read       40 spectra; rejected: none" in printed
    assert 'load_dataset("out", "paper")' in printed
    assert "read and cut: 100%" in progress
    counts = json.loads((tmp_path / "out" / "manifest.json").read_text())["counts"]
    short = "; 1 of 2 redshift bins ran short (the card has the table)" if counts["sampled"] < 40 else ""
    assert f"sampled    {counts['sampled']} of the 40 asked for{short}\n" in printed
    assert f"splits     train 16, validation 8, test {counts['splits']['test']}" in printed


def test_recipes_lists_what_ships_with_a_description_each(command):
    lines = command("recipes")[1].splitlines()
    assert "recipes/data/sdss-folder.yaml " in "\n".join(lines)
    for line in lines:
        name, description = line.split(maxsplit=1)
        assert 20 < len(description) < 110
        assert description[0].isalnum()
        assert description.endswith(".")
        assert Path(command("recipes", name)[1].strip()).is_file()


def test_the_help_of_each_command_begins_with_a_short_sentence_and_explains_each_option(command):
    names = [line.split()[0] for line in command("--help")[1].split("Commands:\n")[1].splitlines()]
    assert {"build", "check", "evaluate", "publish", "demo"} <= set(names)
    assert "..." not in command("--help")[1].split("Commands:\n")[1]
    for name in (*names, "publish dataset", "publish adapter"):
        for line in command(*name.split(), "--help")[1].split("Options:\n")[1].split("\n  --")[1:]:
            assert len(line.split(maxsplit=1)[1:]) == 1, f"{name}: {line}"


def test_a_shell_completes_the_commands():
    typed = {"_SPECDATA_COMPLETE": "complete_bash", "COMP_WORDS": "specdata pre", "COMP_CWORD": "1"}
    done = subprocess.run([SPECDATA], env=os.environ | typed, capture_output=True, text=True, check=True)
    assert sorted(done.stdout.split()) == ["predict", "preflight", "preview"]


def test_control_c_says_that_the_same_command_goes_on(command, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("specdata.dataset.build.build", interrupted)
    code, _, said = command("build", "recipe.yaml", "--output", "out")
    assert code == 130
    assert said.endswith("specdata: interrupted; nothing is half written, give the same command again\n")
    assert "Traceback" not in said


def test_an_override_reaches_the_card_as_the_text_that_was_given(command, monkeypatch):
    given = {}
    monkeypatch.setattr(
        "specdata.publish.adapter_card.write_adapter", lambda *_, overrides, **__: given.update(overrides)
    )
    line = "card --training=t --evaluation=e --recipe=smollm2-135m/redshift-paper --output=out"
    assert command(*line.split(), "--override", "eval_strategy=no", "--override", "learning_rate=1e-5")[0] == 0
    assert given == {"eval_strategy": "no", "learning_rate": "1e-5"}
