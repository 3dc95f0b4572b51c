"""The order of the files of a folder, and what happens when one of them is broken."""

import shutil

import pytest

from specdata.dataset.sources import folder_paths, read_spectra
from specdata.errors import SpecdataError


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
