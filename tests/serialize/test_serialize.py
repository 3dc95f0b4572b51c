"""Numbers to text and back, exactly: the paper's form in every detail."""

from decimal import ROUND_HALF_EVEN, Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdata.errors import SpecdataError
from specdata.serialize import PAPER

PAPER_TEXT = "4|5|6 , 7|5|4 , 1|1|2|0 ,"
FINITE = st.floats(-1e12, 1e12)
VALUE = st.one_of(
    st.sampled_from(["NaN", "0"]),
    st.from_regex(r"-?[1-9](\|[0-9]){0,14}", fullmatch=True),
)


def word(hundredths):
    """Digits of a whole number of hundredths, without any floating point."""
    return "-" * (hundredths < 0) + "|".join(str(abs(hundredths)))


def test_the_example_of_the_paper():
    assert PAPER.encode([4.56, 7.54, 11.20]) == PAPER_TEXT
    assert PAPER.decode(PAPER_TEXT).tolist() == [4.56, 7.54, 11.2]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_hundredth(dtype):
    whole = np.arange(-1000, 20001)
    text = PAPER.encode((whole / 100).astype(dtype))
    assert text == " , ".join(map(word, whole.tolist())) + " ,"
    np.testing.assert_array_equal(PAPER.decode(text), whole / 100)


def test_flooring_would_get_hundreds_of_hundredths_wrong():
    whole = np.arange(0, 1000)
    floored = np.floor(whole / 100 * 100).astype(int)
    assert floored[456] == 455  # 4.56 * 100 is 455.99999999999994
    assert (floored != whole).sum() > 20
    # LLMTime takes the digits one after the other, and errs far more often
    remainder, digits = whole / 100, np.zeros(1000, int)
    for power in (1.0, 0.1, 0.01):
        digit = np.floor(remainder / power).astype(int)
        remainder, digits = remainder - digit * power, 10 * digits + digit
    assert (digits != whole).sum() > 300


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([], ""),
        ([0.0], "0 ,"),
        ([-0.0], "0 ,"),
        ([-0.004], "0 ,"),
        ([0.004, -0.006], "0 , -1 ,"),
        ([0.05, 0.5, 5], "5 , 5|0 , 5|0|0 ,"),
        ([-4.56], "-4|5|6 ,"),
        ([np.nan], "NaN ,"),
        ([1.0, np.nan, -1.0], "1|0|0 , NaN , -1|0|0 ,"),
        ([0.125, 0.375, -0.125], "1|2 , 3|8 , -1|2 ,"),  # exact in binary: half to even
        ([9_999_999_999_999.99], "|".join("9" * 15) + " ,"),
    ],
)
def test_encode(values, text):
    assert PAPER.encode(values) == text
    decoded = PAPER.decode(text)
    assert decoded.dtype == np.float64
    np.testing.assert_array_equal(decoded, np.round(np.array(values) * 100) / 100)
    assert not np.signbit(decoded[decoded == 0]).any()


@given(st.lists(st.one_of(FINITE, st.floats(-10, 10), st.just(np.nan))))
def test_decode_undoes_encode_up_to_one_rounding(values):
    text = PAPER.encode(values)
    np.testing.assert_array_equal(PAPER.decode(text), np.rint(np.array(values, dtype=float) * 100) / 100)


@given(st.integers(-(10**6), 10**6))
def test_halves_go_to_the_even_hundredth(eighths):
    value = eighths / 8  # exact in binary, so that Decimal sees the same number
    expected = int((Decimal(value) * 100).quantize(Decimal(1), ROUND_HALF_EVEN))
    assert PAPER.encode([value]) == word(expected) + " ,"


@given(st.lists(VALUE))
def test_encode_undoes_decode(words):
    text = " , ".join(words) + " ," if words else ""
    assert PAPER.encode(PAPER.decode(text)) == text


def test_a_batch_is_its_rows():
    array = np.random.default_rng(0).normal(0, 3, (20, 50))
    array[3, 4] = np.nan
    for dtype in (np.float64, np.float32):
        batch = PAPER.encode_batch(array.astype(dtype))
        assert batch == [PAPER.encode(row) for row in array.astype(dtype)]
    assert PAPER.encode_batch(np.empty((0, 5))) == []
    assert PAPER.encode_batch(np.empty((2, 0))) == ["", ""]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("0|5 ,", 0),
        ("0|0 ,", 0),
        ("-0 ,", 0),
        ("-0|5 ,", 0),
        ("+4 ,", 0),
        ("--4 ,", 0),
        ("-|4 ,", 0),
        ("4|-5 ,", 0),
        ("4||5 ,", 0),
        ("4|5| ,", 0),
        ("|4 ,", 0),
        ("45 ,", 0),
        ("4.5 ,", 0),
        ("4|5|6,", 6),
        ("4|5|6", 5),
        ("4|5|6 , 7|5|4", 13),
        ("4|5|6 , ", 8),
        ("4|5|6 ,\n", 8),
        ("4|5|6 , 7\n ,", 8),
        (",", 1),
        (" ,", 0),
        (" , ,", 0),
        (" ", 1),
        (" 4 ,", 0),
        ("4  ,", 0),
        ("4 , 5  , 6 ,", 4),
        ("4 ,  5 ,", 4),
        ("4|5|6 ,7|5|4 ,", 0),
        ("4|5|6, 7|5|4 ,", 0),
        ("4 , , 5 ,", 4),
        ("4 ,\t5 ,", 0),
        ("4 , ٤ ,", 4),  # an Arabic-Indic digit, which int() would take
        ("4 , ５ ,", 4),  # a full-width digit
        ("4|² ,", 0),
        ("4 ,\u00a0,", 5),
        ("4 , nan ,", 4),
        ("4 , NAN ,", 4),
        ("-NaN ,", 0),
        ("N|a|N ,", 0),
        ("NaN|5 ,", 0),
        ("inf ,", 0),
        ("1|1 , 2|2|2 , x , 3 ,", 14),
        ("|".join("1" * 16) + " ,", 0),  # one digit more than float64 holds exactly
    ],
)
def test_malformed_text(text, position):
    with pytest.raises(SpecdataError, match=rf"^position {position}: "):
        PAPER.decode(text)


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e13, -1e13, 9_999_999_999_999.999, 1e300])
def test_values_that_cannot_be_written(value):
    with pytest.raises(SpecdataError, match=r"^value 2 is "):
        PAPER.encode([1.0, np.nan, value, np.inf])


def test_a_value_close_to_the_largest_float():
    with pytest.raises(SpecdataError, match=r"^value 0 is 1e\+307"):
        PAPER.encode([1e307])


@pytest.mark.parametrize("values", [5.0, [[1.0, 2.0]], np.ones((2, 2, 2))])
def test_a_series_has_one_dimension(values):
    with pytest.raises(SpecdataError, match="one dimension"):
        PAPER.encode(values)
