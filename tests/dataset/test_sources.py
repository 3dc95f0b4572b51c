"""The order of the files of a folder, and what happens when one of them is broken."""

import json
import shutil

import astropy.units as u
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table
from small_recipe import small_recipe

from specdata.dataset.build import build
from specdata.dataset.recipe import DataRecipe
from specdata.dataset.sources import folder_paths, read_folder
from specdata.errors import SpecdataError
from specdata.files import file_sha256
from specdata.spectra.mock.spectrum import mock_spectra


@pytest.fixture
def folder(spec_files, tmp_path):
    """Two good files and a broken one in between, in folders of their own."""
    for name, source in {"b/spec-1.fits": "star", "a/z/spec-3.fits": "galaxy"}.items():
        (tmp_path / name).parent.mkdir(parents=True)
        shutil.copy(spec_files[source], tmp_path / name)
    (tmp_path / "a" / "z" / "spec-4.fits.gz").write_bytes(b"<html>")
    (tmp_path / "a" / "truth.csv").write_text("not a spectrum")
    (tmp_path / "a" / "spec-folder.fits").mkdir()
    return tmp_path


def test_paths_are_sorted(folder):
    names = [path.relative_to(folder).as_posix() for path in folder_paths(str(folder))]
    assert names == ["a/z/spec-3.fits", "a/z/spec-4.fits.gz", "b/spec-1.fits"]


def test_no_files(tmp_path):
    (tmp_path / "file").write_text("")
    for folder, part in [(tmp_path, "no spec-"), (tmp_path / "none", "no such folder"), (tmp_path / "file", "no such")]:
        with pytest.raises(SpecdataError, match=part) as caught:
            folder_paths(folder)
        assert str(folder) in str(caught.value)


def test_a_broken_file_is_an_error_or_counted(folder):
    spectra = read_folder(folder_paths(folder))
    assert next(spectra).spectype == "GALAXY"
    with pytest.raises(SpecdataError, match=r"spec-4\.fits\.gz: this is not a FITS file"):
        next(spectra)
    broken = []
    spectra = read_folder(folder_paths(folder), on_error=lambda path, error: broken.append((path.name, type(error))))
    assert [spectrum.source for spectrum in spectra] == ["spec-3.fits", "spec-1.fits"]
    assert broken == [("spec-4.fits.gz", SpecdataError)]


def change_bytes(folder, manifest, name):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def leave_out_flux(folder, manifest, name):
    pq.write_table(pq.read_table(folder / name).drop_columns("flux"), folder / name)
    manifest["files"][name] = file_sha256(folder / name)


def cut_flux(folder, manifest, name):
    table = pq.read_table(folder / name)
    flux = pa.array([row[:-1] for row in table["flux"].to_pylist()], table.schema.field("flux").type)
    table = table.set_column(table.schema.get_field_index("flux"), table.schema.field("flux"), flux)
    pq.write_table(table, folder / name)
    manifest["files"][name] = file_sha256(folder / name)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder, manifest, name: (folder / name).unlink(), "is missing, or not the file"),
        (lambda folder, manifest, name: (folder / name).write_bytes(b"PAR1"), "not the file that manifest.json lists"),
        (change_bytes, "not the file that manifest.json lists"),
        (leave_out_flux, "it has no column flux of the type list"),
        (cut_flux, "is damaged; build or download the data set again"),
        (lambda folder, manifest, name: manifest["files"].update({"spectra/../../x.parquet": "0"}), "is no file of a"),
        (lambda folder, manifest, name: manifest.update(files={name.replace("spectra", "a"): ""}), "lists no spectra"),
        (lambda folder, manifest, name: manifest.update(files=["a"]), "has no readable manifest.json \\(files: input"),
        (lambda folder, manifest, name: manifest["counts"].update(splits={"train": "5"}), "no readable manifest.json"),
        (lambda folder, manifest, name: manifest["configs"]["paper"].update(edges="x"), "no readable manifest.json"),
    ],
)  # fmt: skip
def test_a_data_set_that_is_damaged_or_tampered_with_is_no_source(mock_data, tmp_path, change, sentence):
    folder = shutil.copytree(mock_data, tmp_path / "data")
    manifest = json.loads((folder / "manifest.json").read_text())
    change(folder, manifest, next(name for name in manifest["files"] if name.startswith("spectra/")))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    recipe = DataRecipe.model_validate(manifest["recipe"] | {"source": {"kind": "dataset", "path": str(folder)}})
    with pytest.raises(SpecdataError, match=sentence):
        build(recipe, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def small(path, **source):
    """A recipe of mocks in other files than those of SDSS."""
    return small_recipe(
        source={"path": str(path), **source},
        sample={"size": 12, "redshift_bins": 1},
        splits={"train": 6, "validation": 3},
        configs={"packed": {"grid": {"start": 3850, "stop": 9100, "bins": 8}, "scheme": "packed"}},
    )


def test_files_of_any_format_and_a_catalogue(tmp_path):
    spectra = list(mock_spectra(12, seed=5))
    folder = tmp_path / "files"
    folder.mkdir()
    for number, spectrum in enumerate(spectra):
        columns = {"wavelength": spectrum.wavelength / 10 * u.nm, "flux": spectrum.flux, "ivar": spectrum.ivar}
        Table(columns, meta={"mock": True}).write(folder / f"{number:02d}.ecsv")
    (folder / "notes.txt").write_text("These are mocks.")
    truth = {"source": [f"{number:02d}.ecsv" for number in range(12)], "z": [spectrum.z for spectrum in spectra]}
    Table(truth).write(tmp_path / "truth.csv")
    recipe = small(folder, kind="files", catalogue=str(tmp_path / "truth.csv"), spectype="GALAXY")
    manifest = build(recipe, tmp_path / "out", progress=False)
    assert (manifest["counts"]["read"], manifest["counts"]["passed"], manifest["counts"]["mock"]) == (13, 12, 12)
    assert manifest["recipe"]["source"]["catalogue"] == "truth.csv"
    assert 'notes.txt,unreadable,"not a spectrum that can be read' in (tmp_path / "out" / "rejected.csv").read_text()
    found = pq.read_table(tmp_path / "out" / "spectra").to_pylist()
    by_source = {f"{number:02d}.ecsv": spectrum for number, spectrum in enumerate(spectra)}
    for row in found:
        spectrum = by_source[row["source"]]
        assert (row["z"], row["spectype"], row["specobjid"]) == (spectrum.z, "GALAXY", row["source"])
        np.testing.assert_allclose(row["loglam"], spectrum.loglam, atol=1e-6)
        np.testing.assert_allclose(row["flux"], spectrum.flux, rtol=1e-6)


def test_multimodal_universe_and_a_join_with_it(tmp_path):
    spectra = list(mock_spectra(12, seed=5))
    lists = {"flux": [s.flux for s in spectra], "ivar": [s.ivar for s in spectra]}
    lists |= {"lambda": [s.wavelength for s in spectra], "mask": [s.ivar == 0 for s in spectra]}
    lists |= {"lsf_sigma": [s.wdisp for s in spectra]}
    arrays = [
        pa.array(values, pa.list_(pa.bool_() if name == "mask" else pa.float32())) for name, values in lists.items()
    ]
    columns = {"spectrum": pa.StructArray.from_arrays(arrays, names=list(lists))}
    columns |= {"object_id": [s.specobjid for s in spectra], "Z": [s.z for s in spectra], "mock": [True] * 12}
    columns |= {"ra": [s.ra for s in spectra], "dec": [s.dec for s in spectra], "ZWARNING": [False] * 11 + [True]}
    theirs = pa.table(columns)
    folder = tmp_path / "hats" / "dataset" / "Norder=0"  # as in a HATS catalogue
    folder.mkdir(parents=True)
    pq.write_table(theirs.slice(0, 5), folder / "Npix=0.parquet", row_group_size=2)
    pq.write_table(theirs.slice(5), folder / "Npix=1.parquet")
    pq.write_table(theirs.slice(0, 1), tmp_path / "hats" / "dataset" / "data_thumbnail.parquet")
    pq.write_metadata(theirs.schema, tmp_path / "hats" / "dataset" / "_common_metadata")
    manifest = build(
        small(tmp_path / "hats", kind="multimodal_universe", spectype="GALAXY"), tmp_path / "out", progress=False
    )
    assert (manifest["counts"]["read"], manifest["counts"]["rejected"]["zwarning"]) == (12, 1)
    ours = pq.read_table(tmp_path / "out" / "spectra", columns=["specobjid", "z", "healpix"])
    joined = ours.join(theirs.select(["object_id", "Z", "ra", "dec"]), "specobjid", "object_id")
    assert len(joined) == 11
    assert joined["z"].to_pylist() == pytest.approx(joined["Z"].to_pylist())
    with pytest.raises(SpecdataError, match="holds no Parquet file with a column spectrum"):
        build(small(tmp_path / "out" / "packed", kind="multimodal_universe"), tmp_path / "other", progress=False)
