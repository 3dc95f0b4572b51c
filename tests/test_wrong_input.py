"""Wrong input, row by row, in one process: a command line, and a part of the sentence that answers it.

To add rows: what they need on disk goes into `INPUTS`, and the rows into `ROWS`. Each has to end with exit code 2 and
one line that begins with ``specdata: `` (or what Typer says of a wrong option), and to leave nothing behind.
"""

import copy
import gzip
import importlib.util
import os
import shlex
import shutil
from pathlib import Path

import pytest
import wrong_models
import yaml
from small_recipe import TWELVE

DATA = Path(__file__).parent / "data"
HUGE = 10**29
RECIPE = TWELVE | {"name": "mock-wrong"}
GRID = RECIPE["configs"]["paper"]["grid"]
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)


def recipe(changes, base=RECIPE) -> bytes:
    """A recipe with other values for some keys, which are written with dots; None takes the key out."""
    content = copy.deepcopy(base)
    for key, value in changes.items():
        *sections, last = key.split(".")
        part = content
        for section in sections:
            part = part.setdefault(section, {})
        if value is None:
            del part[last]
        else:
            part[last] = value
    return yaml.safe_dump(content).encode()


# What is wrong in a recipe of a data set, and what `specdata build` says.
RECIPES = [
    ({"colour": "blue"}, "unknown key 'colour'; the keys there are name, title, source, axis, tables, cuts, sample, "),
    ({"name": None}, "the key 'name' is missing"),
    ({"name": 5}, "name = 5: "),
    ({"name": "Mock"}, "name = 'Mock': give lower-case letters"),
    *(({"name": name}, "give lower-case letters") for name in ("mock/../x", "mock x", "mock\n", "-mock")),
    ({"name": "mock-" + "a" * 300}, "give lower-case letters"),
    ({"name": "galaxies"}, "has to say so; put 'mock' into the name"),
    ({"title": None}, "the key 'title' is missing"),
    ({"title": ["a"]}, "title = ['a']"),
    ({"title": ""}, "title = ''"),
    ({"title": {"a": list(range(5000))}}, "..."),
    ({"source": None}, "the key 'source' is missing"),
    ({"source": "mock"}, "source"),
    ({"source": []}, "source"),
    ({"source.kind": None}, "source.kind = None: give one of folder, files, "),
    (
        {"source.kind": "hub"},
        "source.kind = 'hub': give one of folder, files, multimodal_universe, dataset, mock, sdss",
    ),
    ({"source.kind": ["a"]}, "source"),
    ({"source.path": "x"}, "source: unknown key 'path'; the keys there are kind, size, seed"),
    ({"source.size": None}, "the key 'size' is missing"),
    ({"source.size": 0}, "source.size = 0: "),
    ({"source.size": -1}, "source.size = -1: "),
    ({"source.size": 1.5}, "source.size = 1.5: "),
    ({"source.size": "12"}, "source.size = '12': "),
    ({"source.size": True}, "source.size = True: "),
    ({"source.size": [12]}, "source.size = [12]: "),
    ({"source.size": HUGE}, "source.size = 1"),
    ({"source.seed": HUGE}, "seed = 1"),
    ({"source.seed": -1}, "source.seed = -1"),
    ({"source.z_min": 0.6}, "z_min"),
    ({"source.z_min": float("nan")}, "source.z_min = nan"),
    ({"source.z_max": float("inf")}, "source.z_max = inf"),
    ({"source.z_max": 0.9}, "the mock galaxies end at 0.8"),
    ({"source.snr_min": 0}, "source.snr_min = 0"),
    ({"source.snr_min": 50}, "does not exceed snr_max"),
    ({"source": {"kind": "folder"}}, "the key 'path' is missing"),
    ({"source": {"kind": "folder", "path": 5}}, "source.path = 5"),
    ({"source": {"kind": "folder", "path": "nowhere"}}, "nowhere: there is no such folder"),
    ({"source": {"kind": "folder", "path": "empty"}}, "there are no spec-*.fits or spec-*.fits.gz files"),
    ({"source": {"kind": "folder", "path": "/dev/zero"}}, "/dev/zero: there is no such folder"),
    ({"source": {"kind": "folder", "path": "a" * 3000}}, "File name too long"),
    ({"source": {"kind": "folder", "path": "not-utf-8"}}, "is not a name in UTF-8"),
    ({"source": {"kind": "folder", "path": "bombs"}}, "0 of 3 spectra pass the cuts (unreadable 3)"),
    ({"source": {"kind": "dataset", "path": "nowhere"}}, "has no readable manifest.json"),
    ({"source": {"kind": "dataset", "path": "deep"}}, "has no readable manifest.json"),
    ({"source": {"kind": "sdss", "data_release": 18}}, "give a whole number from 8 to 17"),
    ({"source": {"kind": "sdss", "data_release": HUGE}}, "give a whole number from 8 to 17"),
    ({"source": {"kind": "sdss", "on_missing": "wait"}}, "source.on_missing = 'wait'"),
    ({"source": {"kind": "sdss", "connections": 0}}, "source.connections = 0"),
    ({"source": {"kind": "sdss", "connections": 1000}}, "source.connections = 1000"),
    ({"source": {"kind": "sdss", "catalogue": "/dev/zero"}}, "it is a device or a pipe"),
    ({"source": {"kind": "sdss", "catalogue": "pipe"}}, "it is a device or a pipe"),
    ({"source": {"kind": "sdss", "catalogue": "empty"}}, "cannot be read as a catalogue (Is a directory)"),
    ({"source": {"kind": "sdss", "catalogue": "binary"}}, "cannot be read as a catalogue"),
    ({"source": {"kind": "sdss", "catalogue": "no-z.csv"}}, "the column 'z' is missing"),
    ({"source": {"kind": "sdss", "catalogue": "text.csv"}}, "row 1, column 'plate': 'many' is not a whole number"),
    ({"source": {"kind": "sdss", "catalogue": "digits.csv"}}, "column 'plate'"),
    (
        {"source": {"kind": "sdss", "catalogue": "good.csv", "sas_url": "ftp://me:secret@x"}},
        "'ftp://...@x': is not a web",
    ),
    ({"source": {"kind": "sdss", "sas_url": 5}}, "source.sas_url = 5"),
    (
        {"configs.paper.target": {"name": "class", "labels": ["x", "y"], "column": "spectype"}},
        "(target 12), which is too few for three splits: loosen the cuts or add spectra (target: the value that a",
    ),
    ({"cuts": {"z_min": 0.5}}, "cuts: z_min 0.5 has to be below z_max 0.5"),
    *(({"cuts": {"z_max": z}}, "cuts.z_max = ") for z in (HUGE, 0, "far", float("nan"), float("inf"))),
    ({"cuts": {"spectype": "QUASAR"}}, "cuts.spectype"),
    ({"cuts": {"zwarning_allowed": HUGE}}, "cuts.zwarning_allowed = 1"),
    ({"cuts": {"zwarning_allowed": -1}}, "cuts.zwarning_allowed = -1"),
    ({"cuts": {"zwarning_allowed": 1.5}}, "cuts.zwarning_allowed = 1.5"),
    ({"cuts": {"good_fraction_min": 1.1}}, "cuts.good_fraction_min = 1.1"),
    ({"cuts": {"dered_i_max": "18"}}, "cuts.dered_i_max = '18'"),
    ({"cuts": {"median_flux": 0}}, "cuts: unknown key 'median_flux'; the keys there are spectype, zwarning_allowed, "),
    ({"cuts": []}, "cuts: [] is not a section"),
    ({"sample.size": 0}, "sample.size = 0"),
    ({"sample.size": HUGE}, "sample.size = 1"),
    ({"sample.redshift_bins": 13}, "sample.redshift_bins = 13: give at most sample.size"),
    ({"sample.redshift_bins": HUGE}, "sample.redshift_bins = 1"),
    ({"sample.seed": HUGE}, "sample.seed = 1"),
    ({"sample": 5}, "sample: 5 is not a section"),
    ({"splits.train": 0}, "splits.train = 0"),
    ({"splits.train": HUGE}, "splits.train = 1"),
    ({"splits.train": 9}, "leave nothing of sample.size 12 for the test split"),
    ({"splits.validation": 6.0}, "splits.validation = 6.0"),
    ({"splits.test": 3}, "unknown key 'test'"),
    ({"configs": None}, "the key 'configs' is missing"),
    ({"configs": {}}, "configs"),
    ({"configs": ["paper"]}, "configs"),
    *(
        ({f"configs.{name}": {"grid": GRID}}, "give lower-case letters")
        for name in ("Paper", "a b", "-a", "a" * 65, "")
    ),
    *(({f"configs.{name}": {"grid": GRID}}, f"the name {name} is taken") for name in ("spectra", "figures", "default")),
    ({"configs.paper": "paper"}, "configs.paper: 'paper' is not a section; the keys there are grid, "),
    (
        {"configs.paper.bins": 4},
        "configs.paper: unknown key 'bins'; the keys there are grid, normalisation, scheme, like",
    ),
    ({"configs.paper.grid": None}, "the key 'grid' is missing; give it, or the key 'like'"),
    ({"configs.paper.scheme": "hex"}, "configs.paper.scheme = 'hex'"),
    ({"configs.paper.normalisation": "max"}, "configs.paper.normalisation = 'max'"),
    ({"configs.paper.like": "paper"}, "the config is the same as paper"),
    *(
        (
            {"configs.chat": {"like": name, "conversation": {}}},
            f"configs.chat.like = '{name}': name a config with a grid",
        )
        for name in ("none", "chat")
    ),
    (
        {"configs.chat": {"like": "paper", "conversation": {}, "scheme": "csv"}},
        "scheme are those of paper; leave them out",
    ),
    ({"configs.paper.conversation": {"turns": 0}}, "configs.paper.conversation.turns = 0"),
    ({"configs.paper.conversation": {"turns": HUGE}}, "configs.paper.conversation.turns = 1"),
    ({"configs.paper.conversation": {"tokenizer": "x"}}, "is not used without the key tokens"),
    ({"configs.paper.grid": 80}, "configs.paper.grid: 80 is not a section"),
    (
        {"configs.paper.grid.step": 1},
        "unknown key 'step'; the keys there are kind, start, stop, bins, tokens, tokenizer",
    ),
    ({"configs.paper.grid.tokenizer": "smollm2-135m"}, "smollm2-135m is not used without the key tokens"),
    ({"configs.paper.grid.kind": "cubic"}, "configs.paper.grid.kind = 'cubic'"),
    ({"configs.paper.grid.kind": "edges"}, "neither start, stop, bins nor tokens"),
    ({"configs.paper.grid.start": 10}, "configs.paper.grid.start = 10"),
    ({"configs.paper.grid.start": 9160}, "start 9160.0 has to be below stop 9160.0"),
    ({"configs.paper.grid.start": HUGE}, "has to be below stop"),
    ({"configs.paper.grid.stop": HUGE}, "configs.paper.grid.stop = 1"),
    *(({"configs.paper.grid.bins": n}, f"configs.paper.grid.bins = {n!r}") for n in (0, 2.5, True, "16", HUGE)),
    ({"configs.paper.grid.bins": None}, "start, stop, and either bins or tokens"),
    ({"configs.paper.grid.tokens": 100}, "start, stop, and either bins or tokens"),
    ({"configs.paper.grid.tokens": HUGE}, "configs.paper.grid.tokens = 1"),
    ({"configs.paper.grid.edges": [4000, 5000]}, "start, stop, and either bins or tokens"),
    ({"configs.paper.grid": {"kind": "edges", "edges": [5000, 4000]}}, "edges have to increase"),
    ({"configs.paper.grid": {"kind": "edges", "edges": [4000, HUGE]}}, "configs.paper.grid.edges = 1"),
    ({"configs.paper.grid": {"kind": "edges", "edges": [4000]}}, "configs.paper.grid.edges = [4000]"),
    ({"configs.paper.grid": {"kind": "edges", "edges": [4000, "x"]}}, "configs.paper.grid.edges.1 = 'x'"),
    ({"configs.paper.grid": {"kind": "edges", "edges": ["x"] * 9000}}, "configs.paper.grid.edges.0 = 'x'"),
    ({"configs.paper.grid": {"start": 3000, "stop": 9160, "bins": 4}}, "0 of 12 spectra pass the cuts (coverage 12)"),
    ({"tokenizers": "llama-3.1"}, "tokenizers = 'llama-3.1'"),
    ({"tokenizers": [5]}, "tokenizers.0 = 5"),
    ({"tokenizers": ["nowhere.model"]}, "nowhere.model: no such file"),
    ({"tokenizers": ["/dev/zero"]}, "/dev/zero: "),
    ({"tokenizers": ["empty"]}, "holds no tokenizer"),
    ({"tokenizers": ["a" * 5000]}, ": "),
]
# Files that are no recipe of a data set.
NO_RECIPE = {
    "empty.yaml": (b"", "a recipe is a mapping with the keys name, title"),
    "list.yaml": (b"- a\n", "a recipe is a mapping"),
    "text.yaml": (b"hello", "a recipe is a mapping"),
    "latin-1.yaml": ("name: é".encode("latin-1"), "cannot be read"),
    "utf-16.yaml": ("name: a".encode("utf-16"), "cannot be read"),
    "binary.yaml": (bytes(range(256)), "cannot be read"),
    "nul.yaml": (b"name: \0", "not valid YAML"),
    "tab.yaml": (b"a:\n\tb: 1", "not valid YAML"),
    "open.yaml": (b"x: [", "not valid YAML"),
    "twice.yaml": (b"name: a\nname: b", "the key 'name' stands twice"),
    "python.yaml": (b"!!python/object/apply:os.system ['x']", "not valid YAML"),
    "date.yaml": (b"title: 2020-99-99", "not valid YAML"),
    "deep-list.yaml": (b"[" * 100_000, "nested more than 40 levels deep"),
    "deep-block.yaml": (b"- " * 100_000, "nested more than 40 levels deep"),
    "deep-mapping.yaml": (b"{a: " * 1000, "nested more than 40 levels deep"),
    "aliases.yaml": (BOMB.encode(), "it holds more than 50,000 values"),
    "loop.yaml": (b"a: &a [*a]", "an alias stands inside of what it refers to"),
    "digits.yaml": (b"a: " + b"9" * 5000, "a number has more than 400 digits"),
    "sixties.yaml": (b"a: 1" + b":1" * 100_000, "a number has more than 400 digits"),
    "large.yaml": (b"#" * 2**20, "it has more than 524,288 bytes"),
    "key.yaml": (b"? [a]\n: b", "not valid YAML"),
    "two.yaml": (b"a: 1\n---\nb: 2", "not valid YAML"),
    "number.yaml": (recipe({}) + b"1: 2\n", "unknown key 1; the keys there are"),
}
CATALOGUE = "plate,mjd,fiberid,run2d,z\n"
INPUTS = {
    "good.yaml": recipe({}),
    "folder.yaml": recipe({"source": {"kind": "folder", "path": "nowhere"}}),
    "sdss.yaml": recipe({"source": {"kind": "sdss"}}),
    "binary": bytes(range(256)) * 10,
    "no-z.csv": CATALOGUE.replace(",z", "").encode() + b"266,51602,1,26\n",
    "text.csv": CATALOGUE.encode() + b"many,51602,1,26,0.1\n",
    "digits.csv": CATALOGUE.encode() + b"9" * 5000 + b",51602,1,26,0.1\n",
    "good.csv": CATALOGUE.encode() + b"266,51602,1,26,0.1\n",
    "sft.yaml": b"model_name_or_path: m\ndataset_name: d\noutput_dir: o\n",
    "notes.txt": b"notes",
    "taken/thesis.tex": b"years of work",
    "empty/.keep": b"",
    "deep/manifest.json": b"[" * 100_000,
    "bombs/spec-1.fits.gz": gzip.compress(b"SIMPLE  =" + bytes(2**27), 1),
    "bombs/spec-2.fits": b"SIMPLE  =" + bytes(2880 - 9),
    "bombs/spec-3.fits": b"<html>",
}
INPUTS |= {f"{number}.yaml": recipe(changes) for number, (changes, _) in enumerate(RECIPES)}
INPUTS |= {name: content for name, (content, _) in NO_RECIPE.items()}
ROWS = [(f"build {number}.yaml --output out", sentence) for number, (_, sentence) in enumerate(RECIPES)]
ROWS += [(f"build {name} --output out", sentence) for name, (_, sentence) in NO_RECIPE.items()]
TRL = ("aliases.yaml", "deep-list.yaml", "loop.yaml", "python.yaml", "open.yaml", "list.yaml", "latin-1.yaml")
ROWS += [
    (line.format(name), NO_RECIPE[name][1] if name != "list.yaml" else "is not a recipe of trl sft")
    for name in TRL
    for line in ("check {}", "slurm {} --output out.sh", "sweep {} --output out", "preflight {}")
]
ROWS += [
    # The command line itself
    ("build", "Missing argument"),
    ("build good.yaml", "--output is missing"),
    ("build good.yaml --output", "Option '--output' requires an argument"),
    ("build good.yaml --colour blue --output out", "No such option"),
    ("build good.yaml --shards 0 --output out", "Invalid value for '--shards'"),
    ("build good.yaml --workers x --output out", "Invalid value for '--workers'"),
    ("bake good.yaml", "No such command 'bake'"),
    ("recipes nothing", "nothing: there is no such recipe; give the path of a YAML file, or one of recipes/"),
    ("demo --output taken", "exists and is not a demo's folder"),
    # The recipe's name
    ("build nothing.yaml --output out", "nothing.yaml: there is no such recipe"),
    ("build . --output out", "there is no such recipe"),
    ("build /dev/zero --output out", "there is no such recipe"),
    ("build pipe --output out", "there is no such recipe"),
    (f"build {'a' * 300}.yaml --output out", "File name too long"),
    ("build 'a\udcff.yaml' --output out", "is not UTF-8"),
    ("build 'a\nb.yaml' --output out", "a b.yaml: there is no such recipe"),
    ("build sft.yaml --output out", "is a recipe for trl sft"),
    # Outputs
    ("build good.yaml --output taken", "exists already; choose another output, or add --overwrite"),
    ("build good.yaml --output taken --overwrite", "holds no manifest.json"),
    ("build good.yaml --output notes.txt", "exists already"),
    ("build good.yaml --output notes.txt --overwrite", "is not replaced"),
    ("build good.yaml --output notes.txt/out", "cannot be made"),
    ("build good.yaml --output /proc/out", "/proc/out: cannot be made"),
    ("build good.yaml --output /dev/null/out", "cannot be made"),
    (f"build good.yaml --output {'a' * 300}", "File name too long"),
    ("build good.yaml --output out --work out", "lie inside each other"),
    ("build good.yaml --output out --work out/parts", "lie inside each other"),
    ("build good.yaml --output work/out --work work", "lie inside each other"),
    ("build good.yaml --output out --work taken", "is not a work folder of specdata"),
    ("build good.yaml --output out --work notes.txt", "is not a work folder of specdata"),
    ("build good.yaml --output out --work /proc/work", "/proc/work: cannot be made"),
    # Other options of build
    ("build good.yaml --dry-run", "shows the queries to the SDSS archive, and good.yaml makes none"),
    ("build good.yaml --source empty --output out", "--source replaces the path of a source of kind folder or files"),
    ("build folder.yaml --source nowhere --output out", "nowhere: there is no such folder"),
    ("build folder.yaml --source notes.txt --output out", "there is no such folder"),
    ("build folder.yaml --source deep --output out", "has no readable manifest.json"),
    ("build folder.yaml --source empty --output empty", "holds the source"),
    ("build good.yaml --executor dask --output out", "--executor dask: give one of local, slurm, ray"),
    ("build good.yaml --executor slurm --output out", "needs --slurm-option partition=NAME"),
    ("build good.yaml --slurm-option time=1 --output out", "goes with --executor slurm alone"),
    ("build good.yaml --slurm-option time --output out", "--slurm-option time: write KEY=VALUE"),
    ("build good.yaml --slurm-option =1 --output out", "--slurm-option =1: write KEY=VALUE"),
    ("build good.yaml --slurm-option 'partition=cpu\nrm' --output out", "holds a line break"),
    ("slurm sft.yaml --slurm-option 'partition=cpu\nrm' --output out.sh", "holds a line break"),
    ("slurm sft.yaml --output out.txt", "give a name that ends in .sbatch, .sh, .slurm"),
    # Data sets
    *((f"{command} {folder} {rest}", f"{folder}: has no readable manifest.json")
      for command, rest in (("tokens", ""), ("preview", "test:0")) for folder in ("empty", "deep", "taken")),
]  # fmt: skip
INPUTS |= wrong_models.INPUTS
ROWS += [
    (line.replace("{spectrum}", str(DATA / "spec-0468-51912-0523.fits")), said) for line, said in wrong_models.ROWS
]
NEEDS = {  # commands that need a package of an extra
    "check": "trl", "slurm": "trl", "sweep": "trl", "evaluate": "torch", "predict": "torch", "chat": "torch",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory, mock_data):
    """A folder that holds `INPUTS`, what is no plain file, and a data set `data`."""
    folder = tmp_path_factory.mktemp("place")
    for name, content in INPUTS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "empty" / ".keep").unlink()
    for pipe in ("pipe", "weights-pipe/adapter_model.safetensors"):
        os.mkfifo(folder / pipe)
    (folder / "data").symlink_to(mock_data)
    (folder / "not-utf-8").mkdir()
    shutil.copy(DATA / "spec-0468-51912-0523.fits", os.fsencode(folder / "not-utf-8") + b"/spec-\xff.fits")
    return folder


@pytest.mark.parametrize(("line", "sentence"), ROWS, ids=[f"{number}" for number in range(len(ROWS))])
def test_wrong_input_is_one_sentence(place, line, sentence, monkeypatch, capsys):
    from specdata import cli

    words = shlex.split(line)
    if words[0] in NEEDS and importlib.util.find_spec(NEEDS[words[0]]) is None:
        pytest.skip(f"needs {NEEDS[words[0]]}")
    monkeypatch.chdir(place)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    before = sorted(place.rglob("*"))
    monkeypatch.setattr("sys.argv", ["specdata", *words])
    with pytest.raises(SystemExit) as end:
        cli.main()
    said = capsys.readouterr().err
    assert end.value.code == 2, said
    assert sentence in said
    if not said.startswith(("Usage: ", "Error: ")):
        sentences = [part for part in said.splitlines() if part.startswith("specdata: ")]
        assert len(sentences) == 1
        assert said.splitlines()[-1] == sentences[0]
        assert len(said.splitlines()[-1]) < 2050
    assert sorted(place.rglob("*")) == before


def test_the_table_is_long_enough():
    assert len(ROWS) > 400
    assert len({line for line, _ in ROWS}) == len(ROWS)
