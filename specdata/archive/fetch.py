"""From a recipe to spectra in the cache: the same number from each redshift bin, and a list of what is missing."""

import contextlib
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow.csv import write_csv
from tqdm import tqdm

from specdata.archive.catalogue import REQUIRED, add_known, known_values, redshift_steps, shuffle
from specdata.archive.download import Failed, check_address, download
from specdata.archive.sas import SAS_URL, cache_folder, lite_path
from specdata.archive.skyserver import bin_queries, select, selected_by
from specdata.errors import SpecdataError
from specdata.extras import need
from specdata.files import new_file, remove_leftovers
from specdata.spectra.specfile import check_whole, read_spectrum
from specdata.spectra.spectrum import spectrum_name


def check_astroquery(source) -> None:
    """Refuse a source that needs astroquery, which is one of kind sdss without a catalogue, where that is missing."""
    if source.kind == "sdss" and not Path(source.catalogue).exists():
        need("sdss", "astroquery", what=f"the selection of {source.catalogue} on SkyServer")


def fetch_recipe(recipe, accept, *, progress=True) -> tuple[list, list[dict], dict]:
    """Select and fetch what a recipe with an `SdssSource` asks for.

    Parameters
    ----------
    recipe : specdata.dataset.recipe.DataRecipe
    accept : callable
        Says of a `Spectrum` which cut it fails and why, or None; one that fails is replaced from its redshift bin.
    progress : bool

    Returns
    -------
    paths : list of Path
        All spectra, in the order of the catalogue's rows, with those that failed a cut, so that a build counts them.
    known : list of dict
        What the catalogue says of each, for `specdata.archive.catalogue.add_known`.
    selection : dict
        What a manifest keeps of it: the release, the SQL (of a catalogue that SkyServer gave), the counts of each
        redshift bin, and the spectra that could not be downloaded.
    """
    source = recipe.source
    catalogue = select(
        source.catalogue, bin_queries(recipe.cuts, recipe.sample, source.data_release),
        data_release=source.data_release, url=source.skyserver_url, progress=progress,
    )  # fmt: skip
    known, keys = known_values(catalogue), catalogue.select(REQUIRED[:3]).to_pylist()
    by_name = {spectrum_name(**key, specobjid=""): row for key, row in zip(keys, known, strict=True)}
    fetched = fetch(
        catalogue, cache_folder(source.cache), data_release=source.data_release, sample=recipe.sample,
        cuts=recipe.cuts, on_missing=source.on_missing, failed=f"{source.catalogue}.failed.csv",
        accept=lambda spectrum: accept(add_known(spectrum, by_name[spectrum.name])),
        url=source.sas_url, connections=source.connections, progress=progress,
    )  # fmt: skip
    stored = selected_by(catalogue)
    for row, available in zip(fetched.bins, stored.get("available", []), strict=False):
        row["in_archive"] = available
    selection = {
        "data_release": source.data_release,
        "on_missing": source.on_missing,
        "queries": stored.get("queries", []),
        "redshift_bins": fetched.bins,
        "missing": [{key: row[key] for key in row if key != "url"} for row in fetched.missing],
    }
    return list(fetched.files.values()), [known[row] for row in fetched.files], selection


class Fetched(NamedTuple):
    """What `fetch` has brought; a row is an index into the catalogue."""

    rows: list  # of int: the chosen galaxies, by redshift bin and in the order of `shuffle`
    files: dict  # row -> Path: all spectra that are there, with those that `accept` rejected, by row
    missing: list  # of dict: plate, mjd, fiberid, run2d, z, reason and url of each that could not be downloaded
    bins: list  # of dict: z_min, z_max, asked, available (in the catalogue), taken, missing, rejected


def fetch(catalogue, cache, *, data_release=16, sample, cuts, on_missing="replace", accept=None, failed=None,
          url=SAS_URL, connections=8, progress=True) -> Fetched:  # fmt: skip
    """Bring the lite spectra of a catalogue into the cache, the same number from each redshift bin.

    Each bin takes its galaxies in the order of `shuffle`, and the next one in place of each that is missing or
    rejected. So the choice depends on what the archive has, and neither on chance nor on the order of arrival. After
    an interruption the same call downloads only what is not there yet.

    Parameters
    ----------
    catalogue : pyarrow.Table
        From `read_catalogue` or `select`.
    cache : path-like
        Folder with the layout of the SAS. A file that is there and is the right spectrum is not downloaded.
    sample, cuts : object
        Have the attributes `size`, `redshift_bins` and `seed`, or `z_min` and `z_max`, as the sections of a recipe.
    on_missing : {"replace", "stop"}
        What to do about a spectrum that cannot be downloaded: take the next one of its bin, or stop with an error once
        all the others are there.
    accept : callable, optional
        Called with each `Spectrum`; returns None, or (cut, reason) for one that is rejected.
    failed : path-like, optional
        CSV file with the rows of `Fetched.missing`. It is removed when there are none.
    url, connections
        Root of the archive, and how many files to download at the same time.

    Raises
    ------
    SpecdataError
        If all spectra are missing, or one is and `on_missing` is "stop"; and whatever `download` raises.
    """
    url = check_address(url, SAS_URL)
    galaxies = catalogue.select(REQUIRED).to_pylist()
    places = [lite_path(data_release, *(galaxy[key] for key in REQUIRED[:4])) for galaxy in galaxies]
    urls, paths = [f"{url}/{place}" for place in places], [Path(cache, place) for place in places]
    bins = _bins(catalogue, sample, cuts)
    good, rejected, lost, missing = set(), set(), {}, []  # rows; row -> reason; the rows of `lost` in full
    wanted = sum(min(asked, len(members)) for *_, asked, members in bins)
    bar = tqdm(total=wanted, unit=" files", desc="fetch", disable=not progress)

    def look(row, path):
        """Open a file, which has to be the spectrum of that row, and judge it."""
        try:
            check_whole(path)
            spectrum = read_spectrum(path)
        except SpecdataError as error:
            raise Failed(str(error).removeprefix(f"{path}: ")) from None
        name = "{plate:04d}-{mjd}-{fiberid:04d}".format(**galaxies[row])
        if spectrum.name != name:
            raise Failed(f"this is the spectrum {spectrum.name}, not {name}")
        if accept and accept(spectrum):
            rejected.add(row)
        else:
            good.add(row)
            bar.update()

    with bar:
        while todo := _next_rows(bins, good, rejected.union(lost)):
            for folder in {paths[row].parent for row in todo}:
                remove_leftovers(folder)
            for row in todo:
                with contextlib.suppress(Failed):  # damaged, or another spectrum: the right one takes its place
                    if paths[row].is_file():
                        look(row, paths[row])
            files = {row: (urls[row], paths[row]) for row in todo if row not in good and row not in rejected}
            lost |= download(files, look, connections=connections, arrived=len(good) + len(rejected))
            missing = [{**galaxies[row], "reason": lost[row], "url": urls[row]} for row in sorted(lost)]
            if failed and missing:
                with new_file(failed) as partial:
                    write_csv(pa.Table.from_pylist(missing), partial)
            elif failed:
                Path(failed).unlink(missing_ok=True)
            if missing and on_missing == "stop":
                break
    if missing and (on_missing == "stop" or (not good and not rejected)):
        raise SpecdataError(
            f"{len(missing)} of {wanted} spectra could not be downloaded{f', listed in {failed}' if failed else ''} "
            f"(such as {missing[0]['url']}: {missing[0]['reason']}); check data_release and sas_url, try again later, "
            "or set on_missing to replace"
        )
    table, rows = [], []
    for low, high, asked, members in bins:
        taken = [row for row in members if row in good]
        rows += taken
        counts = {"asked": asked, "available": len(members), "taken": len(taken)}
        counts |= {"missing": sum(i in lost for i in members), "rejected": sum(i in rejected for i in members)}
        table.append({"z_min": low, "z_max": high, **counts})
    return Fetched(rows, {row: paths[row] for row in sorted(good | rejected)}, missing, table)


def _bins(catalogue, sample, cuts):
    """For each redshift bin its ends, the number asked for, and the rows of the catalogue in it, in order."""
    plate, mjd, fiberid, z = (catalogue[name].to_numpy() for name in ("plate", "mjd", "fiberid", "z"))
    order = np.lexsort([fiberid, mjd, plate, shuffle(plate, mjd, fiberid, sample.seed)])
    order = order[(z[order] > cuts.z_min) & (z[order] < cuts.z_max)]
    if not len(order):
        raise SpecdataError(
            f"the catalogue has no galaxy with {cuts.z_min} < z < {cuts.z_max}: is its column 'z' the redshift?"
        )
    steps = redshift_steps(sample.size, sample.redshift_bins, cuts.z_min, cuts.z_max)
    inside = np.searchsorted([low for low, _, _ in steps[1:]], z[order], side="right")
    return [(low, high, asked, order[inside == i].tolist()) for i, (low, high, asked) in enumerate(steps)]


def _next_rows(bins, good, others):
    """Rows to look at next: from each bin as many as it is still short of."""
    rows = []
    for *_, asked, members in bins:
        short = asked - sum(row in good for row in members)
        rows += islice((row for row in members if row not in good and row not in others), short)
    return rows
