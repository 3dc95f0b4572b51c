"""A build or a fetch is killed and given again: `benchmarks/kills.py` at few of its places, and under slow at all."""

import pytest
from archive_server import Archive, MockFiles, make_sky

from specdata.dataset import card


@pytest.fixture
def kills(script, monkeypatch):
    monkeypatch.setattr(card, "draw_figures", card.draw_figures)  # which the script changes
    return script("kills")


@pytest.mark.parametrize(
    ("first", "every"), [pytest.param(0, 1, marks=pytest.mark.slow), (60, 4)], ids=["all", "few"]
)  # fmt: skip
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_build_that_is_killed_at_any_change_of_files(kills, tmp_path, overwrite, first, every):
    folder = tmp_path / "work"
    job = kills.build_job(folder, overwrite=overwrite)
    prepare = kills.build_job(folder) if overwrite else lambda: None
    count = kills.try_all(job, folder, first=first, every=every, prepare=prepare)
    assert count > 30 / every


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 9], ids=["all", "few"])
def test_a_fetch_that_is_killed_at_any_change_of_files(kills, tmp_path, every):
    (tmp_path / "template").mkdir()
    with Archive(make_sky(400, seed=4), content=MockFiles(tmp_path / "template", pixels=slice(None))) as archive:
        job = kills.fetch_job(tmp_path / "work", archive)
        assert kills.try_all(job, tmp_path / "work", every=every) > 50 / every
