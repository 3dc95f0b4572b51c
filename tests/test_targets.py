"""Every target: an answer comes back, nothing looser than it does, and what a data set stores of it is enough."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from specdata import SpecdataError
from specdata.targets import REDSHIFT, TARGETS, Target, declared

NUMBERS = [target for target in TARGETS.values() if target.is_number]
KIND = declared("kind", labels=("E", "S0", "Sa b"))


@pytest.mark.parametrize(
    ("name", "value", "answer"),
    [
        ("redshift", 0.12344, "Redshift: [0.1234]"),
        ("class", "QSO", "Class: [QSO]"),
        ("vdisp", 181.6, "Velocity dispersion: [182] km/s"),
        ("teff", 5777, "Effective temperature: [5780] K"),
        ("logg", 4.4, "Surface gravity log g: [4.40] dex"),
        ("feh", -1.254, "Metallicity [Fe/H]: [-1.25] dex"),
        ("feh", -0.004, "Metallicity [Fe/H]: [0.00] dex"),
    ],
)
def test_the_wording(name, value, answer):
    assert TARGETS[name].format(value) == answer
    assert TARGETS[name].parse(answer) is not None


@given(st.sampled_from(NUMBERS), st.floats(0, 1), st.booleans(), st.sampled_from(["", " ", "\n"]))
def test_a_number_comes_back_to_its_step(target, share, brackets, space):
    value = target.low + share * (target.high - target.low)
    answer = target.format(value)
    if not brackets:
        head, _, number = answer.rpartition("[")
        answer = head + number.replace("]", "")
    found = target.parse(space + answer + space)
    assert found == pytest.approx(value, abs=0.51 * target.step)
    assert target.show(found) in answer


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        *(
            (TARGETS["feh"], f"Metallicity [Fe/H]: {text}")
            for text in ("[-0.00] dex", "[-1.25]", "[-1.2] dex", "-1.25")
        ),
        *((TARGETS["feh"], f"Metallicity [Fe/H]: {text} dex") for text in ("[+0.25]", "[-.25]", "[-5.01]", "[−1.25]")),
        *(
            (TARGETS["teff"], f"Effective temperature: {text}")
            for text in ("[5777] K", "[5780]", "[1990] K", "[05780] K")
        ),
        *(
            (TARGETS["class"], text)
            for text in ("Class: [galaxy]", "GALAXY", "Class: [STAR", "Class: []", "Class: [STARS]")
        ),
        *((KIND, text) for text in ("Kind: [Sa]", "Kind: [Sa  b]", "Kind: [E], yes")),
    ],
)
def test_what_is_no_answer(target, answer):
    assert target.parse(answer) is None


def test_zero_has_no_sign_in_an_answer_a_table_or_the_tree():
    """A model may write ``[-0.00]`` all the same: that is no answer, for p as for the greedy one."""
    feh = TARGETS["feh"]
    assert feh.show(-0.001) == "0.00"
    written = [feh.format(value) for value in feh.answers()]
    assert len(set(written)) == len(written) == 601
    assert "Metallicity [Fe/H]: [0.00] dex" in written
    assert not any("-0.00" in answer for answer in written)


def test_labels_come_back():
    assert [KIND.parse(KIND.format(label)) for label in KIND.labels] == list(KIND.labels)
    assert KIND.decode(KIND.code(["S0", None, "E"])) == ["S0", None, "E"]
    with pytest.raises(SpecdataError, match="kind = 'Sc': give one of E, S0, Sa b"):
        KIND.format("Sc")


@pytest.mark.parametrize(
    ("name", "found", "value"),
    [
        *(("vdisp", found, None) for found in (0, None, math.nan, "x", 900, math.inf)),
        *(("vdisp", found, 180) for found in (180, "180", 180.0)),
        *(
            ("class", found, value)
            for found, value in (("STAR", "STAR"), ("STAR  ", "STAR"), ("", None), ("SKY", None))
        ),
        *(("subclass", found, value) for found, value in (("", "none"), ("F9", "F9"), (None, None), ("a]", None))),
    ],
)
def test_values_of_a_catalogue(name, found, value):
    assert TARGETS[name].accept(found) == value


@pytest.mark.parametrize("target", [*TARGETS.values(), KIND], ids=lambda target: target.name)
def test_a_data_set_stores_all_of_it(target):
    assert Target.from_dict(json.loads(json.dumps(target.to_dict()))) == target
    if target.labels or (target.is_number and not target.is_wide):
        values = list(target.answers())
        assert [target.parse(target.format(value)) for value in values] == pytest.approx(values)


def test_redshifts_are_read_below_a_limit():
    assert REDSHIFT.is_wide
    assert len(REDSHIFT.answers(2)) == 20_000
    assert REDSHIFT.answers(1)[[0, 1, -1]] == pytest.approx([0, 1e-4, 0.9999])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "Two words"}, "its name has lower-case letters"),
        ({"labels": ("a", "a")}, "each once"),
        ({"labels": ("a", "[b]")}, r"'\[b\]' cannot be a label"),
        ({"labels": ("a", " b")}, "cannot be a label"),
        ({"labels": ("a", "b\nc")}, "is not one line of plain text"),
        ({"low": 2.0, "high": 1.0}, "low 2 has to be below high 1"),
        ({"low": 0.0, "high": math.inf}, "have to be finite"),
        ({"low": 0.004, "high": 1.0, "decimals": 2}, "0.004 is no multiple of 0.01"),
    ],
)
def test_targets_that_cannot_be_are_one_sentence(changes, sentence):
    with pytest.raises(SpecdataError, match=sentence):
        declared(**{"name": "kind", "labels": ()} | changes)
