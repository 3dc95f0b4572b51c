"""Files with random damage are read or refused in one sentence: `benchmarks/fuzz.py` with few files."""

import importlib.util
from pathlib import Path

import pytest

# Files that once ended in a traceback, by kind and number.
ONCE = {"json": [157, 261, 295, 304, 313, 9186], "parquet": [3348, 5076, 6629, 7788]}


@pytest.mark.parametrize(
    ("kinds", "count"),
    [("fits", 20), ("parquet", 20), ("json", 20), ("yaml", 20), ("sdss5 desi table image text lists", 4)],
)
def test_damaged_files_are_read_or_refused(kinds, count, capsys):
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    assert fuzz.main(kinds.split(), [*range(count), *ONCE.get(kinds, [])]) == 0, capsys.readouterr().out
