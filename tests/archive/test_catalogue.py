"""Catalogues: the random order, a user's own file, and what is said of a wrong one."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from archive_server import make_sky

from specdata.archive.catalogue import COLUMNS, PRIME, read_catalogue, shuffle, write_catalogue
from specdata.errors import SpecdataError

HEADER = "plate,mjd,fiberid,run2d,z\n"
GOOD = "266,51602,1,26,0.1\n10000,57346,3,v5_13_0,0.2\n"


def uniform(chosen, cells):
    """Chi-square over its degrees of freedom of the chosen ones against all, cell by cell."""
    expected = np.bincount(cells) * chosen.sum() / len(cells)
    found = np.bincount(cells[chosen], minlength=len(expected))
    return float(((found - expected) ** 2 / expected).sum() / (len(expected) - 1))


def test_the_first_of_the_order_favour_no_part_of_the_sky():
    rows = make_sky(20_000, seed=1)
    column = {name: np.array([row[name] for row in rows]) for name in ("plate", "mjd", "fiberid", "ra", "dec", "z")}
    cells = {name: np.argsort(np.argsort(values, kind="stable")) // 500 for name, values in column.items()}
    found = {name: [] for name in cells}
    ranks = [shuffle(column["plate"], column["mjd"], column["fiberid"], seed) for seed in range(20)]
    for rank in ranks:
        assert rank.min() >= 0
        assert rank.max() < PRIME
        assert len(np.unique(rank)) > 19_990
        for name, cell in cells.items():
            found[name].append(uniform(rank <= np.sort(rank)[1999], cell))
    for name, values in found.items():
        assert 0.8 < np.mean(values) < 1.2, name  # for 20 times 40 cells, the standard deviation is 0.05
    # and the yardstick sees a bias: the first plates alone
    assert uniform(column["plate"] <= np.sort(column["plate"])[1999], cells["plate"]) > 100
    assert np.abs(np.corrcoef(ranks) - np.eye(20)).max() < 0.04  # each seed gives an order of its own


@pytest.mark.parametrize("kind", ["csv", "skyserver", "parquet"])
def test_a_catalogue_of_ones_own(tmp_path, kind):
    path = tmp_path / f"mine.{kind}"
    text = "Plate,MJD,fiberID,run2d,z,colour,dered_i,specObjID\n266.0,51602,1,26,0.1,red,17.5,299489677444933632\n"
    text += "10000,57346, 3 ,v5_13_0,2e-1,blue,null,11258999466550599680\n"
    path.write_text("#Table1\n" * (kind == "skyserver") + text)
    if kind == "parquet":
        convert = pyarrow.csv.ConvertOptions(column_types={"run2d": pa.string(), "specObjID": pa.uint64()})
        pq.write_table(pyarrow.csv.read_csv(path, convert_options=convert), path)
    table = read_catalogue(path)
    assert table.to_pydict() == {
        "plate": [266, 10000], "mjd": [51602, 57346], "fiberid": [1, 3], "run2d": ["26", "v5_13_0"], "z": [0.1, 0.2],
        "specobjid": ["299489677444933632", "11258999466550599680"], "dered_i": [17.5, None],
    }  # fmt: skip
    assert table.schema.types == [pa.type_for_alias(COLUMNS[name][0]) for name in table.column_names]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("plate,mjd,fiberid,z\n266,51602,1,0.1\n", "the column 'run2d' is missing; .* has plate, mjd, fiberid, z"),
        (HEADER, "there is no row in this catalogue"),
        ("", "cannot be read as a catalogue"),
        ("PAR1" + "\0" * 100, "cannot be read as a catalogue"),
        (HEADER + GOOD + "x,51602,1,26,0.1\n", "row 3, column 'plate': 'x' is not a whole number"),
        (HEADER + "266,51602,1.5,26,0.1\n", "row 1, column 'fiberid': '1.5' is not a whole number"),
        (HEADER + "266.0,51602,1,26,0.1\n266,51602,inf,26,1\n", "row 2, column 'fiberid': 'inf' is not a whole number"),
        (HEADER + GOOD + "266,51602,2,26,\n", "row 3, column 'z': there is no value; fill it in or delete the row"),
        (HEADER + "266,51602,2,26,nan\n", "row 1, column 'z': there is no value"),
        (HEADER + "266,51602,2,26,a\n", "row 1, column 'z': 'a' is not a number"),
        (HEADER + "266,51602,2,26,16.57\n", r"row 1, column 'z': 16\.57 is not between -0\.1 and 10"),
        (HEADER + GOOD + "266,51602,2,../..,0.1\n", r"row 3, column 'run2d': '\.\./\.\.'; give 26, 103 or 104"),
        (HEADER + "266,5,2,26,0.1\n", "row 1, column 'mjd': 5 is not between"),
        (HEADER + GOOD + "266,51602,0,26,0.1\n", "row 3, column 'fiberid': 0 is not between"),
        (HEADER + GOOD + "266,51602,1,103,0.3\n", "row 1 and row 3 are both 0266-51602-0001; delete one"),
        (HEADER + GOOD + "266,51602\n", "cannot be read as a catalogue"),
        ("plate,Plate,mjd,fiberid,run2d,z\n1,1,51602,1,26,0.1\n", "the column 'plate' is there twice"),
        ("zwarning," + HEADER + "3e9,266,51602,1,26,0.1\n", "row 1, column 'zwarning': 3000000000 is not between"),
        (None, "cannot be read as a catalogue"),
    ],
)
def test_a_wrong_catalogue_is_told_in_one_sentence(tmp_path, text, said):
    path = tmp_path / "mine.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SpecdataError, match=said) as caught:
        read_catalogue(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_wrong_values_in_parquet(tmp_path):
    good = {"plate": [266, 266], "mjd": [51602] * 2, "fiberid": [1, 2], "run2d": ["26"] * 2, "z": [0.1] * 2}
    for values, said in (
        ({"plate": [266, None]}, "row 2, column 'plate': there is no value"),
        ({"run2d": [26.0, 26.0]}, r"row 1, column 'run2d': 26\.0 is a floating-point number; write the column as text"),
    ):
        pq.write_table(pa.table(good | values), tmp_path / "mine.parquet")
        with pytest.raises(SpecdataError, match=said):
            read_catalogue(tmp_path / "mine.parquet")


def test_real_exports(shared_sdss):
    with pytest.raises(SpecdataError, match="the column 'run2d' is missing"):
        read_catalogue(shared_sdss / "catalog" / "casjobs_dr16_10000.csv")
    table = read_catalogue(shared_sdss / "catalog" / "skyserver_response.csv")
    assert table["specobjid"].to_pylist() == ["845594848269461504"]
    assert len(read_catalogue(shared_sdss / "index.csv")) == 816


def test_what_is_written_has_units_and_is_read_back(tmp_path):
    values = {"int32": 300, "float64": 0.25, "string": "26"}
    columns = {name: pa.array([values[kind]], kind) for name, (kind, _, _) in COLUMNS.items()}
    table = pa.table(columns | {"mjd": pa.array([51602], "int32")})
    write_catalogue(table, tmp_path / "c.parquet", about=b"{}")
    stored = pq.read_schema(tmp_path / "c.parquet")
    assert all(stored.field(name).metadata[b"description"] for name in COLUMNS)
    assert stored.field("dered_i").metadata[b"unit"] == b"mag"
    assert read_catalogue(tmp_path / "c.parquet").equals(table)
