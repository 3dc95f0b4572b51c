"""The selection: its SQL, carried out over HTTP at astroquery's addresses, and what a server may do wrong."""

import importlib.resources
import itertools
import json
import re
import urllib.parse

import numpy as np
import pyarrow as pa
import pytest
from archive_server import ERROR_PAGE, Archive, make_sky, table

from specdata.archive import download, skyserver
from specdata.archive.catalogue import COLUMNS, read_catalogue, shuffle, write_catalogue
from specdata.archive.skyserver import bin_queries, select, selected_by
from specdata.dataset.recipe import Cuts, Sample
from specdata.errors import SpecdataError

CUTS, SAMPLE = Cuts(), Sample(size=400, redshift_bins=10, seed=3)
ROWS = make_sky(6_000, seed=2)
GALAXY_COLUMNS = [name for name in COLUMNS if name not in ("teff", "logg", "feh")]
ANSWER = [*GALAXY_COLUMNS, "available"]


@pytest.fixture
def archive(monkeypatch):
    monkeypatch.setattr(skyserver, "TIME_LIMIT", 5.0)
    with Archive(ROWS) as archive:
        yield archive


def ask(archive, path, queries, **options):
    return select(path, queries, **{"url": archive.url, "progress": False} | options)


def truth(cuts):
    """Rows that a selection without SQL would keep, by its own words."""
    kept = []
    for row in ROWS:
        warning = row["zWarning_noqso"] if row["boss_target1"] else row["zWarning"]
        bright = 0 < row["dered_i"] < cuts.dered_i_max if cuts.dered_i_max else True
        primary = row["class"] in cuts.classes and row["sciencePrimary"] == 1
        z, rank = row["true_z"], shuffle(row["plate"], row["mjd"], row["fiberid"], SAMPLE.seed)
        if primary and bright and not warning & ~cuts.zwarning_allowed and cuts.z_min < z < cuts.z_max:
            kept.append((z, int(rank), row["specobjid"]))
    return kept


def test_the_selection_is_what_the_words_say(archive, tmp_path):
    catalogue = ask(archive, tmp_path / "catalogue.parquet", bin_queries(CUTS, SAMPLE))
    expected = []
    for low, high in itertools.pairwise(np.linspace(0, 0.5, 11)):
        members = sorted((rank, name) for z, rank, name in truth(CUTS) if low <= z < high)
        expected += [name for _, name in members[:60]]
    assert catalogue["specobjid"].to_pylist() == expected
    assert catalogue.column_names == GALAXY_COLUMNS
    targets = {row["specobjid"] for row in ROWS if row["boss_target1"]}
    subclasses = zip(catalogue["specobjid"].to_pylist(), catalogue["subclass"].to_pylist(), strict=True)
    assert all((subclass == "STARFORMING") == (name in targets) for name, subclass in subclasses)
    assert max(len(name) for name in expected) == 20  # above a signed 64-bit integer, and not rounded
    assert np.nanmax(catalogue["z"].to_numpy()) < 0.5  # no z of a quasar template
    assert any(plate > 9999 for plate in catalogue["plate"].to_pylist())
    about = selected_by(catalogue)
    assert (about["data_release"], len(about["queries"])) == (16, 10)
    assert sum(about["available"]) == len(truth(CUTS))
    assert not (tmp_path / "catalogue.parquet.partial").exists()
    assert len(archive.log) == 10


@pytest.mark.parametrize("about", [b"[" * 100_000, b"[1]", b"{", b'{"queries": 1, "available": []}', b"\xff"])
def test_a_catalogue_with_odd_notes_is_one_of_a_user(tmp_path, about):
    table = pa.table({"plate": [266], "mjd": [51602], "fiberid": [1], "run2d": ["26"], "z": [0.1]})
    write_catalogue(table, tmp_path / "c.parquet", about=about)
    assert select(tmp_path / "c.parquet", [], progress=False).num_rows == 1


def test_stars_come_with_the_parameters_of_sspp(archive, tmp_path):
    cuts = Cuts(spectype=["STAR", "GALAXY"], z_min=-0.01, dered_i_max=None)
    catalogue = ask(archive, tmp_path / "c.parquet", bin_queries(cuts, Sample(size=6000, redshift_bins=1)))
    rows = catalogue.select(["class", "teff", "logg", "feh"]).to_pylist()
    stars = [row for row in rows if row["class"] == "STAR"]
    assert 0.05 < len(stars) / len(rows) < 0.2
    assert {(row["teff"], row["logg"], row["feh"]) for row in stars} == {(5800.0, 4.4, None), (None, None, None)}


def test_dr8_is_asked_for_no_column_of_boss():
    for query in bin_queries(CUTS, SAMPLE, data_release=8):
        assert "noqso" not in query.sql
        assert "boss" not in query.sql


@pytest.mark.parametrize("cuts", [Cuts(dered_i_max=None), Cuts(zwarning_allowed=4), Cuts(z_min=0.1, z_max=0.2)])
def test_other_cuts(archive, tmp_path, monkeypatch, cuts):
    monkeypatch.setattr(skyserver, "RESERVE", 1)
    queries = bin_queries(cuts, Sample(size=4000, redshift_bins=4, seed=SAMPLE.seed))
    catalogue = ask(archive, tmp_path / "c.parquet", queries)
    assert sorted(catalogue["specobjid"].to_pylist()) == sorted(name for *_, name in truth(cuts))


def test_the_sql_is_what_the_server_takes():
    data = importlib.resources.files("astroquery.sdss") / "data"
    tables = {"s": "SpecObjAll_dr12.json", "p": "PhotoObjAll_dr12.json"}  # SpecObj and PhotoObj are views of these
    schema = {alias: json.loads((data / name).read_text())[0]["Rows"] for alias, name in tables.items()}
    known = {alias: {row["name"].lower() for row in rows} for alias, rows in schema.items()}
    for cuts in (CUTS, Cuts(dered_i_max=None, zwarning_allowed=255, z_max=99)):
        for query in bin_queries(cuts, Sample(size=2_000_000, redshift_bins=7, seed=2**31)):
            assert len(urllib.parse.urlencode({"cmd": query.sql})) < 1900  # IIS allows 2048 for what follows the '?'
            assert not re.search(r"[;\n\t#]|--| (xp|sp|fn|ms|dt)_", query.sql)
            assert query.sql.startswith("SELECT TOP ")
            used = set(re.findall(r"\b([sp])\.(\w+)", query.sql))
            assert {name for alias, name in used if name.lower() not in known[alias]} == set()
            inner = query.sql[query.sql.index("(SELECT") : query.sql.index(" FROM SpecObj")]
            assert {name for name in GALAXY_COLUMNS if not re.search(rf"(\.| AS ){name}\b", inner)} == set()
    first, larger = (bin_queries(CUTS, Sample(size=size, seed=3))[0].sql for size in (10_000, 20_000))
    assert first.replace("TOP 625 ", "TOP 1250 ") == larger  # of a larger sample, the first ones are the same
    assert first != bin_queries(CUTS, Sample(seed=4))[0].sql
    with pytest.raises(SpecdataError, match=r"redshift_bins = 2: one query would ask for 625,000 rows"):
        bin_queries(CUTS, Sample(size=1_000_000, redshift_bins=2))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("html", "it sent no table but 'An error occured the disk is on holiday'"),
        ("text", "maximum time is 600 seconds.'; more redshift bins make quicker queries"),
        ("throttle", "it says 'ERROR: Maximum 60 queries allowed per minute"),
        ("short", "it sent 3 rows where there are"),
        ("503", "HTTP 503 Service Unavailable"),
        ("truncated", "RemoteProtocolError"),
        ("stall", "ReadTimeout"),
    ],
)
def test_a_lasting_fault_is_one_sentence_and_the_rest_resumes(archive, tmp_path, monkeypatch, fault, said):
    monkeypatch.setattr(download, "ATTEMPTS", 2)
    monkeypatch.setattr(skyserver, "TIME_LIMIT", 0.3 if fault == "stall" else 5.0)
    queries, path = bin_queries(CUTS, SAMPLE)[:4], tmp_path / "c.parquet"
    archive.fault = lambda sql, attempt: fault if sql == queries[2].sql and attempt < 3 else None
    with pytest.raises(SpecdataError, match=re.escape(said)) as caught:
        ask(archive, path, queries)
    assert re.search("^[^\n]* asked for z 0.1 to 0.15[^\n]*$", str(caught.value))
    assert [answer for _, answer in archive.log] == ["200", "200", fault, fault]
    parts = sorted((tmp_path / "c.parquet.partial").iterdir())
    parts[0].write_bytes(parts[0].read_bytes()[:-30])
    assert len(ask(archive, path, queries)) == 240
    # of the two bins that were there one was damaged, and the fault passes
    assert [answer for _, answer in archive.log[4:]] == ["200", fault, "200", "200"]
    ask(archive, path, queries, url="http://127.0.0.1:9")  # and now all are there


@pytest.mark.parametrize(
    "text",
    ["", "#Table1", "#Table1\n", ERROR_PAGE, "#Table1\nplate\n1\n", table(ANSWER, [range(12)]),
     table(ANSWER, [["1"] * 12 + ["9" * 5000]]), "#Table1\n" + "x" * 200_000, table(ANSWER, [["x"] * 12 + [1]])],
)  # fmt: skip
def test_answers_that_are_none(archive, tmp_path, text, monkeypatch):
    monkeypatch.setattr(archive, "query", lambda sql: text)
    with pytest.raises(SpecdataError, match=r"it sent|row 1, column 'plate': 'x' is not a whole number") as caught:
        ask(archive, tmp_path / "c.parquet", bin_queries(CUTS, SAMPLE)[:1])
    assert len(str(caught.value)) < 600
    assert not (tmp_path / "c.parquet").exists()


def test_nothing_found_nobody_there_and_a_refusal(archive, tmp_path):
    for cuts, url, row_cap, said in (
        (Cuts(z_min=2, z_max=3), archive.url, 500_000, "DR16 has no galaxy between these limits"),
        (CUTS, "http://127.0.0.1:9", 500_000, "ConnectError"),
        (CUTS, archive.url, 50, r"for z 0 to 0\.05: it says .*limit is top 50.*; change the recipe"),
    ):
        archive.row_cap, asked = row_cap, len(archive.log)
        with pytest.raises(SpecdataError, match=said):
            ask(archive, tmp_path / "c.parquet", bin_queries(cuts, SAMPLE), url=url)
    assert len(archive.log) == asked + 1  # a refusal is not sent again


def test_a_catalogue_of_another_selection_is_kept(archive, tmp_path):
    path = tmp_path / "c.parquet"
    ask(archive, path, bin_queries(CUTS, SAMPLE))
    before = path.read_bytes()
    for queries, data_release in ((bin_queries(CUTS, Sample(size=10)), 16), (bin_queries(CUTS, SAMPLE), 17)):
        with pytest.raises(SpecdataError, match="was selected by other cuts or from another release"):
            ask(archive, path, queries, data_release=data_release)
    assert path.read_bytes() == before
    path.unlink()
    ask(archive, path, bin_queries(CUTS, SAMPLE))
    assert path.read_bytes() == before  # the same bytes again
    edited = read_catalogue(path).to_pandas().iloc[::-3]
    edited.to_csv(tmp_path / "edited.csv")  # is taken as it is
    catalogue = ask(archive, tmp_path / "edited.csv", bin_queries(CUTS, SAMPLE), url="http://127.0.0.1:9")
    assert catalogue["specobjid"].to_pylist() == edited["specobjid"].to_list()
