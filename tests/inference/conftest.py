"""Spectra that the adapters of these tests are asked about."""

import pytest
from spec_lite import write_spec_lite

from specdata.spectra.mock.spectrum import mock_spectra


@pytest.fixture(scope="session")
def spectra():
    return list(mock_spectra(3, seed=4))


@pytest.fixture(scope="session")
def files(spectra, tmp_path_factory):
    """Their spec files."""
    folder = tmp_path_factory.mktemp("files")
    for spectrum in spectra:
        write_spec_lite(spectrum, folder / f"spec-{spectrum.name}.fits")
    return sorted(folder.iterdir())
