"""From a catalogue to files: the galaxies of each redshift bin, downloaded or found in the cache, none lost unseen."""

import contextlib
import re
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from specdata.archive.catalogue import REQUIRED, redshift_steps, shuffle
from specdata.archive.download import Job, download
from specdata.archive.manners import POLITE
from specdata.archive.missing import read_missing, write_missing
from specdata.archive.sas import SAS_URL, lite_path
from specdata.errors import SpecdataError
from specdata.files import remove_leftovers
from specdata.spectra.specfile import check_whole, read_spectrum

ON_MISSING = ("replace", "stop")


class Fetched(NamedTuple):
    """What `fetch` has brought."""

    rows: list  # of int: the rows of the catalogue to use, by redshift bin and in the order of `shuffle`
    paths: list  # of Path: their spectra
    unfit: list  # of (int, Path, cut, reason): those that are there and did not pass, by row
    missing: list  # of dict: plate, mjd, fiberid, run2d, z, reason and url of each that could not be had
    recovered: int  # spectra that an earlier run could not have and this one could
    downloaded: int
    bytes: int
    bins: list  # of dict: z_min, z_max, asked, available (in the catalogue), missing, unfit, taken


def fetch(catalogue, cache, *, data_release=16, sample, cuts, on_missing="replace", accept=None, failed=None,
          url=SAS_URL, manners=POLITE, progress=True):  # fmt: skip
    """Have the lite spectra of a catalogue in the cache, the same number from each redshift bin.

    Each bin takes its galaxies in the order of `shuffle`, and goes on to the next where one cannot be had or does not
    pass. So what is chosen depends on what the archive has, and on neither chance nor the order of arrival; after an
    interruption the same call goes on with what is not there yet.

    Parameters
    ----------
    catalogue : pyarrow.Table
        From `read_catalogue` or `select`.
    cache : path-like
        Folder with the layout of the SAS. A file that is there and opens as the right spectrum is not downloaded.
    data_release : int
        8 to 17.
    sample : specdata.dataset.recipe.Sample
        How many galaxies, in how many bins, and the seed.
    cuts : specdata.dataset.recipe.Cuts
        Only the redshift range counts here.
    on_missing : {"replace", "stop"}
        What to do about a spectrum that cannot be had: take the next one of its bin, or stop with an error once all
        that can be had is there.
    accept : callable, optional
        Called with each `Spectrum`; returns None, or (cut, reason) for one that does not pass and is replaced. Calls
        come from several threads.
    failed : path-like, optional
        CSV file that lists the spectra that could not be had, with the reason. It is removed when there are none.
    url : str
        Root of the archive.
    manners : Manners
        How hard the archive is pressed.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    Fetched

    Raises
    ------
    SpecdataError
        If spectra are missing and `on_missing` is "stop", or nothing can be downloaded or written at all.
    """
    if on_missing not in ON_MISSING:
        raise SpecdataError(f"on_missing = {on_missing!r}: give one of {', '.join(ON_MISSING)}")
    if not re.match(r"https?://[^/]", url):
        raise SpecdataError(f"{url!r}: is no web address; give the root of an archive, such as {SAS_URL}")
    wanted = _Wanted(catalogue, Path(cache), data_release, url.rstrip("/"), accept)
    bins = _bins(wanted.columns, sample, cuts)
    if failed is not None:
        failed = Path(failed)
        remove_leftovers(failed.parent)
    before = read_missing(failed)
    with _Bar(sum(min(asked, len(members)) for _, _, asked, members in bins), progress) as bar:
        while todo := [i for *_, asked, members in bins for i in wanted.next_of(asked, members)]:
            try:
                wanted.get(todo, manners, bar)
            except BaseException:
                with contextlib.suppress(SpecdataError):  # the disk may be full
                    write_missing(failed, wanted.missing(), before, wanted.names())
                raise
            missing = wanted.missing()
            write_missing(failed, missing, before, wanted.names())
            if missing and on_missing == "stop":
                where = f"listed in {failed}" if failed else f"first {wanted.name(min(wanted.lost))}"
                raise SpecdataError(
                    f"{len(missing)} of {sum(asked for *_, asked, _ in bins)} spectra are missing, {where} "
                    f"({missing[0]['reason']}); give the same command again, or set on_missing to replace"
                )
            bar.reset(wanted.good.sum() + sum(len(wanted.next_of(asked, members)) for *_, asked, members in bins))
    table, rows = [], []
    for low, high, asked, members in bins:
        taken = [i for i in members if wanted.good[i]][:asked]
        rows += taken
        row = {"z_min": low, "z_max": high, "asked": asked, "available": len(members), "taken": len(taken)}
        lost, unfit = (sum(1 for i in members if i in group) for group in (wanted.lost, wanted.unfit))
        table.append({**row, "missing": lost, "unfit": unfit})
    unfit = [(i, wanted.path(i), *why) for i, why in sorted(wanted.unfit.items())]
    had = {wanted.name(i) for i in np.flatnonzero(wanted.good)} | {wanted.name(i) for i in wanted.unfit}
    return Fetched(
        rows, [wanted.path(i) for i in rows], unfit, missing, len(before.keys() & had), bar.files, bar.bytes, table
    )


def _bins(columns, sample, cuts):
    """For each redshift bin its ends, the number asked for, and the rows of the catalogue in it, in order."""
    z = columns["z"]
    rank = shuffle(columns["plate"], columns["mjd"], columns["fiberid"], sample.seed)
    order = np.lexsort([columns["fiberid"], columns["mjd"], columns["plate"], rank])
    order = order[(z[order] > cuts.z_min) & (z[order] < cuts.z_max)]
    steps = redshift_steps(sample.size, sample.redshift_bins, cuts.z_min, cuts.z_max)
    inside = np.searchsorted([low for low, _, _ in steps[1:]], z[order], side="right")
    bins = [(low, high, asked, order[inside == i].tolist()) for i, (low, high, asked) in enumerate(steps)]
    if not len(order):
        raise SpecdataError(
            f"the catalogue has no galaxy with {cuts.z_min} < z < {cuts.z_max}: is its column 'z' the redshift?"
        )
    return bins


class _Wanted:
    """The state of each row of the catalogue: not looked at yet, good, unfit or lost."""

    def __init__(self, catalogue, cache, data_release, url, accept):
        self.columns = {name: catalogue[name].to_numpy(zero_copy_only=False) for name in REQUIRED}
        self.cache, self.data_release, self.url, self.accept = cache, data_release, url, accept
        self.good = np.zeros(len(catalogue), bool)
        self.unfit, self.lost = {}, {}  # row -> (cut, reason), row -> reason

    def row(self, i):
        return {name: self.columns[name][i].item() if name != "run2d" else self.columns[name][i] for name in REQUIRED}

    def name(self, i):
        return "{plate:04d}-{mjd}-{fiberid:04d}".format(**self.row(i))

    def names(self):
        """Names of all rows that were looked at."""
        return {self.name(i) for i in [*np.flatnonzero(self.good), *self.unfit, *self.lost]}

    def place(self, i):
        row = self.row(i)
        return lite_path(self.data_release, row["plate"], row["mjd"], row["fiberid"], row["run2d"])

    def path(self, i):
        return self.cache / self.place(i)

    def next_of(self, asked, members):
        """Rows of a bin to look at next: as many as are still asked for."""
        short = asked - sum(1 for i in members if self.good[i])
        fresh = (i for i in members if not (self.good[i] or i in self.unfit or i in self.lost))
        return [i for _, i in zip(range(short), fresh, strict=False)]

    def missing(self):
        return [
            {**self.row(i), "reason": reason, "url": f"{self.url}/{self.place(i)}"}
            for i, reason in sorted(self.lost.items())
        ]

    def look(self, i, path):
        """Open a file, which has to be the spectrum of that row, and judge it."""
        try:
            check_whole(path)
        except SpecdataError as error:
            raise SpecdataError(f"{path}: {error}") from None
        spectrum = read_spectrum(path)
        if spectrum.name != self.name(i):
            raise SpecdataError(f"{path}: this is the spectrum {spectrum.name}, not {self.name(i)}")
        verdict = self.accept(spectrum) if self.accept else None
        if verdict is None:
            self.good[i] = True
        else:
            self.unfit[i] = verdict

    def get(self, rows, manners, bar):
        """Find these rows in the cache, or download them."""
        jobs, row_of = [], {}

        def report(job, size, reason):
            if reason is not None:
                self.lost[row_of[job.path]] = reason
            bar.arrived(size, reason)

        for folder in {self.path(i).parent for i in rows}:
            remove_leftovers(folder)
        for i in rows:
            path = self.path(i)
            if path.is_file():
                try:
                    self.look(i, path)
                    bar.found()
                    continue
                except SpecdataError:  # damaged, or another spectrum; the right one will take its place
                    pass
            row_of[path] = i
            jobs.append(Job(f"{self.url}/{self.place(i)}", path, lambda part, i=i: self.look(i, part)))
        download(jobs, manners=manners, report=report, had=int(self.good.sum()) + len(self.unfit))


class _Bar:
    """The progress: files, megabytes, rate and time left."""

    def __init__(self, total, shown):
        from tqdm import tqdm

        self.bar = tqdm(total=total, unit=" files", desc="fetch", disable=not shown)
        self.files, self.bytes, self.begin = 0, 0, time.monotonic()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    def found(self):
        self.bar.update()

    def arrived(self, size, reason):
        if reason is None:
            self.files, self.bytes = self.files + 1, self.bytes + size
            rate = self.bytes / 1e6 / max(1e-3, time.monotonic() - self.begin)
            self.bar.set_postfix_str(f"{self.bytes / 1e6:.1f} MB, {rate:.2f} MB/s", refresh=False)
        self.bar.update()

    def reset(self, total):
        """Replacements make the work longer; what was in vain does not count as done."""
        self.bar.total = max(int(total), self.bar.n)
        self.bar.refresh()
