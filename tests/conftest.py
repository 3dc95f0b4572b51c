"""Real spectra for the tests: four small files in `tests/data`, and many more in `../shared/sdss` where it exists."""

from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def spec_files():
    """Paths of the real files of the repository by what they are: galaxy, boss_galaxy, star, boss_qso."""
    return {
        "galaxy": DATA / "spec-0468-51912-0523.fits",
        "boss_galaxy": DATA / "spec-3587-55182-0148.fits",
        "star": DATA / "spec-2942-54521-0124.fits",
        "boss_qso": DATA / "spec-4055-55359-0010.fits",
    }


@pytest.fixture(scope="session")
def shared_sdss():
    """Folder of 834 real spectra beside the repository, with `index.csv` and `other.csv`."""
    folder = Path(__file__).parents[2] / "shared" / "sdss"
    if not folder.is_dir():
        pytest.skip("needs the 834 real spectra in ../shared/sdss, which are not part of the repository")
    return folder
