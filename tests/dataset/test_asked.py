"""Several targets of the same spectra, some from tables that the recipe joins."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_recipe import GRID, small_recipe

from specdata import SpecdataError
from specdata.dataset.asked import read_table
from specdata.dataset.build import build
from specdata.dataset.card import dataset_card, draw_figures
from specdata.dataset.rows import schema
from specdata.spectra.mock.spectrum import mock_spectrum
from specdata.targets import TARGETS
from specdata.text.encoding import Encoding

MASS = {"name": "mass", "words": "stellar mass", "unit": "dex", "low": -2.0, "high": 3.0, "decimals": 2}
N = 60


@pytest.fixture(scope="module")
def masses(tmp_path_factory):
    """A CSV file with a mass and a kind for all but one of the spectra of the small recipe."""
    path = tmp_path_factory.mktemp("tables") / "masses.csv"
    names = [mock_spectrum(3, index)[0].specobjid for index in range(N)]
    lines = [f"{name},{index / 20 - 1.2:.3f},{'odd' if index % 2 else 'even'}" for index, name in enumerate(names[1:])]
    path.write_text("\n".join(["specobjid,mass,kind", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def built(masses, tmp_path_factory):
    """A data set of five configs in 12 bins: redshift, subclass, mass, and kind with all bins of a number of tokens."""
    configs = {
        "paper": {"grid": GRID | {"bins": 12}},
        "subclass": {"like": "paper", "target": "subclass"},
        "mass": {"like": "paper", "target": MASS},
        "kind": {"grid": GRID | {"tokens": 130, "tokenizer": "smollm2-135m"}, "target": {"name": "kind"}},
    }
    folder = tmp_path_factory.mktemp("asked") / "data"
    return folder, build(small_recipe(tables=[{"path": str(masses)}], configs=configs), folder, progress=False)


def test_all_targets_share_spectra_and_splits(built):
    folder, manifest = built
    parts = {name: pq.read_table(folder / name / "test-00000-of-00001.parquet") for name in manifest["configs"]}
    for name, table in parts.items():
        encoding = Encoding.from_dict(json.loads(json.dumps(manifest["configs"][name])), name)
        assert table["specobjid"].equals(parts["paper"]["specobjid"])
        assert table.schema.equals(schema("text", encoding.target))
        values = table[encoding.target.stored_in].to_pylist()
        for row, value in zip(table.to_pylist(), values, strict=True):
            assert row["prompt"][0]["content"].startswith(encoding.target.instruction)
            assert row["completion"][0]["content"] == encoding.target.format(value)
    assert parts["mass"]["flux"].equals(parts["paper"]["flux"])
    assert min(parts["mass"]["target"].to_pylist()) < 0
    assert "target" not in parts["paper"].column_names
    assert manifest["configs"]["kind"]["target"]["labels"] == ["even", "odd"]
    assert "none" in manifest["configs"]["subclass"]["target"]["labels"]
    assert manifest["configs"]["kind"]["fit"]["longest"] <= 130
    assert manifest["recipe"]["tables"] == [{"path": "masses.csv", "join": "specobjid"}]


def test_a_spectrum_without_a_value_is_cut_and_counted(built):
    folder, manifest = built
    assert manifest["counts"]["rejected"]["target"] == 1
    assert "target,no stellar mass that can be asked for" in (folder / "rejected.csv").read_text()
    assert (
        "It asks for the stellar mass: a number from -2 to 3 dex, in steps of 0.01"
        in (folder / "README.md").read_text()
    )


def test_the_card_leads_with_what_is_asked(built):
    folder, manifest = built
    card = (folder / "README.md").read_text()
    for said in (
        "- redshift\n- subclass\n- mass\n- kind\n",
        "its redshift, subclass, stellar mass and kind",
        "odd (",
    ):
        assert said in card
    renamed = manifest | {"configs": {name: manifest["configs"][name] for name in ("mass", "kind")}}
    (folder / "figures").rename(folder / "redshifts")
    try:
        assert set(draw_figures(folder, renamed)) >= {"figures/values.png", "figures/examples.png"}
    finally:
        shutil.rmtree(folder / "figures")
        (folder / "redshifts").rename(folder / "figures")
    card = dataset_card(folder, renamed, "here")
    assert "figures/values.png" in card
    assert "- redshift\n" not in card
    assert "stellar mass from -1." in card


def test_the_redshift_has_no_column_of_its_own():
    assert schema("text") == schema("text", TARGETS["redshift"])
    assert "target" not in Encoding(edges=np.array([1.0, 2.0]), normalisation="none", scheme="csv").to_dict()


@pytest.mark.parametrize("ending", ["csv", "ecsv", "parquet"])
def test_numbers_of_nineteen_digits_join_in_any_format(tmp_path, ending):
    from astropy.table import Table

    path, number = tmp_path / f"table.{ending}", 18446744073709551615
    table = Table({"specobjid": np.array([number], dtype=np.uint64), "mass": [1.5]})
    if ending == "parquet":
        pq.write_table(pa.table({"specobjid": [str(number)], "mass": [1.5]}), path)
    else:
        table.write(path, format=f"ascii.{ending}")
    assert read_table(path, "specobjid", {"mass", "other"}) == {"mass": {str(number): 1.5}}


BOMB = "# %ECSV 1.0\n# ---\n# a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"# {chr(n + 1)}: &{chr(n + 1)} [{','.join([f'*{chr(n)}'] * 9)}]\n" for n in range(97, 105)
)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("none.csv", None, "there is no such table"),
        ("a.txt", "specobjid\n1\n", "is no table that can be joined; give one that ends in .csv, .ecsv, .parquet"),
        ("a.csv", "id,mass\n1,2\n", "has no column 'specobjid' to join by; the columns are id, mass"),
        ("a.csv", "specobjid,mass\n1,2\n1,3\n", "specobjid 1 stands there twice"),
        ("a.parquet", "garbage", "cannot be read as a table"),
        ("a.ecsv", BOMB, "cannot be read as a table .its header is not valid YAML: it holds more than"),
        (
            "a.csv",
            "specobjid,mass\n" + "".join(f"{n},1\n" for n in (*range(100_000), 99_999)),
            "specobjid 99999 stands",
        ),
    ],
)
def test_tables_that_cannot_be_joined_are_one_sentence(tmp_path, name, text, sentence):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(SpecdataError, match=sentence):
        read_table(tmp_path / name, "specobjid", {"mass"})


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"target": "clas"}, "target = 'clas': give one of redshift, class, "),
        ({"target": {"name": "mass", "low": 1.0}}, "give low and high, and no labels, for a number"),
        ({"target": {"name": "mass", "low": 0.0, "high": 1.0, "decimals": 7}}, "has too many answers"),
        ({"target": {"name": "mass", "low": 0.0, "high": 3.0, "decimals": -5}}, "has only one answer from low to high"),
        ({"target": {"name": "kind", "column": "z"}}, "the redshift is a number; give low and high"),
        ({"target": {"name": "kind", "labels": ["a", "<|im_end|>"]}}, "im_end.>' is not one line of plain text"),
        ({"target": {"name": "mass", "colour": 3}}, "unknown key 'colour'"),
        ({"target": "class", "conversation": {"turns": 1}}, "a conversation is about the redshift"),
        ({"target": {"name": "mass"}}, "neither a spectrum nor a table of the recipe has the column 'mass'"),
        ({"target": "class"}, "configs.x.target: all spectra have the same class, 'GALAXY'"),
    ],
)
def test_targets_that_a_recipe_cannot_ask_for(tmp_path, config, sentence):
    configs = {"x": {"grid": GRID | {"bins": 4}} | config}
    with pytest.raises(ValueError, match=sentence):
        build(small_recipe(configs=configs), tmp_path / "out", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_more_rows_than_there_are_spectra_is_not_read(tmp_path):
    """As a file says of itself, which may have few bytes."""
    many = pa.table({"specobjid": pa.array([0] * 10**6, pa.int8()).dictionary_encode()})
    with pq.ParquetWriter(tmp_path / "b.parquet", many.schema) as writer:
        for _ in range(21):
            writer.write_table(many)
    with pytest.raises(SpecdataError, match="it has more than 20,000,000 rows"):
        read_table(tmp_path / "b.parquet", "specobjid", {"mass"})
