"""Everything over the test Hub alone: published, every local file away, loaded again by the clients that people use."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from hub_client import hub_environment, run

pytestmark = pytest.mark.slow

LOAD = """
import hashlib, json, sys
from datasets import load_dataset
repo, tag = sys.argv[1:]
found = {}
for config in ("spectra", "paper", "packed"):
    for split, rows in load_dataset(repo, config, revision=tag).items():
        stream = list(load_dataset(repo, config, split=split, revision=tag, streaming=True))
        found[f"{config}/{split}"] = (len(rows), rows[0]["specobjid"], len(stream), stream[0]["specobjid"])
print(json.dumps(found))
"""
FETCH = "import sys; from huggingface_hub import snapshot_download as s; print(s(sys.argv[1], repo_type=sys.argv[2]))"
ANSWER = """
import sys
from datasets import load_dataset
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
adapter, data, tag = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("org/tiny-llama"), adapter)
tokenizer = AutoTokenizer.from_pretrained("org/tiny-llama")
row = load_dataset(data, "paper", split="test", revision=tag)[0]
inputs = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_tensors="pt", return_dict=True)
output = model.generate(**inputs, do_sample=False, max_new_tokens=24)
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True))
"""


@pytest.fixture(scope="module")
def published(hub, hub_line):
    """What `specdata publish adapter` printed; the adapter is org/mock-redshift afterwards."""
    environment = hub_environment(hub, hub.tokens["alice"], hub_line / "home")
    command = ("publish", "adapter", "adapter", "--repo", "org/mock-redshift", "--collection", "Mocks and models")
    return run(["specdata", *command], environment, hub_line)


def test_a_recipe_alone_trains_from_the_hub(hub, hub_line):
    recipe = yaml.safe_load((hub_line / "recipe.yaml").read_text())
    assert recipe["dataset_name"] == "org/mock-galaxies"
    assert recipe["model_name_or_path"] == "org/tiny-llama"
    state = json.loads((hub_line / "training" / "checkpoint-2" / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    assert any("/datasets/org/mock-galaxies/resolve/" in line for line, _ in hub.requests)


def test_evaluate_works_from_hub_names(hub, hub_line, published, mock_data, tmp_path):
    """Also the adapter by its name, with the tokenizer of the base model: the same answers as before publishing."""
    first = json.loads((hub_line / "evaluation" / "results.json").read_text())
    manifest = json.loads((mock_data / "manifest.json").read_text())
    assert first["dataset"]["name"] == "org/mock-galaxies"
    assert first["dataset"]["revision"] == manifest["revision"]
    assert first["model"]["base_revision"] == hub.repo("model", "org/tiny-llama").branches["main"]
    environment = hub_environment(hub, hub.tokens["reader"], tmp_path / "home")
    names = ("--model", "org/tiny-llama", "--adapter", "org/mock-redshift", "--dataset", "org/mock-galaxies")
    run(["specdata", "evaluate", *names, "--output", "again"], environment, tmp_path)
    again = json.loads((tmp_path / "again" / "results.json").read_text())
    assert again["metrics"] == first["metrics"]
    assert again["model"]["adapter_revision"] == first["model"]["adapter_revision"]
    assert again["model"]["adapter"] == "org/mock-redshift"


def test_tokens_and_preview_work_from_hub_names(hub, hub_line, tmp_path):
    environment = hub_environment(hub, None, tmp_path / "home")
    counted = run(
        ["specdata", "tokens", "org/mock-galaxies", "--tokenizer", "org/tiny-llama"], environment, tmp_path
    )  # fmt: skip
    assert "| config `paper` | org/tiny-llama | 60 | 8 |" in counted
    shown = run(["specdata", "preview", "org/mock-galaxies", "test:0", "--output", "row.png"], environment, tmp_path)
    assert "row        test:0" in shown
    assert (tmp_path / "row.png").read_bytes().startswith(b"\x89PNG")


def test_from_the_hub_alone_come_the_same_bytes(hub, hub_line, published, mock_data, tmp_path):
    """Clients with an empty cache, in an empty folder, while the folders that were published are away."""
    manifest = json.loads((mock_data / "manifest.json").read_text())
    local = {name: (mock_data / name).read_bytes() for name in manifest["files"]}
    weights = (hub_line / "adapter" / "adapter_model.safetensors").read_bytes()
    tag = f"data-{manifest['revision'][:12]}"
    away = [
        (path, path.with_name(f"{path.name}-away")) for path in (mock_data, hub_line / "adapter", hub_line / "home")
    ]
    for path, elsewhere in away:
        path.rename(elsewhere)
    try:
        environment = hub_environment(hub, None, tmp_path / "home")  # nobody in particular reads
        counts = json.loads(run(["python", "-c", LOAD, "org/mock-galaxies", tag], environment, tmp_path))
        for config in ("spectra", "paper", "packed"):
            for split, rows in manifest["counts"]["splits"].items():
                n, first, streamed, first_streamed = counts[f"{config}/{split}"]
                assert n == streamed == rows
                assert first == first_streamed
        data = run(["python", "-c", FETCH, "org/mock-galaxies", "dataset"], environment, tmp_path).strip()
        for name, content in local.items():
            assert (tmp_path / data / name).read_bytes() == content
        adapter = run(["python", "-c", FETCH, "org/mock-redshift", "model"], environment, tmp_path).strip()
        assert (tmp_path / adapter / "adapter_model.safetensors").read_bytes() == weights
        answer = run(["python", "-c", ANSWER, "org/mock-redshift", "org/mock-galaxies", tag], environment, tmp_path)
        predictions = json.loads((hub_line / "evaluation" / "results.json").read_text())
        assert answer.strip().startswith("Redshift: [")
        assert predictions["metrics"]["parse_rate"]["value"] > 0
    finally:
        for path, elsewhere in away:
            shutil.rmtree(path, ignore_errors=True)
            elsewhere.rename(path)


def test_the_commands_print_what_goes_up(hub, hub_line, published):
    printed = (hub_line / "published").read_text()
    assert re.search(r"^org/mock-galaxies \(data set\), version data-\w{12}$", printed, re.MULTILINE)
    assert re.search(r"^  new +[\d,]+  paper/train-00000-of-00001.parquet$", printed, re.MULTILINE)
    assert "not published: tokenizer.json" in published
    assert "no secret and no local path was found" in printed
    assert re.search(
        rf"^published  {hub.url}/datasets/org/mock-galaxies, commit \w{{7}}, tag data-", printed, re.MULTILINE
    )
    assert f"collection {hub.url}/collections/org/mocks-and-models-" in printed
    assert f"published  {hub.url}/org/mock-redshift, commit " in published


def test_the_collection_holds_data_adapter_and_paper(hub, hub_line, published):
    (collection,) = [c for c in hub.storage.collections.values() if c["title"] == "Mocks and models"]
    assert [(item["type"], item["id"]) for item in collection["items"]] == [
        ("dataset", "org/mock-galaxies"), ("paper", "2508.10075"), ("model", "org/mock-redshift"),
    ]  # fmt: skip


def test_every_example_of_the_card_runs(hub, hub_line, tmp_path):
    card = hub.bytes_of("dataset", "org/mock-galaxies", "README.md").decode()
    blocks = re.findall(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    everything = "".join(blocks)
    for reader in ("streaming=True", "DataLoader(", "pd.read_parquet", "pl.scan_parquet", "duckdb.sql", "Table.read"):
        assert reader in everything
    environment = hub_environment(hub, None, tmp_path / "home") | {"PYTHONWARNINGS": "error::UserWarning"}
    done = subprocess.run(
        [sys.executable, "-c", everything], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "torch.Size([8, 8])" in done.stdout  # 8 rows of 8 bins
    assert "[{'role': 'assistant', 'content': 'Redshift: [" in done.stdout.replace('"', "'")
    asked = [line for line, status in hub.requests if status == 206]
    assert any("/datasets/org/mock-galaxies/resolve/" in line for line in asked)  # a part of a file, not all of it
