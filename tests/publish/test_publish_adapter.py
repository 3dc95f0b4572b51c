"""Adapters: what vLLM and PEFT have to load, what an evaluation has to be, and what is refused."""

import json
import shutil
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hub_client import check_full_disk, use_hub
from safetensors.numpy import load_file, save, save_file
from test_results import example_retention

from specdata import SpecdataError
from specdata.evaluation.evaluate import evaluate
from specdata.hub import weights_revision
from specdata.publish.adapter_card import write_adapter
from specdata.publish.compatible import check_lora
from specdata.publish.publish import publish_adapter, publish_dataset
from specdata.results import save_retention
from specdata.text.tokenizer import load_tokenizer

NAMES = {"dataset": "org/mock-rows"}  # which was read from a local folder
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
# A mixture, of which two parts are of the data set.
RECIPE = """\
model_name_or_path: taught-llama  # the base
dataset_name: "data/mock-tiny"
lora_r: 4
lora_alpha: 8
lora_dropout: 0.0
lora_target_modules: [q_proj]
datasets:
  - path: some/where/mock-tiny
    name: paper
  - {name: chat, path: mock-tiny}
  - path: replay
"""


@pytest.fixture(scope="module")
def gathered(hub, mock_data, taught_model, taught_adapter, tmp_path_factory):
    """The folder of an adapter that was trained from and on local folders; both are on the Hub under other names."""
    folder = tmp_path_factory.mktemp("gathered")
    card = b"---\nlicense: llama9\nlicense_link: https://example.org/licence\n---\n"
    base = {path.name: path.read_bytes() for path in taught_model.iterdir()} | {"README.md": card}
    hub.put("model", "org/small-llama", base)
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_hub(hub, monkeypatch, hub.tokens["alice"])
        publish_dataset(mock_data, "org/mock-rows")
    shutil.copytree(taught_adapter, folder / "training")
    for name in TOKENIZER:
        shutil.copyfile(taught_model / name, folder / "training" / name)
    (folder / "recipe.yaml").write_text(RECIPE)
    options = {"adapter": str(folder / "training"), "config": "paper", "greedy_only": True, "progress": False}
    evaluate(str(taught_model), str(mock_data), folder / "scored", **options)
    write_adapter(
        folder / "training", folder / "scored", folder / "recipe.yaml", folder / "adapter",
        base_model="org/small-llama",
    )  # fmt: skip
    return folder / "adapter"


@pytest.fixture
def adapter(gathered, tmp_path):
    """A copy of an adapter that a test may spoil."""
    return shutil.copytree(gathered, tmp_path / "adapter")


def change(path, edit):
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def test_an_adapter_goes_up_once_and_nothing_that_training_left_behind(alice, adapter):
    junk = {"optimizer.pt", "training_args.bin", "checkpoint-2/optimizer.pt", "tokenizer.pkl", "other.jinja"}
    for name in junk:
        (adapter / name).parent.mkdir(exist_ok=True)
        (adapter / name).write_bytes(b"\x80state")
    done = publish_adapter(adapter, "org/mock-once", **NAMES)
    assert done.left_out == sorted(junk | set(TOKENIZER))
    repo = alice.repo("model", "org/mock-once")
    assert set(repo.resolve("main").files) == {
        ".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors", "card.json", "decision.json",
        "decision_template.jinja", "errors.png", "predictions.parquet", "recipe.yaml",
        "redshift.png", "results.json",
    }  # fmt: skip
    assert done.notes == [
        "vLLM: --enable-lora --max-lora-rank 8", "the tokenizer is that of org/small-llama and is not published again",
        "the mean absolute error is not clearly lower than that of a constant, and the card says so",
    ]  # fmt: skip
    again = publish_adapter(adapter, "org/mock-once", **NAMES)
    assert (done.is_new, again.is_new, again.commit) == (True, False, done.commit)
    assert repo.tags == {f"adapter-{weights_revision(adapter)[:12]}": done.commit}


def test_a_full_disk_is_told_and_nothing_of_it_is_visible(alice, adapter, monkeypatch, command):
    line = ["publish", "adapter", adapter, "--repo", "org/mock-full", "--dataset", NAMES["dataset"]]
    for place in ("adapter_card", "scan", None):
        check_full_disk(place, monkeypatch, command, line)
        repo = alice.storage.repos.get(("model", "org/mock-full"))
        assert repo is None or set(repo.resolve("main").files) == {".gitattributes"}
    assert command(*line)[0] == 0
    assert len(alice.repo("model", "org/mock-full").history()) == 2


def test_a_retention_goes_along(alice, adapter):
    retention = example_retention()
    save_retention(adapter, retention)
    with pytest.raises(SpecdataError, match="its retention is that of other weights; measure it again"):
        publish_adapter(adapter, "org/mock-retention", **NAMES, dry_run=True)
    retention["model"]["adapter_revision"] = weights_revision(adapter)
    save_retention(adapter, retention)
    (adapter / "retention.png").touch()  # it is drawn anew
    uploads = publish_adapter(adapter, "org/mock-retention", **NAMES, dry_run=True).uploads
    model = json.loads(uploads["retention.json"])["model"]
    assert (model["base"], model["adapter"]) == ("org/small-llama", "org/mock-retention")
    assert uploads["retention.png"].startswith(b"\x89PNG")
    assert b"| **science** | 40 |" in uploads["README.md"]


def test_a_tokenizer_that_changed_goes_along(alice, adapter):
    template = adapter / "chat_template.jinja"
    template.write_text("{# ours #}" + template.read_text())
    publish_adapter(adapter, "org/mock-tokens", **NAMES)
    assert {*TOKENIZER} <= set(alice.repo("model", "org/mock-tokens").resolve("main").files)
    card = alice.bytes_of("model", "org/mock-tokens", "README.md").decode()
    assert 'AutoTokenizer.from_pretrained("org/mock-tokens")' in card
    template.write_text("{% for i in range(10**9) %}a{% endfor %}")
    load_tokenizer.cache_clear()
    with pytest.raises(SpecdataError, match=r"its tokenizer cannot be used \(the chat template .*Range too big"):
        publish_adapter(adapter, "org/mock-tokens", **NAMES)
    template.unlink()
    template.symlink_to("/etc/hostname")
    with pytest.raises(SpecdataError, match=r"chat_template.jinja is missing, or is a link to another file"):
        publish_adapter(adapter, "org/mock-tokens", **NAMES)


def test_numbers_and_figures_on_the_hub_are_those_of_the_predictions(alice, adapter):
    card = (adapter / "README.md").read_text()
    mae = f"{json.loads((adapter / 'results.json').read_text())['metrics']['mae']['value']:.4f}"
    (adapter / "README.md").write_text(card.replace(mae, "0.9353"))
    (adapter / "redshift.png").write_bytes(b"a picture of something else")
    publish_adapter(adapter, "org/mock-numbers", **NAMES)
    published = alice.bytes_of("model", "org/mock-numbers", "README.md").decode()
    assert mae in published
    assert "0.9353" not in published
    assert alice.bytes_of("model", "org/mock-numbers", "redshift.png").startswith(b"\x89PNG")


def test_names_of_the_hub_replace_those_of_this_disk(alice, adapter):
    from huggingface_hub import ModelCard

    with pytest.raises(SpecdataError, match=r"data set 'mock-tiny' is not a name of the Hub: give --dataset ORG/NAME"):
        publish_adapter(adapter, "org/mock-names")
    publish_adapter(adapter, "org/mock-names", **NAMES)
    content = {name: alice.bytes_of("model", "org/mock-names", name).decode() for name in
               ("README.md", "recipe.yaml", "results.json", "adapter_config.json")}  # fmt: skip
    results = json.loads(content["results.json"])
    assert (results["dataset"]["name"], results["model"]["base"]) == ("org/mock-rows", "org/small-llama")
    assert results["model"]["adapter"] == "org/mock-names"
    assert "--model org/small-llama --adapter org/mock-names --dataset org/mock-rows" in results["command"]
    assert json.loads(content["adapter_config.json"])["base_model_name_or_path"] == "org/small-llama"
    assert content["recipe.yaml"].startswith("model_name_or_path: org/small-llama  # the base\n")
    recipe = yaml.safe_load(content["recipe.yaml"])
    assert recipe["dataset_name"] == "org/mock-rows"
    assert [part["path"] for part in recipe["datasets"]] == ["org/mock-rows", "org/mock-rows", "replay"]
    card = ModelCard(content["README.md"])
    assert (card.data.base_model, card.data.datasets) == ("org/small-llama", ["org/mock-rows"])
    assert {result.dataset_type for result in card.data.eval_results} == {"org/mock-rows"}
    assert (card.data.license, card.data.license_link) == ("llama9", "https://example.org/licence")
    for line in (
        "whose card states the licence\n[llama9](https://example.org/licence)",
        "[`org/mock-rows`](https://huggingface.co/datasets/org/mock-rows)",
        "specdata predict spec-0468-51912-0523.fits \\\n  --model org/small-llama --adapter org/mock-names",
        'PeftModel.from_pretrained(base, "org/mock-names")',
        'AutoTokenizer.from_pretrained("org/small-llama")',
        "vllm serve org/small-llama --enable-lora --max-lora-rank 8 \\\n  --lora-modules redshift=org/mock-names",
    ):
        assert line in card.text
    assert not any("taught-llama" in text or "mock-tiny" in text for text in content.values())
    local = (adapter / "README.md").read_text()
    assert 'license: "unknown"' in local
    assert "whose licence is not known here" in local


def predictions(adapter, change_table):
    path = adapter / "predictions.parquet"
    pq.write_table(change_table(pq.read_table(path)), path)


def without_answers(adapter):
    empty = lambda t: t.set_column(t.column_names.index("z_pred"), "z_pred", pa.nulls(len(t), pa.float64()))  # noqa: E731
    predictions(adapter, empty)


def other_weights(adapter):
    weights = load_file(adapter / "adapter_model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, adapter / "adapter_model.safetensors")


def trained_on(adapter):
    """Score an object of the training split, which has the number 0 on the Hub."""
    ids = pq.read_table(adapter.parent / "train.parquet")["position_id"].to_pylist()
    predictions(
        adapter, lambda t: t.set_column(t.column_names.index("position_id"), "position_id", pa.array(ids[: len(t)]))
    )


def results(edit):
    return lambda adapter: change(adapter / "results.json", edit)


def card(**keys):
    return lambda adapter: change(adapter / "card.json", lambda content: content.update(keys))


def config(**keys):
    return lambda adapter: change(adapter / "adapter_config.json", lambda content: content.update(keys))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda a: (a / "results.json").unlink(), "has no results.json of specdata; publish the folder that `specdata"),
        (lambda a: (a / "card.json").unlink(), "card.json: is missing or not JSON"),
        (card(cost={"hours": "few"}), "card.json: cost: hours is few .*; make the folder again by `specdata card`"),
        (card(history=[[8, float("nan")]]), "card.json: history: 0: 1 is nan .* finite number.; make the folder again"),
        (card(overrides=["max_steps"]), r"card.json: overrides is \['max_steps'\] "),
        (results(lambda r: r["metrics"]["mae"].update(low=None)), "metrics: mae: low has no value; evaluate again"),
        (results(lambda r: r["dataset"].update(split="train")), "was scored on the training split"),
        (results(lambda r: r["dataset"].update(config="packed")), "the adapter was trained on 'paper' and 'chat'"),
        (results(lambda r: r["metrics"]["mae"].update(value=0.001)), "mae: value = 0.001, and its predictions give 0."),
        (results(lambda r: r["metrics"]["mae"].update(high=0.001)), "says metrics: mae: high = 0.001, and"),
        (results(lambda r: r["greedy"].update(distinct_answers=99)), "says greedy: distinct_answers = 99, and its"),
        (results(lambda r: r["baselines"]["constant"]["difference"].update(low=-9)), "says baselines: constant"),
        (results(lambda r: r["subsets"]["z"][0]["metrics"]["mae"].update(value=9)), "says subsets: z: 0"),
        (results(lambda r: r["dataset"].update(revision="0" * 64)), "does not hold the revision 000000000000 that the"),
        (results(lambda r: r["dataset"].update(n_mock=0)), "has 24 as n_mock, and the results say 0; evaluate again"),
        (results(lambda r: r["dataset"].update(n_train=9)), "has 24 as n_train, and the results say 9; evaluate"),
        (results(lambda r: r["encoding"].update(scheme="csv")), "writes the config paper in another way than the"),
        (without_answers, r"none of its 24 rows has an answer; train and evaluate again"),
        (lambda a: predictions(a, lambda t: t.slice(1)), "holds predictions of 23 of 24 rows; evaluate again"),
        (lambda a: (a / "predictions.parquet").write_bytes(b"x"), "predictions.parquet: cannot be read"),
        (trained_on, r"24 objects that the adapter was scored on, such as .*, are in the training split of org"),
        (other_weights, "its results are those of other weights; evaluate this adapter"),
        (lambda a: (a / "adapter_config.json").unlink(), "its results are those of other weights; evaluate"),
        (config(base_model_name_or_path="llama"), "base model 'llama' is not a name of the Hub: give --base-model ORG"),
    ],
)  # fmt: skip
def test_an_adapter_that_does_not_agree_with_itself_is_refused(alice, mock_data, adapter, spoil, sentence):
    shutil.copyfile(next(mock_data.glob("paper/train-*")), adapter.parent / "train.parquet")
    spoil(adapter)
    with pytest.raises(SpecdataError, match=sentence) as found:
        publish_adapter(adapter, "org/mock-refused", **NAMES)
    assert "\n" not in str(found.value)
    assert ("model", "org/mock-refused") not in alice.storage.repos


@pytest.mark.parametrize(
    ("repo", "names", "sentence"),
    [
        ("org/mock-x", {"dataset": "org/nothing"}, "org/nothing: no such folder, and no dataset on the Hub that may"),
        ("org/mock-x", {"base_model": "meta/llama9"}, "meta/llama9: is gated, and the token has no access; ask for"),
        ("org/mock-x", {"base_model": "org/wide"}, "q_proj is 32 x 32 here and 64 x 64 there; give"),
        ("org/mock-x", {"base_model": "org/wide-4bit"}, "it is 64 wide, not 32; give the right one by --base-model"),
        ("org/mock-x", {"base_model": "org/pickled"}, "org/pickled: has no weights as safetensors, which the adapter"),
        ("org/mock-x", {"base_model": "org/junk"}, "org/junk: has no weights as safetensors, which the adapter"),
        ("org/mock-x", {"base_model": "org/shallow"}, "layers.1.self_attn.q_proj is 32 x 32 here and missing"),
        ("org/sdss-redshift", {}, "trained or scored on mocks, and its name says sdss; choose a --repo with"),
        ("org/mock-pictures", {}, "org/mock-pictures: is a dataset on the Hub, not a model"),
    ],
)  # fmt: skip
def test_a_name_that_does_not_fit_is_refused(alice, adapter, repo, names, sentence):
    for kind, name in (("model", "meta/llama9"), ("dataset", "org/mock-pictures")):
        if (kind, name) not in alice.storage.repos:
            alice.put(kind, name, {"config.json": b"{}"}, gated=kind == "model")
    for name, width, layers in (("org/wide", 64, 2), ("org/shallow", 32, 1)):
        if ("model", name) not in alice.storage.repos:
            weights = {f"model.layers.{n}.self_attn.q_proj.weight": np.zeros((width, width)) for n in range(layers)}
            alice.put("model", name, {"model.safetensors": save(weights)})
    if ("model", "org/pickled") not in alice.storage.repos:
        weights = save({"model.layers.0.self_attn.q_proj.weight": np.zeros((2048, 1), np.uint8)})
        alice.put("model", "org/wide-4bit", {"model.safetensors": weights, "config.json": b'{"hidden_size": 64}'})
        alice.put("model", "org/junk", {"model.safetensors": struct.pack("<Q", 7) + b"[1,2,3]"})
        alice.put("model", "org/pickled", {"pytorch_model.bin": b"PK", "config.json": b"{}"})
    with pytest.raises(SpecdataError, match=sentence):
        publish_adapter(adapter, repo, **NAMES | names)


def tensors(edit_tensors):
    def spoil(adapter):
        weights = load_file(adapter / "adapter_model.safetensors")
        edit_tensors(weights)
        save_file(weights, adapter / "adapter_model.safetensors")

    return spoil


FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (config(modules_to_save=["lm_head"]), "modules_to_save is set, that is whole modules trained beside the low"),
        (config(use_dora=True), "use_dora is set, that is DoRA, which vLLM does not load; train without it"),
        (config(bias="all"), "bias is set, that is a bias, which vLLM does not load; train without it"),
        (config(rank_pattern={"q_proj": 4}), "rank_pattern is set, that is a rank that differs by layer"),
        (config(peft_type="IA3"), "is of type IA3, and vLLM loads LORA only"),
        (config(r=1024), "rank 1024 is outside the range that vLLM takes, 1 to 512"),
        (config(r=8), r"lora_A.weight has the shape \[4, 32\], but the rank in the config is 8"),
        (config(target_modules=["q_proj", "v_proj"]), "holds q_proj, but the config names q_proj, v_proj"),
        (tensors(lambda w: w.pop(FIRST)), "model.layers.0.self_attn.q_proj lacks lora_A or lora_B"),
        (tensors(lambda w: w.update({"lm_head.weight": np.zeros(3)})), "does not know the tensor lm_head"),
        (lambda a: (a / "adapter_model.safetensors").write_bytes(b"PK"), "is missing or not a safetensors file"),
    ],
)  # fmt: skip
def test_an_adapter_that_vllm_would_not_load_is_refused(adapter, spoil, sentence):
    assert check_lora(adapter) == 8
    spoil(adapter)
    with pytest.raises(SpecdataError, match=sentence):
        check_lora(adapter)
