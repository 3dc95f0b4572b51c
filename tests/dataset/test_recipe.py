"""Recipes: the shipped ones load, and each mistake is one sentence with the key and the value."""

import copy
import functools
from pathlib import Path

import pytest
import yaml

from specdata.dataset.recipe import FolderSource, load_data_recipe
from specdata.errors import SpecdataError

SHIPPED = sorted((Path(__file__).parents[2] / "recipes" / "data").glob("*.yaml"))
FOLDER = {
    "name": "galaxies",
    "title": "Galaxies",
    "source": {"kind": "folder", "path": "spectra"},
    "cuts": {},
    "sample": {"size": 100},
    "splits": {"train": 60, "validation": 20},
    "configs": {"paper": {"grid": {"start": 3840, "stop": 9160, "bins": 16}}},
}
GRID = "configs.paper.grid"
MOCK = FOLDER | {"name": "mock-galaxies", "source": {"kind": "mock", "size": 120}}


@pytest.fixture
def load(tmp_path):
    """Write a recipe, with some keys changed or (where the value is ...) taken out, and load it."""

    def load(changes=None, base=FOLDER, **options):
        recipe = copy.deepcopy(base)
        for key, value in (changes or {}).items():
            *sections, last = key.split(".")
            inside = functools.reduce(dict.__getitem__, sections, recipe)
            if value is ...:
                del inside[last]
            else:
                inside[last] = value
        path = tmp_path / "r.yaml"
        path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
        return load_data_recipe(path, **options)

    return load


def sentence(call, *arguments, **options):
    """The message of a SpecdataError, which has to be one line that begins with the name of the file."""
    with pytest.raises(SpecdataError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert "pydantic" not in message
    path, found, rest = message.partition(".yaml: ")
    assert found
    assert path
    return rest


def test_recipes_are_shipped():
    assert SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_recipes_load(path):
    recipe = load_data_recipe(path)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    written = recipe.model_dump()
    for section in ("source", "cuts", "sample", "splits"):
        assert {key: written[section][key] for key in content[section]} == content[section]
    for name, config in content["configs"].items():
        found = written["configs"][name]
        if "like" in config:
            shared = {key: written["configs"][config["like"]][key] for key in ("grid", "normalisation", "scheme")}
            assert found == shared | {"like": config["like"], "conversation": config["conversation"]}
            continue
        assert found | config | {"grid": found["grid"] | config["grid"]} == found
    # split_sizes would shrink the training split of a recipe that asks for more
    assert recipe.splits.train + 2 * recipe.splits.validation <= recipe.sample.size
    assert f"specdata build recipes/data/{path.name}" in path.read_text(encoding="utf-8")


def test_defaults_are_those_of_the_paper(load):
    recipe = load({"sample": ..., "splits": ..., "cuts": ...})
    assert (recipe.sample.size, recipe.splits.train, recipe.splits.validation) == (10_000, 3000, 1000)
    assert (recipe.cuts.z_min, recipe.cuts.z_max, recipe.cuts.dered_i_max, recipe.cuts.zwarning_allowed) == (
        0,
        0.5,
        18,
        0,
    )
    assert (recipe.configs["paper"].scheme, recipe.configs["paper"].normalisation) == ("paper", "median")
    assert recipe.configs["paper"].grid.kind == "linear"
    assert load({"cuts.dered_i_max": None}).cuts.dered_i_max is None


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("sead", "name, title, source, cuts, sample, splits, configs, tokenizers"),
        ("source.seed", "kind, path"),
        ("cuts.zmax", "spectype, zwarning_allowed, z_min, z_max, dered_i_max, good_fraction_min"),
        ("sample.sise", "size, redshift_bins, seed"),
        ("splits.test", "train, validation"),
        ("configs.paper.bins", "grid, normalisation, scheme, like, conversation"),
        (f"{GRID}.step", "kind, start, stop, bins, tokens, tokenizer, edges"),
    ],
)
def test_unknown_keys(load, key, allowed):
    assert sentence(load, {key: 1}) == f"unknown key '{key}'; the keys allowed there are {allowed}"


def test_unknown_key_of_a_mock_source(load):
    allowed = "kind, size, seed, z_min, z_max, snr_min, snr_max"
    assert sentence(load, {"source.path": "x"}, MOCK).endswith(f"'source.path'; the keys allowed there are {allowed}")


@pytest.mark.parametrize("key", ["name", "title", "source", "configs", "source.path", GRID])
def test_missing_keys(load, key):
    told = sentence(load, {key: ...})
    assert told.startswith(f"the key '{key}' is missing; the keys there are ")
    assert key.split(".")[-1] in told.split("; ")[1]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "UPPER"),
        ("name", "with space"),
        ("name", "a/b"),
        ("name", "x"),
        ("name", "x" * 97),
        ("name", "newline\n"),
        ("name", 5),
        ("title", ""),
        ("title", 5),
        ("configs", {}),
        ("configs", ["paper"]),
        ("configs.paper", "paper"),
        ("configs.paper.scheme", "binary"),
        ("configs.paper.normalisation", "mean"),
        ("tokenizers", "llama-3.1"),
        ("source", "folder"),
        ("source", None),
        ("source.path", 5),
        ("cuts", None),
        ("cuts", [1]),
        ("cuts.spectype", "galaxy"),
        ("cuts.z_min", -0.1),
        ("cuts.z_max", 0),
        ("cuts.z_max", "far"),
        ("cuts.z_max", float("nan")),
        ("cuts.z_max", float("inf")),
        ("cuts.z_max", None),
        ("cuts.dered_i_max", float("nan")),
        ("cuts.zwarning_allowed", -1),
        ("cuts.zwarning_allowed", 1.5),
        ("cuts.good_fraction_min", 1.1),
        ("cuts.good_fraction_min", -0.1),
        ("sample.size", 0),
        ("sample.size", "all"),
        ("sample.seed", -1),
        ("sample.redshift_bins", 0),
        ("splits.train", 0),
        ("splits.validation", 0),
        ("splits.train", 0.6),
        (f"{GRID}", 80),
        (f"{GRID}.bins", 0),
        (f"{GRID}.bins", 2.5),
        (f"{GRID}.tokens", 0),
        (f"{GRID}.kind", "square"),
        (f"{GRID}.start", 0),
        (f"{GRID}.start", -3840),
        (f"{GRID}.stop", float("nan")),
    ],
)
def test_impossible_values(load, key, value):
    message = sentence(load, {key: value})
    assert message.startswith(f"{key} = {value!r}")
    assert len(message) > len(f"{key} = {value!r}") + 5  # and why


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"cuts.z_min": 0.5}, ("cuts", "0.5")),
        ({"cuts.z_min": 0.4, "cuts.z_max": 0.3}, ("cuts", "0.4", "0.3")),
        ({f"{GRID}.start": 9160}, (GRID, "9160")),
        ({f"{GRID}.stop": 3000}, (GRID, "3840", "3000")),
        ({f"{GRID}.bins": ...}, (GRID, "either bins or tokens")),
        ({f"{GRID}.tokens": 573}, (GRID, "either bins or tokens")),
        ({f"{GRID}.start": ...}, (GRID, "start, stop")),
        ({f"{GRID}.edges": [4000.0, 5000.0]}, (GRID, "start, stop")),
        ({f"{GRID}.kind": "edges"}, (GRID, "neither start, stop, bins nor tokens")),
        ({GRID: {"kind": "edges", "edges": [4000.0, 5000.0, 4500.0]}}, (GRID, "increase")),
        ({GRID: {"kind": "edges", "edges": [4.0, 5000.0]}}, (GRID, "100")),
        ({"configs.spectra": {"grid": {"start": 4000, "stop": 5000, "bins": 4}}}, ("configs", "spectra", "taken")),
        ({"configs.figures": {"grid": {"start": 4000, "stop": 5000, "bins": 4}}}, ("configs", "figures", "taken")),
        ({"configs.default": {"grid": {"start": 4000, "stop": 5000, "bins": 4}}}, ("configs", "default", "taken")),
        ({f"{GRID}.tokenizer": "llama-3.1"}, (GRID, "belongs to the key tokens")),
        ({"splits.train": 80}, ("splits", "80", "20", "100")),
        ({"sample.size": 70}, ("splits", "60", "20", "70")),
        ({"source.kind": "sky"}, ("source.kind = 'sky'", "'folder', 'mock', 'sdss'")),
        ({"source.kind": ...}, ("source.kind", "'folder', 'mock', 'sdss'")),
    ],
)
def test_values_that_contradict_each_other(load, changes, parts):
    message = sentence(load, changes)
    assert all(part in message for part in parts)


def test_mocks_say_so_in_their_name(load):
    assert load(base=MOCK).source.seed == 0
    message = sentence(load, {"name": "galaxies"}, MOCK)
    assert message.startswith("name: 'galaxies'")
    assert "'mock'" in message


@pytest.mark.parametrize(
    "changes", [{"source.z_min": 0.5}, {"source.z_max": 0.9}, {"source.snr_min": 50}, {"source.seed": 3 * 10**9}]
)
def test_mocks_that_cannot_be_made(load, changes):
    assert next(iter(changes)).split(".")[1] in sentence(load, changes, MOCK)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"data_release": 18}, "source.data_release = 18: give a whole number from 8 to 17"),
        ({"connections": 0}, "source.connections = 0"),
        ({"on_missing": "drop"}, "source.on_missing = 'drop'"),
        ({"path": "x"}, "unknown key 'source.path'; the keys allowed there are kind, data_release, catalogue, cache"),
    ],
)
def test_an_archive_that_cannot_be_asked(load, changes, part):
    assert load({"source": {"kind": "sdss"}}).source.data_release == 16
    assert part in sentence(load, {"source": {"kind": "sdss"} | changes})


@pytest.mark.parametrize("value", [True, "16"])
def test_numbers_are_numbers(load, value):
    assert f"{GRID}.bins" in sentence(load, {f"{GRID}.bins": value})


def test_splits_and_bins_that_the_sample_cannot_fill(load):
    assert "splits" in sentence(load, {"splits.train": 75, "splits.validation": 25})
    assert "sample.redshift_bins = 101: give at most" in sentence(load, {"sample.redshift_bins": 101})


def test_a_section_that_is_left_empty(load):
    assert "a section with the keys kind, start, stop, bins" in sentence(load, {GRID: None})


@pytest.mark.parametrize(("name", "mock"), [("mock-a", True), ("a.mocks", True), ("hammock-a", False), ("sdss", False)])
def test_only_the_word_mock_says_mock(load, name, mock):
    assert load({"name": name}).says_mock is mock


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "a recipe is a mapping with the keys name, title"),
        (b"# nothing\n", "a recipe is a mapping"),
        (b"- name: x\n", "a recipe is a mapping"),
        (b"galaxies", "a recipe is a mapping"),
        (b"name: [\n", "not valid YAML"),
        (b"name: a: b\n", "line 1"),
        (b"\tname: x\n", "not valid YAML"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML"),
        (b"? [a]\n: b\n", "not valid YAML"),
        (b"name: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        (b"\xff\xfe\x00\x01", "cannot be read"),
        (b"SIMPLE  =\x00\x01", "not valid YAML"),
        (yaml.safe_dump(FOLDER).encode() + b"\n1: 2\n", "1 = 1: keys should be strings"),
        (b"title: 2020-13-45\n", "not valid YAML"),
        (b"[" * 3000, "not valid YAML"),
        (yaml.safe_dump(FOLDER).encode() + b"\ntitle: B\n", "title"),
    ],
)
def test_files_that_are_no_recipe(tmp_path, content, part):
    path = tmp_path / "r.yaml"
    path.write_bytes(content)
    assert part in sentence(load_data_recipe, path)


def test_no_file(tmp_path):
    assert "cannot be read" in sentence(load_data_recipe, tmp_path / "none.yaml")
    (tmp_path / "folder.yaml").mkdir()
    assert "cannot be read" in sentence(load_data_recipe, tmp_path / "folder.yaml")


@pytest.mark.parametrize("given", ["other", Path("other")])
def test_source_takes_the_place_of_the_folder(load, given):
    assert load(source=given).source == FolderSource(kind="folder", path="other")
    assert load({"source": {"kind": "folder"}}, source=given).source.path == "other"


def test_source_is_refused_where_there_is_no_folder(load):
    for changes, base in ((None, MOCK), ({"source": ...}, FOLDER), ({"source": 5}, FOLDER)):
        assert "--source" in sentence(load, changes, base, source="other")


def test_a_recipe_cannot_be_changed(load):
    with pytest.raises(ValueError, match="frozen"):
        load().name = "other"


@pytest.mark.parametrize("name", ["Paper", "a b", "x/y", "-a", "a" * 65, ""])
def test_names_that_no_config_can_have(load, name):
    told = sentence(load, {"configs": {name: FOLDER["configs"]["paper"]}})
    assert told.startswith(f"configs.{name} = {name!r}, but it may hold lower-case letters")


def test_any_number_of_configs_with_grids_of_their_own(load):
    recipe = load(
        {
            "configs.log": {"grid": {"kind": "log", "start": 3900, "stop": 9000, "tokens": 573}, "scheme": "packed"},
            "configs.own": {"grid": {"kind": "edges", "edges": [3800.0, 5000.0, 9100.0]}, "normalisation": "asinh"},
        }
    )
    assert list(recipe.configs) == ["paper", "log", "own"]
    assert recipe.configs["own"].grid.span == (3800, 9100)
    assert recipe.span == (3800, 9160)


def test_a_recipe_of_the_former_form(load):
    told = sentence(load, {"configs": ..., "grid": {"start": 3840, "stop": 9160, "bins": 16}})
    assert told.startswith("the key 'configs' is missing (grid and scheme now stand in each of its entries)")
