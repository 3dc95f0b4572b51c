"""Grid, normalisation and scheme: three independent choices, and the way back from text to flux."""

import itertools
import json

import numpy as np
import pytest

from specdata import SpecdataError
from specdata.dataset.recipe import Conversation, Grid, TextConfig
from specdata.serialize import SCHEMES
from specdata.text.encoding import NORMALISATIONS, Encoding, grid_edges, normalise, restore

FLUX = np.array([[12.0, 30.0, 25.5, 40.0], [1.5, 2.0, 1.75, 4.0]])
SCALE = np.array([25.0, 2.0])


@pytest.mark.parametrize(
    ("grid", "edges"),
    [
        (Grid(start=4000.0, stop=8000.0, bins=4), [4000, 5000, 6000, 7000, 8000]),
        (Grid(kind="log", start=4000.0, stop=9000.0, bins=2), [4000, 6000, 9000]),
        (Grid(kind="edges", edges=[4000.0, 4100.0, 9000.0]), [4000, 4100, 9000]),
    ],
)
def test_grids(grid, edges):
    np.testing.assert_allclose(grid_edges(grid), edges, rtol=1e-12)
    assert grid.span == (edges[0], edges[-1])


def test_normalisations_against_their_formulas():
    scale = SCALE[:, None]
    np.testing.assert_array_equal(normalise(FLUX, scale, "median"), FLUX / scale)
    np.testing.assert_allclose(normalise(FLUX, scale, "asinh"), np.arcsinh(FLUX / scale / 0.2), rtol=1e-12)
    np.testing.assert_array_equal(normalise(FLUX, np.ones((2, 1)), "none"), FLUX)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_restore_undoes_normalise(normalisation):
    flux = np.concatenate([-np.logspace(-3, 3, 50), [0.0], np.logspace(-3, 4, 50)])
    np.testing.assert_allclose(restore(normalise(flux, 7.0, normalisation), 7.0, normalisation), flux, rtol=1e-12)


def test_a_step_of_asinh_is_a_share_of_the_flux():
    bright = np.array([1.0, 10.0, 100.0])
    step = restore(normalise(bright, 1, "asinh") + 0.01, 1, "asinh") / bright - 1
    np.testing.assert_allclose(step, 0.01, rtol=0.03)


@pytest.mark.parametrize(("scheme", "normalisation"), [*itertools.product(SCHEMES, ["median", "asinh"])])
def test_text_gives_the_flux_back_to_half_a_step(scheme, normalisation):
    encoding = Encoding(edges=np.linspace(4000, 8000, 5), normalisation=normalisation, scheme=scheme)
    texts, clipped = encoding.encode(FLUX, SCALE)
    values = normalise(FLUX, SCALE[:, None], normalisation)
    low, high, step = (getattr(SCHEMES[scheme], name) for name in ("low", "high", "step"))
    np.testing.assert_array_equal(clipped, ((values < low - step / 2) | (values > high + step / 2)).sum(axis=1))
    decoded = normalise(encoding.decode(texts, SCALE), SCALE[:, None], normalisation)
    np.testing.assert_allclose(decoded, np.clip(values, low, high), atol=0.5001 * step)
    # What was decoded is written the same again.
    assert encoding.encode(encoding.decode(texts, SCALE), SCALE)[0].equals(texts)


def test_what_lies_outside_the_range_is_clipped_and_counted():
    encoding = Encoding(edges=np.array([4000.0, 5000, 6000, 7000]), normalisation="median", scheme="packed")
    texts, clipped = encoding.encode(np.array([[9.0, 1.0, -3.0], [7.994, 1.0, -2.004]]), [1.0, 1.0])
    assert texts.to_pylist() == ["999300000", "999300000"]
    assert clipped.tolist() == [2, 0]  # what rounds to the end of the range lies inside it


def test_an_encoding_comes_from_a_recipe_or_from_what_was_stored():
    grid = Grid(kind="log", start=3840.0, stop=9160.0, tokens=99)
    config = TextConfig(grid=grid, normalisation="asinh", scheme="packed", conversation=Conversation(turns=2))
    encoding = Encoding.from_recipe(config, 14)
    again = Encoding.from_dict(json.loads(json.dumps(encoding.to_dict())), "fine")
    np.testing.assert_array_equal(again.edges, encoding.edges)
    np.testing.assert_allclose(again.edges, np.geomspace(3840, 9160, 15), rtol=1e-12)
    assert (again.normalisation, again.scheme, again.turns) == ("asinh", "packed", 2)
    np.testing.assert_array_equal(again.wavelength, 0.5 * (encoding.edges[1:] + encoding.edges[:-1]))


@pytest.mark.parametrize("stored", [{}, {"edges": [1]}, {"edges": "x", "scheme": "csv", "normalisation": "none"}, None])
def test_what_does_not_say_how_text_was_made(stored):
    with pytest.raises(SpecdataError, match="config 'x': the manifest does not say how its text was made"):
        Encoding.from_dict(stored, "x")


@pytest.mark.parametrize(("scheme", "normalisation"), [("latin", "median"), ("csv", "max")])
def test_a_manifest_of_another_version(scheme, normalisation):
    stored = {"edges": [1, 2], "scheme": scheme, "normalisation": normalisation}
    with pytest.raises(SpecdataError, match=r"config 'x': '(latin|max)' is not one of .*; read it with the version"):
        Encoding.from_dict(stored, "x")


def test_text_and_flux_of_another_grid():
    encoding = Encoding(edges=np.linspace(4000, 8000, 5), normalisation="median", scheme="csv")
    with pytest.raises(SpecdataError, match="the text has 3 values and the grid 4 bins"):
        encoding.decode(["1,2,3"], [1.0])
    with pytest.raises(SpecdataError, match=r"the flux has shape \(1, 3\) and the grid 4 bins"):
        encoding.encode([[1.0, 2.0, 3.0]], [1.0])
