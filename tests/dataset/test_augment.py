"""The key `augment` of a data recipe: what it alters, and what it must not."""

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from datasets import load_dataset
from small_recipe import GRID, small_recipe

from specdata.dataset.augment import augment_answers, augment_spectra
from specdata.dataset.build import build
from specdata.dataset.recipe import Augment
from specdata.dataset.rows import spectra_batch
from specdata.evaluation.split import open_split
from specdata.publish.checks import check_dataset
from specdata.spectra.mock.spectrum import mock_spectra
from specdata.targets import REDSHIFT
from specdata.training.check import _altered

ALL = {"realisations": 3, "noise": 1.0, "shape": 0.05, "dither": True}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The small data set, plain and altered."""
    folder = tmp_path_factory.mktemp("augment")
    build(small_recipe(), folder / "plain", progress=False)
    build(small_recipe(augment=ALL), folder / "altered", progress=False)
    return folder / "plain", folder / "altered"


@pytest.fixture(scope="module")
def mocks():
    """Forty rows of the config `spectra`, and fifty of the same spectrum."""
    spectra = list(mock_spectra(40, seed=2))
    return [pa.Table.from_batches([spectra_batch(rows)]) for rows in (spectra, spectra[:1] * 50)]


def test_only_the_training_split_of_the_text_is_altered(built):
    plain, altered = (json.loads((folder / "manifest.json").read_text())["files"] for folder in built)
    for name, digest in plain.items():
        assert ("paper/train" in name) == (altered.get(name) != digest), name
    before, after = (load_dataset(str(folder), "paper")["train"] for folder in built)
    assert (len(before), len(after)) == (20, 60)
    for key in ("position_id", "specobjid", "z", "snmedian"):
        assert after[key][:] == 3 * before[key][:]  # so that splits and evaluation stay right
    assert len({row[0]["content"] for row in after["prompt"]}) == 60


def test_card_check_evaluation_and_upload_know_it(built):
    folder = built[1]
    card = (folder / "README.md").read_text()
    for said in (
        "are 3 copies of each training spectrum",
        "leaves 71% of its signal-to-noise",
        "an rms of 5.0%",
        "60 rows",
    ):
        assert said in card
    assert "are 3 copies" in _altered(SimpleNamespace(path=str(folder), split="train[:20]"))
    assert _altered(SimpleNamespace(path=str(folder), split="test")) is None
    manifest = json.loads((folder / "manifest.json").read_text())
    check_dataset(folder, manifest, "me/mock-small")
    assert len(open_split(str(folder)).train) == 20


def test_noise_and_shape_have_the_size_that_was_asked_for(mocks):
    table, repeated = mocks
    flux, ivar = (np.array(repeated[name].to_pylist()) for name in ("flux", "ivar"))
    known = ivar[0] > 0
    noisy = augment_spectra(repeated, Augment(realisations=2, noise=2.0), 1)
    added = (np.array(noisy["flux"].to_pylist()) - flux)[:, known] * np.sqrt(ivar[:, known])
    # all 50 rows have the same name and so the same random numbers
    assert np.ptp(added, axis=0).max() == 0
    assert added[0].std() == pytest.approx(2.0, rel=0.1)
    assert 0.1 < np.corrcoef(added[0, 1:], added[0, :-1])[0, 1] < 0.45  # as of the spectrographs
    np.testing.assert_allclose(np.array(noisy["ivar"].to_pylist()), ivar / 5, rtol=1e-5)
    shaped = augment_spectra(table, Augment(shape=0.05), 0)
    pairs = zip(table["flux"].to_pylist(), shaped["flux"].to_pylist(), table["loglam"].to_pylist(), strict=True)
    logs = [np.log(np.array(new)[::400] / np.array(old)[::400]) for old, new, wave in pairs if min(old) > 0]
    assert np.concatenate(logs).std() == pytest.approx(0.05, rel=0.3)


def test_the_mean_of_dithered_answers_is_the_true_value(mocks):
    table, _ = mocks
    augment = Augment(dither=True)
    said = [augment_answers([0.12342] * 40, table, REDSHIFT, augment, number) for number in range(20)]
    answers = np.array([REDSHIFT.parse(REDSHIFT.format(z)) for row in said for z in row])
    assert set(answers) == {0.1234, 0.1235}
    assert answers.mean() == pytest.approx(0.12342, abs=6e-6)
    assert min(augment_answers([0.0] * 40, table, REDSHIFT, augment, 0)) == 0  # an answer cannot be below it


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"augment": {"realisations": 2}}, "changes nothing"),
        ({"augment": {"noise": 1.0}}, "at least 2"),
        ({"augment": ALL, "configs": {"csv": {"grid": GRID | {"tokens": 99}, "scheme": "csv"}}}, "more tokens"),
    ],
)
def test_what_would_not_do_what_it_says_is_refused(sections, told):
    with pytest.raises(ValueError, match=told):
        small_recipe(**sections)
