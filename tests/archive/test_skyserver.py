"""The selection: its SQL, carried out over HTTP through astroquery, and what a server may do wrong."""

import importlib.resources
import itertools
import json
import re
import urllib.parse

import numpy as np
import pyarrow.parquet as pq
import pytest
from archive_server import ERROR_PAGE, Archive, make_sky, table

from specdata.archive.catalogue import COLUMNS, read_catalogue, shuffle
from specdata.archive.query import bin_queries, dry_run
from specdata.archive.skyserver import select
from specdata.dataset.recipe import Cuts, Sample
from specdata.errors import SpecdataError

CUTS, SAMPLE = Cuts(), Sample(size=400, redshift_bins=10, seed=3)
QUICK = {"timeout": 2.0, "backoff": 0.01, "progress": False}
ROWS = make_sky(6_000, seed=2)


@pytest.fixture
def archive():
    with Archive(ROWS) as archive:
        yield archive


def truth(cuts):
    """Rows that a selection without SQL would keep, by its own words."""
    kept = []
    for row in ROWS:
        good = row["boss_target1"] & 0b111001111 and row["class_noqso"]
        z, warning = (row["z_noqso"], row["zWarning_noqso"]) if good else (row["z"], row["zWarning"])
        bright = 0 < row["dered_i"] < cuts.dered_i_max if cuts.dered_i_max else True
        primary = row["class"] == "GALAXY" and row["sciencePrimary"] == 1
        if primary and bright and not warning & ~cuts.zwarning_allowed and cuts.z_min < z < cuts.z_max:
            kept.append((z, int(shuffle(row["plate"], row["mjd"], row["fiberID"], SAMPLE.seed)), row["specObjID"]))
    return kept


def test_the_selection_is_what_the_words_say(archive, tmp_path):
    path = tmp_path / "catalogue.parquet"
    catalogue = select(path, bin_queries(CUTS, SAMPLE), url=archive.url, **QUICK)
    expected = []
    edges = np.linspace(0, 0.5, 11)
    for low, high in itertools.pairwise(edges):
        members = sorted((rank, name) for z, rank, name in truth(CUTS) if low <= z < high)
        expected += [name for _, name in members[:60]]
    assert catalogue["specobjid"].to_pylist() == expected
    assert catalogue.column_names == list(COLUMNS)
    assert max(len(name) for name in expected) == 20  # above a signed 64-bit integer, and not rounded
    assert np.nanmax(catalogue["z"].to_numpy()) < 0.5  # no z of a quasar template
    assert any(plate > 9999 for plate in catalogue["plate"].to_pylist())
    about = json.loads(pq.read_schema(path).metadata[b"specdata"])
    assert about["data_release"] == 16
    assert [row["asked"] for row in about["redshift_bins"]] == [40] * 10
    assert sum(row["available"] for row in about["redshift_bins"]) == len(truth(CUTS))
    assert not (tmp_path / "catalogue.parquet.partial").exists()
    assert len(archive.log) == 10


@pytest.mark.parametrize("cuts", [Cuts(dered_i_max=None), Cuts(zwarning_allowed=4), Cuts(z_min=0.1, z_max=0.2)])
def test_other_cuts(archive, tmp_path, cuts):
    queries = bin_queries(cuts, Sample(size=4000, redshift_bins=4, seed=SAMPLE.seed), reserve=1)
    catalogue = select(tmp_path / "c.parquet", queries, url=archive.url, **QUICK)
    assert sorted(catalogue["specobjid"].to_pylist()) == sorted(name for *_, name in truth(cuts))


def test_a_larger_reserve_or_sample_keeps_the_choice():
    first, second = bin_queries(CUTS, SAMPLE)[0].sql, bin_queries(CUTS, SAMPLE, reserve=2)[0].sql
    assert first.replace("TOP 60 ", "TOP 120 ") == second
    assert "1334933103" in bin_queries(CUTS, Sample(seed=0))[0].sql
    assert "1334933103" not in first  # another seed, another choice


def test_every_column_is_in_the_schema_that_astroquery_ships():
    data = importlib.resources.files("astroquery.sdss") / "data"
    tables = {"s": "SpecObjAll_dr12.json", "p": "PhotoObjAll_dr12.json"}  # SpecObj and PhotoObj are views of these
    schema = {alias: json.loads((data / name).read_text())[0]["Rows"] for alias, name in tables.items()}
    known = {alias: {row["name"].lower() for row in rows} for alias, rows in schema.items()}
    for cuts in (CUTS, Cuts(dered_i_max=None, zwarning_allowed=4)):
        (sql,) = {re.sub(r"TOP \d+|z >=? \S+ AND z < \S+", "", query.sql) for query in bin_queries(cuts, SAMPLE)}
        used = set(re.findall(r"\b([sp])\.(\w+)", sql))
        assert {name for alias, name in used if name.lower() not in known[alias]} == set()
        assert {("s", "bestObjID"), ("p", "objID"), ("p", "dered_i"), ("s", "z_noqso")} <= used
        inner = sql[sql.index("(SELECT") : sql.index(" FROM SpecObj")]
        assert {name for name in COLUMNS if not re.search(rf"(\.| AS ){name}\b", inner)} == set()


def test_the_sql_fits_what_the_server_takes():
    for cuts in (CUTS, Cuts(dered_i_max=None, zwarning_allowed=255, z_max=99)):
        for query in bin_queries(cuts, Sample(size=2_000_000, redshift_bins=7, seed=2**31)):
            assert len(urllib.parse.urlencode({"cmd": query.sql})) < 1900  # IIS allows 2048 for what follows the '?'
            assert not re.search(r"[;\n\t#]|--| (xp|sp|fn|ms|dt)_", query.sql)
            assert query.sql.startswith("SELECT TOP ")


def test_more_rows_than_the_server_gives_are_not_asked_for():
    with pytest.raises(SpecdataError, match=r"redshift_bins = 2: one query would ask for 625,000 rows"):
        bin_queries(CUTS, Sample(size=1_000_000, redshift_bins=2))


def test_dry_run_says_what_would_be_asked():
    queries = bin_queries(CUTS, Sample())
    text = dry_run(queries, 16)
    assert text.count("SELECT TOP 625 ") == 20
    assert "-- 0.475 to 0.5: 500 galaxies" in text
    assert "20 queries to DR16, at most 12,500 rows: 10,000 galaxies" in text
    assert "about 2.0 GB" in text
    with pytest.raises(SpecdataError, match="data_release = 18"):
        dry_run(queries, 18)


@pytest.mark.parametrize("fault", ["page", "text", "throttle", "short", "503", "429", "reset", "truncated", "html"])
def test_passing_faults_are_survived(archive, tmp_path, fault):
    archive.fault = lambda path, attempt: fault if attempt < 2 else None
    catalogue = select(tmp_path / "c.parquet", bin_queries(CUTS, SAMPLE)[:2], url=archive.url, **QUICK)
    assert len(catalogue) == 120
    assert [answer for _, answer in archive.log] == [fault, fault, "200"] * 2


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("page", "it sent no table but 'An error occured'"),
        ("text", "maximum time is 600 seconds.'; more redshift bins make quicker queries"),
        ("throttle", "it says 'ERROR: Maximum 60 queries allowed per minute"),
        ("short", "it sent 3 rows where there are"),
        ("503", "503 Server Error"),
        ("reset", "Connection"),
        ("stall", "timed out"),
        ("html", "the disk is on holiday"),
    ],
)
def test_lasting_faults_are_one_sentence_and_the_rest_resumes(archive, tmp_path, fault, said):
    queries = bin_queries(CUTS, SAMPLE)
    archive.fault = lambda path, attempt: fault if path.strip() == queries[2].sql else None
    path = tmp_path / "c.parquet"
    with pytest.raises(SpecdataError, match=re.escape(said)) as caught:
        select(path, queries, url=archive.url, attempts=2, **QUICK | {"timeout": 0.2})
    assert "\n" not in str(caught.value)
    assert "did not answer for z 0.1 to 0.15" in str(caught.value)
    assert not path.exists()
    assert len(archive.log) == 4
    archive.fault = lambda path, attempt: None
    select(path, queries, url=archive.url, **QUICK)
    assert len(archive.log) == 4 + 8  # two bins were there
    select(path, queries, url="http://127.0.0.1:9", **QUICK)
    assert len(archive.log) == 4 + 8  # and now all are


def test_a_refusal_is_not_sent_again(archive, tmp_path):
    archive.row_cap = 50
    with pytest.raises(SpecdataError, match=r"refuses the query for z 0 to 0\.05: 'error: limit is top 50"):
        select(tmp_path / "c.parquet", bin_queries(CUTS, SAMPLE), url=archive.url, **QUICK)
    assert len(archive.log) == 1


@pytest.mark.parametrize(
    "sql", ["DROP TABLE SpecObj", "SELECT TOP 3 nonsense FROM SpecObj", "SELECT TOP 1 z; SELECT 2"]
)
def test_sql_errors_are_told(archive, tmp_path, sql):
    queries = [bin_queries(CUTS, SAMPLE)[0]._replace(sql=sql)]
    with pytest.raises(SpecdataError, match=r"no such column|must be a select|Incorrect"):
        select(tmp_path / "c.parquet", queries, url=archive.url, attempts=2, **QUICK)


@pytest.mark.parametrize(
    "text", ["", "#Table1", "#Table1\n", ERROR_PAGE, "#Table1\nplate\n1\n", table([*COLUMNS, "available"], [range(12)])]
)
def test_answers_that_are_none(archive, tmp_path, text, monkeypatch):
    monkeypatch.setattr(archive, "query", lambda sql: text)
    with pytest.raises(SpecdataError, match="did not answer"):
        select(tmp_path / "c.parquet", bin_queries(CUTS, SAMPLE), url=archive.url, attempts=1, **QUICK)
    assert not list(tmp_path.iterdir())


def test_a_damaged_part_is_asked_for_again_and_nonsense_is_told(archive, tmp_path, monkeypatch):
    path, queries = tmp_path / "c.parquet", bin_queries(CUTS, SAMPLE)
    archive.fault = lambda sql, attempt: "html" if sql.strip() == queries[3].sql else None
    with pytest.raises(SpecdataError, match="did not answer"):
        select(path, queries, url=archive.url, attempts=1, **QUICK)
    parts = sorted((tmp_path / "c.parquet.partial").iterdir())
    assert len(parts) == 3
    parts[0].write_text(parts[0].read_text()[:-30])
    parts[1].write_bytes(b"\xff\xfe")
    archive.fault, asked = lambda sql, attempt: None, len(archive.log)
    assert len(select(path, queries, url=archive.url, **QUICK)) > 300
    assert len(archive.log) - asked == 7 + 2

    values = ["x" if name == "z" else "1" for name in [*COLUMNS, "available"]]
    monkeypatch.setattr(archive, "query", lambda sql: table([*COLUMNS, "available"], [values]))
    with pytest.raises(SpecdataError, match=r"d\.parquet\.partial: holds a value that makes no sense \(.*'x'"):
        select(tmp_path / "d.parquet", queries[:1], url=archive.url, **QUICK)


def test_nothing_found_and_nobody_there(archive, tmp_path):
    cuts = Cuts(z_min=2, z_max=3)
    with pytest.raises(SpecdataError, match="DR16 has no galaxy between these limits"):
        select(tmp_path / "c.parquet", bin_queries(cuts, SAMPLE), url=archive.url, **QUICK)
    with pytest.raises(SpecdataError, match="is no web address"):
        select(tmp_path / "d.parquet", bin_queries(CUTS, SAMPLE), url="skyserver.sdss.org", **QUICK)
    with pytest.raises(SpecdataError, match="did not answer"):
        select(tmp_path / "d.parquet", bin_queries(CUTS, SAMPLE), url="http://127.0.0.1:9", attempts=1, **QUICK)


def test_a_catalogue_of_another_selection_is_kept(archive, tmp_path):
    path = tmp_path / "c.parquet"
    select(path, bin_queries(CUTS, SAMPLE), url=archive.url, **QUICK)
    before = path.read_bytes()
    for queries, data_release in ((bin_queries(CUTS, Sample(size=10)), 16), (bin_queries(CUTS, SAMPLE), 17)):
        with pytest.raises(SpecdataError, match="was selected by other cuts or from another release"):
            select(path, queries, url=archive.url, data_release=data_release, **QUICK)
    assert path.read_bytes() == before
    path.unlink()
    select(path, bin_queries(CUTS, SAMPLE), url=archive.url, **QUICK)
    assert path.read_bytes() == before  # the same bytes again
    edited = read_catalogue(path).to_pandas().iloc[::-3]
    edited.to_parquet(tmp_path / "edited.parquet")
    edited.to_csv(tmp_path / "edited.csv")
    for name in ("edited.parquet", "edited.csv"):  # and is taken as it is
        select(tmp_path / name, bin_queries(CUTS, SAMPLE), url="http://127.0.0.1:9", **QUICK)
        assert read_catalogue(tmp_path / name)["specobjid"].to_pylist() == edited["specobjid"].to_list()
