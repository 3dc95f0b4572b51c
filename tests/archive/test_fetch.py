"""The fetch over real HTTP: faults, kills, a full disk, replacements; nothing lost, nothing twice, nothing half."""

import csv
import os
import random
import re
import signal
import subprocess
import sys
import time
import zlib

import numpy as np
import pyarrow as pa
import pytest
from archive_server import FAULTS, Archive, MockFiles, identity, make_sky, some_faults

import specdata
from specdata.archive.catalogue import COLUMNS, read_catalogue, shuffle, write_catalogue
from specdata.archive.fetch import fetch
from specdata.archive.manners import Manners
from specdata.archive.sas import lite_path
from specdata.archive.sdss import sdss_catalogue, sdss_spectra
from specdata.dataset.recipe import Cuts, Sample
from specdata.errors import SpecdataError
from specdata.spectra.specfile import check_whole

CUTS = Cuts(z_max=0.9)
HASTY = Manners(backoff=0.02, stall=0.5, deadline=1.0, patience=1.0)


def one_bin(n):
    return Sample(size=n, redshift_bins=1)


def catalogue_of(rows):
    """Catalogue of all these rows, as `read_catalogue` gives it."""
    renamed = {"fiberid": "fiberID", "specobjid": "specObjID"}
    columns = {
        name: pa.array([row[renamed.get(name, name)] for row in rows], COLUMNS[name][0])
        for name in ("plate", "mjd", "fiberid", "run2d", "specobjid")
    }
    z = [row["z_noqso"] if row["boss_target1"] else row["z"] for row in rows]
    return pa.table({**columns, "z": pa.array(z, "float64")})


@pytest.fixture(scope="module")
def mock_files(tmp_path_factory):
    return MockFiles(tmp_path_factory.mktemp("template"))


@pytest.fixture
def archive(mock_files):
    """An archive of forty spectra."""
    with Archive(make_sky(40, seed=5), content=mock_files) as archive:
        yield archive


def get(archive, cache, *, sample=None, **options):
    options = {"cuts": CUTS, "manners": HASTY, "progress": False, "url": archive.sas} | options
    return fetch(catalogue_of(archive.rows), cache, sample=sample or one_bin(len(archive.rows)), **options)


def check_all(archive, cache):
    """Every file of the archive is in the cache, byte for byte, and nothing else is."""
    found = {path.relative_to(cache).as_posix(): path for path in cache.rglob("*") if path.is_file()}
    assert found.keys() == archive.files.keys()
    for name, path in found.items():
        assert path.read_bytes() == archive.content(name), name


def test_a_thousand_spectra_through_faults(mock_files, tmp_path):
    rows = make_sky(1_000, seed=7)
    with Archive(rows, content=mock_files) as archive:
        archive.fault = some_faults(0.2, seed=11)
        done = get(archive, tmp_path, failed=tmp_path / "failed.csv")
        check_all(archive, tmp_path)
        answers = [answer for _, answer in archive.log]
        assert {answer: answers.count(answer) for answer in FAULTS if answers.count(answer) < 10} == {}
        assert answers.count("200") == 1_000  # none was downloaded twice
        assert archive.busiest <= HASTY.connections + 4  # a server notices late that a connection was given up
    assert len(done.paths) == len(set(done.paths)) == done.downloaded == 1_000
    names = [specdata.read_spectrum(path).name for path in done.paths]
    ranked = sorted(rows, key=lambda row: shuffle(row["plate"], row["mjd"], row["fiberID"], 0))
    assert names == ["{:04d}-{}-{:04d}".format(*identity(row)[:3]) for row in ranked]
    assert done.missing == []


KILLED = """
import sys
from specdata.dataset.recipe import Cuts, Sample
from specdata.archive.catalogue import read_catalogue
from specdata.archive.manners import Manners
from specdata.archive.fetch import fetch
manners = Manners(backoff=0.02, stall=0.5, deadline=1.0, patience=5.0)
fetch(read_catalogue(sys.argv[1]), sys.argv[2], sample=Sample(size=1000, redshift_bins=1), cuts=Cuts(z_max=0.9),
      url=sys.argv[3], manners=manners, failed=sys.argv[1] + ".csv", progress=False)
"""


def test_killed_ten_times(mock_files, tmp_path):
    cache, path = tmp_path / "cache", tmp_path / "catalogue.parquet"
    rows, random_ = make_sky(1_000, seed=8), random.Random(1)
    write_catalogue(catalogue_of(rows), path)
    with Archive(rows, content=mock_files) as archive:
        slow = some_faults(0.2, seed=4)
        archive.fault = lambda name, attempt: time.sleep(0.02) or slow(name, attempt)
        command = [sys.executable, "-c", KILLED, str(path), str(cache), archive.sas]
        kills = 0
        while kills < 10:
            asked = len(archive.log)
            with subprocess.Popen(command) as process:
                while len(archive.log) < asked + 60 and process.poll() is None:
                    time.sleep(0.005)
                time.sleep(random_.uniform(0, 0.1))
                assert process.poll() is None, "it was done before it was killed ten times"
                process.send_signal(signal.SIGKILL)
            kills += 1
            for part in cache.rglob("spec-*.fits"):
                assert part.read_bytes() == archive.content(part.relative_to(cache).as_posix())
        assert len(list(cache.rglob("spec-*.fits"))) < 1_000
        subprocess.run(command, check=True)
        check_all(archive, cache)
        before = len(archive.log)
        subprocess.run(command, check=True)
        assert len(archive.log) == before  # all is there: nobody is asked
    assert not path.with_name(path.name + ".csv").exists()


def test_what_a_killed_run_left_is_removed_after_a_day(archive, tmp_path):
    folder = (tmp_path / next(iter(archive.files))).parent
    folder.mkdir(parents=True)
    young, old = (folder / f".{name}.partial.spec-1.fits" for name in ("a" * 12, "b" * 12))
    for path in (young, old):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    get(archive, tmp_path)
    assert set(folder.glob(".*")) == {young}
    young.unlink()
    check_all(archive, tmp_path)


def test_a_full_disk_leaves_nothing_half_written(archive, tmp_path):
    """Real: no file may be longer than 4 KB in that process, which is what the kernel then says to a write."""
    path = tmp_path / "catalogue.parquet"
    write_catalogue(catalogue_of(archive.rows), path)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
    code = limit + "import specdata\ntry:" + KILLED.replace("\n", "\n    ").replace("size=1000", "size=40")
    code += "\nexcept specdata.SpecdataError as error:\n    sys.exit(str(error))\n"
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "cache"), archive.sas]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot be written (File too large)" in done.stderr
    assert not [entry for entry in (tmp_path / "cache").rglob("*") if entry.is_file()]
    get(archive, tmp_path / "cache")
    check_all(archive, tmp_path / "cache")


def test_a_full_file_system_leaves_nothing_half_written(archive, tmp_path):
    size = len(next(archive.content(name) for name in archive.files))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={8 * size + 5000}", "tmpfs", str(tmp_path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount a small file system")
    try:
        with pytest.raises(SpecdataError, match=r"cannot be written \(No space left on device\)"):
            get(archive, tmp_path, failed=tmp_path / "failed.csv")
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert 0 < len(files) < 9
        for path in files:
            assert path.read_bytes() == archive.content(path.relative_to(tmp_path).as_posix())
        subprocess.run(["mount", "-o", "remount,size=16m", str(tmp_path)], check=True)
        get(archive, tmp_path, failed=tmp_path / "failed.csv")
        check_all(archive, tmp_path)
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("call", ["fsync", "write", "rename"])
def test_no_space_left(archive, tmp_path, monkeypatch, call):
    from pathlib import Path

    def full(*_):
        raise OSError(28, "No space left on device")

    calls = iter(range(100))
    if call == "rename":
        rename = Path.replace
        monkeypatch.setattr(Path, "replace", lambda *a: rename(*a) if next(calls) < 7 else full())
    elif call == "fsync":
        fsync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda n: fsync(n) if next(calls) < 7 else full())
    else:
        monkeypatch.setattr("specdata.archive.download._get", lambda *_: type("B", (), {"__buffer__": full})())
        monkeypatch.setattr(Path, "open", lambda *_, **__: full())
    with pytest.raises(SpecdataError, match=r"spec-.*cannot be written \(No space left on device\)"):
        get(archive, tmp_path)
    monkeypatch.undo()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == (0 if call == "write" else 7)
    for path in files:
        assert path.read_bytes() == archive.content(path.relative_to(tmp_path).as_posix())
    get(archive, tmp_path)
    check_all(archive, tmp_path)


def test_files_that_a_user_has_are_found(archive, tmp_path):
    names = list(archive.files)
    for name in names[:10]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(archive.content(name))
    (tmp_path / names[0]).write_bytes(archive.content(names[0])[:-5])
    (tmp_path / names[1]).write_bytes(archive.content(names[2]))
    (tmp_path / names[3]).write_bytes(b"")
    done = get(archive, tmp_path)
    assert done.downloaded == 33
    assert done.bytes == 33 * len(archive.content(names[0]))
    check_all(archive, tmp_path)


def test_a_file_that_ends_inside_any_hdu_is_not_whole(spec_files, tmp_path):
    from astropy.io import fits

    whole, path = spec_files["galaxy"].read_bytes(), tmp_path / "spec.fits"
    with fits.open(spec_files["galaxy"]) as hdus:
        ends = {hdu.fileinfo()["datLoc"] + hdu.fileinfo()["datSpan"] for hdu in hdus}
    for size in range(2880, len(whole) + 1, 2880):
        path.write_bytes(whole[:size])
        if size in ends:
            check_whole(path)
            continue
        with pytest.raises(SpecdataError, match="truncated"):
            check_whole(path)
    assert len(whole) in ends


def test_replacements_come_from_the_same_bin_and_the_next_run_tries_again(mock_files, tmp_path):
    rows, failed = make_sky(400, seed=9), tmp_path / "failed.csv"
    sample, cuts = Sample(size=80, redshift_bins=4), Cuts(z_max=0.4)
    with Archive(rows, content=mock_files) as archive:
        whole = get(archive, tmp_path / "whole", sample=sample, cuts=cuts)
        names = [path.name for path in whole.paths]
        gone = names[::9]
        archive.fault = lambda path, attempt: "404" if path.rsplit("/")[-1] in gone else None
        done = get(archive, tmp_path / "part", sample=sample, cuts=cuts, failed=failed)
        assert [row["taken"] for row in done.bins] == [row["taken"] for row in whole.bins] == [20, 20, 20, 20]
        assert sum(row["missing"] for row in done.bins) == len(done.missing) == len(gone)
        chosen = [path.name for path in done.paths]
        assert len(set(chosen)) == 80
        assert [name for name in names if name not in gone] == [name for name in chosen if name in names]
        for low, high, part in ((i * 0.1, (i + 1) * 0.1, chosen[20 * i : 20 * i + 20]) for i in range(4)):
            z = [specdata.read_spectrum(next((tmp_path / "part").rglob(name))).z for name in part]
            assert low <= min(z) <= max(z) < high
        listed = list(csv.DictReader(failed.read_text().splitlines()))
        assert {f"spec-{int(r['plate']):04d}-{r['mjd']}-{int(r['fiberid']):04d}.fits" for r in listed} == set(gone)
        assert {row["reason"] for row in listed} == {"HTTP 404 Not Found"}
        assert all(row["url"].startswith(archive.sas) for row in listed)
        asked = len(archive.log)
        again = get(archive, tmp_path / "part", sample=sample, cuts=cuts, failed=failed)
        assert again.paths == done.paths
        assert len(archive.log) - asked == 3 * len(gone)  # asked for again, and nothing else
        # and when the archive has them again, they take their places back
        archive.fault = lambda path, attempt: None
        back = get(archive, tmp_path / "part", sample=sample, cuts=cuts, failed=failed)
        assert [path.name for path in back.paths] == names
        assert back.recovered == len(gone)
        assert not failed.exists()


def test_or_the_fetch_stops(archive, tmp_path):
    names = [name.rsplit("/")[-1] for name in archive.files]
    archive.fault = lambda path, attempt: "html" if path.endswith(tuple(names[:3])) else None
    failed = tmp_path / "failed.csv"
    with pytest.raises(SpecdataError, match=r"^3 of 40 spectra are missing, listed in .*failed\.csv \(") as caught:
        get(archive, tmp_path / "cache", on_missing="stop", failed=failed)
    assert "this is not a FITS file, it begins with b'<html>" in str(caught.value)
    assert len(failed.read_text().splitlines()) == 4
    assert len(list((tmp_path / "cache").rglob("spec-*.fits"))) == 37  # what can be had is there
    archive.fault = lambda path, attempt: None
    done = get(archive, tmp_path / "cache", on_missing="stop", failed=failed)
    assert (done.downloaded, done.recovered) == (3, 3)


def test_what_does_not_pass_is_replaced_too(archive, tmp_path):
    def accept(spectrum):
        return ("good_pixels", "too few") if spectrum.fiberid % 3 == 0 else None

    done = get(archive, tmp_path, sample=one_bin(20), accept=accept)
    fibres = [specdata.read_spectrum(path).fiberid for path in done.paths]
    assert len(fibres) == 20
    assert all(fiberid % 3 for fiberid in fibres)
    assert {tuple(why) for _, _, *why in done.unfit} == {("good_pixels", "too few")}
    assert all(specdata.read_spectrum(path).fiberid % 3 == 0 for _, path, *_ in done.unfit)
    assert done.bins[0]["unfit"] == len(done.unfit) > 0
    assert get(archive, tmp_path, sample=one_bin(20), accept=accept) == done._replace(downloaded=0, bytes=0)


def test_spectra_know_what_the_catalogue_knows(archive, tmp_path):
    catalogue = catalogue_of(archive.rows).append_column("dered_i", pa.array([17.25, None] * 20))
    done = get(archive, tmp_path, sample=one_bin(20), accept=lambda s: ("z_range", "low") if s.z < 0.1 else None)
    spectra = list(sdss_spectra(catalogue, done))
    assert len(spectra) == 20 + len(done.unfit) > 20
    place = {"{:04d}-{}-{:04d}".format(*identity(row)[:3]): i for i, row in enumerate(archive.rows)}
    assert [place[spectrum.name] for spectrum in spectra] == sorted(place[spectrum.name] for spectrum in spectra)
    for spectrum in spectra:
        assert spectrum.dered_i == 17.25 if place[spectrum.name] % 2 == 0 else np.isnan(spectrum.dered_i)
    done.paths[3].unlink()
    lost = []
    assert len(list(sdss_spectra(catalogue, done, on_error=lambda path, error: lost.append(path)))) == len(spectra) - 1
    assert lost == [done.paths[3]]


def test_a_bin_that_runs_short_gives_what_it_has(archive, tmp_path):
    done = get(archive, tmp_path, sample=Sample(size=120, redshift_bins=3))
    assert [row["asked"] for row in done.bins] == [40, 40, 40]
    assert sum(row["taken"] for row in done.bins) == sum(row["available"] for row in done.bins) == 40


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("chunked", None),
        ("moved", None),
        ("unsaid", "the archive does not say how long the file is"),
        ("gzip", "the archive sent it compressed"),
        ("wrong", r"this is the spectrum \d{4,5}-\d{5}-\d{4}, not \d{4,5}-\d{5}-\d{4}"),
        ("truncated", "RemoteProtocolError"),
        ("stall", "ReadTimeout"),
        ("trickle", r"\d+ bytes in 0.4 s is too slow"),
        ("reset", "ReadError|RemoteProtocolError"),
        ("html", "this is not a FITS file"),
        ("503", "HTTP 503 Service Unavailable"),
    ],
)
def test_every_way_to_send_a_file(archive, tmp_path, way, said):
    odd = list(archive.files)[3:6]
    archive.fault = lambda path, attempt: (way if not attempt or way != "moved" else None) if path in odd else None
    done = get(archive, tmp_path, manners=HASTY._replace(stall=0.2, deadline=0.4, attempts=3))
    if said is None:
        check_all(archive, tmp_path)
        return
    assert len(done.missing) == 3
    for row in done.missing:
        assert re.search(said, row["reason"]), row["reason"]
        assert "\n" not in row["reason"]
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 37


def test_two_runs_on_one_cache_do_not_meet(archive, tmp_path):
    path = tmp_path / "catalogue.parquet"
    write_catalogue(catalogue_of(archive.rows), path)
    archive.fault = lambda name, attempt: time.sleep(0.02)
    code = KILLED.replace("size=1000", "size=40")
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "c"), archive.sas]
    with subprocess.Popen(command) as one, subprocess.Popen(command) as two:
        assert (one.wait(), two.wait()) == (0, 0)
    check_all(archive, tmp_path / "c")


@pytest.mark.parametrize("fault", ["503", "429"])  # seconds, and a date
def test_retry_after_holds_for_all(mock_files, tmp_path, fault):
    with Archive(make_sky(30, seed=5), content=mock_files, retry_after="2") as archive:
        times = []

        def slow_down(path, attempt):
            times.append(time.monotonic())
            return fault if len(times) == 10 else None

        archive.fault = slow_down
        get(archive, tmp_path, manners=HASTY._replace(connections=2))
        check_all(archive, tmp_path)
        pause = max(np.diff(times))
        assert 0.9 < pause < 3  # a date has whole seconds
        assert archive.busiest <= 2
        assert sum(np.diff(times) > 0.5) == 1


def test_a_long_retry_after_is_told(mock_files, tmp_path):
    with Archive(make_sky(30, seed=5), content=mock_files, retry_after="3600") as archive:
        archive.fault = lambda path, attempt: "503"
        with pytest.raises(SpecdataError, match=r"the archive asks to wait 3600 s; try again then"):
            get(archive, tmp_path)
        assert len(archive.log) <= 16


def test_a_dead_network_ends_the_fetch_and_a_short_one_does_not(archive, tmp_path):
    begin = time.monotonic()
    with pytest.raises(SpecdataError, match=r"the archive cannot be reached .*ConnectError"):
        get(archive, tmp_path, url="http://127.0.0.1:9/sas")
    assert 1 < time.monotonic() - begin < 5
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    archive.fault = lambda path, attempt: "reset" if time.monotonic() < until else None
    archive.down, until = True, time.monotonic() + 1.5  # as long as all attempts together would take
    done = get(archive, tmp_path, manners=HASTY._replace(patience=20))
    assert done.missing == []
    check_all(archive, tmp_path)


@pytest.mark.parametrize("fault", ["503", "429", "reset", "stall", "truncated", "nobody"])
def test_an_outage_near_the_end_replaces_nothing(archive, tmp_path, fault):
    sample, failed = one_bin(20), tmp_path / "failed.csv"
    done = get(archive, tmp_path, sample=sample)
    for path in done.paths[:2]:
        path.unlink()
    archive.fault = lambda path, attempt: fault
    url = "http://127.0.0.1:9/sas" if fault == "nobody" else archive.sas
    archive.down = True
    manners = HASTY._replace(stall=0.1)
    with pytest.raises(SpecdataError, match="the archive cannot be reached"):
        get(archive, tmp_path, sample=sample, failed=failed, url=url, manners=manners)
    assert not failed.exists()
    assert len(list(tmp_path.rglob("spec-*.fits"))) == 18
    archive.fault, archive.down = lambda path, attempt: None, False
    assert get(archive, tmp_path, sample=sample).paths == done.paths


def test_one_file_that_only_makes_trouble_is_not_an_outage(archive, tmp_path):
    sample = one_bin(20)
    done = get(archive, tmp_path, sample=sample)
    done.paths[0].unlink()
    bad = done.paths[0].relative_to(tmp_path).as_posix()
    archive.fault = lambda path, attempt: "reset" if path == bad else None
    again = get(archive, tmp_path, sample=sample)
    assert len(again.missing) == 1
    assert again.paths[:19] == done.paths[1:]


def test_a_wrong_release_is_noticed_early(mock_files, tmp_path):
    with Archive(make_sky(220, seed=5), content=mock_files) as archive:
        with pytest.raises(SpecdataError, match="HTTP 404 Not Found, and 50 files so; check release and address"):
            get(archive, tmp_path, data_release=17)
        assert len(archive.log) < 1200
        # but not where most are there and only those are left that the archive has lost
        archive.fault = lambda path, attempt: "404" if zlib.crc32(path.encode()) % 3 == 0 else None
        first = get(archive, tmp_path)
        assert len(first.missing) > 50
        assert get(archive, tmp_path) == first._replace(downloaded=0, bytes=0)


def test_arguments_that_cannot_be(archive, tmp_path):
    for options, said in (
        ({"on_missing": "ignore"}, "on_missing = 'ignore': give one of replace, stop"),
        ({"data_release": 18}, "data_release = 18: give a whole number from 8 to 17"),
        ({"url": "data.sdss.org"}, "'data.sdss.org': is no web address"),
        ({"manners": HASTY._replace(connections=0)}, "connections = 0"),
        ({"cuts": Cuts(z_min=8, z_max=9)}, "the catalogue has no galaxy with 8.0 < z < 9.0"),
    ):
        with pytest.raises(SpecdataError, match=said):
            get(archive, tmp_path, **options)
    (tmp_path / "failed.csv").write_text("a,b\n1,2\n")
    with pytest.raises(SpecdataError, match="is no list of missing spectra"):
        get(archive, tmp_path, failed=tmp_path / "failed.csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecdataError, match="cannot be written"):
        get(archive, tmp_path / "file")


def test_progress_says_files_megabytes_rate_and_time_left(archive, tmp_path, capsys):
    get(archive, tmp_path, progress=True)
    shown = capsys.readouterr().err
    for part in ("fetch", "40/40", "MB, ", "MB/s", "files/s"):
        assert part in shown


def test_real_spectra(shared_sdss, tmp_path):
    catalogue = read_catalogue(shared_sdss / "index.csv")
    rows = catalogue.to_pylist()
    rows = [row for row in rows if (row["plate"] + row["fiberid"]) % 16 == 0]
    missing = {"bestObjID": None, "specObjID": "0", "z_noqso": 0, "dered_i": 17.0, "boss_target1": 0}
    with Archive([]) as archive:
        for row in rows:
            name = f"spec-{row['plate']:04d}-{row['mjd']}-{row['fiberid']:04d}.fits"
            path = lite_path(17, row["plate"], row["mjd"], row["fiberid"], row["run2d"])
            archive.files[path] = (lambda found: found.read_bytes(), shared_sdss / "spectra" / name)
        archive.fault = some_faults(0.2, seed=2)
        archive.rows = [missing | row | {"fiberID": row["fiberid"]} for row in rows]
        done = get(archive, tmp_path, data_release=17, manners=HASTY._replace(deadline=2.0))
        check_all(archive, tmp_path)
    z = {(row["plate"], row["mjd"], row["fiberid"]): row["z"] for row in rows}
    for path in done.paths:
        spectrum = specdata.read_spectrum(path)
        assert abs(spectrum.z - z[spectrum.plate, spectrum.mjd, spectrum.fiberid]) < 1e-4


@pytest.mark.remote_data
def test_ten_real_galaxies(tmp_path):
    sample, cuts = Sample(size=10, redshift_bins=5), Cuts()
    catalogue = sdss_catalogue(tmp_path / "catalogue.parquet", cuts, sample, progress=False)
    done = fetch(catalogue, tmp_path / "sas", sample=sample, cuts=cuts, progress=False)
    assert [row["taken"] for row in done.bins] == [2] * 5
    spectra = [specdata.read_spectrum(path) for path in done.paths]
    assert {(spectrum.spectype, spectrum.zwarning) for spectrum in spectra} == {("GALAXY", 0)}
    z = {
        name: value for name, value in zip(catalogue["specobjid"].to_pylist(), catalogue["z"].to_pylist(), strict=True)
    }
    assert all(abs(z[spectrum.specobjid] - spectrum.z) < 1e-4 for spectrum in spectra)
