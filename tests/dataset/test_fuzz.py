"""Files with random damage are read or refused in one sentence: `benchmarks/fuzz.py` with few files."""

import importlib.util
from pathlib import Path

import pytest

# Files that once ended in a traceback, by kind and number.
ONCE = {"json": [157, 261, 295, 304, 313, 9186], "parquet": [3348, 5076, 6629, 7788]}


@pytest.mark.parametrize("kind", ["fits", "parquet", "json", "yaml"])
def test_damaged_files_are_read_or_refused(kind, capsys):
    path = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", path)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    assert fuzz.main([kind], [*range(20), *ONCE.get(kind, [])]) == 0, capsys.readouterr().out
