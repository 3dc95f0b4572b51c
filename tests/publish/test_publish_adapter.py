"""Adapters: what vLLM and PEFT have to load, what an evaluation has to be, and what is refused."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from specdata import SpecdataError
from specdata.hub import weights_revision
from specdata.publish.lora import check_lora
from specdata.publish.publish import publish_adapter


@pytest.fixture
def adapter(hub_line, tmp_path):
    """A copy of an adapter that a test may spoil."""
    return shutil.copytree(hub_line / "adapter", tmp_path / "adapter")


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_an_adapter_goes_up_once(alice, adapter):
    done = publish_adapter(adapter, "org/mock-once")
    again = publish_adapter(adapter, "org/mock-once")
    repo = alice.repo("model", "org/mock-once")
    assert done.made
    assert not again.made
    assert done.tag == f"adapter-{weights_revision(adapter)[:12]}"
    assert repo.tags == {done.tag: done.commit}
    assert len(repo.history()) == 2
    edit(adapter / "README.md", "## Limits", "Made for a test.\n\n## Limits")
    third = publish_adapter(adapter, "org/mock-once", tag="v1")
    assert [upload.path for upload in third.changes.changed] == ["README.md"]


def test_what_training_left_behind_stays_here(alice, adapter):
    for name in ("optimizer.pt", "training_args.bin", "checkpoint-2/optimizer.pt", "trainer_state.json"):
        (adapter / name).parent.mkdir(exist_ok=True)
        (adapter / name).write_bytes(b"\x80state")
    done = publish_adapter(adapter, "org/mock-clean")
    assert {"optimizer.pt", "training_args.bin", "checkpoint-2/optimizer.pt", "trainer_state.json"} <= set(
        done.left_out
    )
    files = alice.repo("model", "org/mock-clean").resolve("main").files
    assert not any(path.endswith((".pt", ".bin")) or "checkpoint" in path or "state" in path for path in files)


def test_a_tokenizer_that_changed_goes_along(alice, adapter):
    edit(adapter / "chat_template.jinja", "{%", "{# ours #}{%")
    done = publish_adapter(adapter, "org/mock-tokens")
    files = alice.repo("model", "org/mock-tokens").resolve("main").files
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= set(files)
    assert not any("tokenizer" in name for name in done.left_out)
    card = alice.bytes_of("model", "org/mock-tokens", "README.md").decode()
    assert 'AutoTokenizer.from_pretrained("org/mock-tokens")' in card


def test_names_of_this_disk_are_replaced_by_those_of_the_hub(alice, adapter):
    """As where a local folder was trained on and from."""
    change(adapter / "results.json", lambda r: (r["dataset"].update(name="mine"), r["model"].update(base="base")))
    edit(adapter / "recipe.yaml", "org/mock-galaxies", "data/mine")
    edit(adapter / "recipe.yaml", "org/tiny-llama", "base")
    with (adapter / "recipe.yaml").open("a") as stream:  # a mixture, of which one part is of the data set
        stream.write(
            "datasets:\n  - path: data/mine\n    name: chat\n  - name: paper\n    path: mine\n  - path: replay\n"
        )
    edit(adapter / "README.md", "`org/mock-galaxies`", "`mine`")
    edit(adapter / "README.md", "datasets:\n- org/mock-galaxies\n", "")
    with pytest.raises(SpecdataError, match=r"data set 'mine' is not a name of the Hub: give --dataset ORG/NAME"):
        publish_adapter(adapter, "org/mock-names")
    publish_adapter(adapter, "org/mock-names", dataset="org/mock-galaxies")
    results = json.loads(alice.bytes_of("model", "org/mock-names", "results.json"))
    assert (results["dataset"]["name"], results["model"]["base"]) == ("org/mock-galaxies", "org/tiny-llama")
    recipe = alice.bytes_of("model", "org/mock-names", "recipe.yaml").decode()
    assert "dataset_name: org/mock-galaxies\n" in recipe
    assert "model_name_or_path: org/tiny-llama\n" in recipe
    assert [part["path"] for part in yaml.safe_load(recipe)["datasets"]] == [*["org/mock-galaxies"] * 2, "replay"]
    card = alice.bytes_of("model", "org/mock-names", "README.md").decode()
    assert "\ndatasets:\n- org/mock-galaxies\n" in card
    assert "[`org/mock-galaxies`](https://huggingface.co/datasets/org/mock-galaxies)" in card
    assert "mine" not in card.replace("determine", "")


def predictions(adapter, change_table):
    path = adapter / "predictions.parquet"
    pq.write_table(change_table(pq.read_table(path)), path)


def without_answers(adapter):
    empty = lambda t: t.set_column(t.column_names.index("z_pred"), "z_pred", pa.nulls(len(t), pa.float64()))  # noqa: E731
    predictions(adapter, empty)


def no_value(adapter):
    change(adapter / "results.json", lambda r: r["metrics"]["mae"].update(low=None))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda a: (a / "results.json").unlink(), "has no results.json of specdata; publish the folder"),
        (no_value, "metrics: mae: low has no value; evaluate again"),
        (lambda a: change(a / "results.json", lambda r: r["dataset"].update(split="train")), "on the training split"),
        (without_answers, r"the evaluation failed, for none of 24 answers parses; train and evaluate again"),
        (lambda a: predictions(a, lambda t: t.slice(1)), "the evaluation failed, with 23 answers of 24 rows"),
        (
            lambda a: change(a / "results.json", lambda r: r["metrics"]["mae"].update(value=0.001)),
            "says mae = 0.001, and its predictions give 0.",
        ),
        (lambda a: edit(a / "README.md", "tags:\n", "tags:\n- generated_from_trainer\n"), "is TRL's placeholder"),
        (lambda a: edit(a / "README.md", "      value: ", "      value: 9"), r"says mae = 9.*, results.json 0"),
        (lambda a: edit(a / "README.md", "| nearest neighbours", "| None | x"), r"no value for '\| None' in the text"),
        (lambda a: (a / "predictions.parquet").write_bytes(b"x"), "predictions.parquet: cannot be read"),
        (lambda a: (a / "adapter_config.json").unlink(), "is missing or lacks r, lora_alpha or target_modules"),
        (
            lambda a: change(a / "adapter_config.json", lambda c: c.update(base_model_name_or_path="models/llama")) or
            change(a / "adapter_config.json", lambda c: c.update(base_model_name_or_path="llama")),
            "base model 'llama' is not a name of the Hub: give --base-model ORG/NAME",
        ),
    ],
)  # fmt: skip
def test_what_is_not_what_its_card_says_is_refused(alice, adapter, spoil, sentence):
    spoil(adapter)
    with pytest.raises(SpecdataError, match=sentence) as found:
        publish_adapter(adapter, "org/mock-refused")
    assert "\n" not in str(found.value)
    assert ("model", "org/mock-refused") not in alice.storage.repos


def test_results_of_other_weights_are_refused(alice, adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, adapter / "adapter_model.safetensors")
    with pytest.raises(SpecdataError, match="its results are those of other weights; evaluate this adapter"):
        publish_adapter(adapter, "org/mock-refused")


def test_training_rows_in_the_evaluation_are_refused(alice, adapter, mock_data):
    trained = pq.read_table(next(mock_data.glob("paper/train-*")))["object_id"][0].as_py()

    def swap(table):
        objects = [trained, *table["object_id"].to_pylist()[1:]]
        return table.set_column(table.column_names.index("object_id"), "object_id", pa.array(objects))

    predictions(adapter, swap)
    with pytest.raises(
        SpecdataError, match=r"1 objects that the adapter was scored on, such as .*, are in the training"
    ):
        publish_adapter(adapter, "org/mock-refused")


def test_another_data_set_than_the_one_that_was_scored_on_is_refused(alice, adapter):
    change(adapter / "results.json", lambda r: r["dataset"].update(revision="0" * 64))
    text = (adapter / "README.md").read_text()
    revision = text.partition("revision: ")[2].split()[0]
    (adapter / "README.md").write_text(text.replace(f"revision: {revision}", f"revision: '{'0' * 64}'"))
    with pytest.raises(SpecdataError, match=r"org/mock-galaxies: does not hold the revision 000000000000 that the"):
        publish_adapter(adapter, "org/mock-refused")
    with pytest.raises(SpecdataError, match="org/nothing: no such folder, and no dataset on the Hub that may be read"):
        publish_adapter(adapter, "org/mock-refused", dataset="org/nothing")


def test_a_base_model_that_is_not_to_be_had_is_refused(alice, adapter):
    alice.put("model", "meta/llama", {"config.json": b"{}"}, gated=True)
    with pytest.raises(
        SpecdataError, match=r"meta/llama: is gated, and the token has no access; ask for access on http"
    ):
        publish_adapter(adapter, "org/mock-refused", base_model="meta/llama")


def test_an_adapter_of_mocks_does_not_go_out_under_the_name_of_a_survey(alice, adapter):
    with pytest.raises(
        SpecdataError, match=r"trained or scored on mocks, and its name says sdss; choose a --repo with"
    ):
        publish_adapter(adapter, "org/sdss-redshift")
    assert publish_adapter(adapter, "org/mock-sdss-redshift").made


def test_a_data_set_is_no_place_for_an_adapter(alice, adapter):
    alice.put("dataset", "org/mock-rows", {"rows.csv": b"1"})
    with pytest.raises(SpecdataError, match="org/mock-rows: is a dataset on the Hub, and no model"):
        publish_adapter(adapter, "org/mock-rows")


def tensors(adapter, edit_tensors):
    weights = load_file(adapter / "adapter_model.safetensors")
    edit_tensors(weights)
    save_file(weights, adapter / "adapter_model.safetensors")


def config(**keys):
    return lambda adapter: change(adapter / "adapter_config.json", lambda content: content.update(keys))


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (config(modules_to_save=["lm_head"]), "modules_to_save is set, that is whole modules beside the low-rank ones"),
        (config(use_dora=True), "use_dora is set, that is DoRA, which vLLM does not load; train without it"),
        (config(bias="all"), "bias is 'all', which vLLM does not load; train with bias none"),
        (config(rank_pattern={"q_proj": 4}), "rank_pattern is set, that is a rank that differs by layer"),
        (config(peft_type="IA3"), "is of type IA3, and vLLM loads LORA alone"),
        (config(r=1024), "rank 1024 lies outside of 1 to 512"),
        (config(r=4), r"lora_A.weight has the shape \[8, 32\], with rank 4 in the config"),
        (config(target_modules=["q_proj"]), "holds q_proj, v_proj, and its config names q_proj"),
        (lambda a: tensors(a, lambda w: w.pop(FIRST)), "model.layers.0.self_attn.q_proj lacks lora_A or lora_B"),
        (lambda a: tensors(a, lambda w: w.update({"lm_head.weight": np.zeros(3)})), "does not know the tensor lm_head"),
        (lambda a: (a / "adapter_model.safetensors").write_bytes(b"PK"), "is missing or no safetensors file"),
    ],
)  # fmt: skip
def test_what_vllm_would_not_load_is_refused(adapter, spoil, sentence):
    spoil(adapter)
    with pytest.raises(SpecdataError, match=sentence):
        check_lora(adapter)


def test_what_peft_writes_is_what_vllm_loads(hub_line):
    assert check_lora(hub_line / "adapter") == 8
