"""Predictions of other targets than the redshift, as a table and as a sentence."""

from types import SimpleNamespace

import numpy as np
import pytest

from specdata.inference.chat import describe
from specdata.inference.predict import columns_of, to_row, to_table
from specdata.inference.reader import Prediction
from specdata.posterior import LabelPosterior, NumberPosterior
from specdata.targets import TARGETS

FACTS = {"file": "a.csv", "name": "a", "class": "", "ra": 1.0, "dec": 2.0, "snmedian": 9.0, "z_file": float("nan")}


def told(target, cls, p, greedy, stated):
    rest = {"answered": 0.9, "beyond": 0.0, "begun": 1.0, "unresolved": 0.0}
    posterior = cls(target=target, values=target.answers(), p=p, **rest)
    facts = FACTS | {f"{target.key}_file": stated}
    prediction = Prediction(
        facts=facts, prompt=[], posterior=posterior, answer="", z_greedy=greedy, warnings=["doubt it"]
    )
    encoding = SimpleNamespace(target=target)
    reader = SimpleNamespace(encoding=encoding, adapter="x", model="y", warnings=[])
    return to_table(reader, [to_row(prediction, target)]), describe(prediction)


def test_a_label():
    table, said = told(TARGETS["class"], LabelPosterior, np.array([0.2, 0.7, 0.1]), "QSO", "STAR")
    assert set(table.colnames) <= set(columns_of(TARGETS["class"]))
    row = table[0]
    assert (row["class"], row["class_greedy"], row["class_file"]) == ("QSO", "QSO", "STAR")
    assert [row[f"p_{label}"] for label in ("GALAXY", "QSO", "STAR")] == pytest.approx([0.2, 0.7, 0.1])
    assert said.startswith("class: QSO (QSO 70.0 %, GALAXY 20.0 %, STAR 10.0 %), and 10.0 % on no label")


def test_a_number():
    target = TARGETS["teff"]
    p = np.exp(-0.5 * ((target.answers() - 5780) / 100) ** 2)
    table, said = told(target, NumberPosterior, p / p.sum(), 5800.0, 5777.0)
    row = table[0]
    assert row["teff"] == pytest.approx(5780, abs=1)
    assert row["teff_high_68"] - row["teff_low_68"] == pytest.approx(200, rel=0.05)
    assert str(table["teff"].unit) == "K"
    assert said.startswith("Teff = 5780 K, the median of p(Teff), with 68 % from 568")
