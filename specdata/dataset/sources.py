"""The four kinds of source: what each holds, in which order, and the spectra of any part of it."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from specdata.dataset.parquet import read_rows
from specdata.dataset.rows import METADATA, PIXELS
from specdata.errors import SpecdataError
from specdata.spectra.specfile import read_spectrum
from specdata.spectra.spectrum import Spectrum

_COLUMNS = pa.schema([("item", pa.string()), ("size", pa.int64()), ("dered_i", pa.float64())])


def list_source(recipe, accept, progress) -> tuple[pa.Table, dict]:
    """List what the source of a recipe holds; that of kind sdss is selected and downloaded first.

    The listing has one row for each spectrum, in the source's order: the `item`, a path or a number; the `size` of the
    file in bytes; and `dered_i` where a catalogue knows it. With it comes what the manifest says of the selection, see
    `specdata.archive.fetch.fetch_recipe`. `accept` says of a `Spectrum` which cut it fails and why, or None.
    """
    source, selection, known = recipe.source, {}, None
    if source.kind == "sdss":
        from specdata.archive.fetch import fetch_recipe

        paths, known, selection = fetch_recipe(recipe, accept, progress=progress)
        items, sizes = [str(path.resolve()) for path in paths], [path.stat().st_size for path in paths]
    elif source.kind == "folder":
        paths = folder_paths(source.path)
        items = [path.relative_to(source.path).as_posix() for path in paths]
        sizes = [path.stat().st_size for path in paths]
    elif source.kind == "mock":
        items, sizes = [str(number) for number in range(source.size)], [0] * source.size
    else:
        paths = _dataset_paths(source.path)
        items = [str(number) for number in range(sum(pq.read_metadata(path).num_rows for path in paths))]
        sizes = [sum(path.stat().st_size for path in paths)] * len(items)
    columns = [items, sizes, known or [None] * len(items)]
    return pa.table(dict(zip(_COLUMNS.names, columns, strict=True)), schema=_COLUMNS), selection


def open_source(recipe, listing, on_error):
    """Read the spectra of rows of a listing that follow on each other; `on_error` as for `read_spectra`."""
    source, items = recipe.source, listing["item"].to_pylist()
    if source.kind == "mock":
        from specdata.spectra.mock.spectrum import mock_spectrum

        options = source.model_dump(exclude={"kind", "size"})
        return (mock_spectrum(index=int(item), **options)[0] for item in items)
    if source.kind == "dataset":
        tables = read_rows(map(pq.ParquetFile, _dataset_paths(source.path)), int(items[0]), int(items[-1]) + 1)
        return (spectrum for table in tables for spectrum in _spectra(table))
    spectra = read_spectra(
        [Path(source.path if source.kind == "folder" else "", item) for item in items], on_error=on_error
    )
    known = {Path(item).name: value for item, value in zip(items, listing["dered_i"].to_pylist(), strict=True)}
    return (_with_dered_i(spectrum, known[spectrum.source]) for spectrum in spectra)


def folder_paths(folder) -> list[Path]:
    """List the `spec-*.fits` and `spec-*.fits.gz` files of a folder and of the folders in it.

    Each path begins with `folder`. They are sorted by the path relative to it, so that the order is the same on every
    machine and file system. A folder that is missing, or holds no such file, is an error.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise SpecdataError(f"{folder}: there is no such folder; pass a folder that holds spec-*.fits files")
    paths = [path for pattern in ("spec-*.fits", "spec-*.fits.gz") for path in folder.rglob(pattern) if path.is_file()]
    if not paths:
        raise SpecdataError(f"{folder}: there are no spec-*.fits files in this folder; check the path or download some")
    return sorted(paths, key=lambda path: path.relative_to(folder).as_posix())


def read_spectra(paths, *, on_error=None):
    """Read spectra one after the other.

    Where a file cannot be read, `on_error` is called with its path and the `SpecdataError`, and it is left out, so that
    one broken download among thousands is counted and named instead of ending the build. Without `on_error`, the error
    is raised.
    """
    for path in paths:
        try:
            spectrum = read_spectrum(path)
        except SpecdataError as error:
            if on_error is None:
                raise
            on_error(path, error)
        else:
            yield spectrum


def _with_dered_i(spectrum, known):
    """Give a spectrum the magnitude of the catalogue where its file has none, as those of SDSS-I/II."""
    if known is None or not math.isnan(spectrum.dered_i):
        return spectrum
    return dataclasses.replace(spectrum, dered_i=known)


def _dataset_paths(folder):
    """Files of the config `spectra`: split by split."""
    paths = sorted(Path(folder).glob("spectra/*.parquet"))
    if not paths:
        raise SpecdataError(f"{folder}: holds no spectra/*.parquet; give the folder of a data set of `specdata build`")
    return paths


def _spectra(table):
    """Rows of the config `spectra` as `Spectrum`.

    The data set has no `or_mask` and no `wdisp`: they become a copy of `and_mask`, whose bits `or_mask` holds by
    definition, and NaN.
    """
    pixels = {name: table[name].to_numpy(zero_copy_only=False) for name in PIXELS}
    plain = table.select(["plate", "mjd", "fiberid", "run2d", "specobjid", "z", "is_mock", *METADATA])
    for number, row in enumerate(plain.to_pylist()):
        own = {name: arrays[number] for name, arrays in pixels.items()}
        own["loglam"] = own["loglam"].astype(np.float64)
        unknown = np.full(len(own["flux"]), np.nan, dtype=np.float32)
        yield Spectrum(**own, or_mask=own["and_mask"], wdisp=unknown, **row)
