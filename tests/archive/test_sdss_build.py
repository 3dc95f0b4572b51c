"""From the archive to a data set: `specdata build` over HTTP, with an archive that has its days."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pytest
import yaml
from archive_server import Archive, MockFiles, make_sky
from datasets import load_dataset

from specdata import SpecdataError
from specdata.archive.catalogue import read_catalogue
from specdata.archive.manners import POLITE
from specdata.cli.data import print_build
from specdata.dataset.build import build
from specdata.dataset.recipe import load_data_recipe

SPECDATA = Path(sys.executable).with_name("specdata")


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory):
    return MockFiles(tmp_path_factory.mktemp("template"), pixels=slice(None))


@pytest.fixture
def archive(whole_files, monkeypatch):
    monkeypatch.setattr("specdata.archive.manners.POLITE", POLITE._replace(backoff=0.02))
    with Archive(make_sky(1500, seed=4), content=whole_files) as archive:
        yield archive


@pytest.fixture
def recipe(archive, tmp_path):
    """Forty galaxies in four bins of redshift; keyword arguments go into the source."""

    def write(**source):
        content = {
            "name": "mock-archive",
            "title": "An archive of mocks",
            "source": {
                "kind": "sdss",
                "catalogue": str(tmp_path / "catalogue.parquet"),
                "cache": str(tmp_path / "sas"),
                "skyserver_url": archive.url,
                "sas_url": archive.sas,
            }
            | source,
            "cuts": {"z_max": 0.4},
            "sample": {"size": 40, "redshift_bins": 4, "seed": 1},
            "splits": {"train": 20, "validation": 8},
            "configs": {"paper": {"grid": {"start": 3840, "stop": 9160, "bins": 8}}},
            "tokenizers": [],
        }
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(content))
        return load_data_recipe(path)

    return write


def test_a_data_set_from_an_archive_with_faults(archive, recipe, tmp_path, capsys):
    never = set()

    def fault(path, attempt):
        if not path.endswith(".fits"):
            return None
        number = int(path.split("-")[-1].removesuffix(".fits"))
        if number % 9 == 0:
            never.add(path.split("/")[-1])
            return "404"
        return "503" if number % 5 == 0 and attempt == 0 else None

    archive.fault = fault
    manifest = build(recipe(), tmp_path / "out", progress=False)
    counts = manifest["counts"]
    assert counts["sampled"] == counts["passed"] == 40
    assert counts["splits"] == {"train": 20, "validation": 8, "test": 12}
    assert [row["taken"] for row in manifest["redshift_bins"]] == [10] * 4
    rows = [row for split in load_dataset(str(tmp_path / "out")).values() for row in split]
    assert len({row["source"] for row in rows}) == 40
    selection = manifest["selection"]
    missing = {f"spec-{row['plate']:04d}-{row['mjd']}-{row['fiberid']:04d}.fits" for row in selection["missing"]}
    assert missing
    assert missing <= never
    assert not missing & {row["source"] for row in rows}
    assert len(selection["queries"]) == 4
    assert all(row["in_archive"] >= row["available"] >= row["taken"] == 10 for row in selection["redshift_bins"])
    # What the catalogue knows and the files of SDSS-I/II do not.
    known = {row["specobjid"]: row["dered_i"] for row in read_catalogue(tmp_path / "catalogue.parquet").to_pylist()}
    assert all(row["dered_i"] < 18 for row in rows)
    assert len(known) >= 40
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Lite spectra of SDSS DR16" in card
    assert f"{len(missing)} could not be had from the archive and were replaced" in card
    print_build(manifest, tmp_path / "out")
    listed = "replaced from their redshift bins as far as these go; listed in catalogue.parquet.failed.csv"
    assert f"missing    {len(missing)}, {listed}" in capsys.readouterr().out
    text = json.dumps(manifest)
    for secret in (str(tmp_path), archive.url):
        assert secret not in text
        assert secret not in card

    # Again, from the cache: nothing but what was missing is asked for, and the bytes are the same.
    archive.log.clear()
    again = build(recipe(), tmp_path / "again", progress=False)
    assert {path.split("/")[-1] for path, _ in archive.log if path.endswith(".fits")} <= never
    assert again["files"] == manifest["files"]

    # When the archive has mended itself, the galaxies take their places back.
    archive.fault = lambda path, attempt: None
    mended = build(recipe(), tmp_path / "mended", progress=False)
    assert mended["selection"]["missing"] == []
    print_build(mended, tmp_path / "mended")
    assert "missing    none\n" in capsys.readouterr().out
    sources = {row["source"] for split in load_dataset(str(tmp_path / "mended")).values() for row in split}
    assert missing <= sources


def test_or_the_build_stops_and_names_the_list(archive, recipe, tmp_path):
    archive.fault = lambda path, attempt: "404" if path.endswith("5.fits") else None
    with pytest.raises(SpecdataError, match=r"of 40 spectra are missing, listed in .*catalogue\.parquet\.failed\.csv"):
        build(recipe(on_missing="stop"), tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "catalogue.parquet.failed.csv").is_file()


def test_a_catalogue_of_ones_own(archive, recipe, tmp_path):
    build(recipe(), tmp_path / "first", progress=False)
    table = read_catalogue(tmp_path / "catalogue.parquet").select(["plate", "mjd", "fiberid", "run2d", "z"])
    pa.csv.write_csv(table, tmp_path / "own.csv")
    archive.log.clear()
    manifest = build(recipe(catalogue=str(tmp_path / "own.csv")), tmp_path / "out", progress=False)
    assert not archive.log  # all files are there, and nothing was selected
    assert manifest["selection"]["queries"] == []
    assert manifest["recipe"]["source"]["catalogue"] == "own.csv"
    assert "selected from a catalogue of one's own, `own.csv`" in (tmp_path / "out" / "README.md").read_text()
    spectra = load_dataset(str(tmp_path / "out"))
    assert spectra["train"]["specobjid"] == load_dataset(str(tmp_path / "first"))["train"]["specobjid"]


def run(*arguments, cwd):
    return subprocess.run([SPECDATA, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_command_says_what_it_would_ask(tmp_path):
    done = run("build", "recipes/data/sdss-dr16-galaxies.yaml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("SELECT TOP 625 ") == 20
    assert "10,000 lite spectra to download, about 2.0 GB" in done.stdout
    assert not list(tmp_path.iterdir())
    done = run("build", "recipes/data/demo-mock.yaml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("specdata: --dry-run: shows what is asked of the archive")
    done = run("build", "recipes/data/demo-mock.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "specdata: --output is missing: give the folder to make\n")
