"""Paths on the SAS against the official templates of sdss-tree, release by release."""

import configparser
import importlib.metadata
import re

import pytest

from specdata.archive.sas import cache_folder, lite_path
from specdata.errors import SpecdataError

OBSERVATIONS = [
    (266, 51602, 1, "26"), (2488, 54149, 640, "103"), (2865, 54503, 7, "104"), (3587, 55182, 148, "v5_7_0"),
    (10000, 57346, 1000, "v5_13_0"),
]  # fmt: skip


def official(data_release):
    """The template of `spec-lite` and the roots of a release, from sdss-tree's files, with what they inherit."""
    files = {path.name: path.locate() for path in importlib.metadata.files("sdss-tree") if path.suffix == ".cfg"}
    known, name = {}, f"dr{data_release}"
    while name:
        raw = configparser.RawConfigParser()
        raw.optionxform = str
        raw.read_string(files[f"{name}.cfg"].read_text())
        sections = [dict(raw.items(section)) for section in raw.sections()]
        known = {key: value for section in (raw.defaults(), *sections) for key, value in section.items()} | known
        name = raw.defaults().get("base")
    known["FILESYSTEM"] = "sas"

    def resolved(value):
        while "%(" in value:
            value = re.sub(r"%\((\w+)\)s", lambda name: known[name[1]], value)
        return value

    return known["spec-lite"], {name: resolved(known[name]) for name in known if name.endswith("SPECTRO_REDUX")}


@pytest.mark.parametrize("data_release", range(8, 18))
def test_paths_are_the_official_ones(data_release):
    template, roots = official(data_release)
    assert template.startswith("@spectrodir|/")  # what that means stands in sdss_access.path.Path.spectrodir
    for plate, mjd, fiberid, run2d in OBSERVATIONS:
        root = roots.get("SPECTRO_REDUX" if run2d in ("26", "103", "104") else "BOSS_SPECTRO_REDUX")
        if root is None:
            with pytest.raises(SpecdataError, match="DR8 has no BOSS spectra"):
                lite_path(data_release, plate, mjd, fiberid, run2d)
            continue
        expected = template.replace("@spectrodir|", root).format(plateid=plate, mjd=mjd, fiberid=fiberid, run2d=run2d)
        assert f"sas/{lite_path(data_release, plate, mjd, fiberid, run2d)}" == expected


def test_other_layouts_and_runs_are_refused():
    for data_release in (18, 19, 7, 0, "16", None):
        with pytest.raises(SpecdataError, match=r"data_release = .*: give a whole number from 8 to 17"):
            lite_path(data_release, 266, 51602, 1, "26")
    for run2d in ("../../etc", "27", "", "v5", "v6_0_4/x", 26, None, "26 "):
        with pytest.raises(SpecdataError, match=r"run2d = .*: give 26, 103 or 104"):
            lite_path(16, 266, 51602, 1, run2d)


def test_the_cache_is_where_sdss_software_has_it(monkeypatch, tmp_path):
    monkeypatch.delenv("SAS_BASE_DIR", raising=False)
    assert str(cache_folder()) == "sas"
    monkeypatch.setenv("SAS_BASE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    assert cache_folder(tmp_path / "mine") == tmp_path / "mine"
