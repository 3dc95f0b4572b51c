"""The ways of writing numbers that are measured and not shipped: exact, too, and strict about what they read."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from specdata.errors import SpecdataError

spec = importlib.util.spec_from_file_location(
    "candidate_schemes", Path(__file__).parents[2] / "benchmarks" / "candidate_schemes.py"
)
candidates = importlib.util.module_from_spec(spec)
spec.loader.exec_module(candidates)

CODEBOOK = candidates.Codebook.learn("codebook", np.random.default_rng(0).gamma(2, 1, 5000), 248)
MARKED = candidates.marked(4, lambda bins: np.geomspace(3800, 9200, bins))
SCHEMES = {scheme.name: scheme for scheme in (*candidates.ALL, MARKED, CODEBOOK)}
EVERY = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)


def expected(scheme, values):
    values = np.array(values, dtype=float)
    if scheme is CODEBOOK:
        levels = [np.nan if np.isnan(v) else CODEBOOK.levels[np.abs(CODEBOOK.levels - v).argmin()] for v in values]
        return np.array(levels)
    if scheme is candidates.DELTA_SHORT:
        return scheme.followed(values[None])[0]
    per_unit = 10 if scheme is candidates.PAIRS else 100
    return np.rint(values * per_unit) / per_unit


def in_range(scheme):
    low, high = (-30, 3e5) if scheme.high > 1e9 else (scheme.low, scheme.high)
    near = st.floats(max(low, -1), min(high, 3))
    return st.lists(st.one_of(st.floats(low, high), near, st.sampled_from([np.nan, low, high])), max_size=20)


@EVERY
@settings(max_examples=40)
@given(data=st.data())
def test_decode_undoes_encode(scheme, data):
    values = data.draw(in_range(scheme))
    text = scheme.encode(values)
    np.testing.assert_allclose(scheme.decode(text), expected(scheme, values), rtol=0, atol=1e-9)
    assert scheme.encode(scheme.decode(text)) == text
    assert scheme.encode_batch(np.array([values, values], dtype=float)) == [text, text]
    np.testing.assert_array_equal(scheme.decode_batch([text, text])[1], scheme.decode(text))


@pytest.mark.parametrize(
    ("scheme", "values", "text"),
    [
        (candidates.SPACED_DIGITS, [4.56, 7.54, 11.2], "4 5 6 , 7 5 4 , 1 1 2 0"),
        (candidates.SPACED_VALUES, [4.56, 7.54, 11.2], "456 754 1120"),
        (candidates.MARKED_GROUPS, [4.56, -11.2, 12345.67], "456,-1.120,1.234.567"),
        (candidates.PADDED_GROUPS, [4.56, -11.2, 0.05, 0], "456,-001120,005,000"),
        (candidates.DELTA, [4.56, 7.54, np.nan, -2, 7.99], "656798NaN546499"),
        (candidates.DELTA_SHORT, [4.56, 4.6, np.nan, 4.1, 4.1], "65654Na0050"),
        (MARKED, [0.0] * 6, "|3800|200200200200|7709|200200"),
        (CODEBOOK, [-9, np.nan], "<|reserved_special_token_0|><|reserved_special_token_247|>"),
    ],
)
def test_by_hand(scheme, values, text):
    assert scheme.encode(values) == text


def test_a_jump_beyond_two_digits_is_made_up_for():
    values = np.array([[0.0, 0.3, 1.5, 1.5, 1.5, 1.5, 0.9, 0.9]])
    np.testing.assert_allclose(candidates.DELTA_SHORT.followed(values), [[0, 0.3, 0.79, 1.28, 1.5, 1.5, 1, 0.9]])


def test_a_learned_codebook_has_the_smaller_squared_error():
    values = np.random.default_rng(1).gamma(2, 1, 20_000)
    quantiles, learned = (candidates.Codebook.learn("codebook", values, 64, rounds=rounds) for rounds in (0, 50))
    assert len(quantiles.levels) == len(learned.levels) == 63
    error = [((book.nearest(values) - values) ** 2).mean() for book in (quantiles, learned)]
    assert error[1] < 0.5 * error[0]


@pytest.mark.parametrize(
    ("scheme", "text", "said"),
    [
        (candidates.MARKED_GROUPS, "456,1120", "position 5"),
        (candidates.PADDED_GROUPS, "456,1120", "position 4"),
        (candidates.DELTA, "65", "position 0"),
        (candidates.DELTA_SHORT, "6565", "two belong to a value"),
        (candidates.DELTA_SHORT, "99099", "value 1"),
        (MARKED, "|3801|200", "position 4"),
        (MARKED, "200200", "position 0"),
        (CODEBOOK, "<|reserved_special_token_248|>", "position 0"),
        (CODEBOOK, "<|reserved_special_token_007|>", "position 0"),
    ],
)
def test_what_could_not_have_been_written_is_refused(scheme, text, said):
    with pytest.raises(SpecdataError, match=said):
        scheme.decode(text)
