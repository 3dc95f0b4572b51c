"""A small SDSS archive on the loopback interface: SkyServer's SQL search and the SAS, over real HTTP, with faults.

Queries are really carried out, by SQLite on tables of SpecObj and PhotoObj. Files are any functions that make bytes, or
made from one mock by writing other numbers into its table.
"""

import functools
import hashlib
import re
import socket
import sqlite3
import struct
import threading
import urllib.parse
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from spec_lite import write_spec_lite

from specdata.archive.sas import lite_path
from specdata.spectra.mock.spectrum import mock_spectrum

FAULTS = ("503", "429", "reset", "stall", "truncated", "wrong", "html", "trickle")  # another attempt may help
ERROR_PAGE = "<html><head><title>Skyserver Error</title></head><h2>An error occured</h2><b>{}<br></b></html>\n"


def make_sky(n, *, seed=0, plates=200):
    """Make `n` observations as SkyServer has them: rows for SpecObj and PhotoObj, dict by column.

    Three in four are galaxies of SDSS-I, one in four is of BOSS; some are stars, carry a warning, are not primary, are
    too faint or have no photometry. Of BOSS targets `z` is wrong and `z_noqso` is right. SSPP knows every other star.
    """
    rng = np.random.default_rng(seed)
    centres = np.column_stack([rng.uniform(110, 260, plates), np.degrees(np.arcsin(rng.uniform(0, 0.9, plates)))])
    cells = rng.choice(plates * 640, n, replace=False)
    rows = []
    for index, cell in enumerate(cells):
        number, fiberid = divmod(int(cell), 640)
        boss = number % 4 == 3
        plate = (9_900 if boss else 300) + number  # so that some have five digits
        mjd, run2d = 52_000 + 3 * plate % 3_000, "v5_13_0" if boss else "26"
        z = float(np.float32(min(0.7, rng.gamma(2.5, 0.07))))
        target = boss and rng.random() < 0.8
        row = {"bestObjID": 1_237_650_000_000_000_000 + index, "plate": plate, "mjd": mjd, "fiberid": fiberid + 1}
        row |= {"run2d": run2d, "ra": centres[number, 0] + rng.normal(0, 0.7), "dec": centres[number, 1]}
        row |= {"z": 1.5 if target else z, "z_noqso": z if boss else 0.0, "class_noqso": "GALAXY" if boss else ""}
        row |= {"subClass_noqso": "STARFORMING"}
        row |= {"true_z": z}
        row |= {"zWarning": 4 if rng.random() < 0.1 else 0, "zWarning_noqso": 4 if boss and rng.random() < 0.1 else 0}
        row |= {"class": "STAR" if rng.random() < 0.1 else "GALAXY", "subClass": "", "snMedian": rng.uniform(5, 40)}
        row |= {"boss_target1": 2 if target else 0, "sciencePrimary": int(rng.random() > 0.05)}
        row |= {"dered_i": float(rng.choice([-9999.0, rng.uniform(14, 19)], p=[0.02, 0.98]))}
        # The number that SDSS gives an observation, which needs 64 bits without a sign.
        number = plate << 50 | fiberid + 1 << 38 | mjd - 50_000 << 24 | (1300 if boss else 26) << 10
        rows.append({"specobjid": str(number), **row})
    return rows


def place(row, data_release=16):
    """Path of the file of a row below the SAS."""
    return lite_path(data_release, row["plate"], row["mjd"], row["fiberid"], row["run2d"])


class MockFiles:
    """Lite files for any row, of few pixels: one mock with other numbers in its table, so each has bytes of its own."""

    def __init__(self, folder, pixels=slice(1000, 1064)):
        from dataclasses import replace

        from astropy.io import fits

        spectrum, _ = mock_spectrum(0, 0)
        arrays = ("loglam", "flux", "ivar", "and_mask", "or_mask", "wdisp")
        path = folder / "template.fits"
        write_spec_lite(replace(spectrum, **{name: getattr(spectrum, name)[pixels] for name in arrays}), path)
        with fits.open(path) as hdus:
            start, columns = hdus[2].fileinfo()["datLoc"], hdus[2].columns
            self.offsets = {name: start + columns.dtype.fields[name][1] for name in columns.names}
        self.template = path.read_bytes()

    def __call__(self, row):
        content = bytearray(self.template)
        values = {"PLATE": row["plate"], "MJD": row["mjd"], "FIBERID": row["fiberid"], "Z": row["true_z"]}
        values |= {"PLUG_RA": row["ra"], "PLUG_DEC": row["dec"] + row["fiberid"] / 1000}
        for name, value in values.items():
            kind = "i" if isinstance(value, int) else "f" if name == "Z" else "d"
            struct.pack_into(f">{kind}", content, self.offsets[name], value)
        return bytes(content)


class Archive:
    """The server; a context manager, with the roots `url` for SQL and `sas` for files.

    Its `files` are functions that make the content of a path below the SAS. What it does wrong is in `fault`:
    ``fault(path, attempt)`` gives one of `FAULTS`, ``404``, ``moved``, one of the SQL faults (``text``, ``throttle``,
    ``short``), or None; attempts of one path (or query) are counted from 0. It may also wait, for the answer waits with
    it. What was asked, and what was answered, is in `log`.
    """

    def __init__(self, rows=(), *, content=None):
        self.rows, self.fault = rows, lambda path, attempt: None
        self.row_cap = 500_000  # more rows than these cannot be asked for
        self.retry_after = "0"  # the header of `503` and `429`
        self.down = False  # whether the front page has the faults too, as in an outage
        self.active = self.busiest = 0  # how many requests are under way, and the most that ever were
        self.log, self.attempts = [], Counter()
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.files = {place(row): functools.partial(content, row) for row in rows if content}
        self.database = sqlite3.connect(":memory:", check_same_thread=False)
        if rows:
            names = list(rows[0])
            self.database.execute(f"CREATE TABLE SpecObj ({', '.join(names[:-1])})")
            self.database.execute("CREATE TABLE PhotoObj (objID INTEGER PRIMARY KEY, dered_i)")
            self.database.executemany(f"INSERT INTO SpecObj VALUES (:{', :'.join(names[:-1])})", rows)
            self.database.executemany("INSERT INTO PhotoObj VALUES (:bestObjID, :dered_i)", rows)
            self.database.execute("CREATE TABLE sppParams (specObjID PRIMARY KEY, teffadop, loggadop, fehadop)")
            stars = [row for row in rows if row["class"] == "STAR"][::2]
            self.database.executemany("INSERT INTO sppParams VALUES (:specobjid, 5800, 4.4, -9999)", stars)

    def __enter__(self):
        handler = type("Handler", (_Handler,), {"archive": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads, self.server.handle_error = True, lambda *_: None
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.sas = f"{self.url}/sas"
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
        self.database.close()

    def next_fault(self, key):
        with self.lock:
            attempt = self.attempts[key]
            self.attempts[key] += 1
        return self.fault(key, attempt)

    def query(self, sql):
        """Carry out one query as SkyServer does: its filter, and the text of its answer."""
        limit = int(re.match(r"SELECT TOP (\d+) ", sql)[1])
        if limit > self.row_cap:
            return table(["error_message"], [[f"error: limit is  top {self.row_cap} {sql}"]])
        statement = re.sub(r"^SELECT TOP \d+ ", "SELECT ", sql) + f" LIMIT {limit}"
        with self.lock:
            cursor = self.database.execute(statement)
            return table([column[0] for column in cursor.description], cursor.fetchall())


def table(names, rows):
    """Text of an answer in CSV."""
    lines = [",".join("null" if cell is None else str(cell) for cell in row) for row in (names, *rows)]
    return "\n".join(["#Table1", *lines, ""])


def some_faults(rate, *, seed=0, kinds=FAULTS):
    """For `Archive.fault`: a share `rate` of all requests, of every kind, the same ones in every run."""

    def fault(path, attempt):
        number = int.from_bytes(hashlib.sha256(f"{seed} {path} {attempt}".encode()).digest()[:8])
        return kinds[number % len(kinds)] if number // len(kinds) % 1000 < 1000 * rate else None

    return fault


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    archive = None

    def log_message(self, *_):
        pass

    def do_GET(self):
        archive = self.archive
        with archive.lock:
            archive.active += 1
            archive.busiest = max(archive.busiest, archive.active)
        try:
            parts = urllib.parse.urlsplit(self.path)
            if re.fullmatch(r"/dr\d+/en/tools/search/x_results\.aspx", parts.path):
                self.answer_query(urllib.parse.parse_qs(parts.query))
            elif parts.path == "/":
                self.send_with(archive.next_fault("/") if archive.down else None, b"<html>Welcome</html>")
            else:
                self.answer_file(urllib.parse.unquote(parts.path).removeprefix("/sas/"))
        finally:
            with archive.lock:
                archive.active -= 1

    def answer_query(self, asked):
        assert (asked["format"], asked["searchtool"]) == (["csv"], ["SQL"])
        sql = asked["cmd"][0].strip()
        fault, text = self.archive.next_fault(sql), self.archive.query(sql)
        self.archive.log.append((sql, fault or "200"))
        if fault == "text":
            text = "ERROR: Your query timed out. The maximum time is 600 seconds."
        elif fault == "throttle":
            text = table(["error_message"], [[f"ERROR: Maximum 60 queries allowed per minute. Rejected query: {sql}"]])
        elif fault == "short":
            text = "\n".join(text.split("\n")[:5]) + "\n"
        self.send_with(fault, text.encode())

    def answer_file(self, path):
        files, fault = self.archive.files, self.archive.next_fault(path)
        self.archive.log.append((path, fault or ("200" if path in files else "404")))
        if path not in files:
            self.send_with("404", b"")
        elif fault == "wrong":
            self.send(200, files[next(other for other in files if other != path)]())
        else:
            self.send_with(fault, files[path]())

    def send_with(self, fault, content):
        """Send the content, or do what the fault says."""
        if fault in {"404", "429", "503"}:
            self.send(int(fault), b"<html>Sorry</html>", **{"Retry-After": self.archive.retry_after})
        elif fault == "html":
            self.send(200, ERROR_PAGE.format("the disk is on holiday").encode())
        elif fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
            self.close_connection = True
        elif fault in {"stall", "truncated", "trickle"}:
            half = len(content) // 2
            self.send(200, content[:half], length=len(content))
            if fault == "stall":
                self.rfile.read(1)  # until the client hangs up
            while fault == "trickle" and not self.archive.stopping.wait(0.02):
                self.wfile.write(content[half : half + 1])
                half += 1
            self.close_connection = True
        elif fault == "moved":
            self.send(302, b"", Location=self.path + "?")
        else:
            self.send(200, content)

    def send(self, status, content, *, length=None, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(length or len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
