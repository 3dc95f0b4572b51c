"""A disk that is full in the midst of a command: one sentence, and the same command goes on when there is room."""

import re
import subprocess

import pytest
from questions import write_questions

pytest.importorskip("torch")
RECIPE = "smollm2-135m/redshift-paper"
TINY = "--model_name_or_path tiny --use_cpu true --bf16 false --dtype float32 --max_steps 2 --save_steps 1"
FULL = r"cannot be written \(.*No space left on device\); make room or choose another place, and try again"


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.tmpfs
@pytest.mark.parametrize(
    ("line", "free", "sentence", "goes_on"),
    [  # kB that are free: for the answers but not for the table or all tasks, and for one checkpoint but not for two
        ("predict {star} --adapter {scored} --output {disk}/out.csv", 4, rf"out\.csv: {FULL}", "1 of 1 spectra"),
        (
            "retention --model {model} --adapter {adapter} --questions {questions} --output {disk}/out", 8,
            rf"out\.answers\.partial/ten-.*: {FULL}", "letters, after the training: done before",
        ),
        (
            f"train {RECIPE} {TINY} --output_dir {{disk}}/out", 6000,
            "trl sft ended with code 1, see above; give the same command again to go on", "going on from checkpoint-1",
        ),
        (
            f"sweep {RECIPE} --grid {{grid}} --limit 6 {TINY} --output {{disk}}/out", 6000,
            rf"table\.md: {FULL}", "going on from checkpoint-1",
        ),
    ],
    ids=["predict", "retention", "train", "sweep"],
)  # fmt: skip
def test_a_full_disk_is_one_sentence_and_the_command_goes_on(
    disk, command, workplace, taught_model, taught_adapter, scored_adapter, spec_files, tmp_path, monkeypatch,
    line, free, sentence, goes_on,
):  # fmt: skip
    (grid := tmp_path / "grid.yaml").write_text("{base: {max_length: 1024}, runs: {first: {lora_r: 4}}}")
    line = line.format(
        disk=disk, grid=grid, questions=write_questions(tmp_path), model=taught_model, adapter=taught_adapter,
        scored=scored_adapter, star=spec_files["star"],
    ).split()  # fmt: skip
    monkeypatch.chdir(workplace)
    (disk / "filler").write_bytes(bytes((64 * 1024 - free) * 1024))
    code, _, said = command(*line)
    assert (code, "Traceback" in said) == (2, False)
    assert re.search(sentence, said.splitlines()[-1])
    (disk / "filler").unlink()
    code, out, said = command(*line)
    assert code == 0, said
    assert goes_on in out + said
    assert [path.stem for path in disk.iterdir()] == ["out"]
