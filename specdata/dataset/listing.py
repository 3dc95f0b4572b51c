"""The source of a recipe as a list: what it holds, in which order, and the spectra of any part of it."""

from pathlib import Path

import pyarrow as pa

_COLUMNS = pa.schema([("item", pa.string()), ("size", pa.int64()), ("dered_i", pa.float64())])


def list_source(recipe, judge, progress):
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
        One row for each spectrum, in the source's order: the `item`, a path or a number; its `size` in bytes; and
        `dered_i` where a catalogue knows it and the file may not.
    selection : dict
        How it was selected; see `specdata.archive.sdss.fetch_recipe`. Empty for other kinds.
    """
    source, selection, dered_i = recipe.source, {}, None
    if source.kind == "mock":
        items, sizes = pa.array(range(source.size)).cast(pa.string()), pa.array([0]).take(pa.array([0] * source.size))
    elif source.kind == "sdss":
        from specdata.archive.sdss import fetch_recipe, fetched_files

        catalogue, fetched, selection = fetch_recipe(recipe, judge, progress=progress)
        paths, dered_i = fetched_files(catalogue, fetched)
        items, sizes = [str(path.resolve()) for path in paths], [path.stat().st_size for path in paths]
    elif source.kind == "dataset":
        from specdata.dataset.previous import dataset_items

        items, sizes = dataset_items(source.path)
    else:
        from specdata.dataset.folder import folder_paths

        folder = Path(source.path)
        paths = folder_paths(folder)
        items = [path.relative_to(folder).as_posix() for path in paths]
        sizes = [path.stat().st_size for path in paths]
    dered_i = [None] * len(items) if dered_i is None else dered_i
    return pa.table([pa.array(items), pa.array(sizes), pa.array(dered_i, pa.float64())], schema=_COLUMNS), selection


def open_items(recipe, listing, on_error):
    """Read the spectra of a part of a listing.

    Parameters
    ----------
    recipe : specdata.dataset.recipe.DataRecipe
    listing : pyarrow.Table
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
    if source.kind == "sdss":
        from specdata.archive.sdss import read_fetched

        return read_fetched(list(map(Path, items)), listing["dered_i"].to_pylist(), on_error=on_error)
    if source.kind == "dataset":
        from specdata.dataset.previous import dataset_spectra

        return dataset_spectra(source.path, items)
    from specdata.dataset.folder import read_spectra

    return read_spectra([Path(source.path, item) for item in items], on_error=on_error)
