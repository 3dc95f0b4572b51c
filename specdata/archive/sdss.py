"""Spectra of the SDSS archive: select, fetch, and read what was fetched with what the catalogue knows of it."""

import dataclasses
import json
import math

from specdata.errors import SpecdataError
from specdata.spectra.specfile import read_spectrum


def sdss_catalogue(path, cuts, sample, *, data_release=16, url=None, progress=True):
    """Catalogue of a recipe: the file that is there, or else what SkyServer selects.

    Parameters
    ----------
    path : path-like
        Parquet or CSV; written if it does not exist.
    cuts : specdata.dataset.recipe.Cuts
    sample : specdata.dataset.recipe.Sample
    data_release : int
    url : str, optional
        Root of another SkyServer.
    progress : bool

    Returns
    -------
    pyarrow.Table
    """
    from specdata.archive.query import bin_queries
    from specdata.archive.skyserver import SKYSERVER_URL, select

    queries = bin_queries(cuts, sample)
    return select(path, queries, data_release=data_release, url=url or SKYSERVER_URL, progress=progress)


def fetch_recipe(recipe, accept, *, progress=True):
    """Select and fetch what a recipe with an `SdssSource` asks for.

    Parameters
    ----------
    recipe : specdata.dataset.recipe.DataRecipe
    accept : callable
        Says of a `Spectrum` which cut it fails and why, or None; one that fails is replaced from its redshift bin.
    progress : bool

    Returns
    -------
    catalogue : pyarrow.Table
    fetched : specdata.archive.fetch.Fetched
    selection : dict
        What a manifest keeps of it: the release, the SQL (of a catalogue that SkyServer gave), how each redshift bin
        fared, and what could not be had.
    """
    from specdata.archive.fetch import fetch
    from specdata.archive.manners import POLITE
    from specdata.archive.sas import cache_folder

    source = recipe.source
    catalogue = sdss_catalogue(
        source.catalogue,
        recipe.cuts,
        recipe.sample,
        data_release=source.data_release,
        url=source.skyserver_url,
        progress=progress,
    )
    fetched = fetch(
        catalogue,
        cache_folder(source.cache),
        data_release=source.data_release,
        sample=recipe.sample,
        cuts=recipe.cuts,
        on_missing=source.on_missing,
        accept=accept,
        failed=f"{source.catalogue}.failed.csv",
        url=source.sas_url,
        manners=POLITE._replace(connections=source.connections),
        progress=progress,
    )
    stored = json.loads((catalogue.schema.metadata or {}).get(b"specdata", b"null"))
    selection = {
        "data_release": source.data_release,
        "on_missing": source.on_missing,
        "queries": stored["queries"] if stored else [],
        "redshift_bins": fetched.bins,
        "missing": [{key: row[key] for key in row if key != "url"} for row in fetched.missing],
    }
    if stored:
        for row, answer in zip(selection["redshift_bins"], stored["redshift_bins"], strict=True):
            row["in_archive"] = answer["available"]
    return catalogue, fetched, selection


def sdss_spectra(catalogue, fetched, *, on_error=None):
    """Read what was fetched, those that did not pass the cuts included, so that a build counts every one.

    The dereddened i magnitude comes from the catalogue where the file has none, as those of SDSS-I/II.

    Parameters
    ----------
    catalogue : pyarrow.Table
    fetched : specdata.archive.fetch.Fetched
        For that catalogue.
    on_error : callable, optional
        Called as ``on_error(path, error)`` with the `SpecdataError` of a file that cannot be read any more; by default
        the error is raised.

    Yields
    ------
    Spectrum
        In the order of the catalogue's rows.
    """
    return read_fetched(*fetched_files(catalogue, fetched), on_error=on_error)


def fetched_files(catalogue, fetched):
    """List what was fetched, in the order of the catalogue's rows.

    Returns
    -------
    paths : list of Path
    dered_i : list of float or None
        What the catalogue knows.
    """
    known = catalogue["dered_i"].to_pylist() if "dered_i" in catalogue.column_names else [None] * len(catalogue)
    found = sorted(
        [*zip(fetched.rows, fetched.paths, strict=True), *((row, path) for row, path, _, _ in fetched.unfit)]
    )
    return [path for _, path in found], [known[row] for row, _ in found]


def read_fetched(paths, dered_i, *, on_error=None):
    """Read files of `fetched_files`; `on_error` and what is yielded as for `sdss_spectra`."""
    for path, known in zip(paths, dered_i, strict=True):
        try:
            spectrum = read_spectrum(path)
        except SpecdataError as error:
            if on_error is None:
                raise
            on_error(path, error)
            continue
        if known is not None and math.isnan(spectrum.dered_i):
            spectrum = dataclasses.replace(spectrum, dered_i=known)
        yield spectrum
