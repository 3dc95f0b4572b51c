"""The search for the most bins that fit, against trying every number."""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specdata.dataset import rows
from specdata.dataset.costs import fit_bins
from specdata.dataset.recipe import Grid, TextConfig
from specdata.errors import SpecdataError
from specdata.spectra.mock.spectrum import mock_spectrum
from specdata.text.budget import most_bins


class Counted:
    """A function of the number of bins that says how often it was asked, and refuses to be asked twice."""

    def __init__(self, function):
        self.function, self.asked = function, []

    def __call__(self, bins):
        assert bins not in self.asked
        self.asked.append(bins)
        return self.function(bins)


def proven(budget, function, limit, high, margin=4):
    """What is promised of any function."""
    following = range(budget.bins + 1, min(budget.bins + margin, high) + 1)
    assert budget.longest == function(budget.bins) <= limit == budget.limit
    assert budget.beyond == tuple(function(bins) for bins in following)
    assert all(tokens > limit for tokens in budget.beyond)


@given(st.integers(1, 200), st.floats(0.3, 9), st.integers(0, 3000))
def test_a_straight_line_takes_few_evaluations(overhead, slope, room):
    def line(bins):
        return overhead + math.ceil(slope * bins)

    longest, limit = Counted(line), line(1) + room
    budget = most_bins(longest, limit)
    assert budget.bins == max(bins for bins in range(1, 4097) if line(bins) <= limit)
    proven(budget, line, limit, 4096)
    assert budget.evaluations == len(longest.asked) <= 12


@given(
    st.lists(st.integers(0, 12), min_size=60, max_size=60),
    st.lists(st.integers(-9, 9), min_size=60, max_size=60),
    st.integers(0, 600),
    st.integers(1, 6),
)
@settings(max_examples=500)
def test_against_every_number(steps, noise, limit, margin):
    total = [sum(steps[: n + 1]) + noise[n] for n in range(60)]

    def longest(bins):
        return total[bins - 1]

    if longest(1) > limit:
        with pytest.raises(SpecdataError, match=f"limit {limit}: with only 1 bin a row has {longest(1)} tokens"):
            most_bins(longest, limit, high=60, margin=margin)
        return
    budget = most_bins(Counted(longest), limit, high=60, margin=margin)
    proven(budget, longest, limit, 60, margin)
    best = max(bins for bins in range(1, 61) if longest(bins) <= limit)
    failing = "".join("x" if longest(bins) > limit else "." for bins in range(1, best + 1))
    assert budget.bins <= best
    if "x" * margin not in failing:
        assert budget.bins == best


@given(st.integers(1, 4096), st.sampled_from(["step", "square", "root", "flat"]))
def test_other_shapes_stay_cheap(at, shape):
    curves = {
        "step": lambda bins: 10 if bins <= at else 100_000,
        "square": lambda bins: bins**2,
        "root": lambda bins: math.isqrt(10_000 * bins),
        "flat": lambda bins: 10 + bins // 100,
    }
    function = curves[shape]
    limit = function(at)
    budget = most_bins(Counted(function), limit)
    assert budget.bins == max(bins for bins in range(1, 4097) if function(bins) <= limit)
    assert budget.evaluations <= 40


@given(st.integers(66, 3000), st.integers(1, 50))
def test_any_row_over_the_limit_will_do(limit, excess):
    def longest(bins):
        return 60 + 6 * bins if 60 + 6 * bins <= limit else limit + excess

    budget = most_bins(Counted(longest), limit)
    assert budget.bins == (limit - 60) // 6
    assert budget.beyond == 4 * (limit + excess,)
    assert budget.evaluations <= 30


def test_a_dip_beyond_the_first_that_fails_is_found():
    tokens = {70: 570, 71: 574, 72: 573, 73: 575, 74: 576, 75: 574, 76: 573}
    budget = most_bins(lambda bins: tokens.get(bins, 8 * bins), 573, margin=3)
    assert (budget.bins, budget.longest, budget.beyond) == (72, 573, (575, 576, 574))
    assert most_bins(lambda bins: tokens.get(bins, 8 * bins), 573, margin=4).bins == 76


def test_the_highest_number_is_enough():
    budget = most_bins(lambda bins: 100 + bins, 573, high=80)
    assert (budget.bins, budget.longest, budget.beyond) == (80, 180, ())
    assert most_bins(lambda bins: 573, 573, low=3, high=3).bins == 3


def test_no_number_far_beyond_the_answer_is_asked():
    longest = Counted(lambda bins: 59 + 6 * bins)
    assert most_bins(longest, 573).bins == 85
    assert max(longest.asked) < 100


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"limit": 60}, "limit 60: with only 1 bin a row has 66 tokens, .*; give a larger limit"),
        ({"limit": 70, "low": 8}, "limit 70: with only 8 bins a row has 108 tokens"),
        ({"limit": 573, "low": 0}, "low 0, high 4096, margin 4: give 1 <= low <= high"),
        ({"limit": 573, "low": 9, "high": 8}, "low 9, high 8"),
        ({"limit": 573, "margin": 0}, "margin 0"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(arguments, match):
    with pytest.raises(SpecdataError, match=match):
        most_bins(lambda bins: 60 + 6 * bins, **arguments)


class Spectra:
    """Rows of the config `spectra`, as a spool has them, that remembers which were taken."""

    def __init__(self, table):
        self.table, self.taken = table, []

    def take(self, index):
        self.taken.append(len(index))
        return self.table.take(index)


def test_a_row_beyond_the_first_that_is_longer_than_they_are_counts():
    """Of 300 rows one, the 250th, has values of four digits, and so the most tokens with any number of bins."""
    spectrum, _ = mock_spectrum(0, 0)
    flux = np.ones(len(spectrum.flux), np.float32)
    plain = dataclasses.replace(spectrum, flux=flux)
    bright = dataclasses.replace(plain, flux=12.34 * flux)
    batch = rows.spectra_batch([bright if i == 250 else plain for i in range(300)])
    spectra = Spectra(pa.Table.from_batches([batch]))
    grid = Grid(start=3900, stop=9100, tokens=200)
    config = TextConfig(grid=grid, normalisation="none")
    scale = np.ones(300, np.float32)
    found = fit_bins(config, spectra, np.arange(300), scale, label="x", progress=False)
    alone = fit_bins(config, spectra, np.array([250]), scale, label="x", progress=False)
    assert {**alone, "rows": 300} == found
    assert fit_bins(config, spectra, np.arange(250), scale, label="x", progress=False)["bins"] > found["bins"]
    assert spectra.taken[:3] == [100, 250, 50]  # looked for with few, proven with all
