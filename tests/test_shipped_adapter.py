"""The adapters that come with the package: their files belong together, and one of them reads mocks."""

import json

import pytest

from specdata.demo import SHIPPED
from specdata.files import find_recipe, shipped
from specdata.hub import local_folder, weights_revision
from specdata.inference.reader import Reader
from specdata.publish.adapter_card import adapter_card
from specdata.results import load_results
from specdata.spectra.mock.spectrum import mock_spectrum
from specdata.text.smollm2 import PACKAGE


@pytest.mark.parametrize(
    ("name", "recipe", "mocks"), [(SHIPPED, "redshift-answer", 300), ("smollm2-135m-sdss", "redshift-sdss", 0)]
)
def test_its_files_belong_together_and_it_has_beaten_a_constant(name, recipe, mocks):
    folder = local_folder(name, "model")
    assert folder == shipped(f"adapters/{name}")
    results = load_results(folder)
    assert results["model"]["adapter_revision"] == weights_revision(folder)
    assert results["model"]["base"] == PACKAGE
    assert results["baselines"]["constant"]["verdict"] == "better"
    assert results["dataset"]["n_mock"] == mocks
    assert (folder / "recipe.yaml").read_text() == find_recipe(f"smollm2-135m/{recipe}").read_text()
    assert (folder / "README.md").read_text() == adapter_card(folder, name)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 15e6
    assert json.loads((folder / "adapter_config.json").read_text())["r"] == 16


@pytest.mark.slow
def test_it_reads_mocks_that_nobody_has_trained_on():
    pytest.importorskip("peft")
    spectra = [mock_spectrum(1234, number)[0] for number in range(6)]
    reader = Reader(SHIPPED)
    found = [prediction.posterior.median for prediction in reader.predict([reader.ask(one) for one in spectra])]
    errors = [abs(z - spectrum.z) for z, spectrum in zip(found, spectra, strict=True)]
    assert sorted(errors)[3] < 0.06
