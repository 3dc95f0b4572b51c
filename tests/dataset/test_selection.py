"""Cuts, objects, sampling and splits."""

from collections import Counter
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdata.dataset.recipe import Cuts
from specdata.dataset.selection import (
    CUTS,
    SPLITS,
    assign_splits,
    equal_frequency,
    hash_order,
    position_ids,
    reject,
    split_sizes,
)
from specdata.spectra.mock.spectrum import mock_spectrum

START, STOP = 4000.0, 9000.0
SECOND = 1 / 3600  # degrees in an arcsec
RANGE = {"z_min": 0.0, "z_max": 0.5, "redshift_bins": 10}


@pytest.fixture(scope="module")
def mock():
    return replace(mock_spectrum(0, 0)[0], z=0.2, dered_i=17.0)


def part(spectrum, keep):
    names = ("loglam", "flux", "ivar", "and_mask", "or_mask", "wdisp")
    return replace(spectrum, **{name: getattr(spectrum, name)[keep] for name in names})


def cut(spectrum, **cuts):
    failed = reject(spectrum, Cuts(**cuts), START, STOP)
    assert failed is None or (failed[0] in CUTS and failed[1])
    return failed and failed[0]


@pytest.mark.parametrize(
    ("changes", "cuts", "name"),
    [
        ({}, {}, None),
        ({"spectype": "QSO"}, {}, "class"),
        ({"spectype": ""}, {}, "class"),
        ({"zwarning": 4}, {}, "zwarning"),
        ({"zwarning": 4}, {"zwarning_allowed": 4}, None),
        ({"zwarning": 4}, {"zwarning_allowed": 16}, "zwarning"),
        ({"zwarning": 4}, {"zwarning_allowed": 20}, None),
        ({"zwarning": 5}, {"zwarning_allowed": 4}, "zwarning"),  # bits, not an upper limit
        ({"zwarning": 1}, {"zwarning_allowed": 4}, "zwarning"),
        ({"z": 0.0}, {}, "z_range"),
        ({"z": 1e-9}, {}, None),
        ({"z": 0.5}, {}, "z_range"),
        ({"z": 0.1}, {"z_min": 0.1}, "z_range"),
        ({"z": np.nan}, {}, "z_range"),
        ({"dered_i": 18.0}, {}, "dered_i"),
        ({"dered_i": 17.99}, {}, None),
        ({"dered_i": np.nan}, {}, None),
        ({"dered_i": 22.0}, {"dered_i_max": None}, None),
    ],
)
def test_cuts_on_metadata(mock, changes, cuts, name):
    assert cut(replace(mock, **changes), **cuts) == name


def test_cuts_on_pixels(mock):
    wavelength = mock.wavelength
    assert cut(part(mock, wavelength > START)) == "coverage"
    assert cut(part(mock, wavelength < STOP)) == "coverage"
    assert cut(part(mock, (wavelength > START - 2) & (wavelength < STOP + 3))) is None
    inside = (wavelength >= START) & (wavelength <= STOP)
    rank = np.cumsum(inside & mock.good) / inside.sum()
    poor = replace(mock, ivar=np.where(inside & (rank > 0.6), 0, mock.ivar))
    assert cut(poor, good_fraction_min=0.61) == "good_pixels"
    assert cut(poor, good_fraction_min=0.59) is None
    assert cut(replace(mock, ivar=np.where(inside, mock.ivar, 0))) is None  # outside the grid they do not count
    assert cut(replace(mock, ivar=np.where(inside, 0, mock.ivar)), good_fraction_min=0) == "good_pixels"
    assert cut(replace(mock, and_mask=np.full_like(mock.and_mask, 1 << 24))) == "good_pixels"
    assert cut(part(mock, (wavelength < 5000) | (wavelength > 8000))) == "good_pixels"  # missing pixels are not good


def test_the_first_cut_counts(mock):
    changes = {"spectype": "STAR", "zwarning": 1, "z": 0.9, "dered_i": 20.0}
    spectrum, found = replace(part(mock, mock.wavelength > 5000), **changes), []
    spectrum = replace(spectrum, ivar=np.zeros_like(spectrum.ivar))
    for field, good in [*((name, getattr(mock, name)) for name in changes), (None, None)]:
        found.append(cut(spectrum))
        spectrum = replace(spectrum, **{field: good}) if field else spectrum
    assert found == ["class", "zwarning", "z_range", "dered_i", "coverage"]
    assert found == [name for name in CUTS if name in found]


@pytest.mark.parametrize(
    ("ra", "dec", "expected"),
    [
        ([10, 10], [20, 20 + 1.9 * SECOND], ["ab"]),
        ([10, 10], [20, 20 + 2.1 * SECOND], ["a", "b"]),
        ([10, 10 + 3.7 * SECOND], [60, 60], ["ab"]),  # 1.85 arcsec on the sky
        ([10, 10 + 2.1 * SECOND], [0, 0], ["a", "b"]),
        ([360 - 0.9 * SECOND, 0.9 * SECOND], [0, 0], ["ab"]),
        ([360 - 1.1 * SECOND, 1.1 * SECOND], [0, 0], ["a", "b"]),
        ([0, 180], [90 - 0.9 * SECOND] * 2, ["ab"]),
        ([0, 180], [-90 + 1.1 * SECOND] * 2, ["a", "b"]),
        ([0, 1.5 * SECOND, 3 * SECOND], [0, 0, 0], ["abc"]),  # a and c are 3 arcsec apart, and b joins them
        ([np.nan, 5, 5, 6], [np.inf, 5, 5, 6], ["a", "bc", "d"]),
        ([], [], []),
    ],
)
def test_objects(ra, dec, expected):
    groups, names = {}, "abcdefg"[: len(ra)]
    for name, label in zip(names, position_ids(names, ra, dec), strict=True):
        groups[label] = groups.get(label, "") + name
    assert sorted(groups.values()) == expected


def test_names_of_objects_do_not_depend_on_the_order():
    assert position_ids(["b", "a"], [187.70593, np.nan], [12.39112, 1]) == ["J187.70593+12.39112", "a"]
    assert position_ids(["a"], [1.5], [-2.25]) == ["J001.50000-02.25000"]
    names, ra, dec = "dbcae", [10, 10, 10, 50, np.nan], [0, 1.5 * SECOND, 3 * SECOND, 0, 0]
    results = set()
    for order in permutations(range(5)):
        labels = position_ids(*([values[i] for i in order] for values in (names, ra, dec)))
        results.add(tuple(sorted(zip((names[i] for i in order), labels, strict=True))))
    assert len(results) == 1
    assert dict(results.pop())["d"] == "J010.00000+00.00042"  # where "b" lies, the first of the chain by name


def test_hash_order_is_the_same_everywhere():
    expected = 0x9DF3C5FAB8EF8FE7  # the first eight bytes that `printf 0:a | sha256sum` prints
    assert hash_order(["a", "b", "a"], 0).tolist()[::2] == [expected, expected]
    assert hash_order(["a"], 1)[0] != expected


def sample(n):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 0.5, n), np.array([f"o{i}" for i in range(n)])


@pytest.mark.parametrize(("size", "asked"), [(100, [10] * 10), (107, [11] * 7 + [10] * 3), (3, [1] * 3 + [0] * 7)])
def test_equal_frequency(size, asked):
    z, objects = sample(1000)
    chosen, table = equal_frequency(z, objects, size=size, seed=0, **RANGE)
    assert [row["asked"] for row in table] == [row["taken"] for row in table] == asked
    assert np.histogram(z[chosen], 10, (0, 0.5))[0].tolist() == asked
    assert np.histogram(z, 10, (0, 0.5))[0].tolist() == [row["available"] for row in table]
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_allclose([row["z_min"] for row in table], np.arange(10) * 0.05)
    np.testing.assert_allclose([row["z_max"] for row in table], np.arange(1, 11) * 0.05)


def test_a_bin_that_runs_short_is_not_filled_from_elsewhere():
    z, objects = sample(1000)
    keep = (z < 0.2) | (z > 0.25) | (np.arange(1000) < 30)
    chosen, table = equal_frequency(z[keep], objects[keep], size=200, seed=0, **RANGE)
    here = int(((z[keep] > 0.2) & (z[keep] < 0.25)).sum())
    assert 0 < here < 20
    assert [row["taken"] for row in table] == [20] * 4 + [here] + [20] * 5
    assert (table[4]["asked"], table[4]["available"]) == (20, here)
    assert len(chosen) == 180 + here


def test_the_choice_does_not_depend_on_the_order_and_does_on_the_seed():
    z, objects = sample(500)
    objects = np.array([f"o{i // 2}" for i in range(500)])  # also which spectrum of an object is taken
    chosen, _ = equal_frequency(z, objects, size=100, seed=0, **RANGE)
    order = np.random.default_rng(1).permutation(500)
    again, _ = equal_frequency(z[order], objects[order], size=100, seed=0, **RANGE)
    assert set(z[order][again]) == set(z[chosen])
    other, _ = equal_frequency(z, objects, size=100, seed=1, **RANGE)
    assert set(z[other]) != set(z[chosen])


def test_every_redshift_in_the_range_belongs_to_a_bin():
    edges = np.linspace(0, 0.5, 11)
    z = np.concatenate([edges, np.nextafter(edges[1:], 0), np.nextafter(edges[:-1], 1)])
    chosen, table = equal_frequency(z, [str(i) for i in range(len(z))], size=1000, seed=0, **RANGE)
    assert chosen.tolist() == list(range(len(z)))
    assert [row["available"] for row in table] == [3] * 9 + [4]


@pytest.mark.parametrize(
    ("total", "sizes"),
    [(100, (60, 10, 30)), (71, (60, 10, 1)), (70, (52, 8, 10)), (40, (30, 5, 5)), (8, (6, 1, 1)), (0, (0, 0, 0))],
)
def test_split_sizes(total, sizes):
    assert split_sizes(total, 60, 10) == dict(zip(SPLITS, sizes, strict=True))


@given(st.integers(0, 500), st.integers(1, 300), st.integers(1, 100))
def test_split_sizes_always(total, train, validation):
    sizes = split_sizes(total, train, validation)
    assert sum(sizes.values()) == total
    if total > train + validation:
        assert (sizes["train"], sizes["validation"]) == (train, validation)
    else:
        assert 0 <= sizes["validation"] <= sizes["test"]


def splits_of(z, objects, train, validation, seed=0):
    return assign_splits(z, objects, train=train, validation=validation, seed=seed, **RANGE)


@given(st.lists(st.tuples(st.integers(0, 15), st.floats(0, 0.5)), max_size=60), st.integers(1, 40), st.integers(1, 15))
def test_no_object_is_in_two_splits_and_their_order_does_not_matter(rows, train, validation):
    objects, z = [f"o{i}" for i, _ in rows], [z for _, z in rows]
    split = splits_of(z, objects, train, validation)
    found = set(zip(objects, split.tolist(), strict=True))
    assert len(found) == len(set(objects))
    counts, sizes = Counter(split.tolist()), split_sizes(len(rows), train, validation)
    assert set(counts) <= set(SPLITS)
    assert counts["train"] <= sizes["train"]
    assert counts["validation"] <= sizes["validation"]
    backwards = splits_of(z[::-1], objects[::-1], train, validation)
    assert found == set(zip(objects[::-1], backwards.tolist(), strict=True))


def test_sizes_are_exact_where_rows_suffice():
    z, objects = sample(1000)
    assert Counter(splits_of(z, objects, 601, 151).tolist()) == {"train": 601, "validation": 151, "test": 248}
    pairs = np.array([f"o{i // 2}" for i in range(1000)])
    assert Counter(splits_of(z, pairs, 600, 150).tolist()) == {"train": 600, "validation": 150, "test": 250}


def test_splits_cover_the_same_redshifts_and_depend_on_the_seed():
    z = 0.5 * np.random.default_rng(0).beta(2, 5, 2000)
    objects = [f"o{i}" for i in range(2000)]
    split = splits_of(z, objects, 1200, 400)
    whole = np.histogram(z, 10, (0, 0.5))[0]
    for name in SPLITS:
        counts = np.histogram(z[split == name], 10, (0, 0.5))[0]
        # every bin is shared out in proportion, up to the rows at the boundaries between the splits
        assert np.abs(counts - whole * (split == name).mean()).max() <= 2
    assert (splits_of(z, objects, 1200, 400, seed=1) != split).mean() > 0.3
