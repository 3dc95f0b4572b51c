"""Baselines whose answer is known."""

import numpy as np
import pytest

from specdata.evaluation.baselines.simple import (
    NEIGHBOURS,
    PENALTIES,
    held_out,
    nearest,
    nearest_neighbours,
    pca_neighbours,
    ridge,
    ridge_fits,
)


def curve(z):
    """A curve in five dimensions that does not meet itself; shape (n, 5)."""
    return np.column_stack([np.sin(3 * z), np.cos(3 * z), z, z**2, np.ones_like(z)])


def singles(rows):
    """As many objects as rows."""
    return [f"object {i}" for i in range(len(rows))]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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
    z_pred, chosen = nearest_neighbours(curve(z_train), z_train, singles(z_train), curve(z))
    assert chosen["k"] in NEIGHBOURS
    assert np.abs(z_pred - z).max() < 0.005


def test_by_hand():
    x_train = np.array([[0.0], [1.0], [2.1], [3.3], [4.6]])
    z_train = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
    # Mean errors when each row is left out: 0.1 with one neighbour, 0.06 with two and 0.12 with three
    z_pred, chosen = nearest_neighbours(x_train, z_train, singles(x_train), np.array([[0.4], [4.0]]))
    assert chosen == {"k": 2}
    assert z_pred == pytest.approx([0.05, 0.35])


def test_noise_asks_for_more_neighbours(rng):
    x = np.arange(300.0)[:, None]
    smooth = np.full(300, 0.2)
    assert nearest_neighbours(x, smooth + rng.normal(0, 0.1, 300), singles(x), x)[1] == {"k": max(NEIGHBOURS)}
    # A redshift that jumps from row to row and comes in close pairs is best read off the nearest row alone
    pairs = np.repeat(np.arange(150.0), 2)[:, None] + np.tile([0, 0.01], 150)[:, None]
    assert nearest_neighbours(pairs, np.repeat(rng.random(150), 2), singles(pairs), pairs)[1] == {"k": 1}


def test_the_rows_to_predict_take_no_part_in_the_choice(rng):
    z_train = rng.uniform(0, 0.5, 100)
    x_train = curve(z_train) + rng.normal(0, 0.05, (100, 5))
    x = curve(rng.uniform(0, 0.5, 50))
    together, chosen = nearest_neighbours(x_train, z_train, singles(x_train), x)
    assert nearest_neighbours(x_train, z_train, singles(x_train), 100 * rng.normal(size=(7, 5)))[1] == chosen
    one_by_one = [nearest_neighbours(x_train, z_train, singles(x_train), row[None])[0][0] for row in x]
    assert one_by_one == pytest.approx(together)


@pytest.mark.parametrize("rows", [1, 2, 3, 14])
def test_fewer_rows_than_neighbours(rng, rows):
    z_train, x_train = rng.random(rows), rng.normal(size=(rows, 5))
    z_pred, chosen = nearest_neighbours(x_train, z_train, singles(x_train), rng.normal(size=(6, 5)))
    assert 1 <= chosen["k"] <= max(1, rows - 1)
    assert z_pred.shape == (6,)
    assert ((z_pred >= z_train.min() - 1e-9) & (z_pred <= z_train.max() + 1e-9)).all()


@pytest.mark.parametrize("copies", [2, 3])
def test_a_row_with_an_exact_duplicate_is_left_out_itself(rng, copies):
    # Rows of one place whose redshifts have nothing to do with each other: one neighbour is worse than many.
    x_train = np.repeat(10 * rng.normal(size=(40, 5)), copies, axis=0)
    z_train = rng.random(len(x_train))
    _, chosen = nearest_neighbours(x_train, z_train, singles(x_train), x_train[:1])
    # The same rows, moved apart by next to nothing
    apart = x_train + 1e-6 * rng.normal(size=x_train.shape)
    assert chosen == nearest_neighbours(apart, z_train, singles(apart), apart[:1])[1]


def test_repeats_of_an_object_do_not_vote_for_each_other(rng):
    # Two spectra of each object, alike to the last digit: left out one by one they would ask for one neighbour.
    x_train = np.repeat(10 * rng.normal(size=(60, 5)), 2, axis=0) + 1e-6 * rng.normal(size=(120, 5))
    z_train = np.repeat(rng.random(60), 2)
    objects = np.repeat(singles(range(60)), 2)
    assert nearest_neighbours(x_train, z_train, singles(x_train), x_train[:1])[1] == {"k": 1}
    assert nearest_neighbours(x_train, z_train, objects, x_train[:1])[1]["k"] > 3


def test_objects_are_held_out_whole():
    objects = np.array(["a", "b", "c", "a", "d", "e"])
    assert held_out(objects).tolist() == [True, False, False, True, False, True]
    assert held_out(["a", "a"]).tolist() == [False, False]


@pytest.mark.parametrize("bins", [7, 90])
def test_ridge_solves_the_normal_equations(rng, bins):
    x_train, x, z_train = rng.normal(size=(60, bins)), rng.normal(size=(5, bins)), rng.random(60)
    mean, spread = x_train.mean(axis=0), x_train.std(axis=0)
    a, b = (x_train - mean) / spread, (x - mean) / spread
    weights = np.linalg.solve(a.T @ a + 10 * np.eye(bins), a.T @ (z_train - z_train.mean()))
    assert ridge_fits(x_train, z_train, x, [10.0])[0] == pytest.approx(b @ weights + z_train.mean(), rel=1e-4)


def test_ridge_finds_a_linear_law_and_holds_back_where_there_is_none(rng):
    x = rng.normal(size=(400, 120))
    law = 0.25 + 0.02 * x[:, 3] - 0.01 * x[:, 7]
    z_pred, clear = ridge(x[:300], law[:300], singles(x[:300]), x[300:])
    assert z_pred == pytest.approx(law[300:], abs=3e-3)
    _, noise = ridge(x[:300], rng.random(300), singles(x[:300]), x[300:])
    assert noise["penalty"] > 100 * clear["penalty"]
    # Two rows of an object, alike in noise and redshift: by other objects alone, it is noise as before.
    twice = np.repeat(np.arange(150), 2)
    _, repeats = ridge(x[twice], rng.random(150)[twice], twice.astype(str), x[300:])
    assert repeats["penalty"] >= 100
    assert ridge(x[:1], law[:1], ["a"], x[:2])[0] == pytest.approx([law[0]] * 2)
    assert PENALTIES[0] <= clear["penalty"]


def test_principal_components_leave_noise_out(rng):
    z_train, z = rng.uniform(0, 0.5, 800), rng.uniform(0.01, 0.49, 100)
    directions = np.linalg.qr(rng.normal(size=(200, 5)))[0].T

    def noisy(z):
        return curve(z) @ directions + rng.normal(0, 0.1, (len(z), 200))

    x_train, x = noisy(z_train), noisy(z)
    z_pred, chosen = pca_neighbours(x_train, z_train, singles(z_train), x)
    plain, _ = nearest_neighbours(x_train, z_train, singles(z_train), x)
    assert chosen["components"] <= 8
    assert np.abs(z_pred - z).mean() < 0.85 * np.abs(plain - z).mean()
    few = pca_neighbours(x_train[:3], z_train[:3], singles(z_train[:3]), x)
    assert np.isfinite(few[0]).all()


def test_the_network_reads_where_a_line_is(rng):
    pytest.importorskip("torch")
    from specdata.evaluation.baselines.network import cnn

    def lines(z):
        return np.exp(-0.5 * ((np.arange(40) - 5 - 60 * z[:, None]) / 1.5) ** 2) + rng.normal(0, 0.05, (len(z), 40))

    z_train, z = rng.uniform(0, 0.5, 300), rng.uniform(0, 0.5, 100)
    x_train, x = lines(z_train), lines(z)
    z_pred, chosen = cnn(x_train, z_train, singles(z_train), x, seed=1)
    assert np.abs(z_pred - z).mean() < 0.1 * np.abs(np.median(z_train) - z).mean()
    assert (chosen["seed"], chosen["batch"]) == (1, 32)
