"""The rows that a model is scored on: a split of a data set, checked against its manifest."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from specdata.dataset.manifest import MANIFEST, files_revision, read_manifest, rows_of
from specdata.dataset.parquet import open_file, read_columns, read_rows, split_files
from specdata.dataset.rows import PIXELS, stored_pixels
from specdata.errors import SpecdataError
from specdata.files import file_sha256
from specdata.hub import local_folder
from specdata.inference.trained import Trained, choose_config
from specdata.spectra.binning import SDSS_PIXELS, median_scale
from specdata.targets import Target
from specdata.text.encoding import Encoding


@dataclass(frozen=True, eq=False, kw_only=True)
class Split:
    """Rows to score, and the training rows of the same data set.

    Attributes
    ----------
    rows, train : pyarrow.Table
    snmedian : ndarray, shape (rows,)
        Median signal-to-noise ratio per pixel of each spectrum; NaN where unknown.
    name, config, split, revision : str
        What the rows are; the revision is that of the manifest.
    n_in_split : int
        Rows of the split, also where a limit takes fewer.
    n_validation : int
        Rows of the validation split.
    encoding : specdata.text.encoding.Encoding
        How the text was made.
    folder : Path
    spectra_files : dict of str to list of str
        Files of the config `spectra` there, for ``train`` and the split.
    """

    rows: pa.Table
    train: pa.Table
    snmedian: np.ndarray
    name: str
    config: str
    split: str
    revision: str
    n_in_split: int
    n_validation: int
    encoding: Encoding
    folder: Path
    spectra_files: dict[str, list[str]]

    @property
    def target(self) -> Target:
        """What the rows ask for."""
        return self.encoding.target

    def true(self, part="rows") -> np.ndarray:
        """True values of ``rows`` or ``train`` as numbers, see `specdata.targets.Target.code`; shape (n,), float64."""
        return self.target.code(getattr(self, part)[self.target.stored_in].to_pylist())

    def pixels(self, part, limit=None) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Yield the pixels that the bins of the text cover, some hundred spectra at a time.

        Parameters
        ----------
        part : {"train", "rows"}
        limit : int, optional
            Number of rows to take from the start.

        Yields
        ------
        first : int
            Number of the first pixel; pixel i is centred on 10 ** (i / `SDSS_PIXELS`) Angstrom.
        flux, ivar : ndarray, shape (rows, pixels)
            Flux over the median of each spectrum, and its inverse variance, 0 where a pixel is missing.

        Raises
        ------
        SpecdataError
            If the config `spectra` has other rows than the text.
        """
        of_text = getattr(self, part)["specobjid"]
        stop, done = min(limit or len(of_text), len(of_text)), 0
        ends = np.log10([self.encoding.edges[0], self.encoding.edges[-1]]) * SDSS_PIXELS
        first, last = math.ceil(ends[0]), math.floor(ends[1])
        names = self.spectra_files["train" if part == "train" else self.split]
        files = [open_file(self.folder, name) for name in names]
        for table in read_rows(files, 0, stop, columns=["specobjid", *PIXELS]):
            if not table["specobjid"].equals(of_text.slice(done, len(table))):
                raise SpecdataError(
                    f"{self.name}: the config spectra has other rows than {self.config}; build it again"
                )
            done += len(table)
            flux, ivar = np.zeros((2, len(table), last - first + 1))
            for row, spectrum in enumerate(stored_pixels(table)):
                at = np.rint(spectrum.loglam * SDSS_PIXELS).astype(int) - first
                use = spectrum.good & (at >= 0) & (at < flux.shape[1])
                scale = median_scale(spectrum, self.encoding.edges[0], self.encoding.edges[-1])
                flux[row, at[use]] = spectrum.flux[use] / scale
                ivar[row, at[use]] = spectrum.ivar[use] * scale**2
            yield first, flux, ivar


def open_split(name, config=None, split="test", *, limit=None, trained: Trained | None = None) -> Split:
    """Open a split of a data set for evaluation.

    Parameters
    ----------
    name : str
        A folder of `specdata build`, or its Hub name.
    config : str, optional
        A text config; by default the one that the adapter was trained on, or the only one.
    split : str
    limit : int, optional
        Number of rows to take from the start.
    trained : specdata.inference.trained.Trained, optional
        What the adapter was trained on, where that is known.

    Raises
    ------
    SpecdataError
        If the data set has no manifest, no such config or split, or the adapter was trained on another config; if its
        files are not those of the manifest, or if an object of the split is also trained on.
    """
    if split == "train":
        raise SpecdataError("split 'train': a model is not scored on the rows it learned from; use validation or test")
    if limit is not None and limit < 1:
        raise SpecdataError(f"limit {limit}: give at least 1 row")
    folder = local_folder(name, "dataset")
    manifest = read_manifest(folder, name)
    config = choose_config(name, manifest, config, trained)
    files, counts, revision = manifest["files"], manifest["counts"]["splits"], manifest["revision"]
    splits = [split for split, n in counts.items() if n and split != "train"]
    if split not in splits:
        raise SpecdataError(f"split {split!r}: {name} has the splits {', '.join(splits)} to score on")
    if revision != files_revision(files):
        raise SpecdataError(f"{name}: the revision in {MANIFEST} is not that of its files; build or download it again")
    encoding, parts = Encoding.from_dict(manifest["configs"][config], config), {}
    columns = ["prompt", "position_id", "specobjid", "is_mock", encoding.target.stored_in]
    # The manifest says which files belong to a split; the card, which `load_dataset` follows, may have been edited.
    for part in ("train", split):
        paths = split_files(files, config, part)
        for path in paths:
            if file_sha256(folder / path) != files[path]:
                raise SpecdataError(
                    f"{name}: {path} is not the file that its manifest names; build or download it again"
                )
        parts[part] = read_columns(folder, paths, columns)
        if len(parts[part]) != rows_of(manifest, config, part) or columns[-1] not in parts[part].column_names:
            raise SpecdataError(f"{name}: its files hold other rows or columns than {MANIFEST} says; build it again")
    shared = set(parts[split]["position_id"].to_pylist()) & set(parts["train"]["position_id"].to_pylist())
    if shared:
        raise SpecdataError(
            f"{len(shared)} objects of split {split!r}, such as {min(shared)}, are also in the training split: "
            "build the data set again"
        )
    rows = parts[split].slice(0, limit)
    signal = read_columns(folder, split_files(files, "spectra", split), ["specobjid", "snmedian"]).to_pydict()
    signal = dict(zip(signal["specobjid"], signal["snmedian"], strict=True))
    return Split(
        rows=rows,
        train=parts["train"].slice(0, counts["train"]),  # each spectrum once
        snmedian=np.array([signal.get(row, np.nan) for row in rows["specobjid"].to_pylist()], dtype=np.float64),
        name=manifest["recipe"]["name"] if Path(name).is_dir() else str(name),
        config=config,
        split=split,
        revision=revision,
        n_in_split=counts[split],
        n_validation=counts.get("validation", 0),
        encoding=encoding,
        folder=folder,
        spectra_files={part: split_files(files, "spectra", part) for part in parts},
    )
