"""The order of the files of a folder, and what happens when one of them is broken."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from specdata.dataset.build import build
from specdata.dataset.recipe import DataRecipe
from specdata.dataset.sources import folder_paths, read_spectra
from specdata.errors import SpecdataError
from specdata.files import file_sha256


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
    spectra = read_spectra(folder_paths(folder))
    assert next(spectra).spectype == "GALAXY"
    with pytest.raises(SpecdataError, match=r"spec-4\.fits\.gz: this is not a FITS file"):
        next(spectra)
    broken = []
    spectra = read_spectra(folder_paths(folder), on_error=lambda path, error: broken.append((path.name, type(error))))
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
