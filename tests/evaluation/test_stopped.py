"""An evaluation is killed, interrupted, or finds the disk full, and is given again: nothing is lost or left over."""

import errno
import json
import os
import signal

import pytest

pytest.importorskip("torch")


@pytest.fixture
def kills(script, monkeypatch):
    """The script with a stand-in for the model, which it puts into the modules."""
    for name in ("evaluation.predictions.Generator", "evaluation.figures.draw_figures"):
        monkeypatch.setattr(f"specdata.{name}", None)
    monkeypatch.setattr("time.perf_counter", None)
    return script("kills")


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 5], ids=["all", "few"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_an_evaluation_that_is_killed_at_any_change_of_files(kills, mock_data, tmp_path, overwrite, every):
    folder = tmp_path / "work"
    job = kills.evaluate_job(folder, mock_data, limit=3, overwrite=overwrite)
    prepare = kills.evaluate_job(folder, mock_data, limit=3) if overwrite else lambda: None
    assert kills.try_all(job, folder, prepare=prepare, every=every) > 4 / every


@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM", "full disk"])
def test_a_stopped_evaluation_says_so_and_goes_on(kills, mock_data, tmp_path, monkeypatch, command, stop):
    kills.evaluate_job(tmp_path, mock_data)
    asked, answer = [], kills.Answers.answer

    def stopped(self, prompts, **options):
        asked.extend(prompts)
        if len(asked) == 3:
            if stop == "full disk":
                raise OSError(errno.ENOSPC, "No space left on device")
            os.kill(os.getpid(), signal.Signals[stop])
        return answer(self, prompts, **options)

    monkeypatch.setattr(kills.Answers, "answer", stopped)
    line = ["evaluate", "--model", str(tmp_path.parent / "model"), "--dataset", str(mock_data), "--config", "paper"]
    line += ["--output", "out", "--limit", "4", "--greedy-only", "--baselines", "constant", "--batch-size", "1"]
    code, _, said = command(*line)
    assert "Traceback" not in said
    said = said.splitlines()[-1]
    if stop == "full disk":
        assert code == 2
        assert said.startswith("specdata: the disk is full; make room and give the same command again")
    else:
        assert code == 130
        assert said == "specdata: interrupted; nothing is half written, give the same command again"
    assert [path.name for path in tmp_path.iterdir()] == ["out.answers.partial.jsonl"]
    with (tmp_path / "out.answers.partial.jsonl").open("a") as stream:
        stream.write('{"row": 3, "ans')  # cut short
    monkeypatch.setattr(
        kills.Answers, "answer", lambda self, prompts, **_: asked.extend(prompts) or answer(self, prompts)
    )
    assert command(*line)[0] == 0
    assert len(asked) == 5  # the third row twice, no other
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert json.loads((tmp_path / "out" / "results.json").read_text())["dataset"]["n"] == 4
