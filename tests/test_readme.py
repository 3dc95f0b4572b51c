"""Every code block of the README runs, in its order, in one folder.

What a test cannot have is swapped, and nothing else: the 8B model for a tiny one on the CPU for two steps, the user's
real spectra for mocks under a name that says so, the demo's folder for one of the same shape, and the Hub for one on
this machine. The two commands that install are run by `.ci/run`, and here held against what they have to name.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hub_client import hub_environment
from spec_lite import write_spec_lite

from specdata.dataset.build import build
from specdata.dataset.recipe import load_data_recipe
from specdata.evaluation.evaluate import evaluate
from specdata.files import find_recipe
from specdata.publish.adapter_card import write_adapter
from specdata.spectra.mock.spectrum import mock_spectra

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
INSTALLING = [code for language, code in BLOCKS if "pip install" in code]
RUNNING = [(language, code) for language, code in BLOCKS if language != "text" and "pip install" not in code]
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
TINY = "--use_cpu true --bf16 false --dtype float32 --max_steps 2 --model_name_or_path specdata-demo/base"


def test_every_block_is_accounted_for():
    assert {language for language, _ in BLOCKS} == {"bash", "python", "text"}
    assert len(INSTALLING) == 2
    assert len(RUNNING) >= 6
    assert README.count("```") == 2 * len(BLOCKS)


def test_the_two_commands_name_what_is_there():
    for code, last in zip(INSTALLING, ("specdata demo", "pytest"), strict=True):
        assert code.count("\n") == 1
        assert code.startswith("python3.11 -m venv .venv && . .venv/bin/activate && pip install -c constraints.txt ")
        assert code.rstrip().endswith(f"&& {last}")
    assert '".[demo]"' in INSTALLING[0]
    assert '-e ".[all]"' in INSTALLING[1]
    assert (ROOT / "constraints.txt").is_file()
    # .ci/run finds the test command by this pattern
    assert re.findall(r"^python3\.11 -m venv .*&& pytest$", README, re.MULTILINE) == [INSTALLING[1].rstrip()]


def test_the_constraints_pin_every_dependency():
    import tomllib

    pinned = {
        re.sub(r"[-_.]+", "-", line.split("==")[0]).lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[\[>=<]", item)[0].replace("_", "-") for group in groups for item in group} - {"specdata"}
    assert names <= pinned


def test_the_tree_names_every_module():
    tree = BLOCKS[-1][1]
    for path in (ROOT / "specdata").rglob("*.py"):
        if path.name != "__init__.py":
            assert path.relative_to(ROOT / "specdata").as_posix() in tree, path.name
    for name in ("recipes/", "cards/", "tests/", "benchmarks/"):
        assert (ROOT / name).is_dir()
        assert name in tree


def test_every_figure_is_there():
    figures = re.findall(r"!\[.*?\]\((.*?)\)", README)
    assert figures
    for figure in figures:
        assert (ROOT / figure).read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, taught_model):
    """A folder as a reader has it after the demo, with spectra of their own in `spectra`."""
    folder = tmp_path_factory.mktemp("readme")
    demo = folder / "specdata-demo"
    shutil.copytree(taught_model, demo / "base")
    build(load_data_recipe(find_recipe("recipes/data/demo-mock.yaml")), demo / "data", progress=False)
    recipe = find_recipe("smollm2-135m/redshift-demo")
    bash(f"trl sft --config {recipe} --dataset_name specdata-demo/data --output_dir training {TINY}", folder)
    evaluate(
        str(demo / "base"), str(demo / "data"), folder / "scored", adapter=str(folder / "training"), limit=4,
        progress=False,
    )  # fmt: skip
    options = {"base_model": "org/tiny", "overrides": {"max_steps": "2"}}
    write_adapter(folder / "training", folder / "scored", recipe, demo / "adapter", **options)

    (folder / "spectra").mkdir()
    for spectrum in mock_spectra(40, seed=2):
        write_spec_lite(spectrum, folder / "spectra" / f"spec-{spectrum.name}.fits")
    content = yaml.safe_load(find_recipe("recipes/data/sdss-folder.yaml").read_text())
    (folder / "mock-folder.yaml").write_text(yaml.safe_dump(content | {"name": "mock-galaxy-spectra"}))
    return folder


@pytest.fixture(scope="module")
def on_the_hub(hub, taught_model, tmp_path_factory):
    """Environment of the commands that publish: the test Hub has the gated model, and alice has access to it."""
    files = {path.name: path.read_bytes() for path in taught_model.iterdir()}
    if ("model", LLAMA) not in hub.storage.repos:
        hub.put("model", LLAMA, files, gated=True).admitted.add("alice")
    return hub_environment(hub, hub.tokens["alice"], tmp_path_factory.mktemp("readme-hub"))


def bash(code, folder, environment=os.environ):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**environment, "PATH": path, "OMP_NUM_THREADS": "2"}
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{code}\n{done.stderr[-3000:]}"
    return done.stdout


def test_every_block_runs(folder, hub, on_the_hub):
    for language, code in RUNNING:
        if language == "python":
            command = [sys.executable, "-c", code]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{code}\n{done.stderr[-3000:]}"
            continue
        for line in code.splitlines():
            swapped = line.replace("recipes/data/sdss-folder.yaml", "mock-folder.yaml")
            if line.startswith(("trl sft", "specdata check")):
                swapped += f" {TINY}"
            if "redshift-chat" in line:  # the stand-in has a token a digit, three times as many
                swapped += " --max_length 2048"
            swapped = swapped.replace(f"--model {LLAMA}", "--model specdata-demo/base")
            if line.startswith("specdata card"):
                swapped += " --override max_steps=2"
            if line.startswith(("specdata preflight", "specdata publish")):
                bash(swapped.replace("ORG/", "org/mock-"), folder, on_the_hub)
                continue
            bash(swapped, folder)
    assert hub.repo("dataset", "org/mock-sdss-galaxy-spectra").tags.keys() == {"v1.0"}
    assert len(hub.repo("model", "org/mock-llama-3.1-8b-redshift").history()) == 2
    assert (folder / "sdss-galaxy-spectra" / "README.md").is_file()
    card = (folder / "adapter" / "README.md").read_text()
    assert f"base_model: {LLAMA}" in card
