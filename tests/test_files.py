"""Folders that appear whole or not at all, shipped recipes by name, and cards without placeholders."""

import contextlib
import os
import shutil

import pytest

from specdata import cards
from specdata.archive.catalogue import read_catalogue
from specdata.cards import render
from specdata.errors import SpecdataError, one_line
from specdata.files import find_recipe, new_file, new_folder, recipe_names, remove_leftovers, shipped, sweep
from specdata.inputs import read_json, read_yaml
from specdata.spectra.specfile import read_spectrum


class Interrupted(Exception):
    """Stands for anything that can go wrong in the middle."""


def tree(path):
    """Contents of all files below a folder, and the names of the folders."""
    return {p.relative_to(path).as_posix(): p.read_text() if p.is_file() else None for p in path.rglob("*")}


def fill(path, text="new", **options):
    with new_folder(path, marker="manifest.json", **options) as folder:
        (folder / "data").mkdir()
        (folder / "data" / "file").write_text(text)
        (folder / "manifest.json").write_text(text)
        assert folder.parent == path.parent  # beside it, so that the rename stays within one file system
        assert not (path / "data" / "file").exists() or (path / "data" / "file").read_text() != text


def break_off(path, **options):
    def half(path):
        with new_folder(path, marker="manifest.json", **options) as folder:
            (folder / "manifest.json").write_text("half")
            raise Interrupted

    with pytest.raises(Interrupted):
        half(path)


RESULT = {"out": None, "out/data": None, "out/data/file": "new", "out/manifest.json": "new"}


def test_a_new_folder(tmp_path):
    fill(tmp_path / "out")
    assert tree(tmp_path) == RESULT


def test_parents_are_made(tmp_path):
    fill(tmp_path / "a" / "out")
    assert tree(tmp_path / "a") == RESULT


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with new_folder("out", marker="manifest.json") as folder:
        (folder / "file").write_text("x")
    assert tree(tmp_path) == {"out": None, "out/file": "x"}


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    fill(tmp_path / "out")
    assert tree(tmp_path) == RESULT


def test_an_exception_leaves_nothing(tmp_path):
    break_off(tmp_path / "out")
    assert tree(tmp_path) == {}
    (tmp_path / "out").mkdir()
    break_off(tmp_path / "out")
    assert tree(tmp_path) == {"out": None}


def test_an_exception_leaves_an_earlier_result_as_it_was(tmp_path):
    fill(tmp_path / "out")
    break_off(tmp_path / "out", overwrite=True)
    assert tree(tmp_path) == RESULT


def test_overwrite_replaces_the_whole_folder(tmp_path):
    fill(tmp_path / "out", "old")
    (tmp_path / "out" / "more").write_text("of the old one")
    fill(tmp_path / "out", overwrite=True)
    assert tree(tmp_path) == RESULT


def test_a_result_is_not_replaced_without_being_asked(tmp_path):
    fill(tmp_path / "out")
    with pytest.raises(SpecdataError, match="--overwrite"):
        fill(tmp_path / "out", "other")
    assert tree(tmp_path) == RESULT


@pytest.mark.parametrize("marker", [None, "a folder"])
def test_overwrite_spares_what_is_not_ours(tmp_path, marker):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    if marker:
        (tmp_path / "out" / "manifest.json").mkdir()
    before = tree(tmp_path)
    with pytest.raises(SpecdataError, match=r"is not replaced, for it holds no manifest\.json"):
        fill(tmp_path / "out", overwrite=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_in_the_way(tmp_path, overwrite):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(SpecdataError, match="out: "):
        fill(tmp_path / "out", overwrite=overwrite)
    assert tree(tmp_path) == {"out": "a file"}


def test_what_another_run_or_person_has_under_such_a_name_is_left_alone(tmp_path):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis.tex").write_text("years of work")
    fill(tmp_path / "out")
    assert (tmp_path / "out.partial" / "thesis.tex").read_text() == "years of work"
    later = contextlib.ExitStack()
    first = later.enter_context(new_folder(tmp_path / "two", marker="manifest.json"))
    with new_folder(tmp_path / "two", marker="manifest.json") as second:
        assert first != second
        (second / "manifest.json").write_text("second")
    (first / "manifest.json").write_text("first")
    with pytest.raises(SpecdataError, match="another run made it meanwhile"):
        later.close()
    assert (tmp_path / "two" / "manifest.json").read_text() == "second"


def test_a_folder_with_anything_else_in_it_is_not_replaced(tmp_path):
    fill(tmp_path / "out")
    (tmp_path / "out" / ".git").mkdir()
    before = tree(tmp_path)
    options = {"marker": "manifest.json", "contents": ("manifest.json",), "overwrite": True}
    with pytest.raises(SpecdataError, match=r"also holds \.git; move that away"):
        new_folder(tmp_path / "out", **options).__enter__()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("state", ["empty", "missing", "earlier result"])
def test_the_output_may_be_a_link(tmp_path, state):
    (tmp_path / "out").symlink_to(tmp_path / "elsewhere")
    if state != "missing":
        (tmp_path / "elsewhere").mkdir()
    if state == "earlier result":
        (tmp_path / "elsewhere" / "manifest.json").write_text("old")
    with new_folder(tmp_path / "out", marker="manifest.json", overwrite=True) as folder:
        (folder / "manifest.json").write_text("new")
    assert (tmp_path / "out" / "manifest.json").read_text() == "new"
    assert not list(tmp_path.glob("*.partial"))


def test_an_earlier_result_comes_back_if_the_new_one_cannot_take_its_place(tmp_path):
    fill(tmp_path / "out")
    with pytest.raises(OSError, match="out"), new_folder(tmp_path / "out", marker="manifest.json", overwrite=True) as f:
        f.rename(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert tree(tmp_path) == RESULT


def test_a_new_file_takes_the_place_of_the_old_one_when_it_is_complete(tmp_path):
    path = tmp_path / "folder" / "file.json"
    for text in ("old", "new"):
        with new_file(path, suffixes=(".json",)) as partial:
            partial.write_text(text)
    with contextlib.suppress(Interrupted), new_file(path) as partial:
        partial.write_text("half")
        raise Interrupted
    assert tree(tmp_path) == {"folder": None, "folder/file.json": "new"}


def test_a_file_that_cannot_be_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    for path, said in (
        ("a.txt", r"a\.txt: give a name that ends in \.png"),
        (".", "is a folder; give the name of a file"),
        ("file/a.png", r"a\.png: cannot be written"),
    ):
        with pytest.raises(SpecdataError, match=said), new_file(tmp_path / path, suffixes=(".png", "")):
            pass
    assert tree(tmp_path) == {"file": ""}


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    with new_file(tmp_path / "file") as mine, new_folder(tmp_path / "out") as ours:
        for name in (".0123456789ab.partial.file", "out.notes.partial", ".hidden"):
            (tmp_path / name).write_text("half")
        for name in (
            "out.abcd_123.partial",
            "out.abcd_124.replaced.partial",
            "out.abcd_125.replaced.partial",
            "o.part",
        ):
            (tmp_path / name).mkdir()
        (tmp_path / "out.abcd_125.replaced.partial" / "result").write_text("of yesterday")
        remove_leftovers(tmp_path)
        remove_leftovers(tmp_path / "none")
        sweep(tmp_path / "out")
        mine.write_text("new")
        left = {path.name for path in tmp_path.iterdir()}
        assert left == {mine.name, ours.name, "out", "out.notes.partial", ".hidden", "o.part"}
        assert (tmp_path / "out" / "result").read_text() == "of yesterday"
        shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("kind", ["a pipe", "a device", "too large"])
def test_what_might_be_endless_is_not_read(tmp_path, kind):
    path = tmp_path / "file"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as stream:
            stream.truncate(2**40)
    for read in (read_json, read_yaml, read_spectrum, *([read_catalogue] if kind != "too large" else [])):
        with pytest.raises((SpecdataError, OSError), match=r"a device or a pipe|has more than"):
            read(path)


def test_recipe_names_are_those_of_the_files():
    names = recipe_names()
    assert "recipes/data/demo-mock.yaml" in names
    assert names == sorted(names)
    assert all(shipped(name).is_file() for name in names)


@pytest.mark.parametrize(
    "name", ["recipes/data/demo-mock.yaml", "recipes/data/demo-mock", "data/demo-mock.yaml", "data/demo-mock"]
)
def test_a_shipped_recipe_is_found_by_name_from_anywhere(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert find_recipe(name) == shipped("recipes/data/demo-mock.yaml")


def test_a_path_comes_before_a_shipped_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / "recipes" / "data" / "demo-mock.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    assert find_recipe("recipes/data/demo-mock.yaml").read_text() == "mine"
    assert find_recipe(mine) == mine


@pytest.mark.parametrize(
    "name",
    [
        *["none.yaml", "recipes/data/none", "recipes", "data", "", ".", "/none"],
        "/",
    ],
)
def test_an_unknown_recipe_lists_the_known_ones(name):
    with pytest.raises(SpecdataError, match="there is no such recipe") as caught:
        find_recipe(name)
    assert all(known in str(caught.value) for known in recipe_names())


@pytest.fixture
def card(tmp_path, monkeypatch):
    """Render a template that is given as text."""
    monkeypatch.setattr(cards, "shipped", lambda name: tmp_path)

    def card(text, **values):
        (tmp_path / "card.md").write_text(text, encoding="utf-8")
        return render("card.md", **values)

    return card


def test_a_card_is_filled(card):
    text = "# {{ a.b }} <&>\n{% for x in xs %}\n- {{ x }}\n{% endfor %}\n{{ zero }}{{ no }}\n"
    assert card(text, a={"b": "A <B>"}, xs=[1, 2], zero=0, no=False) == "# A <B> <&>\n- 1\n- 2\n0False\n"


@pytest.mark.parametrize(
    "text",
    [
        "{{ missing }}",
        "{{ a.missing }}",
        "{{ a.missing.deeper }}",
        "{{ none }}",
        "{{ a.none }}",
        "{% if missing %}x{% endif %}",
        "{% for x in missing %}x{% endfor %}",
        "{{ xs[5] }}",
        "{% for x in xs %}{{ x }}{% endfor %}",
        "{{ '%.3f'|format(missing) }}",
    ],
)
def test_a_card_with_a_missing_value_is_not_written(card, text):
    with pytest.raises(SpecdataError, match=r"^card card\.md: .*a card with a missing value is not written"):
        card(text, a={"none": None}, none=None, xs=[1, None])


@pytest.mark.parametrize("text", ["{{ '%.3f'|format(none) }}", "{{ '{:,}'.format(none) }}"])
def test_a_missing_value_inside_a_format(card, text):
    with pytest.raises(SpecdataError, match="missing value"):
        card(text, none=None)


def test_an_exception_in_one_line():
    assert one_line(ValueError("first\n   second")) == "first second"
    assert one_line(ValueError("long " * 100)) == ("long " * 60)
    assert one_line(KeyError()) == "KeyError"
    assert one_line(PermissionError(13, "Permission denied", "/some/path")) == "Permission denied"
