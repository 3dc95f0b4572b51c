"""An archive on the loopback interface, and a download that does not wait."""

import pytest
from archive_server import Archive, MockFiles, make_sky

from specdata.archive import download


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    """Try again at once, and give up a silent server early."""
    for name, value in {"BACKOFF": 0.001, "STALL": 0.5, "DEADLINE": 1.0}.items():
        monkeypatch.setattr(download, name, value)


@pytest.fixture(scope="session")
def mock_files(tmp_path_factory):
    return MockFiles(tmp_path_factory.mktemp("template"))


@pytest.fixture
def archive(mock_files):
    """An archive of forty spectra."""
    with Archive(make_sky(40, seed=5), content=mock_files) as archive:
        yield archive
