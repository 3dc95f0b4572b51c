"""Files with random damage are read or refused in one sentence: `benchmarks/fuzz.py` with few files."""

import pytest

# Files that once ended in a traceback, by kind and number.
ONCE = {"json": [157, 261, 295, 304, 313, 9186], "parquet": [3348, 5076, 6629, 7788]}


@pytest.mark.parametrize(
    ("kinds", "count"),
    [("fits", 20), ("parquet", 20), ("json", 20), ("yaml", 20), ("sdss5 desi table image text lists", 4)],
)
def test_damaged_files_are_read_or_refused(script, kinds, count, capsys):
    assert script("fuzz").main(kinds.split(), [*range(count), *ONCE.get(kinds, [])]) == 0, capsys.readouterr().out
