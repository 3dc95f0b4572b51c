"""The catalogue from SkyServer: the SQL of a selection, sent through astroquery's addresses, bin by bin and resumable.

A query orders the galaxies of one redshift bin by the `shuffle` of the catalogue and gives the first of them. So an
answer has a few hundred rows whatever the bin holds, and the choice is random, reproducible and blind to the place on
the sky. SkyServer's limits, as its help and the source of `spExecuteSQL` state them, are 500,000 rows, 600 s and 60
queries a minute. Its errors come as a page or a table with status 200.
"""

import csv
import hashlib
import html
import io
import json
import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from tqdm import tqdm

from specdata.archive.catalogue import (
    COLUMNS,
    check_catalogue,
    read_catalogue,
    redshift_steps,
    shuffle_sql,
    write_catalogue,
)
from specdata.archive.download import Failed, check_address, get, open_client
from specdata.errors import SpecdataError
from specdata.files import new_file, remove_leftovers
from specdata.spectra.specfile import BOSS_GALAXY

SKYSERVER_URL = "https://skyserver.sdss.org"
RESERVE = 0.25  # share of rows beyond those asked for, in place of galaxies that are missing or fail a cut
RESERVE_MIN = 20
ROW_LIMIT = 500_000
TIME_LIMIT = 600.0  # s
LITE_MB = 0.2  # mean of 794 real lite files
_STAR = ("teff", "logg", "feh")  # columns that only a catalogue with stars has
_GALAXY = [name for name in COLUMNS if name not in _STAR]
_PAUSE = 1.0  # s before each query; the server allows 60 a minute


class BinQuery(NamedTuple):
    """The query of one redshift bin."""

    z_min: float
    z_max: float
    asked: int  # galaxies that the data set wants
    rows: int  # galaxies that the query asks for, with the reserve
    sql: str


def bin_queries(cuts, sample, data_release=16) -> list[BinQuery]:
    """Write the SQL of a selection.

    BOSS galaxy targets get the redshift, warning and subclass of the fit without quasar templates (`z_noqso`,
    `zWarning_noqso`, `subClass_noqso`), by the same rule as `read_spectrum`. DR8 is older than BOSS and has no such
    columns. Where stars are asked for, their parameters come from the SEGUE pipeline (`sppParams`).

    Parameters
    ----------
    cuts : specdata.dataset.recipe.Cuts
    sample : specdata.dataset.recipe.Sample
    data_release : int

    Raises
    ------
    SpecdataError
        If a bin needs more rows than the server gives.
    """
    number, order = shuffle_sql(sample.seed)
    noqso = f"s.boss_target1 & {BOSS_GALAXY} > 0 AND s.class_noqso <> '' AND s.class <> 'QSO'"
    fit = {
        name: f"CASE WHEN {noqso} THEN s.{name}_noqso ELSE s.{name} END" if data_release > 8 else f"s.{name}"
        for name in ("z", "zWarning", "subClass")
    }
    names, stars, spp = _GALAXY, "", ""
    if "STAR" in cuts.classes:
        # SSPP writes -9999 where it has no value
        stars = "".join(f", CASE WHEN t.{name}adop > -999 THEN t.{name}adop END AS {name}" for name in _STAR)
        names, spp = COLUMNS, " LEFT JOIN sppParams AS t ON t.specObjID = s.specObjID"
    # Without a magnitude limit a galaxy without photometry is one too.
    join = "LEFT JOIN" if cuts.dered_i_max is None else "JOIN"
    bright = "" if cuts.dered_i_max is None else f" AND p.dered_i > 0 AND p.dered_i < {cuts.dered_i_max:.10g}"
    classes = ", ".join(f"'{name}'" for name in cuts.classes)
    good = "= 0" if not cuts.zwarning_allowed else f"| {cuts.zwarning_allowed} = {cuts.zwarning_allowed}"
    galaxies = (
        "(SELECT s.plate, s.mjd, s.fiberID AS fiberid, s.run2d, "
        f"{fit['z']} AS z, s.specObjID AS specobjid, s.ra, s.dec, {fit['zWarning']} AS zwarning, "
        f"{fit['subClass']} AS subclass, s.snMedian AS snmedian, p.dered_i, s.class{stars}, {number} AS x "
        f"FROM SpecObj AS s {join} PhotoObj AS p ON p.objID = s.bestObjID{spp} "
        f"WHERE s.class IN ({classes}) AND s.sciencePrimary = 1{bright}) AS g"
    )
    queries = []
    for low, high, asked in redshift_steps(sample.size, sample.redshift_bins, cuts.z_min, cuts.z_max):
        rows = asked + max(RESERVE_MIN, int(asked * RESERVE))
        if rows > ROW_LIMIT:
            raise SpecdataError(
                f"sample.redshift_bins = {sample.redshift_bins}: one query would ask for {rows:,} rows, and the server "
                f"gives {ROW_LIMIT:,}; take more bins"
            )
        above = ">=" if queries else ">"  # the ends of the whole range do not belong to it
        sql = (
            f"SELECT TOP {rows} {', '.join(names)}, COUNT(*) OVER () AS available FROM {galaxies} "
            f"WHERE z {above} {low:.10g} AND z < {high:.10g} AND zwarning {good} "
            f"ORDER BY {order}, plate, mjd, fiberid"
        )
        queries.append(BinQuery(low, high, asked, rows, sql))
    return queries


def dry_run(queries, data_release) -> str:
    """Say what a selection would ask and download: the SQL, the rows and the size; text of several lines."""
    asked, rows = sum(query.asked for query in queries), sum(query.rows for query in queries)
    lines = [f"-- {query.z_min:.4g} to {query.z_max:.4g}: {query.asked} galaxies\n{query.sql}\n" for query in queries]
    lines += [
        f"{len(queries)} queries to DR{data_release}, at most {rows:,} rows: {asked:,} galaxies and a reserve",
        f"{asked:,} lite spectra to download, about {asked * LITE_MB / 1000:.2g} GB at {LITE_MB:g} MB each",
    ]
    return "\n".join(lines)


def select(path, queries, *, data_release=16, url=SKYSERVER_URL, progress=True) -> pa.Table:
    """Ask SkyServer for the galaxies of each redshift bin, write the catalogue, and read it as `read_catalogue` does.

    Answers are kept in ``PATH.partial`` until all are there, so that the same call after an interruption asks only for
    what is missing. A catalogue that the same queries made is not asked for again, and one that a person has made or
    edited is taken as it is.

    Parameters
    ----------
    path : path-like
        The Parquet file to write, or the catalogue that is there.
    queries : list of BinQuery
    data_release, url
        Which release to ask for, from 8 to 17, and the root of the server.

    Raises
    ------
    SpecdataError
        If the server does not give the answer, or `path` holds what other queries gave.
    """
    path, about = Path(path), {"data_release": data_release, "queries": [query.sql for query in queries]}
    parts = path.with_name(path.name + ".partial")
    if path.exists():
        catalogue = read_catalogue(path)
        stored = selected_by(catalogue)
        if not stored:
            return catalogue
        if {key: stored.get(key) for key in about} == about:
            shutil.rmtree(parts, ignore_errors=True)  # of a command that was killed while it removed them
            return catalogue
        raise SpecdataError(f"{path}: was selected by other cuts or from another release; move it away to select anew")
    url = check_address(url, SKYSERVER_URL)
    remove_leftovers(path.parent)
    tables, about["available"] = [], []  # in each bin, how many galaxies the archive has
    with open_client(1, TIME_LIMIT) as client:
        for query in tqdm(queries, unit=" queries", desc="select", disable=not progress):
            digest = hashlib.sha256(f"{data_release} {query.sql}".encode()).hexdigest()[:16]
            part = parts / f"z{query.z_min:.4f}-{digest}.csv"
            try:
                table, available = parse_answer(part.read_bytes(), query.rows)
            except (OSError, Failed):  # not there, or damaged
                table, available = _ask(client, query, data_release, url, part)
            about["available"].append(available)
            tables += [] if table is None else [table]
    if not tables:
        raise SpecdataError(f"DR{data_release} has no galaxy between these limits; loosen the cuts of the recipe")
    write_catalogue(pa.concat_tables(tables), path, about=json.dumps(about, indent=1).encode())
    shutil.rmtree(parts, ignore_errors=True)
    return read_catalogue(path)


def selected_by(catalogue) -> dict:
    """How `select` made a catalogue: data_release, queries, available; empty for one of a user's own."""
    try:
        about = json.loads((catalogue.schema.metadata or {}).get(b"specdata", b"{}"))
    except (ValueError, RecursionError):
        return {}
    ours = isinstance(about, dict) and all(isinstance(about.get(key), list) for key in ("queries", "available"))
    return about if ours else {}


def _ask(client, query, data_release, url, part):
    """Send one query, keep the answer as a file, and return what `parse_answer` makes of it."""
    from astroquery.sdss import SDSS, conf

    # The address and its parameters are astroquery's. The request is ours, because astroquery takes an error page for
    # a table, and reads an answer of any length.
    with conf.set_temp("skyserver_baseurl", url):
        address = SDSS._get_query_url(data_release)
    params = SDSS.query_sql_async(query.sql, data_release=data_release, get_query_payload=True)

    def take(body):
        answer = parse_answer(body, query.rows)
        with new_file(part) as partial:
            partial.write_bytes(body)
        return answer

    time.sleep(_PAUSE if url == SKYSERVER_URL else 0.0)
    try:
        return get(client, address, take, params=params)
    except Failed as error:
        mend = "change the recipe" if error.final else "try again later, and only what is missing will be asked for"
        raise SpecdataError(
            f"SkyServer ({url}), asked for z {query.z_min:.4g} to {query.z_max:.4g}: {error}; {mend}"
        ) from None


def parse_answer(body, limit) -> tuple[pa.Table | None, int]:
    """Read an answer: a table as `read_catalogue` gives it, None if it has no rows, and how many there are in all.

    An answer is CSV below the line ``#Table1``. Whatever else comes, also with status 200, raises `Failed`, and so does
    an answer with fewer rows than there are and were asked for.
    """
    text = body.decode("utf-8-sig", errors="replace")
    first, _, table = text.partition("\n")
    try:
        lines = list(csv.reader(io.StringIO(table)))
    except csv.Error as error:
        raise Failed(f"it sent a table that cannot be read ({error})") from None
    if first.strip() != "#Table1" or not lines:
        said = _plain(text)
        hint = "; more redshift bins make quicker queries" if re.search(r"time-?d? ?out", said, re.IGNORECASE) else ""
        raise Failed(f"it sent no table but {said!r}{hint}")
    header, rows = lines[0], [row for row in lines[1:] if row]
    if header == ["error_message"]:
        said = _plain(" ".join(cell for row in rows for cell in row))
        raise Failed(f"it says {said!r}", final="per minute" not in said)
    found = [name.strip().lower() for name in header]
    known = [[*columns, "available"] for columns in (COLUMNS, _GALAXY)]
    if found not in known or any(len(row) != len(found) for row in rows):
        raise Failed(f"it sent other columns, or a table that ends within a row: {', '.join(header)[:200]!r}")
    available = rows[0][-1] if rows else "0"
    if not available.isdecimal() or len(rows) != min(limit, int(available[:18])):
        raise Failed(f"it sent {len(rows)} rows where there are {available[:18]!r} and {limit} were asked for")
    columns = dict(zip(found[:-1], map(pa.array, zip(*rows, strict=True)), strict=False))
    try:
        return check_catalogue("its answer", pa.table(columns)) if rows else None, int(available)
    except SpecdataError as error:
        raise Failed(str(error)) from None


def _plain(text):
    """What a page says, without markup, in one line of at most 200 characters."""
    text = re.sub(r"(?is)<(script|style|head)\b.*?</\1>|<[^>]*>", " ", text[:100_000])
    return " ".join(html.unescape(text).split())[:200]
