"""Recipes: the shipped ones load, and each mistake is one sentence with the key and the value."""

import copy
import functools
from pathlib import Path

import pytest
import yaml

from specdata.dataset.recipe import FolderSource, load_data_recipe
from specdata.dataset.reference import recipe_reference
from specdata.errors import SpecdataError
from specdata.files import shipped

SHIPPED = sorted(shipped("recipes/data").glob("*.yaml"))
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
SDSS = FOLDER | {"source": {"kind": "sdss"}}


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
    assert path
    assert found
    return rest


@pytest.mark.parametrize("path", SHIPPED or ["none was found"], ids=str)
def test_shipped_recipes_load(path):
    recipe = load_data_recipe(path)
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    written = recipe.model_dump()
    for section in ("source", "cuts", "sample", "splits"):
        given = content.get(section, {})
        assert {key: written[section][key] for key in given} == given
    for name, config in content["configs"].items():
        found = written["configs"][name]
        if "like" in config:
            shared = {key: written["configs"][config["like"]][key] for key in ("grid", "normalisation", "scheme")}
            assert found == {"target": "redshift", "conversation": None} | shared | config
        else:
            assert found | config | {"grid": found["grid"] | config["grid"]} == found
    # split_sizes would shrink the training split of a recipe that asks for more
    assert recipe.splits.train + 2 * recipe.splits.validation <= recipe.sample.size
    assert f"specdata build recipes/data/{path.name}" in path.read_text(encoding="utf-8")


def test_defaults_are_those_of_the_paper(load):
    recipe = load({"sample": ..., "splits": ..., "cuts": ...})
    assert (recipe.sample.size, recipe.splits.train, recipe.splits.validation) == (10_000, 3000, 1000)
    cuts = recipe.cuts
    assert (cuts.z_min, cuts.z_max, cuts.dered_i_max, cuts.zwarning_allowed) == (0, 0.5, 18, 0)
    paper = recipe.configs["paper"]
    assert (paper.scheme, paper.normalisation, paper.grid.kind) == ("paper", "median", "linear")
    assert load({"cuts.dered_i_max": None}).cuts.dered_i_max is None
    with pytest.raises(ValueError, match="frozen"):
        recipe.name = "other"


def test_only_the_word_mock_says_mock(load):
    names = ("mock-a", "a.mocks", "hammock-a", "sdss")
    assert [load({"name": name}).says_mock for name in names] == [True, True, False, False]


def test_sections_may_be_merged(tmp_path):
    content = {key: value for key, value in FOLDER.items() if key not in ("sample", "splits")}
    text = yaml.safe_dump(content) + "splits: {train: 10, validation: 10}\nsample: {<<: {size: 40, seed: 3}, seed: 5}\n"
    (tmp_path / "r.yaml").write_text(text)
    recipe = load_data_recipe(tmp_path / "r.yaml")
    assert (recipe.sample.size, recipe.sample.seed) == (40, 5)


def test_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    for name, why in (("none.yaml", "No such file"), ("folder.yaml", "Is a directory")):
        assert f"cannot be read ({why}" in sentence(load_data_recipe, tmp_path / name)


def test_a_training_recipe_is_not_for_build():
    path = shipped("recipes/smollm2-135m/redshift-paper.yaml")
    ours = ", ".join(f"recipes/data/{path.name}" for path in SHIPPED)
    wanted = f"is a recipe for trl sft; train with `trl sft --config {path}`, or build one of {ours}"
    assert sentence(load_data_recipe, path) == wanted


@pytest.mark.parametrize("given", ["other", Path("other")])
def test_source_takes_the_place_of_the_folder(load, given):
    assert load(source=given).source == FolderSource(kind="folder", path="other")
    assert load({"source": {"kind": "folder"}}, source=given).source.path == "other"
    for changes, base in ((None, MOCK), ({"source": ...}, FOLDER), ({"source": 5}, FOLDER)):
        assert "--source" in sentence(load, changes, base, source=given)


def test_any_number_of_configs_with_grids_of_their_own(load):
    log = {"kind": "log", "start": 3900, "stop": 9000, "tokens": 573}
    own = {"kind": "edges", "edges": [3800.0, 5000.0, 9100.0]}
    recipe = load({"configs.log": {"grid": log, "scheme": "packed"}, "configs.own": {"grid": own}})
    assert list(recipe.configs) == ["paper", "log", "own"]
    assert recipe.configs["log"].grid.tokenizer == "llama-3.1"
    assert recipe.configs["own"].grid.span == (3800, 9100)


def test_a_config_like_another(load):
    found = load({"configs.chat": {"like": "paper", "conversation": {}}}).configs
    assert found["chat"].grid == found["paper"].grid
    assert found["chat"].conversation.turns == 3


def test_the_reference_has_a_sentence_for_every_key():
    lines = [line for line in recipe_reference().splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == 4 and all(row) and row[3].endswith(".") for row in cells)
    assert ["`on_missing`", "`replace`, `stop`", "`replace`"] in [row[:3] for row in cells]
    assert ["`good_fraction_min`", "number ≥ 0 ≤ 1", "`0.9`"] in [row[:3] for row in cells]
    assert {"`path`", "`seed`", "`edges`", "`turns`", "`scheme`"} < {row[0] for row in cells}
