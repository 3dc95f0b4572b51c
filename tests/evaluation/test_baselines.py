"""Baselines whose answer is known."""

import numpy as np
import pytest

from specdata.evaluation.baselines import NEIGHBOURS, constant, nearest, nearest_neighbours


def curve(z):
    """A curve in five dimensions that does not meet itself; shape (n, 5)."""
    return np.column_stack([np.sin(3 * z), np.cos(3 * z), z, z**2, np.ones_like(z)])


def singles(rows):
    """As many objects as rows."""
    return [f"object {i}" for i in range(len(rows))]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_no_constant_is_better_than_the_median_of_the_training_rows(rng):
    z_train = rng.exponential(0.2, 101)
    errors = [np.mean(np.abs(z_train - c)) for c in np.linspace(0, 1, 1001)]
    assert np.mean(np.abs(z_train - constant(z_train))) <= min(errors)


@pytest.mark.parametrize("rows", [7, 2500])
def test_the_nearest_rows_are_those_of_all_distances(rng, rows):
    x_train, x = 5 + rng.normal(size=(60, 4)), 5 + rng.normal(size=(rows, 4))
    distance = np.linalg.norm(x[:, None] - x_train, axis=2)
    np.testing.assert_array_equal(nearest(x_train, x, 6), np.argsort(distance, axis=1)[:, :6])
    same = rng.integers(0, 5, 60), rng.integers(0, 5, rows)
    found = nearest(x_train, x, 20, apart=same)
    assert (same[0][found] != same[1][:, None]).all()


def test_neighbours_on_a_curve_find_the_redshift(rng):
    z_train, z = rng.uniform(0, 0.5, 2000), rng.uniform(0.01, 0.49, 200)
    z_pred, k = nearest_neighbours(curve(z_train), z_train, singles(z_train), curve(z))
    assert k in NEIGHBOURS
    assert np.abs(z_pred - z).max() < 0.005


def test_by_hand():
    x_train = np.array([[0.0], [1.0], [2.1], [3.3], [4.6]])
    z_train = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    # Mean errors when each row is left out: 0.1 with one neighbour, 0.06 with two and 0.12 with three
    z_pred, k = nearest_neighbours(x_train, z_train, singles(x_train), np.array([[0.4], [4.0]]))
    assert k == 2
    assert z_pred == pytest.approx([0.05, 0.35])


def test_noise_asks_for_more_neighbours(rng):
    x = np.arange(300.0)[:, None]
    smooth = np.full(300, 0.2)
    assert nearest_neighbours(x, smooth + rng.normal(0, 0.1, 300), singles(x), x)[1] == max(NEIGHBOURS)
    # A redshift that jumps from row to row and comes in close pairs is best read off the nearest row alone
    pairs = np.repeat(np.arange(150.0), 2)[:, None] + np.tile([0, 0.01], 150)[:, None]
    assert nearest_neighbours(pairs, np.repeat(rng.random(150), 2), singles(pairs), pairs)[1] == 1


def test_the_rows_to_predict_take_no_part_in_the_choice(rng):
    z_train = rng.uniform(0, 0.5, 100)
    x_train = curve(z_train) + rng.normal(0, 0.05, (100, 5))
    x = curve(rng.uniform(0, 0.5, 50))
    together, k = nearest_neighbours(x_train, z_train, singles(x_train), x)
    assert nearest_neighbours(x_train, z_train, singles(x_train), 100 * rng.normal(size=(7, 5)))[1] == k
    one_by_one = [nearest_neighbours(x_train, z_train, singles(x_train), row[None])[0][0] for row in x]
    assert one_by_one == pytest.approx(together)


@pytest.mark.parametrize("rows", [1, 2, 3, 14])
def test_fewer_rows_than_neighbours(rng, rows):
    z_train, x_train = rng.random(rows), rng.normal(size=(rows, 5))
    z_pred, k = nearest_neighbours(x_train, z_train, singles(x_train), rng.normal(size=(6, 5)))
    assert 1 <= k <= max(1, rows - 1)
    assert z_pred.shape == (6,)
    assert ((z_pred >= z_train.min() - 1e-9) & (z_pred <= z_train.max() + 1e-9)).all()


@pytest.mark.parametrize("copies", [2, 3])
def test_a_row_with_an_exact_duplicate_is_left_out_itself(rng, copies):
    # Rows of one place whose redshifts have nothing to do with each other: one neighbour is worse than many.
    x_train = np.repeat(10 * rng.normal(size=(40, 5)), copies, axis=0)
    z_train = rng.random(len(x_train))
    _, k = nearest_neighbours(x_train, z_train, singles(x_train), x_train[:1])
    # The same rows, moved apart by next to nothing
    apart = x_train + 1e-6 * rng.normal(size=x_train.shape)
    assert k == nearest_neighbours(apart, z_train, singles(apart), apart[:1])[1]


def test_repeats_of_an_object_do_not_vote_for_each_other(rng):
    # Two spectra of each object, alike to the last digit: left out one by one they would ask for one neighbour.
    x_train = np.repeat(10 * rng.normal(size=(60, 5)), 2, axis=0) + 1e-6 * rng.normal(size=(120, 5))
    z_train = np.repeat(rng.random(60), 2)
    objects = np.repeat(singles(range(60)), 2)
    assert nearest_neighbours(x_train, z_train, singles(x_train), x_train[:1])[1] == 1
    assert nearest_neighbours(x_train, z_train, objects, x_train[:1])[1] > 3
