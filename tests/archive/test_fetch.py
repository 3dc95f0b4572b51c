"""The fetch over real HTTP: faults, kills, replacements; nothing lost, nothing twice, nothing half."""

import csv
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from archive_server import FAULTS, Archive, make_sky, place, some_faults

import specdata
from specdata.archive import download
from specdata.archive.catalogue import REQUIRED, shuffle, write_catalogue
from specdata.archive.fetch import fetch
from specdata.archive.skyserver import bin_queries, select
from specdata.dataset.recipe import Cuts, Sample
from specdata.errors import SpecdataError

CUTS = Cuts(z_max=0.9)


def catalogue_of(rows):
    """Catalogue of all these rows, as `read_catalogue` gives it."""
    return pa.table({name: [row["true_z" if name == "z" else name] for row in rows] for name in REQUIRED})


def get(archive, cache, *, size=None, bins=1, **options):
    sample = Sample(size=size or len(archive.rows), redshift_bins=bins)
    options = {"cuts": CUTS, "progress": False, "url": archive.sas, "sample": sample} | options
    return fetch(catalogue_of(archive.rows), cache, **options)


def chosen(done):
    """Names of the chosen files, in order."""
    return [done.files[row].name for row in done.rows]


def check_all(archive, cache):
    """Every file of the archive is in the cache, byte for byte, and nothing else is but what a kill left."""
    found = {path.relative_to(cache).as_posix(): path for path in cache.rglob("spec-*.fits")}
    assert found.keys() == archive.files.keys()
    for name, path in found.items():
        assert path.read_bytes() == archive.files[name](), name


@pytest.mark.parametrize("n", [120, pytest.param(1000, marks=pytest.mark.slow)])
def test_spectra_through_faults(mock_files, tmp_path, monkeypatch, n):
    monkeypatch.setattr(download, "STALL", 2.0)
    rows = make_sky(n, seed=7)
    with Archive(rows, content=mock_files) as archive:
        archive.fault = some_faults(0.2, seed=11)
        done = get(archive, tmp_path, failed=tmp_path / "failed.csv")
        check_all(archive, tmp_path)
        answers = [answer for _, answer in archive.log]
        assert {*FAULTS, "200"} == set(answers)
        assert answers.count("200") == n  # none was downloaded twice
    ranked = sorted(rows, key=lambda row: shuffle(row["plate"], row["mjd"], row["fiberid"], 0))
    assert chosen(done) == [Path(place(row)).name for row in ranked]
    assert not list(tmp_path.rglob("*.partial*"))


KILLED = """
import sys
from types import SimpleNamespace
from specdata.archive import download
from specdata.archive.catalogue import read_catalogue
from specdata.archive.fetch import fetch
download.BACKOFF, download.STALL, download.DEADLINE = 0.001, 0.5, 1.0
fetch(read_catalogue(sys.argv[1]), sys.argv[2], sample=SimpleNamespace(size=1000, redshift_bins=1, seed=0),
      cuts=SimpleNamespace(z_min=0, z_max=0.9), url=sys.argv[3], progress=False)
"""


@pytest.mark.parametrize(("n", "kills"), [(60, 1), pytest.param(1000, 4, marks=pytest.mark.slow)])
def test_a_killed_fetch_goes_on(mock_files, tmp_path, n, kills):
    cache, path, rows = tmp_path / "cache", tmp_path / "catalogue.parquet", make_sky(n, seed=8)
    write_catalogue(catalogue_of(rows), path)
    with Archive(rows, content=mock_files) as archive:
        faults, asked, reached, killed = some_faults(0.2, seed=4), [], threading.Event(), threading.Event()

        def fault(name, attempt):
            asked.append(name)
            if len(asked) > (n // kills // 2):
                reached.set()
                killed.wait()
            return faults(name, attempt)

        archive.fault = fault
        command = [sys.executable, "-c", KILLED, str(path), str(cache), archive.sas]
        for _ in range(kills):
            for signal in (asked, reached, killed):
                signal.clear()
            with subprocess.Popen(command) as process:
                assert reached.wait(100)
                process.kill()
            killed.set()
            for part in cache.rglob("spec-*.fits"):
                assert part.read_bytes() == archive.files[part.relative_to(cache).as_posix()]()
        assert 0 < len(list(cache.rglob("spec-*.fits"))) < n
        archive.fault = faults
        get(archive, cache)
        check_all(archive, cache)
        archive.log.clear()
        get(archive, cache)
        assert archive.log == []  # all is there: nobody is asked


def test_two_fetches_share_a_cache(archive, tmp_path):
    together = threading.Barrier(2, timeout=60)
    archive.fault = lambda path, attempt: together.wait() and None if path == next(iter(archive.files)) else None
    with ThreadPoolExecutor(2) as pool:
        one, two = pool.map(lambda _: get(archive, tmp_path), range(2))
    assert one == two
    check_all(archive, tmp_path)


def test_files_that_are_there_are_used_and_damaged_ones_replaced(archive, tmp_path, capsys):
    names = list(archive.files)
    for name in names[:10]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(archive.files[name]())
    (tmp_path / names[0]).write_bytes(archive.files[names[0]]()[:-5])
    (tmp_path / names[1]).write_bytes(archive.files[names[2]]())
    (tmp_path / names[3]).write_bytes(b"")
    get(archive, tmp_path, progress=True)
    assert len(archive.log) == 33
    check_all(archive, tmp_path)
    shown = capsys.readouterr().err
    assert all(part in shown for part in ("fetch", "40/40", "files/s"))


def test_replacements_come_from_the_same_bin_and_the_next_run_tries_again(mock_files, tmp_path):
    rows, failed = make_sky(200, seed=9), tmp_path / "failed.csv"
    options = {"size": 40, "bins": 4, "cuts": Cuts(z_max=0.4)}
    with Archive(rows, content=mock_files) as archive:
        whole = get(archive, tmp_path / "whole", **options)
        names = chosen(whole)
        gone = names[::9]
        archive.fault = lambda path, attempt: "404" if path.rsplit("/")[-1] in gone else None
        done = get(archive, tmp_path / "part", failed=failed, **options)
        found = chosen(done)
        assert [row["taken"] for row in done.bins] == [row["taken"] for row in whole.bins] == [10, 10, 10, 10]
        assert sum(row["missing"] for row in done.bins) == len(done.missing) == len(gone)
        assert [name for name in names if name not in gone] == [name for name in found if name in names]
        z = [specdata.read_spectrum(done.files[row]).z for row in done.rows]
        for i in range(4):
            assert i * 0.1 <= min(z[10 * i : 10 * i + 10]) <= max(z[10 * i : 10 * i + 10]) < (i + 1) * 0.1
        listed = list(csv.DictReader(failed.read_text().splitlines()))
        assert {f"spec-{int(r['plate']):04d}-{r['mjd']}-{int(r['fiberid']):04d}.fits" for r in listed} == set(gone)
        assert {row["reason"] for row in listed} == {"HTTP 404 Not Found"}
        assert all(row["url"].startswith(archive.sas) for row in listed)
        archive.log.clear()
        assert get(archive, tmp_path / "part", failed=failed, **options) == done
        assert len(archive.log) == len(gone)  # asked for again, and nothing else
        # and when the archive has them again, they take their places back
        archive.fault = lambda path, attempt: None
        assert chosen(get(archive, tmp_path / "part", failed=failed, **options)) == names
        assert not failed.exists()


def test_or_the_fetch_stops(archive, tmp_path):
    archive.fault = lambda path, attempt: "html" if path in list(archive.files)[:3] else None
    failed = tmp_path / "failed.csv"
    with pytest.raises(SpecdataError, match=r"^3 of 40 spectra could not be downloaded, listed in .*failed\.csv \("):
        get(archive, tmp_path / "cache", on_missing="stop", failed=failed)
    assert failed.read_text().count("this is not a FITS file, it begins with b'<html>") == 3
    assert len(list((tmp_path / "cache").rglob("spec-*.fits"))) == 37  # what can be had is there


@pytest.mark.parametrize(("fault", "size"), [("404", 5), ("404", 40), ("503", 5), ("503", 40)])
def test_where_all_fail_the_reason_is_told(archive, tmp_path, fault, size):
    archive.rows, archive.fault = archive.rows[:size], lambda path, attempt: fault
    with pytest.raises(SpecdataError, match=f"HTTP {fault}") as caught:
        get(archive, tmp_path)
    assert "cut" not in str(caught.value)


def test_what_a_cut_rejects_is_replaced_too(archive, tmp_path):
    def accept(spectrum):
        return ("good_pixels", "too few") if spectrum.fiberid % 3 == 0 else None

    done = get(archive, tmp_path, size=20, accept=accept)
    fibres = {row: specdata.read_spectrum(path).fiberid for row, path in done.files.items()}
    assert list(fibres) == sorted(fibres)
    assert set(done.rows) == {row for row, fiberid in fibres.items() if fiberid % 3}
    assert done.bins[0]["rejected"] == len(done.files) - 20 > 0
    assert get(archive, tmp_path, size=20, accept=accept) == done


def test_a_bin_that_runs_short_gives_what_it_has(archive, tmp_path):
    done = get(archive, tmp_path, size=120, bins=3)
    assert [row["asked"] for row in done.bins] == [40, 40, 40]
    assert sum(row["taken"] for row in done.bins) == sum(row["available"] for row in done.bins) == 40
    with pytest.raises(SpecdataError, match=r"the catalogue has no galaxy with 8\.0 < z < 9\.0"):
        get(archive, tmp_path, cuts=Cuts(z_min=8, z_max=9))


@pytest.mark.remote_data
def test_ten_real_galaxies(tmp_path):
    sample, cuts = Sample(size=10, redshift_bins=5), Cuts()
    catalogue = select(tmp_path / "catalogue.parquet", bin_queries(cuts, sample), progress=False)
    done = fetch(catalogue, tmp_path / "sas", sample=sample, cuts=cuts, progress=False)
    assert [row["taken"] for row in done.bins] == [2] * 5
    for row in done.rows:
        spectrum = specdata.read_spectrum(done.files[row])
        assert (spectrum.spectype, spectrum.zwarning) == ("GALAXY", 0)
        assert spectrum.specobjid == catalogue["specobjid"][row].as_py()
        assert abs(spectrum.z - catalogue["z"][row].as_py()) < 1e-4
