"""The list of spectra that could not be had: a CSV file with the reasons, which the next run picks up."""

import csv
import io

from specdata.errors import SpecdataError
from specdata.files import new_file

COLUMNS = ("plate", "mjd", "fiberid", "run2d", "z", "reason", "url")


def read_missing(path):
    """Read the list of an earlier run.

    Parameters
    ----------
    path : Path or None

    Returns
    -------
    dict of str to dict
        Rows by ``plate-mjd-fiberid``; none if there is no such file.
    """
    if path is None or not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        return {f"{int(row['plate']):04d}-{int(row['mjd'])}-{int(row['fiberid']):04d}": row for row in rows}
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise SpecdataError(f"{path}: is no list of missing spectra ({error!r}); move it away") from None


def write_missing(path, missing, before, looked_at):
    """Write the list anew: what is missing now, and the earlier rows that were not looked at again.

    Parameters
    ----------
    path : Path or None
    missing : list of dict
        With the keys of `COLUMNS`. Without any row the file goes away.
    before : dict of str to dict
        From `read_missing`.
    looked_at : set of str
        Names of the spectra that this run has tried.
    """
    if path is None:
        return
    rows = [row for name, row in before.items() if name not in looked_at] + missing
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with new_file(path) as partial:
        partial.write_text(text.getvalue(), encoding="utf-8", newline="\n")
