"""Adapters that PEFT would load in part, or not at all: refused in a sentence that names what is wrong."""

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from specdata import SpecdataError
from specdata.hub import weights_revision
from specdata.inference.adapter import CONFIG, WEIGHTS, tensor_shapes
from specdata.inference.local import Generator

FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture(scope="module")
def whole(tiny_model, tmp_path_factory):
    """A LoRA adapter of the tiny model."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("whole") / "lora"
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), config).save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "lora")


def config(**keys):
    return lambda a: (a / CONFIG).write_text(json.dumps(json.loads((a / CONFIG).read_text()) | keys))


def tensors(change):
    def spoil(folder):
        found = load_file(folder / WEIGHTS)
        change(found)
        save_file(found, folder / WEIGHTS)

    return spoil


def as_pickle(folder):
    (folder / WEIGHTS).unlink()
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (tensors(lambda w: w.update({FIRST.replace("q_proj", "r_proj"): w.pop(FIRST)})), "has no place for .*r_proj"),
        (tensors(lambda w: w.pop(FIRST)), "has a place that is not filled for .*layers.0.self_attn.q_proj.lora_A"),
        (tensors(lambda w: w.update({FIRST: w[FIRST][:2].copy()})), r"the shape \[2, 32\], but the rank in the"),
        (tensors(lambda w: w.update({FIRST: w[FIRST][:, :7].copy()})), "does not load on .*size mismatch"),
        (config(r=10**9), "but the rank in the config is 1000000000"),
        (config(target_modules=["q_proj"]), "has no place for .*v_proj"),
        (config(target_modules=["x_proj"]), "does not load on .*x_proj"),
        (config(peft_type="NONE"), "does not load on"),
        (config(lora_alpha="many"), "is not that of a LoRA adapter .lora_alpha is many"),
        (config(target_modules=["q_proj", 3]), "target_modules is .'q_proj', 3"),
        (lambda a: (a / WEIGHTS).write_bytes((2).to_bytes(8, "little") + b"{}"), "has a place that is not filled"),
        (as_pickle, "holds its weights as adapter_model.bin, a pickle, which may run any code; save them as safetens"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_not_left_out_in_silence(adapter, tiny_model, spoil, sentence):
    spoil(adapter)
    with pytest.raises(SpecdataError, match=sentence) as found:
        Generator(str(tiny_model), adapter)
    assert "\n" not in str(found.value)


def test_the_revision_of_an_adapter_covers_its_config_but_for_the_base_model(adapter):
    before = weights_revision(adapter)
    config(base_model_name_or_path="org/elsewhere")(adapter)
    assert weights_revision(adapter) == before
    config(lora_alpha=800)(adapter)
    assert weights_revision(adapter) != before
    (adapter / CONFIG).write_text("[" * 100_000)
    with pytest.raises(SpecdataError, match=r"its adapter_config.json is not that of an adapter"):
        weights_revision(adapter)


def test_a_model_as_pickle_or_with_code_of_its_own_is_refused(tiny_model, tmp_path):
    coded = shutil.copytree(tiny_model, tmp_path / "coded")
    content = json.loads((coded / "config.json").read_text())
    (coded / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    auto = {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}
    (coded / "config.json").write_text(json.dumps(content | {"model_type": "ours", "auto_map": auto}))
    with pytest.raises(SpecdataError, match="cannot be loaded"):
        Generator(str(coded))
    assert not (tmp_path / "ran").exists()
    pickled = shutil.copytree(tiny_model, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(SpecdataError, match=r"holds its weights as pytorch_model.bin, a pickle"):
        Generator(str(pickled))


def test_shapes_are_those_of_the_file(adapter):
    assert tensor_shapes(adapter / WEIGHTS)[FIRST] == list(np.shape(load_file(adapter / WEIGHTS)[FIRST]))
