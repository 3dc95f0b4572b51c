"""Rows for `test_wrong_input` about models, adapters, results and the Hub: files, command lines, and what is said."""

import json
import struct

CONFIG = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
CONFIG |= {"base_model_name_or_path": "model"}
DEEP = b"[" * 100_000
FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def head(tensors, rest=b"") -> bytes:
    """A safetensors file that begins with this JSON."""
    content = tensors if isinstance(tensors, bytes) else json.dumps(tensors).encode()
    return struct.pack("<Q", len(content)) + content + rest


def tensor(shape, start, end) -> dict:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


WEIGHTS = head({FIRST: tensor([4, 1], 0, 16)}, bytes(16))
NOT_CONFIG, NOT_WEIGHTS = "adapter_config.json is not that of ", "is missing or not a safetensors file"
# Content of an adapter's config and weights, None for no file, and what `specdata predict` says.
ADAPTERS = {
    "no-config": (None, WEIGHTS, "has no adapter_config.json; give the folder of a LoRA adapter"),
    "config-list": (b"[]", WEIGHTS, NOT_CONFIG),
    "config-text": (b'"r"', WEIGHTS, NOT_CONFIG),
    "config-null": (b"null", WEIGHTS, NOT_CONFIG),
    "config-number": (b"3", WEIGHTS, NOT_CONFIG),
    "config-open": (b"{", WEIGHTS, NOT_CONFIG),
    "config-latin-1": ("é".encode("latin-1"), WEIGHTS, NOT_CONFIG),
    "config-deep": (DEEP, WEIGHTS, NOT_CONFIG),
    "config-digits": (b'{"r": ' + b"9" * 5000 + b"}", WEIGHTS, NOT_CONFIG),
    "config-empty": (b"", WEIGHTS, NOT_CONFIG),
    "no-rank": (json.dumps(CONFIG | {"r": None}).encode(), WEIGHTS, NOT_CONFIG),
    "rank-text": (json.dumps(CONFIG | {"r": "8"}).encode(), WEIGHTS, NOT_CONFIG),
    "rank-zero": (json.dumps(CONFIG | {"r": 0}).encode(), WEIGHTS, NOT_CONFIG),
    "rank-true": (json.dumps(CONFIG | {"r": True}).encode(), WEIGHTS, NOT_CONFIG),
    "rank-huge": (json.dumps(CONFIG | {"r": 10**12}).encode(), WEIGHTS, "but the rank in the config is 1000000000000"),
    "base-list": (json.dumps(CONFIG | {"base_model_name_or_path": []}).encode(), WEIGHTS, NOT_CONFIG),
    "base-away": (json.dumps(CONFIG | {"base_model_name_or_path": "a/b/c"}).encode(), WEIGHTS, "a/b/c"),
    "no-weights": (json.dumps(CONFIG).encode(), None, "holds no *.safetensors"),
    "weights-empty": (json.dumps(CONFIG).encode(), b"", NOT_WEIGHTS),
    "weights-zip": (json.dumps(CONFIG).encode(), b"PK\3\4" + bytes(100), NOT_WEIGHTS),
    "weights-huge-head": (json.dumps(CONFIG).encode(), struct.pack("<Q", 2**63), NOT_WEIGHTS),
    "weights-cut": (json.dumps(CONFIG).encode(), WEIGHTS[:20], NOT_WEIGHTS),
    "weights-list": (json.dumps(CONFIG).encode(), head(b"[1]"), NOT_WEIGHTS),
    "weights-deep": (json.dumps(CONFIG).encode(), head(DEEP), NOT_WEIGHTS),
    "weights-no-shape": (json.dumps(CONFIG).encode(), head({FIRST: {}}), NOT_WEIGHTS),
    "weights-shape-text": (json.dumps(CONFIG).encode(), head({FIRST: tensor("4", 0, 1)}), NOT_WEIGHTS),
    "weights-negative": (json.dumps(CONFIG).encode(), head({FIRST: tensor([-4, 1], 0, 1)}), NOT_WEIGHTS),
    "weights-rank": (
        json.dumps(CONFIG).encode(),
        head({FIRST: tensor([8, 1], 0, 32)}, bytes(32)),
        "has the shape [8, 1]",
    ),
}
# Content of results.json, and what is said of it.
RESULTS = {
    "results-list": (b"[]", "has no results.json of specdata"),
    "results-text": (b'"format"', "has no results.json of specdata"),
    "results-open": (b"{", "has no results.json of specdata"),
    "results-empty": (b"", "has no results.json of specdata"),
    "results-latin-1": ("é".encode("latin-1"), "has no results.json of specdata"),
    "results-deep": (DEEP, "has no results.json of specdata"),
    "results-old": (b'{"format": 1}', "is of format 1, and this specdata reads"),
    "results-format": (b'{"format": [[]]}', "is of format [[]], and this specdata reads"),
    "results-part": (b'{"format": 3}', "has no value; evaluate again"),
}
REPOS = (
    "data",
    "a/b/c",
    "org/",
    "/x",
    "'org/na me'",
    "https://huggingface.co/org/x",
    "org/x@main",
    "../x",
    "org/é",
    "''",
)
REFS = ("'a b'", "..", "a..b", "x.lock", "-x", "/x", "v1^", "'a\nb'")
INPUTS = {
    "model/config.json": b"{}",
    "model/model.safetensors": WEIGHTS,
    "pickled/config.json": b"{}",
    "pickled/pytorch_model.bin": b"\x80\x04.",
    "nothing/config.json": b"{}",
    "weights-pipe/adapter_config.json": json.dumps(CONFIG).encode(),
    "demo-broken/demo.json": b"[]",
    "recipes-not/sft.yaml": b"model_name_or_path: m\ndataset_name: d\noutput_dir: o\n",
}
for _name, (_config, _weights, _) in ADAPTERS.items():
    _files = {"adapter_config.json": _config, "adapter_model.safetensors": _weights, "note.txt": b""}
    INPUTS |= {f"{_name}/{file}": content for file, content in _files.items() if content is not None}
for _name, (_results, _) in RESULTS.items():
    INPUTS |= {f"{_name}/results.json": _results, f"{_name}/adapter_config.json": json.dumps(CONFIG).encode()}
    INPUTS |= {f"{_name}/adapter_model.safetensors": WEIGHTS}
_EVALUATE = "evaluate --model model --dataset data --config paper --output out"
_PUBLISH = "--repo org/mock-x --dry-run"
ROWS = [
    *((f"predict {{spectrum}} --adapter {name} --dataset data --config paper", said)
      for name, (_, _, said) in ADAPTERS.items()),
    *((f"{_EVALUATE} --adapter {name}", said) for name, (_, _, said) in ADAPTERS.items() if name != "base-away"),
    *((f"{command} {name} {rest}", said) for name, (_, said) in RESULTS.items()
      for command, rest in (("predict {spectrum} --adapter", ""), ("publish adapter", _PUBLISH),
                            ("card --training results-old --recipe sft.yaml --output out --evaluation", ""))),
    ("predict {spectrum} --adapter weights-pipe --dataset data --config paper", NOT_WEIGHTS),
    ("evaluate --model model --dataset data --config paper --output out --templates pipe", "it is a device or a pipe"),
    ("demo --output demo-broken", "demo-broken: was begun by specdata of an unknown version; remove it, or"),
    # Base models
    *((f"evaluate --model {name} --dataset data --config paper --output out", said) for name, said in (
        ("pickled", "holds its weights as pytorch_model.bin, a pickle, which may run any code"),
        ("nothing", "holds no *.safetensors"), ("model", "model model: cannot be loaded"), ("mis/typed", "mis/typed"),
        ("a/b/c", "is not a name of the Hub"), ("''", "holds no *.safetensors"), ("notes.txt/x/y", "notes.txt/x/y"),
        ("'a b'", "is not a name of the Hub"), (f"org/{'a' * 300}", "is not a name of the Hub"),
    )),
    # What is scored
    *((f"evaluate --model model --output out {rest}", said) for rest, said in (
        ("--dataset nowhere", "nowhere: no such folder, and not a name of the Hub"),
        ("--dataset deep", "deep: has no readable manifest.json"), ("--dataset empty", "empty: has no readable"),
        ("--dataset notes.txt", "notes.txt: no such folder"), ("--dataset mis/typed", "mis/typed: no such folder"),
        ("--dataset data", "say by --config"), ("--dataset data --config x", "config 'x': data has the text configs"),
        ("--dataset data --config ''", "say by --config"),
        ("--dataset data --config paper --split train", "rows it learned from"),
        ("--dataset data --config spectra", "config 'spectra': data has the text configs paper, packed, chat"),
        ("--dataset data --config paper --templates none", "none: holds no templates in redrock's format"),
        ("--dataset data --config paper --split x", "data has the splits validation, test to score on"),
        ("--dataset data --config paper --limit 0", "limit 0: give at least 1 row"),
        ("--dataset data --config paper --limit x", "Invalid value for '--limit'"),
        ("--dataset data --config paper --batch-size 0", "Invalid value for '--batch-size'"),
        ("--dataset data --config paper --device warp", "device warp: cannot be used here"),
        ("--dataset data --config paper --device cuda:99", "device cuda:99: cannot be used here"),
        ("--dataset data --config paper --recipe nothing", "nothing: there is no such recipe"),
        ("--dataset data --config paper --recipe sft.yaml", "sft.yaml: names no text config"),
        ("--dataset data --config paper --recipe aliases.yaml", "it holds more than 50,000 values"),
        ("--dataset data --config paper --baselines magic", "baseline 'magic': give some of constant, nearest_"),
        ("--dataset data --config paper --adapter nowhere", "nowhere: no such folder, and not a name of the Hub"),
        ("--dataset data --config paper --adapter mis/typed", "mis/typed: no such folder"),
    )),
    *((f"evaluate --model model --dataset data --config paper --output {output}", said) for output, said in (
        ("taken", "exists already; choose another output"), ("taken --overwrite", "holds no results.json"),
        ("notes.txt", "exists already"), ("/proc/out", "cannot be made"), ("notes.txt/out", "cannot be made"),
    )),
    # Single spectra
    ("predict --adapter model", "Missing argument 'files'"),
    ("predict {spectrum}", "Missing option '--adapter'"),
    ("predict {spectrum} --adapter nowhere", "nowhere: no such folder, and not a name of the Hub"),
    ("predict {spectrum} --adapter mis/typed", "mis/typed: no such folder"),
    ("predict {spectrum} --adapter results-list --output out.xml", "give a name that ends in .csv, .ecsv"),
    ("predict {spectrum} --adapter results-list --output empty", "empty: give a name that ends in .csv, .ecsv"),
    ("chat --adapter model", "Missing option '--spectrum'"),
    ("chat --adapter smollm2-135m-redshift --spectrum notes.txt", "notes.txt: not a spectrum that can be read"),
    ("chat --adapter smollm2-135m-redshift --spectrum nothing.fits", "nothing.fits: "),
    ("chat --adapter smollm2-135m-redshift --spectrum pipe", "pipe: "),
    ("chat --adapter smollm2-135m-redshift --spectrum empty", "empty: "),
    ("chat --adapter smollm2-135m-redshift --spectrum bombs/spec-3.fits", "spec-3.fits: not a spectrum that"),
    ("chat --adapter nowhere --spectrum {spectrum}", "nowhere: no such folder"),
    ("chat --adapter no-config --spectrum {spectrum} --save out.txt", "give a name that ends in .json, .md"),
    ("chat --adapter no-config --spectrum {spectrum} --figure out.gif", "give a name that ends in .png, .pdf, .svg"),
    ("chat --adapter no-config --spectrum {spectrum} --max-new-tokens 0", "Invalid value for '--max-new-tokens'"),
    ("chat --adapter no-config --spectrum {spectrum} --save notes.txt/x.md", "cannot be written"),
    # Rows of a data set
    *((f"preview data {row}", "write SPLIT:NUMBER with one of train, validation, test") for row in (
        "test:", "test:-1", "test:x", f"test:{'9' * 5000}", "night:0", "'test:0 '", "'te\nst:0'",
    )),
    *((f"preview data {row}", "is not in the data set; write SPLIT:NUMBER, PLATE-MJD-FIBERID or a") for row in (
        "test", "1-2-3", "1-2", "x-y-z", f"{'9' * 5000}-1-1", "''",
    )),
    ("preview data test:9999", "row 'test:9999': test has 24 rows, 0 to 23"),
    ("preview data test:0 --config csv", "config 'csv': data has the text configs paper, packed, chat"),
    # The card
    ("card --training nowhere --evaluation taken --recipe sft.yaml --output out", "nowhere"),
    ("card --training model --evaluation taken --recipe sft.yaml --output out", "model"),
    ("card --training model --evaluation taken --recipe nothing --output out", "nothing: there is no such recipe"),
    ("card --training model --evaluation taken --recipe sft.yaml --override x --output out", "--override x: write"),
    ("card --training model --evaluation taken --recipe sft.yaml --override =x --output out", "--override =x: write"),
    # What is published, and where
    *((f"publish {kind} {folder} {_PUBLISH}", said) for kind in ("dataset", "adapter") for folder, said in (
        ("nowhere", "nowhere: is not a folder"), ("notes.txt", "notes.txt: is not a folder"),
        ("empty", "empty: has no "), ("deep", "deep: has no "), ("taken", "taken: has no "),
    )),
    *((f"publish {kind} taken --dry-run --repo {repo}", "is not a name of the Hub: give --repo ORG/NAME")
      for kind in ("dataset", "adapter") for repo in REPOS),
    *((f"publish dataset taken {_PUBLISH} {option}={ref}", f"{option} ")
      for option in ("--tag", "--branch") for ref in REFS),
    (f"publish dataset taken {_PUBLISH} --tag main", "--tag main: cannot be the name of a tag"),
    (f"publish dataset taken {_PUBLISH} --tag HEAD", "--tag HEAD: cannot be the name of a tag"),
    (f"publish dataset taken {_PUBLISH} --tag b --branch b", "--tag b: cannot be the name of a tag"),
    (f"publish dataset taken {_PUBLISH} --pull-request --tag v1", "--pull-request: goes to main and gets no tag"),
    (f"publish adapter taken {_PUBLISH} --pull-request --branch b", "--pull-request: goes to main and gets no tag"),
    ("publish dataset data --repo org/sdss --dry-run", "must not pass as SDSS data"),
    ("publish dataset data --repo org/mock-x", "there is no token for the Hub: log in with `hf auth login`"),
    ("publish dataset data", "Missing option '--repo'"),
    ("publish", "Usage: "),
    ("publish model taken --repo org/x", "No such command 'model'"),
    ("preflight --repo org/x", "there is no token for the Hub"),
    ("preflight mis/typed", "mis/typed: the Hub was not reached"),
    ("preflight a/b/c", "a/b/c: is not a name of the Hub"),
    ("preflight folder.yaml", "is not a recipe of trl sft, which names a model_name_or_path"),
    # Sweeps
    ("sweep nothing --output out", "nothing: there is no such recipe"),
    ("sweep sft.yaml", "Missing option '--output'"),
    ("sweep sft.yaml --output out --grid nothing", "nothing: there is no such recipe"),
    ("sweep sft.yaml --output out --grid notes.txt", "notes.txt"),
    ("sweep sft.yaml --output out --grid list.yaml", "list.yaml"),
    ("sweep sft.yaml --output out --grid good.yaml", "good.yaml"),
    ("sweep sft.yaml --output out --limit 0", "Invalid value for '--limit'"),
]  # fmt: skip
