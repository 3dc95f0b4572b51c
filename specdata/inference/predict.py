"""Many spectra to a table of what a model says of each: all are read and checked before it is loaded."""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterable

import numpy as np
from tqdm import tqdm

from specdata.errors import SpecdataError
from specdata.inference.reader import BATCH, Asked, Prediction, Reader
from specdata.inputs import read_bytes
from specdata.spectra.axis import SKY
from specdata.spectra.readers import read_spectra
from specdata.spectra.spectrum import Spectrum

_MOST_KEPT = 2**32  # bytes of the rows that a run which was stopped has kept
FORMATS = {".csv": "ascii.csv", ".ecsv": "ascii.ecsv", ".parquet": "parquet", ".fits": "fits"}


def predict(
    spectra, adapter, *, model=None, dataset=None, config=None, device=None, endpoint=None, served=None,
    answer_only=False, batch_size=BATCH, progress=False,
):  # fmt: skip
    """Predict the redshifts of spectra, or what else an adapter was trained for.

    Parameters
    ----------
    spectra : Spectrum, path, tuple of arrays, or an iterable of these
        A tuple has the arguments of `Spectrum.from_arrays`: wavelength, flux and perhaps ivar.
    adapter : str
        LoRA adapter, a folder or a Hub name.
    model : str, optional
        Base model, a folder or a Hub name; by default the one that the adapter names.
    dataset, config : str, optional
        Data set that the adapter was trained on, and its text config; needed where the folder does not say it.
    device : str, optional
        Such as ``cuda`` or ``cpu``; by default a GPU where there is one.
    endpoint : str, optional
        Address of a server that serves the adapter; nothing is loaded then. See `specdata.inference.endpoint`.
    served : str, optional
        Name of the adapter there.
    answer_only : bool
        Take the greedy answer for the redshift, and leave out p(z) and its intervals, which take most of the time.
    batch_size : int
        Most spectra that are read together.
    progress : bool

    Returns
    -------
    astropy.table.Table
        A row for each spectrum, in their order, with the columns of `specdata.inference.predict.columns_of`, their
        units and descriptions; doubts about the adapter are in ``table.meta["comments"]``.

    Raises
    ------
    SpecdataError
        If a spectrum cannot be read or does not cover what the adapter reads, before the model is loaded.
    """
    where = {"device": device, "endpoint": endpoint, "served": served}
    reader = Reader(adapter, model, dataset=dataset, config=config, **where)
    if isinstance(spectra, (str, os.PathLike, Spectrum, tuple)):
        spectra = [spectra]
    asked, failed = ask_all(reader, spectra, progress=progress)
    if failed or not asked:
        raise SpecdataError("; ".join(failed) or "no spectrum: give one or more")
    found = reader.predict(asked, answer_only=answer_only, batch_size=batch_size, progress=progress)
    return to_table(reader, (to_row(prediction, reader.encoding.target) for prediction in found))


def ask_all(reader, spectra, *, progress=False) -> tuple[list[Asked], list[str]]:
    """Read spectra and write them for a model, one after the other, so that no more than one is in memory.

    Returns
    -------
    asked : list of Asked
    failed : list of str
        Why the others were left out, a sentence each.
    """
    asked, failed = [], []
    for item in tqdm(spectra, unit=" spectra", desc="read", disable=not progress):
        try:
            for spectrum in open_spectra(
                item, on_error=lambda error: failed.append(str(error)), axis=reader.encoding.axis
            ):
                try:
                    asked.append(reader.ask(spectrum))
                except SpecdataError as error:
                    failed.append(str(error))
        except SpecdataError as error:  # of the file
            failed.append(str(error))
    return asked, failed


def open_spectra(item, *, on_error=None, axis=SKY) -> Iterable[Spectrum]:
    """The spectra of a path, of a `Spectrum` itself, or of a tuple of arrays; options as for `read_spectra`."""
    if isinstance(item, Spectrum):
        return [item]
    if isinstance(item, (str, os.PathLike)):
        return read_spectra(item, on_error=on_error, axis=axis)
    return [Spectrum.from_arrays(*item, axis=axis)]


def columns_of(target) -> dict[str, tuple[str, str]]:
    """Columns of the table of predictions of a target: unit and description of each."""
    key, words, unit, p = target.key, target.words, target.unit, f"p({target.symbol})"
    columns = {
        "file": ("", "file of the spectrum, or what made it"),
        "name": ("", "plate-mjd-fiberid, or the name of the spectrum"),
        "class": ("", "class that the file states, hidden from the model"),
        "ra": ("deg", "right ascension, ICRS"),
        "dec": ("deg", "declination, ICRS"),
        "snmedian": ("", "median signal-to-noise ratio per pixel"),
        "z_file": ("", "redshift that the file states, hidden from the model"),
        f"{key}_file": (unit, f"{words} that the file states, hidden from the model"),
    }
    if target.is_number:
        columns[key] = (unit, f"{words}: the median of {p}; NaN where the model most probably gives none")
        for level in (68, 95):
            for end, which in (("low", "lower"), ("high", "upper")):
                columns[f"{key}_{end}_{level}"] = (unit, f"{which} end of the central {level} % interval of {p}")
        columns |= {f"{key}_mean": (unit, f"mean of {p}"), f"{key}_std": (unit, f"standard deviation of {p}")}
        columns[f"{key}_mode"] = (unit, f"most probable {words}")
    else:
        columns[key] = ("", f"most probable {words}; empty where the model most probably gives none")
        columns |= {f"p_{label}": ("", f"{p} of {label}, if the answer is a {words}") for label in target.labels}
    columns["answered"] = ("", f"probability that the model answers with a {words} that {p} covers")
    if target.is_wide:
        columns["beyond"] = ("", f"probability of a larger {words}")
    columns[f"{key}_greedy"] = (unit, f"{words} in the greedy answer; NaN or empty where there is none")
    return columns | {
        "answer": ("", "greedy answer of the model"),
        "warnings": ("", "reasons to doubt the prediction"),
    }


def to_row(found: Prediction, target) -> dict:
    """A prediction as a row of the table: its values by column; those that it does not have are left out."""
    key = target.key
    row = {**found.facts, key: found.estimate, f"{key}_greedy": found.z_greedy, "answer": found.answer}
    row["warnings"] = "; ".join(found.warnings)
    if found.posterior is not None:
        numbers = found.posterior.summary()
        row |= {name: numbers[name] for name in ("answered", "beyond") if name in numbers}
        row |= {f"{key}_{name}": numbers[name] for name in ("mean", "std", "mode") if name in numbers}
        row |= {f"p_{label}": p for label, p in numbers.get("probabilities", {}).items()}
        for level in (68, 95) if target.is_number else ():
            row[f"{key}_low_{level}"], row[f"{key}_high_{level}"] = numbers[f"interval_{level}"]
    return row


def kept_rows(reader, asked, journal, *, answer_only=False, **options) -> list[dict]:
    """Predict, and keep each row in a file as soon as it is there, so that a run that was stopped goes on.

    Parameters
    ----------
    reader : specdata.inference.reader.Reader
    asked : sequence of Asked
    journal : path-like
        The file, a line of JSON for each row. Rows of another adapter, model or spectrum in it are not used.
    answer_only : bool
    **options
        See `Reader.predict`.

    Returns
    -------
    list of dict
        A row of the table for each of `asked`, in their order.
    """
    about = [*reader.identity, answer_only]
    keys = [
        hashlib.sha256(json.dumps([about, one.prompt, one.facts], default=float).encode()).hexdigest() for one in asked
    ]
    found = {}
    if journal.exists():
        for line in read_bytes(journal, _MOST_KEPT).decode(errors="replace").split("\n"):
            with contextlib.suppress(ValueError, TypeError):  # a line that was cut short
                found |= [json.loads(line)]
    left = [number for number, key in enumerate(keys) if key not in found]
    if len(left) < len(asked):
        print(f"specdata: {len(asked) - len(left)} of {len(asked)} spectra are done already", file=sys.stderr)
    with journal.open("a", encoding="utf-8") as stream:
        stream.write("\n")  # ends a line that was cut short
        predictions = reader.predict([asked[number] for number in left], answer_only=answer_only, **options)
        for number, prediction in zip(left, predictions, strict=True):
            found[keys[number]] = row = to_row(prediction, reader.encoding.target)
            stream.write(json.dumps([keys[number], row], default=float) + "\n")
            stream.flush()
    return [found[key] for key in keys]


def to_table(reader, rows: Iterable[dict]):
    """Put rows of `to_row` into an `astropy.table.Table`; see `predict`."""
    from astropy.table import Table

    target = reader.encoding.target
    described, key = columns_of(target), target.key
    columns = {name: [] for name in described}
    for row in rows:
        for name, values in columns.items():
            values.append(row.get(name))
    text = {"file", "name", "class", "answer", "warnings"}
    if not target.is_number:
        text |= {key, f"{key}_greedy", f"{key}_file"}
    table = Table()
    for name, values in columns.items():
        if any(value is not None for value in values) or name == key:
            table[name] = [value or "" for value in values] if name in text else np.array(values, dtype=np.float64)
            table[name].unit, table[name].description = described[name][0] or None, described[name][1]
    if "answered" not in table.colnames:
        table[key].description = described[f"{key}_greedy"][1]
    table.meta = {"adapter": reader.adapter, "model": reader.model, "comments": list(reader.warnings)}
    return table


def write_table(table, path) -> None:
    """Write a table of predictions as CSV, ECSV, Parquet or FITS; the end of the path says which."""
    table, ending = table.copy(), path.suffix.lower()
    if ending == ".fits":  # which holds ASCII alone
        for name in table.colnames:
            if table[name].dtype.kind == "U":
                column = [text.encode("ascii", "backslashreplace").decode() for text in table[name]]
                table.replace_column(name, type(table[name])(column, description=table[name].description))
    table.write(path, format=FORMATS[ending], overwrite=True)
