"""The most bins within a number of tokens, against trying every number with every row."""

import dataclasses

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specdata.dataset import rows
from specdata.dataset.recipe import Grid, TextConfig
from specdata.dataset.tokens import fit_bins
from specdata.errors import SpecdataError
from specdata.spectra.mock.spectrum import mock_spectrum
from specdata.targets import REDSHIFT
from specdata.text import budget
from specdata.text.budget import most_bins


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 60), st.integers(0, 3), st.integers(20, 400))
@settings(max_examples=300)
def test_every_row_fits_and_with_one_bin_more_a_row_does_not(seed, n, high, noise, limit):
    rng = np.random.default_rng(seed)
    tokens = 15 + rng.integers(1, 9, (n, high)).cumsum(axis=1) + rng.integers(0, noise + 1, (n, high))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budget, "FEW", 3)
        count = lambda some, bins: tokens[some, bins - 1]  # noqa: E731
        longest = tokens.max(axis=0)
        if longest[0] > limit:
            with pytest.raises(SpecdataError, match=rf"limit {limit}: with only 1 bin a row has \d+ tokens"):
                most_bins(count, np.arange(n), limit, high)
            return
        found = most_bins(count, np.arange(n), limit, high)
    assert found.longest == longest[found.bins - 1] <= limit
    if found.bins == high:
        assert found.beyond is None
    else:
        assert limit < found.beyond <= longest[found.bins]
    if noise == 0:  # more bins always cost more
        assert found.bins == np.sum(longest <= limit)


def test_few_rows_are_counted_often_and_all_rows_once_or_twice():
    slope = np.where(np.arange(5000) == 4321, 8, 6)  # one row beyond the first hundred is longer than they are
    asked = []

    def count(some, bins):
        asked.append((len(some), bins))
        return 59 + slope[some] * bins

    assert most_bins(count, np.arange(5000), 573, 4096) == (64, 571, 579)
    assert [bins for n, bins in asked if n == 5000] == [85, 64]
    assert max(bins for _, bins in asked) < 170
    assert len(asked) < 25


def test_the_bins_of_a_recipe_fit_the_longest_row_wherever_it_is(monkeypatch):
    """Of 60 rows one, the 50th, has values of four digits, and so the most tokens with any number of bins."""
    monkeypatch.setattr(budget, "FEW", 10)
    spectrum, _ = mock_spectrum(0, 0)
    plain = dataclasses.replace(spectrum, flux=np.ones_like(spectrum.flux))
    bright = dataclasses.replace(plain, flux=12.34 * plain.flux)
    spectra = pa.Table.from_batches([rows.spectra_batch([bright if i == 49 else plain for i in range(60)])])
    config = TextConfig(grid=Grid(start=3900, stop=9100, tokens=120), normalisation="none")

    def fit(table):
        scale, z = np.ones(len(table), np.float32), table["z"].to_pylist()
        return fit_bins(config, REDSHIFT, table, scale, z, label="x", progress=False)

    found = fit(spectra)
    assert found["longest"] <= found["tokens"] == 120 < found["beyond"]
    assert fit(spectra.slice(49, 1)) | {"rows": 60} == found
    assert fit(spectra.slice(0, 49))["bins"] > found["bins"]
    monkeypatch.setattr("specdata.dataset.tokens._count_rows", lambda *args: np.array([200]))
    with pytest.raises(SpecdataError, match=r"configs.x.grid.tokens = 120: limit 120: with only 1 bin"):
        fit(spectra)
