"""The catalogue from SkyServer: one query after the other, through astroquery, bin by bin and resumable.

The limits of SkyServer's SQL search, as its help and the source of `spExecuteSQL` state them, are 500,000 rows, 600 s
and 60 queries a minute. Its errors come as a page or a table with status 200.
"""

import contextlib
import csv
import hashlib
import html
import io
import json
import random
import re
import shutil
import time
from pathlib import Path

from specdata.archive.catalogue import COLUMNS, read_catalogue, write_catalogue
from specdata.archive.manners import retry_after
from specdata.archive.sas import check_release
from specdata.errors import SpecdataError
from specdata.files import new_file, remove_leftovers

SKYSERVER_URL = "https://skyserver.sdss.org"
TIME_LIMIT = 600.0  # s, the server's own; astroquery would give up after 60
_ANSWER = [*COLUMNS, "available"]
_PAUSE = 1.0  # s between two queries, at least; the server allows 60 a minute


def select(path, queries, *, data_release=16, url=SKYSERVER_URL, timeout=TIME_LIMIT, attempts=4, backoff=5.0,
           progress=True):  # fmt: skip
    """Ask SkyServer for the galaxies of each redshift bin, and write the catalogue.

    Answers are kept in ``PATH.partial`` until all are there, so that the same call after an interruption asks only for
    what is missing. A catalogue that the same queries made is not asked for again, and one that a person has made or
    edited is taken as it is.

    Parameters
    ----------
    path : path-like
        The Parquet file to write, or the catalogue that is there.
    queries : list of BinQuery
    data_release : int
        8 to 17.
    url : str
        Root of the server.
    timeout : float
        Seconds to wait for an answer.
    attempts : int
        How often a query is sent before the server counts as out of order.
    backoff : float
        Seconds before the second attempt; they double from one to the next.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    pyarrow.Table
        The catalogue, as `read_catalogue` gives it.

    Raises
    ------
    SpecdataError
        If the server does not give the answer, or `path` holds what other queries gave.
    """
    import pyarrow as pa
    from tqdm import tqdm

    check_release(data_release)
    path, about = Path(path), {"data_release": data_release, "queries": [query.sql for query in queries]}
    if path.exists():
        catalogue = read_catalogue(path)
        stored = json.loads((catalogue.schema.metadata or {}).get(b"specdata", b"null"))
        if stored is None or {key: stored.get(key) for key in about} == about:
            return catalogue
        raise SpecdataError(f"{path}: was selected by other cuts or from another release; move it away to select anew")
    remove_leftovers(path.parent)
    parts = path.with_name(path.name + ".partial")
    columns, bins = {name: [] for name in COLUMNS}, []
    asked_at = 0.0
    for query in tqdm(queries, unit=" queries", desc="select", disable=not progress):
        digest = hashlib.sha256(f"{data_release} {query.sql}".encode()).hexdigest()[:16]
        part = parts / f"z{query.z_min:.4f}-{digest}.csv"
        rows = None
        with contextlib.suppress(OSError, UnicodeDecodeError, _NoAnswer):
            rows = parse_answer(part.read_text(encoding="utf-8"), query.rows)
        if rows is None:
            time.sleep(max(0.0, asked_at + _PAUSE - time.monotonic()) if url == SKYSERVER_URL else 0.0)
            answer = ask(query, data_release, url=url, timeout=timeout, attempts=attempts, backoff=backoff)
            asked_at = time.monotonic()
            with new_file(part) as partial:
                partial.write_bytes(answer.encode())
            rows = parse_answer(answer, query.rows)
        available = int(rows[0][-1]) if rows else 0
        bins.append({**query._asdict(), "available": available, "given": len(rows)})
        for name, values in zip(COLUMNS, zip(*rows, strict=True), strict=False):
            columns[name].extend(values)
    if not any(columns.values()):
        raise SpecdataError(f"DR{data_release} has no galaxy between these limits; loosen the cuts of the recipe")
    known = {name: [v or None if COLUMNS[name][0] != "string" else v for v in columns[name]] for name in COLUMNS}
    about["redshift_bins"] = [{key: row[key] for key in row if key != "sql"} for row in bins]
    try:
        arrays = {name: pa.array(values, pa.string()).cast(COLUMNS[name][0]) for name, values in known.items()}
    except pa.ArrowInvalid as error:
        raise SpecdataError(f"{parts}: holds a value that makes no sense ({error}); remove it and try again") from None
    table = pa.table(arrays)
    write_catalogue(table, path, about=json.dumps(about, indent=1).encode())
    shutil.rmtree(parts, ignore_errors=True)
    return read_catalogue(path)


def ask(query, data_release, *, url, timeout, attempts, backoff):
    """Send one query, again after a passing fault, and return the text of an answer that `parse_answer` takes."""
    from astroquery.sdss import SDSS, conf

    if not re.match(r"https?://[^/]", url):
        raise SpecdataError(f"{url!r}: is no web address; give the root of a SkyServer, such as {SKYSERVER_URL}")
    where, reason, told = f"z {query.z_min:.4g} to {query.z_max:.4g}", "", 0.0
    for attempt in range(attempts):
        if attempt:
            time.sleep(max(told, backoff * 2 ** (attempt - 1) * random.uniform(1, 1.5)))
        try:
            with conf.set_temp("skyserver_baseurl", url.rstrip("/")):
                # The response itself, because astroquery's parser takes an error page for a table; and no cache,
                # because it would keep that page.
                response = SDSS.query_sql_async(query.sql, data_release=data_release, timeout=timeout, cache=False)
            told = min(retry_after(response.headers), TIME_LIMIT)
            response.raise_for_status()
            answer = response.content.decode("utf-8-sig", errors="replace")
            parse_answer(answer, query.rows)
            return answer
        except _Refused as error:
            raise SpecdataError(
                f"SkyServer ({url}) refuses the query for {where}: {error}; change the recipe"
            ) from None
        except (OSError, _NoAnswer) as error:  # every error of requests is an OSError
            reason = _plain(str(error)) or type(error).__name__
    raise SpecdataError(
        f"SkyServer ({url}) did not answer for {where}: {reason}; give the same command again later, which asks only "
        "for what is missing"
    )


class _NoAnswer(Exception):
    """What came is no answer; another try may help."""


class _Refused(_NoAnswer):
    """The server will not carry out this query, however often it is sent."""


def parse_answer(text, limit):
    """Rows of an answer, each a list of text with the columns of `COLUMNS` and `available`.

    An answer is CSV below the line ``#Table1``. Whatever else comes, also with status 200, is an error, and so is an
    answer with fewer rows than there are and were asked for.
    """
    first, _, body = text.partition("\n")
    lines = list(csv.reader(io.StringIO(body)))
    if first.strip() != "#Table1" or not lines:
        said = _plain(text)
        hint = "; more redshift bins make quicker queries" if re.search(r"time-?d? ?out", said, re.IGNORECASE) else ""
        raise _NoAnswer(f"it sent no table but {said!r}{hint}")
    header, rows = lines[0], [row for row in lines[1:] if row]
    if header == ["error_message"]:
        said = _plain(" ".join(cell for row in rows for cell in row))
        raise _NoAnswer(f"it says {said!r}") if "per minute" in said else _Refused(repr(said))
    if [name.strip().lower() for name in header] != _ANSWER:
        raise _NoAnswer(f"it sent the columns {', '.join(header)[:200]!r}")
    if any(len(row) != len(_ANSWER) for row in rows):
        raise _NoAnswer("the answer is cut short within a row")
    rows = [["" if cell.strip().lower() in {"null", "nan"} else cell.strip() for cell in row] for row in rows]
    try:
        available = int(rows[0][-1]) if rows else 0
    except ValueError:
        raise _NoAnswer(f"it counts {rows[0][-1]!r} galaxies") from None
    if len(rows) != min(limit, available):
        raise _NoAnswer(f"it sent {len(rows)} rows where there are {available} and {limit} were asked for")
    return rows


def _plain(text):
    """What a page or an error says, without markup, in one line of at most 200 characters."""
    text = re.sub(r"(?is)<(script|style|head)\b.*?</\1>", " ", text)
    text = html.unescape(re.sub(r"(?s)<[^>]*>", " ", text))
    return " ".join(text.split())[:200]
