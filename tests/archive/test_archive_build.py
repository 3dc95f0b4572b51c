"""From the archive to a data set: `specdata build` over HTTP, with an archive that has its days."""

import dataclasses
import json
import math
import sys

import pyarrow as pa
import pyarrow.csv
import pytest
import yaml
from archive_server import Archive, MockFiles, make_sky
from datasets import load_dataset

from specdata import read_spectrum
from specdata.archive.catalogue import add_known, known_values, read_catalogue


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    files = MockFiles(tmp_path_factory.mktemp("template"), pixels=slice(None))
    with Archive(make_sky(1500, seed=4), content=files) as archive:
        yield archive


@pytest.fixture
def build(archive, tmp_path, command):
    """`specdata build` of forty galaxies in four bins of redshift; keyword arguments go into the source."""

    def called(*arguments, recipe="recipe.yaml", **source):
        content = {
            "name": "mock-archive",
            "title": "An archive of mocks",
            "source": {"kind": "sdss", "skyserver_url": archive.url, "sas_url": archive.sas} | source,
            "cuts": {"z_max": 0.4},
            "sample": {"size": 40, "redshift_bins": 4, "seed": 1},
            "splits": {"train": 20, "validation": 8},
            "configs": {"paper": {"grid": {"start": 3840, "stop": 9160, "bins": 8}}},
            "tokenizers": [],
        }
        (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
        return command("build", recipe, *arguments)

    return called


def test_a_data_set_from_an_archive_with_faults(archive, build, tmp_path, monkeypatch):
    archive.fault = lambda path, attempt: {"9": "404", "5": None if attempt else "503"}.get(path[-6])
    code, printed, said = build("--output", "out")
    assert code == 0, said
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"]["sampled"] == manifest["counts"]["passed"] == 40
    assert manifest["counts"]["splits"] == {"train": 20, "validation": 8, "test": 12}
    assert [row["taken"] for row in manifest["redshift_bins"]] == [10] * 4
    rows = [row for split in load_dataset(str(tmp_path / "out")).values() for row in split]
    selection = manifest["selection"]
    missing = {f"spec-{row['plate']:04d}-{row['mjd']}-{row['fiberid']:04d}.fits" for row in selection["missing"]}
    assert {name[-6] for name in missing} == {"9"}
    assert "9" not in {row["source"][-6] for row in rows}
    assert len(selection["queries"]) == 4
    assert all(row["in_archive"] >= row["available"] >= row["taken"] == 10 for row in selection["redshift_bins"])
    # What the catalogue knows and the files of SDSS-I/II do not.
    table = read_catalogue("sdss-catalogue.parquet")
    known = {f"{row['plate']}-{row['fiberid']}": row["dered_i"] for row in table.to_pylist()}
    assert all(abs(row["dered_i"] - known[f"{row['plate']}-{row['fiberid']}"]) < 1e-5 for row in rows)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Lite spectra of SDSS DR16" in card
    assert f"The archive did not deliver {len(missing)} of them; others from the same redshift bin took" in card
    listed = "replaced from their redshift bins as far as these go; listed in sdss-catalogue.parquet.failed.csv"
    assert f"missing    {len(missing)}, {listed}" in printed
    for text in (json.dumps(manifest), card):
        assert str(tmp_path) not in text
        assert archive.url not in text

    # The parameters of stars are the catalogue's, where it has such columns, and not those of another pipeline.
    spectrum = read_spectrum(next((tmp_path / "sas").rglob("spec-*.fits")))
    spectrum = dataclasses.replace(spectrum, teff=6100.0, logg=4.2, feh=-0.1)
    found = add_known(spectrum, known_values(pa.table({"z": [0.0], "teff": [5800.0], "feh": [None]}))[0])
    assert (found.teff, found.logg) == (5800, 4.2)
    assert math.isnan(found.feh)

    # Again with a catalogue of one's own and without astroquery: only what was missing is asked for.
    pyarrow.csv.write_csv(table.select(["plate", "mjd", "fiberid", "run2d", "z", "dered_i"]), "own.csv")
    archive.log.clear()
    monkeypatch.setitem(sys.modules, "astroquery", None)
    code, _, said = build("--output", "again", catalogue="own.csv")
    assert code == 0, said
    assert {path.split("/")[-1] for path, _ in archive.log} == missing
    again = [row for split in load_dataset(str(tmp_path / "again")).values() for row in split]
    assert [row["source"] for row in again] == [row["source"] for row in rows]
    assert "selected from the catalogue `own.csv`" in (tmp_path / "again" / "README.md").read_text()


def test_without_astroquery_the_extra_is_named_before_anything_is_done(archive, build, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "astroquery", None)
    code, printed, said = build("--output", "out", recipe="recipes/data/sdss-dr16-galaxies.yaml")
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert "astroquery is not installed, which the selection of " in said
    assert said.endswith(" on SkyServer needs: pip install 'specdata[sdss]'\n")
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
    code, printed, _ = build("--dry-run", recipe="recipes/data/sdss-dr16-galaxies.yaml")  # needs it not
    assert code == 0
    assert printed.count("SELECT TOP 625 ") == 20
    for part in ("-- 0.475 to 0.5: 500 galaxies", "20 queries to DR16, at most 12,500 rows", "about 2 GB"):
        assert part in printed
