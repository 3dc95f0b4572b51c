"""The four kinds of source: what each holds, in which order, and the spectra of any part of it."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pyarrow as pa

from specdata.dataset.manifest import MANIFEST, read_manifest
from specdata.dataset.parquet import open_file, read_rows
from specdata.dataset.rows import IDENTITY, METADATA, PIXELS
from specdata.errors import SpecdataError
from specdata.files import file_sha256
from specdata.spectra.specfile import read_spectrum
from specdata.spectra.spectrum import Spectrum

_COLUMNS = pa.schema([("item", pa.string()), ("size", pa.int64()), ("modified", pa.int64()), ("dered_i", pa.float64())])


def list_source(recipe, accept, progress) -> tuple[pa.Table, dict]:
    """List what the source of a recipe holds; that of kind sdss is selected and downloaded first.

    The listing has one row for each spectrum, in the source's order: the `item`, a path or a number; the `size` of the
    file in bytes and when it was `modified`, in nanoseconds; and `dered_i` where a catalogue knows it. With it comes
    what the manifest says of the selection, see `specdata.archive.fetch.fetch_recipe`. `accept` says of a `Spectrum`
    which cut it fails and why, or None.
    """
    source, selection, known = recipe.source, {}, None
    if source.kind == "mock":
        items, sizes, times = [str(number) for number in range(source.size)], [0] * source.size, [0] * source.size
    elif source.kind == "dataset":
        paths = _dataset_files(source.path, check=True)
        items = [str(number) for number in range(sum(open_file(source.path, name).metadata.num_rows for name in paths))]
        files = [Path(source.path, name).stat() for name in paths]
        sizes = [sum(file.st_size for file in files)] * len(items)
        times = [max(file.st_mtime_ns for file in files)] * len(items)
    else:
        if source.kind == "sdss":
            from specdata.archive.fetch import fetch_recipe

            paths, known, selection = fetch_recipe(recipe, accept, progress=progress)
            items = [str(path.resolve()) for path in paths]
        else:
            paths = folder_paths(source.path)
            items = [path.relative_to(source.path).as_posix() for path in paths]
        files = [path.stat() for path in paths]
        sizes, times = [file.st_size for file in files], [file.st_mtime_ns for file in files]
    columns = [items, sizes, times, known or [None] * len(items)]
    return pa.table(dict(zip(_COLUMNS.names, columns, strict=True)), schema=_COLUMNS), selection


def open_source(recipe, listing, on_error):
    """Read the spectra of rows of a listing that follow on each other; `on_error` as for `read_spectra`."""
    source, items = recipe.source, listing["item"].to_pylist()
    if source.kind == "mock":
        from specdata.spectra.mock.spectrum import mock_spectrum

        options = source.model_dump(exclude={"kind", "size"})
        return (mock_spectrum(index=int(item), **options)[0] for item in items)
    if source.kind == "dataset":
        files = [open_file(source.path, name) for name in _dataset_files(source.path)]
        tables = read_rows(files, int(items[0]), int(items[-1]) + 1)
        return (spectrum for table in tables for spectrum in _spectra(source.path, table))
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
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise SpecdataError(f"{str(path)!a}: is not a name in UTF-8; give the file another") from None
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


def _dataset_files(folder, *, check=False):
    """Files of the config `spectra` by their names in a data set, split by split; with `check`, their hashes, too."""
    files = read_manifest(Path(folder), folder)["files"]
    names = sorted(name for name in files if name.startswith("spectra/"))
    if not names:
        raise SpecdataError(f"{folder}: its {MANIFEST} lists no spectra/*.parquet; build or download it again")
    for name in names if check else ():
        if file_sha256(Path(folder, name)) != files[name]:
            raise SpecdataError(
                f"{folder}/{name}: is missing, or not the file that {MANIFEST} lists; build or download the data set "
                "again"
            )
    return names


def _spectra(folder, table):
    """Rows of the config `spectra` as `Spectrum`."""
    pixels = {name: table[name].to_numpy(zero_copy_only=False) for name in PIXELS}
    plain = table.select([name for name in (*IDENTITY, *METADATA) if name != "position_id"])
    for number, row in enumerate(plain.to_pylist()):
        own = {name: arrays[number] for name, arrays in pixels.items()}
        own["loglam"] = own["loglam"].astype(np.float64)
        if {len(values) for values in own.values()} != {len(own["flux"])} or not (np.diff(own["loglam"]) > 0).all():
            raise SpecdataError(
                f"{folder}: spectrum {row['specobjid']} is damaged; build or download the data set again"
            )
        yield Spectrum(**own, **row)
