"""The kinds of source: what each holds, in which order, and the spectra of any part of it."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from specdata.archive.catalogue import FOR_SPECTRA, add_known
from specdata.dataset.manifest import MANIFEST, read_manifest
from specdata.dataset.parquet import open_file, read_rows
from specdata.errors import SpecdataError, one_line
from specdata.files import file_sha256
from specdata.hub import local_folder, public_name
from specdata.inputs import check_regular
from specdata.spectra.readers import metadata, read_spectra
from specdata.spectra.readers.rows import holds_spectra, spectra_of
from specdata.spectra.specfile import read_spectrum
from specdata.spectra.spectrum import Spectrum

_COLUMNS = pa.schema([("item", pa.string()), ("size", pa.int64()), ("modified", pa.int64())])
_COLUMNS = pa.unify_schemas([_COLUMNS, pa.schema([(name, pa.float64()) for name in FOR_SPECTRA])])


def list_source(recipe, accept, progress) -> tuple[pa.Table, dict]:
    """List what the source of a recipe holds; that of kind sdss is selected and downloaded first.

    The listing has one row for each spectrum or file, in the source's order: the `item`, a path or a number; the `size`
    of the file in bytes and when it was `modified`, in nanoseconds; and what a catalogue says, null if nothing. With it
    comes what the manifest says of the selection, see `specdata.archive.fetch.fetch_recipe`. `accept` says of a
    `Spectrum` which cut it fails and why, or None.
    """
    source, selection, known = recipe.source, {}, None
    if source.kind == "mock":
        items, sizes, times = [str(number) for number in range(source.size)], [0] * source.size, [0] * source.size
    elif source.kind in ("dataset", "multimodal_universe"):
        files = _own_files(source.path, check=True) if source.kind == "dataset" else _foreign_files(source.path)
        items = [str(number) for number in range(sum(file.metadata.num_rows for _, file in files))]
        files = [path.stat() for path, _ in files]
        sizes = [sum(file.st_size for file in files)] * len(items)
        times = [max(file.st_mtime_ns for file in files)] * len(items)
    else:
        if source.kind == "sdss":
            from specdata.archive.fetch import fetch_recipe

            paths, known, selection = fetch_recipe(recipe, accept, progress=progress)
            items = [str(path.resolve()) for path in paths]
        else:
            paths = folder_paths(source.path) if source.kind == "folder" else file_paths(source.path, source.pattern)
            items = [path.relative_to(source.path).as_posix() for path in paths]
        files = [path.stat() for path in paths]
        sizes, times = [file.st_size for file in files], [file.st_mtime_ns for file in files]
    known = known or [{}] * len(items)
    columns = [items, sizes, times, *([row.get(name) for row in known] for name in FOR_SPECTRA)]
    return pa.table(dict(zip(_COLUMNS.names, columns, strict=True)), schema=_COLUMNS), selection


def open_source(recipe, listing, on_error) -> Iterator[Spectrum]:
    """Read the spectra of rows of a listing that follow on each other; `on_error` as for `read_folder`."""
    source, items = recipe.source, listing["item"].to_pylist()
    if source.kind == "mock":
        from specdata.spectra.mock.spectrum import mock_spectrum

        options = source.model_dump(exclude={"kind", "size"})
        return (mock_spectrum(index=int(item), **options)[0] for item in items)
    if source.kind in ("dataset", "multimodal_universe"):
        ours = source.kind == "dataset"
        files = [file for _, file in (_own_files if ours else _foreign_files)(source.path)]
        tables = read_rows(files, int(items[0]), int(items[-1]) + 1)
        return _rows(tables, source, int(items[0]), on_error)
    if source.kind == "files":
        return _files(recipe, items, on_error)
    paths = [Path(source.path if source.kind == "folder" else "", item) for item in items]
    known = {
        Path(item).name: {name: value for name, value in row.items() if value is not None}
        for item, row in zip(items, listing.select(FOR_SPECTRA).to_pylist(), strict=True)
    }
    return (add_known(spectrum, known[spectrum.source]) for spectrum in read_folder(paths, on_error=on_error))


def _rows(tables, source, first, on_error):
    """Spectra of Parquet tables that follow on each other, from the row of the number `first` on."""
    for table in tables:
        try:
            for found in spectra_of(table, public_name(source.path), first, spectype=getattr(source, "spectype", "")):
                if isinstance(found, Spectrum):
                    yield found
                else:
                    on_error(str(found).partition(": ")[0], found)
        except SpecdataError as error:
            raise SpecdataError(f"{source.path}: {error}") from None
        first += len(table)


def _files(recipe, items, on_error):
    """Spectra of some files of a source of kind files, with what its catalogue says of them."""
    source = recipe.source
    catalogue = _read_catalogue(source.catalogue) if source.catalogue else {}
    for item in items:
        path = Path(source.path, item)
        try:
            for spectrum in read_spectra(
                path,
                medium=source.medium,
                on_error=lambda error: on_error(str(error).partition(": ")[0], error),
                axis=recipe.along,
            ):
                known = catalogue.get(spectrum.source) or catalogue.get(spectrum.specobjid) or {}
                if not spectrum.spectype:
                    known = {"spectype": source.spectype} | known
                yield dataclasses.replace(spectrum, **known)
        except SpecdataError as error:
            on_error(path, error)


def _read_catalogue(path):
    """Attributes of spectra by the text of the first column that names them, from a table in any form of astropy."""
    from astropy.table import Table

    try:
        check_regular(path)
        table = Table.read(path)
    except Exception as error:  # of astropy's readers, of which each has its own
        raise SpecdataError(f"{path}: cannot be read as a catalogue ({one_line(error)})") from None
    names = {name.lower(): name for name in table.colnames}
    key = next((names[name] for name in ("source", *metadata.NAMES["specobjid"]) if name in names), None)
    if key is None:
        raise SpecdataError(f"{path}: has no column source or specobjid, by which a catalogue knows the spectra")
    return {
        metadata.clean_text(row[key]): {
            field: value
            for field, value in metadata.metadata(dict(zip(table.colnames, row, strict=True))).items()
            if field != "specobjid"
        }
        for row in table
    }


def folder_paths(folder) -> list[Path]:
    """List the `spec-*.fits` and `spec-*.fits.gz` files of a folder as `file_paths` does."""
    if not Path(folder).is_dir():
        raise SpecdataError(f"{folder}: there is no such folder; pass a folder that holds spec-*.fits files")
    return file_paths(folder, "spec-*.fits", "spec-*.fits.gz")


def file_paths(path, *patterns) -> list[Path]:
    """List a file, or the files of a folder and of those below it that match one of some patterns.

    Each path begins with `path`. They are sorted by the path relative to it, so that the order is the same on every
    machine and file system. A folder that is missing, or holds no such file, is an error.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise SpecdataError(f"{path}: there is no such file or folder; check the path")
    try:
        paths = [one for pattern in patterns for one in path.rglob(pattern) if one.is_file() and one.name[0] != "."]
    except (ValueError, NotImplementedError) as error:
        raise SpecdataError(f"source.pattern = {patterns[0]!r}: {one_line(error)}; give one such as *.csv") from None
    if not paths:
        raise SpecdataError(f"{path}: there are no {' or '.join(patterns)} files in this folder; check the path")
    for found in paths:
        try:
            str(found).encode()
        except UnicodeEncodeError:
            raise SpecdataError(f"{str(found)!a}: is not a name in UTF-8; give the file another") from None
    return sorted(paths, key=lambda found: found.relative_to(path).as_posix())


def read_folder(paths, *, on_error=None) -> Iterator[Spectrum]:
    """Read SDSS `spec` files one after the other.

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


def _own_files(folder, *, check=False):
    """Paths and open files of the config `spectra` of a data set, split by split; with `check`, after their hashes."""
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
    return [(Path(folder, name), open_file(folder, name)) for name in names]


def _foreign_files(name):
    """Paths and open Parquet files with spectra in a folder, or in a data set of the Hub, in order of their paths."""
    folder = local_folder(name, "dataset")
    found = []
    for path in sorted(folder.rglob("*.parquet"), key=lambda path: path.relative_to(folder).as_posix()):
        if path.name.startswith("_") or path.name == "data_thumbnail.parquet":  # of HATS: schemas, and a sample of rows
            continue
        try:
            file = pq.ParquetFile(path)
        except (OSError, pa.ArrowException) as error:
            raise SpecdataError(f"{path}: the Parquet file is damaged ({one_line(error)}); download it again") from None
        if holds_spectra(file.schema_arrow):
            found.append((path, file))
    if not found:
        raise SpecdataError(
            f"{name}: holds no Parquet file with a column spectrum of the lists flux and lambda; check the path"
        )
    return found
