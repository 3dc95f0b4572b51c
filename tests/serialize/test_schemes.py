"""What every scheme promises: exact inverses, one by one and in batch, and errors that say where."""

import re
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from specdata.errors import SpecdataError
from specdata.serialize import CSV, DIGIT, PACKED, PAPER, SCHEMES

EVERY = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
STEPS = {PAPER: (1, 100), CSV: (1, 100), PACKED: (1, 100), DIGIT: (1, 5)}
WORD = st.one_of(st.sampled_from(["NaN", "0"]), st.from_regex(r"-?[1-9](\|[0-9]){0,14}", fullmatch=True))


def rounded(scheme, values):
    numerator, denominator = STEPS[scheme]
    return np.rint(np.asarray(values, dtype=float) * denominator / numerator) * numerator / denominator


def in_range(scheme):
    """Numbers that a scheme can write, the awkward ones among them: halves of a step, ends, tiny, huge, missing."""
    low, high = max(scheme.low, -1e13), min(scheme.high, 1e13)
    halves = st.integers(int(max(low, -20) / scheme.step), int(min(high, 300) / scheme.step) - 1)
    return st.one_of(
        st.floats(low, high),
        st.floats(max(low, -3), min(high, 12)),
        halves.map(lambda k: (k + 0.5) * scheme.step),
        halves.map(lambda k: np.nextafter((k + 0.5) * scheme.step, np.inf)),
        st.sampled_from([0.0, -0.0, np.nan, 5e-324, -5e-324, low, high, 0.005, 0.015, 4.56, 1.005, 2.675]),
    ).filter(lambda value: not (value < scheme.low or value > scheme.high))


@EVERY
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_every_level_is_its_own_inverse(scheme, dtype):
    numerator, denominator = STEPS[scheme]
    low, high = (round(end / scheme.step) for end in (max(scheme.low, -30), min(scheme.high, 300)))
    values = np.arange(low, high + 1) * numerator / denominator
    text = scheme.encode(values.astype(dtype))
    decoded = scheme.decode(text)
    np.testing.assert_array_equal(decoded, values)
    assert not np.signbit(decoded[values == 0]).any()
    if scheme is PAPER:
        words = ("-" * (number < 0) + "|".join(str(abs(number))) for number in range(low, high + 1))
        assert text == " , ".join(words) + " ,"


@EVERY
@settings(max_examples=60)
@given(data=st.data())
def test_decode_undoes_encode_up_to_one_rounding(scheme, data):
    values = data.draw(st.lists(in_range(scheme), max_size=40))
    text = scheme.encode(values)
    decoded = scheme.decode(text)
    assert decoded.dtype == np.float64
    np.testing.assert_array_equal(decoded, rounded(scheme, values))
    assert scheme.encode(decoded) == text
    assert not np.signbit(decoded[decoded == 0]).any()
    for value, found in zip(values, decoded.tolist(), strict=True):
        if value == value:  # half a step and the rounding of the product, measured without any floating point
            error = abs(Fraction(value) - Fraction(found))
            assert error <= Fraction(*STEPS[scheme]) / 2 + Fraction(2 * np.spacing(abs(value)))


@given(st.lists(WORD))
def test_encode_undoes_decode(words):
    text = " , ".join(words) + " ," if words else ""
    assert PAPER.encode(PAPER.decode(text)) == text


@EVERY
@settings(max_examples=60)
@given(data=st.data())
def test_a_batch_is_its_rows(scheme, data):
    shape = data.draw(array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=12))
    array = data.draw(arrays(np.float64, shape, elements=in_range(scheme)))
    texts = scheme.encode_batch(array)
    assert texts == [scheme.encode(row) for row in array]
    arrow = scheme.encode_batch(array, arrow=True)
    assert isinstance(arrow, pa.StringArray)
    assert arrow.to_pylist() == texts
    for given_texts in (texts, arrow, pa.chunked_array([arrow, arrow[:0]]), arrow.cast(pa.large_string())):
        decoded = scheme.decode_batch(given_texts)
        if len(array):
            assert decoded.dtype == np.float64
            np.testing.assert_array_equal(decoded, rounded(scheme, array))
        else:
            assert decoded.size == 0


@EVERY
def test_other_kinds_of_input(scheme):
    flux = np.array([1.25, 1.5, 2.125], dtype=np.float32)
    text = scheme.encode(flux)
    assert scheme.encode(flux.tolist()) == scheme.encode(flux.astype(">f8")) == scheme.encode(flux[::-1][::-1]) == text
    assert scheme.encode([2, 1, 2]) == scheme.encode(np.array([2, 1, 2], dtype=np.uint8))
    masked = np.ma.masked_array([1.0, 2.0], mask=[False, True])
    assert scheme.encode(masked) == scheme.encode([1.0, np.nan])
    array = np.asfortranarray([[1.25, 1.5], [1.0, 2.0]])
    assert scheme.encode_batch(array) == [scheme.encode(row) for row in array]
    texts = scheme.encode_batch(np.ones((9, 4)) * np.array([1.0, 1.5, 2.0])[np.arange(9) % 3, None], arrow=True)
    np.testing.assert_array_equal(scheme.decode_batch(texts[4:6]), scheme.decode_batch(texts[1:3]))
    assert scheme.decode("").tolist() == []


@EVERY
@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e13, -1e13, 1e300, -1e300])
def test_the_first_value_out_of_range_is_named(scheme, value):
    with pytest.raises(SpecdataError, match=rf"^value 2 is {re.escape(str(value))}: "):
        scheme.encode([1.0, np.nan, value, np.inf])
    batch = np.ones((5, 4))
    batch[3, 1] = batch[4, 0] = value
    with pytest.raises(SpecdataError, match=rf"^row 3, value 1 is {re.escape(str(value))}: "):
        scheme.encode_batch(batch)


@EVERY
@settings(max_examples=150)
@given(data=st.data())
def test_a_text_decodes_only_if_it_would_be_written_so(scheme, data):
    """Cut, swap, double and replace characters: either an error with a position, or the very text again."""
    text = scheme.encode(data.draw(st.lists(in_range(scheme), min_size=1, max_size=8)))
    at = data.draw(st.integers(0, len(text) - 1))
    alphabet = st.sampled_from([*"0123456789,|- NaN.+e_\n\t", "\u0664", "\uff15", "\u00b2", "\u00a0", "\x00", "\ud800"])
    junk = data.draw(st.one_of(st.just(""), alphabet, st.text(alphabet, max_size=4)))
    changed = text[:at] + junk + text[at + data.draw(st.integers(0, 2)) :]
    try:
        values = scheme.decode(changed)
    except SpecdataError as error:
        position = int(re.match(r"position (\d+): ", str(error))[1])
        assert position <= len(changed)
        with pytest.raises(SpecdataError, match=rf"^row 1, position {position}: "):
            scheme.decode_batch([text, changed])
        with pytest.raises(SpecdataError, match=rf"^row 0, position {position}: "):
            scheme.decode_batch([changed])
    else:
        assert scheme.encode(values) == changed
        np.testing.assert_array_equal(scheme.decode_batch([changed])[0], values)


@pytest.mark.parametrize(
    ("scheme", "values", "text"),
    [
        (PAPER, [4.56, 7.54, 11.20], "4|5|6 , 7|5|4 , 1|1|2|0 ,"),  # the example of the paper
        (PAPER, [0.0, -0.0, -0.004, -0.006], "0 , 0 , 0 , -1 ,"),
        (PAPER, [0.05, 0.5, 5], "5 , 5|0 , 5|0|0 ,"),
        (PAPER, [1.0, np.nan, -4.56], "1|0|0 , NaN , -4|5|6 ,"),
        (PAPER, [0.125, 0.375, -0.125], "1|2 , 3|8 , -1|2 ,"),  # exact in binary: half to even
        (PAPER, [9_999_999_999_999.99], "|".join("9" * 15) + " ,"),
        (CSV, [4.56, 7.54, 11.20], "456,754,1120"),
        (CSV, [-4.56, 0.0, -0.004, np.nan, 0.05], "-456,0,0,NaN,5"),
        (CSV, [9_999_999_999_999.99], "9" * 15),
        (PACKED, [4.56, 7.54, -2.0, 7.99, 0.0], "656954000999200"),
        (PACKED, [-0.004, 0.125, 0.375, np.nan], "200212238NaN"),
        (PACKED, [7.994, -2.004], "999000"),  # what rounds into the range is inside it
        (DIGIT, [1.2, 0.8, 2.0, 2.6, 1.25, np.nan], "20692N"),
        (DIGIT, [0.72, 2.68], "09"),
        *((scheme, [], "") for scheme in SCHEMES.values()),
    ],
)
def test_examples(scheme, values, text):
    assert scheme.encode(values) == text
    np.testing.assert_array_equal(scheme.decode(text), rounded(scheme, values))


MALFORMED = {
    PAPER: [
        *(("0|5 ,", 0), ("-0 ,", 0), ("+4 ,", 0), ("--4 ,", 0), ("-|4 ,", 0), ("4|-5 ,", 0), ("4||5 ,", 0)),
        *(("4|5| ,", 0), ("|4 ,", 0), ("45 ,", 0), ("4.5 ,", 0), ("4|5|6,", 6), ("4|5|6 , 7|5|4", 13)),
        *(("4|5|6 , ", 8), ("4|5|6 ,\n", 8), ("4|5|6 , 7\n ,", 8), (",", 1), (" ,", 0), (" ", 1), (" 4 ,", 0)),
        *(("4  ,", 0), ("4 , 5  , 6 ,", 4), ("4 ,  5 ,", 4), ("4|5|6 ,7|5|4 ,", 0), ("4 , , 5 ,", 4)),
        *(("4 , \u0664 ,", 4), ("4 , \uff15 ,", 4), ("4|\u00b2 ,", 0), ("4 ,\u00a0,", 5)),  # digits that int() takes
        *(("4 , nan ,", 4), ("-NaN ,", 0), ("N|a|N ,", 0), ("NaN|5 ,", 0), ("inf ,", 0)),
        ("|".join("1" * 16) + " ,", 0),  # one digit more than float64 holds exactly
    ],
    CSV: [
        *(("456,", 4), (",456", 0), ("456,,1", 4), ("456, 1", 4), ("007", 0), ("1,-0", 2), ("1,+5", 2), ("1,2.5", 2)),
        *(("1,1e3", 2), ("1,1_000", 2), ("1,nan", 2), ("4|5", 0), ("1\n", 0), ("1," + "1" * 16, 2)),
    ],
    PACKED: [
        *(("1", 0), ("1234", 3), ("123 45", 3), ("123-45", 3), ("123\u0664\u0664\u0664", 3), ("12345NaN", 3)),
        *(("NaNnan", 3), ("123,45", 3)),
    ],
    DIGIT: [("12x", 2), ("1n", 1), ("1\u0664", 1), ("1,2", 1)],
}


@EVERY
def test_malformed_text(scheme):
    for text, position in MALFORMED[scheme]:
        with pytest.raises(SpecdataError, match=rf"^position {position}: "):
            scheme.decode(text)
        with pytest.raises(SpecdataError, match=rf"^row 0, position {position}: "):
            scheme.decode_batch([text])


@pytest.mark.parametrize(
    ("scheme", "value"), [(PACKED, -2.006), (PACKED, 7.996), (PACKED, 50.0), (DIGIT, 0.68), (DIGIT, 2.72)]
)
def test_what_a_code_of_fixed_width_cannot_write(scheme, value):
    told = f"value 1 is {value}: {scheme.name} writes {scheme.low} to {scheme.high}; clip"
    with pytest.raises(SpecdataError, match=re.escape(told)):
        scheme.encode([1.0, value])


@EVERY
def test_input_of_another_kind_is_refused(scheme):
    for values in (5.0, [[1.0, 2.0]], np.ones((2, 2, 2))):
        with pytest.raises(SpecdataError, match="one dimension"):
            scheme.encode(values)
    for values in (5.0, [1.0], np.ones((2, 2, 2))):
        with pytest.raises(SpecdataError, match="two dimensions"):
            scheme.encode_batch(values)
    for values in ([["a"]], [[1 + 1j]], [[1.0], [1.0, 2.0]], pa.array([[1.0]]), [["1.0"]], [[None]]):
        with pytest.raises(SpecdataError, match="these are no numbers"):
            scheme.encode_batch(values)
    two, three = scheme.encode([1.0, 2.0]), scheme.encode([1.0, 2.0, 2.5])
    with pytest.raises(SpecdataError, match="row 1 has 3 values and row 0 has 2"):
        scheme.decode_batch([two, three])
    for texts, said in (("456", "is one text"), (b"456", "is one text"), ([two, None], "row 1: None is no text")):
        with pytest.raises(SpecdataError, match=said):
            scheme.decode_batch(texts)
    for texts in ([1, 2], pa.array([456])):
        with pytest.raises(SpecdataError, match="is no text: give a list of str"):
            scheme.decode_batch(texts)
    for text in (None, b"456", 456):
        with pytest.raises(SpecdataError, match="is no text: give a str"):
            scheme.decode(text)
    assert scheme.decode_batch(["", ""]).shape == (2, 0)
    assert scheme.decode_batch([]).size == 0
