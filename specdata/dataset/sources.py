"""The four kinds of source: what each holds, in which order, and the spectra of any part of it."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from specdata.errors import SpecdataError
from specdata.spectra.specfile import read_spectrum
from specdata.spectra.spectrum import Spectrum

_COLUMNS = pa.schema([("item", pa.string()), ("size", pa.int64()), ("dered_i", pa.float64())])


def list_source(recipe, judge, progress) -> tuple[pa.Table, dict]:
    """List what the source of a recipe holds; that of kind sdss is selected and downloaded first.

    Parameters
    ----------
    recipe : specdata.dataset.recipe.DataRecipe
    judge : callable
        Says of a `Spectrum` which cut it fails and why, or None.
    progress : bool

    Returns
    -------
    listing : pyarrow.Table
        One row for each spectrum, in the source's order: the `item`, which is a path, a number or ``FILE#ROW``; the
        `size` of its file in bytes; and `dered_i` where a catalogue knows it and the file may not.
    selection : dict
        How it was selected; see `specdata.archive.fetch.fetch_recipe`. Empty for other kinds.
    """
    source, selection = recipe.source, {}
    sizes = dered_i = None
    if source.kind == "mock":
        items, sizes = list(map(str, range(source.size))), [0] * source.size
    elif source.kind == "dataset":
        items, sizes = _list_dataset(Path(source.path))
    elif source.kind == "folder":
        paths = folder_paths(source.path)
        items = [path.relative_to(source.path).as_posix() for path in paths]
    else:
        from specdata.archive.fetch import fetch_recipe

        paths, dered_i, selection = fetch_recipe(recipe, judge, progress=progress)
        items = [str(path.resolve()) for path in paths]
    sizes = sizes or [path.stat().st_size for path in paths]
    columns = [items, sizes, dered_i or [None] * len(items)]
    return pa.table(dict(zip(_COLUMNS.names, columns, strict=True)), schema=_COLUMNS), selection


def open_source(recipe, listing, on_error):
    """Read the spectra of a part of a listing.

    Parameters
    ----------
    recipe : specdata.dataset.recipe.DataRecipe
    listing : pyarrow.Table
        Rows of `list_source` that follow on each other.
    on_error : callable
        Called as ``on_error(path, error)`` where a file cannot be read.

    Yields
    ------
    Spectrum
        In the order of the listing.
    """
    source, items = recipe.source, listing["item"].to_pylist()
    if source.kind == "mock":
        from specdata.spectra.mock.spectrum import mock_spectrum

        options = source.model_dump(exclude={"kind", "size"})
        return (mock_spectrum(index=int(item), **options)[0] for item in items)
    if source.kind == "dataset":
        return _dataset_spectra(Path(source.path), items)
    if source.kind == "folder":
        return read_spectra([Path(source.path, item) for item in items], on_error=on_error)
    spectra = read_spectra(map(Path, items), on_error=on_error)
    return _with_dered_i(spectra, dict(zip(items, listing["dered_i"].to_pylist(), strict=True)))


def folder_paths(folder) -> list[Path]:
    """List the `spec-*.fits` and `spec-*.fits.gz` files of a folder and of the folders in it.

    Parameters
    ----------
    folder : str or Path

    Returns
    -------
    list of Path
        Each begins with `folder`. Sorted by the path relative to `folder`, so that the order is the same on every
        machine and file system.

    Raises
    ------
    SpecdataError
        If there is no such folder, or no such file in it.
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

    Parameters
    ----------
    paths : sequence of Path
        Such as those of `folder_paths`.
    on_error : callable, optional
        Called as ``on_error(path, error)`` with the `SpecdataError` of a file that cannot be read; the file is then
        left out, so that one broken download among thousands is counted and named instead of ending the build. By
        default the error is raised.

    Yields
    ------
    Spectrum
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


def _with_dered_i(spectra, known):
    """Give spectra the magnitude of the catalogue, by path, where their files have none, as those of SDSS-I/II."""
    known = {Path(path).name: value for path, value in known.items() if value is not None}
    for spectrum in spectra:
        if math.isnan(spectrum.dered_i) and spectrum.source in known:
            spectrum = replace(spectrum, dered_i=known[spectrum.source])
        yield spectrum


def _list_dataset(folder):
    """Rows of the config `spectra` as ``FILE#ROW``, split by split, and the size of the file of each."""
    paths = sorted(folder.glob("spectra/*.parquet"))
    if not paths:
        raise SpecdataError(f"{folder}: holds no spectra/*.parquet; give the folder of a data set of `specdata build`")
    counts = [pq.read_metadata(path).num_rows for path in paths]
    items = [f"{path.name}#{row}" for path, count in zip(paths, counts, strict=True) for row in range(count)]
    return items, np.repeat([path.stat().st_size for path in paths], counts).tolist()


def _dataset_spectra(folder, items):
    """Spectra of rows as `_list_dataset` names them, read a row group at a time."""
    for name, rows in itertools.groupby((item.rpartition("#") for item in items), key=lambda item: item[0]):
        rows = [int(row) for *_, row in rows]  # without a gap
        file, first = pq.ParquetFile(folder / "spectra" / name), 0
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            start, stop = max(rows[0] - first, 0), min(rows[-1] + 1 - first, size)
            if start < stop:
                yield from _spectra(file.read_row_group(group).slice(start, stop - start))
            first += size


def _spectra(table):
    """Rows of the config `spectra` as `Spectrum`.

    The data set has no `or_mask` and no `wdisp`: they become a copy of `and_mask`, whose bits `or_mask` holds by
    definition, and NaN.
    """
    from specdata.dataset.rows import METADATA, PIXELS

    pixels = {name: table[name].to_numpy(zero_copy_only=False) for name in PIXELS}
    plain = table.select(["plate", "mjd", "fiberid", "run2d", "specobjid", "z", "is_mock", *METADATA])
    for number, row in enumerate(plain.to_pylist()):
        own = {name: arrays[number] for name, arrays in pixels.items()}
        own["loglam"] = own["loglam"].astype(np.float64)
        unknown = np.full(len(own["flux"]), np.nan, dtype=np.float32)
        yield Spectrum(**own, or_mask=own["and_mask"], wdisp=unknown, **row)
