"""Predictions of other targets than the redshift: as a table and a sentence, in a talk, for an agent, on the page."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest

from specdata import Spectrum
from specdata.inference.chat import ONE_ANSWER, Session, describe
from specdata.inference.predict import columns_of, to_row, to_table
from specdata.inference.reader import Prediction
from specdata.posterior import LabelPosterior, NumberPosterior
from specdata.serve import page
from specdata.spectra.axis import SKY
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


class StandIn:
    """A reader without a model, which gives the same answer about any spectrum."""

    model, adapter, results, warnings, only_target = "base", "adapter", None, [], True

    def __init__(self, target, cls, p, answer):
        self.encoding = SimpleNamespace(target=target, axis=SKY, edges=np.array([3000.0, 9000.0]))
        self._posterior = cls(
            target=target, values=target.answers(), p=p, answered=0.9, beyond=0.0, begun=1.0, unresolved=0.0
        )
        self._answer = answer
        self.generator = SimpleNamespace(reply=self._reply)

    def _reply(self, turns, *, max_new_tokens, on_text):
        on_text(self._answer)
        return self._answer

    def ask(self, spectrum):
        return SimpleNamespace(name=spectrum.name)

    def predict(self, asked):
        target = self.encoding.target
        for one in asked:
            facts = FACTS | {"name": one.name, f"{target.key}_file": None}
            yield Prediction(
                facts=facts, prompt=[], posterior=self._posterior, answer=self._answer,
                z_greedy=target.parse(self._answer),
            )  # fmt: skip


SPECTRUM = Spectrum.from_arrays(np.linspace(3500, 8500, 50), 1 + np.arange(50) % 7, np.ones(50), specobjid="mine")
CASES = {
    "class": (LabelPosterior, np.array([0.2, 0.7, 0.1]), "Class: [QSO]", "QSO"),
    "teff": (NumberPosterior, None, "Effective temperature: [5780] K", pytest.approx(5780, abs=1)),
}


@pytest.fixture(params=CASES)
def case(request):
    """A reader of another target than the redshift, and the value that it gives."""
    target, (cls, p, answer, value) = TARGETS[request.param], CASES[request.param]
    if p is None:
        p = np.exp(-0.5 * ((target.answers() - 5780) / 100) ** 2)
    return StandIn(target, cls, p / p.sum(), answer), value


def test_a_conversation_says_what_the_adapter_knows(case):
    reader, value = case
    target, pieces = reader.encoding.target, []
    session = Session(reader, SPECTRUM)
    assert session.prediction.estimate == value
    assert target.show(session.prediction.estimate) in describe(session.prediction)
    answer = session.ask("What is it?", on_text=pieces.append)
    assert answer == "".join(pieces) == ONE_ANSWER.format(target.words)


def test_an_agent_is_told_value_unit_and_probabilities(case):
    mcp = pytest.importorskip("mcp")
    from specdata.serve.agent import make_server

    reader, value = case
    target, arrays = reader.encoding.target, {"wavelength": SPECTRUM.wavelength.tolist()}
    arrays |= {"flux": SPECTRUM.flux.tolist(), "ivar": SPECTRUM.ivar.tolist()}

    async def talk():
        async with mcp.Client(make_server(reader)) as client:
            return await client.call_tool(f"measure_{target.name}", arrays), await client.call_tool("describe_adapter")

    found, described = asyncio.run(talk())
    (one,) = found.structured_content["spectra"]
    assert (one["quantity"], one["value"], one["unit"]) == (target.words, value, target.unit)
    assert described.structured_content["labels"] == list(target.labels)
    assert described.structured_content["axis"] == "observed wavelength (vacuum Å)"
    if target.is_number:
        assert one["interval_68"] == [pytest.approx(5680, abs=10), pytest.approx(5880, abs=10)]
    else:
        assert one["probabilities"] == pytest.approx({"GALAXY": 0.2, "QSO": 0.7, "STAR": 0.1})


def test_the_pictures_of_the_page_have_no_lines_and_say_what_is_most_probable(case):
    reader, _ = case
    (said,) = reader.predict([reader.ask(SPECTRUM)])
    assert "lines" not in page._spectrum(SPECTRUM, None, SKY)
    symbol = reader.encoding.target.symbol
    alt = f"p({symbol}) with its median 5780" if reader.encoding.target.is_number else f"p({symbol}), highest QSO"
    assert alt in page._answer(said, None)
