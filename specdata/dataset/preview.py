"""One row of a data set, drawn: the pixels that were observed, the bins, and what the text says."""

import os
import re
from pathlib import Path

import numpy as np

from specdata import canvas, prompts
from specdata.dataset import figures, rows
from specdata.dataset.manifest import read_manifest
from specdata.dataset.parquet import open_file, read_columns, read_rows, split_files
from specdata.dataset.selection import SPLITS
from specdata.errors import SpecdataError
from specdata.files import new_file
from specdata.hub import local_folder
from specdata.spectra.coverage import cover
from specdata.spectra.readers import read_spectrum, split_name
from specdata.spectra.spectrum import spectrum_name
from specdata.text.encoding import Encoding, normalise

_OBSERVATION = ("plate", "mjd", "fiberid")


def preview(dataset, row, output=None, *, config=None) -> dict:
    """Draw the original, the binned and the decoded spectrum of a row over each other, from the data set alone.

    Parameters
    ----------
    dataset : str
        A folder of `specdata build`, or its Hub name.
    row : str
        ``SPLIT:NUMBER`` such as ``test:12`` (from 0), an observation ``PLATE-MJD-FIBERID``, a `specobjid`, or the path
        of a file with a spectrum, of any format that can be read, which is written as the data set writes its own;
        ``FILE[3]`` or ``FILE[NAME]`` is one of several.
    output : path-like, optional
        A PNG, PDF or SVG file; by default ``preview-NAME-CONFIG.png`` here.
    config : str, optional
        Text config; by default the first one of the data set.

    Returns
    -------
    dict
        `name` of the observation, `split` and `number` (None for a file), `config`, `z`, `bins`, `warnings`, the
        `text`, the largest difference of decoded and binned flux in units of the scale (`error`), the number of
        `clipped` values, the `path` of the figure, and, of a row with another target than the redshift, its `asked`.

    Raises
    ------
    SpecdataError
        If there is no such row or config, or the text is not that of the stored flux.
    """
    folder = local_folder(dataset, "dataset")
    manifest = read_manifest(folder, dataset)
    files, configs = list(manifest["files"]), list(manifest["configs"])
    config = config or configs[0]
    if config not in configs:
        raise SpecdataError(f"config {config!r}: {dataset} has the text configs {', '.join(configs)}")
    encoding = Encoding.from_dict(manifest["configs"][config], config)
    if os.path.isfile(split_name(row)[0]):  # noqa: PTH113, which is False, too, for what cannot be the name of a file
        found, split, number = read_spectrum(row, axis=encoding.axis), None, None
        spectrum, warnings = cover(found, encoding.edges, encoding.axis)
        binned, scale = rows.bin_one(spectrum, encoding)
        flux = binned.flux
        series, clipped = encoding.encode(flux, scale)
        series = series[0].as_py()
        spectrum = vars(spectrum)
    else:
        split, number = _find(folder, files, str(row))
        spectrum, text = (_row(folder, files, name, split, number) for name in ("spectra", config))
        warnings, series = [], prompts.read_series(text["prompt"], encoding.target)
        flux, scale = np.array(text["flux"], dtype=np.float32)[None], np.float32([text["scale"]])
        written, clipped = encoding.encode(flux, scale)
        if written.to_pylist() != [series]:
            raise SpecdataError(f"{dataset}: the text of {split}:{number} is not that of its flux; build it again")
    name = spectrum_name(*(spectrum[key] for key in (*_OBSERVATION, "specobjid")))
    decoded = encoding.decode([series], scale)[0]
    step = normalise(decoded, scale, encoding.normalisation) - normalise(flux[0], scale, encoding.normalisation)
    path = Path(output or f"preview-{re.sub(r'[^A-Za-z0-9._+-]+', '-', name)}-{config}.png")
    pixels = {name: np.array(spectrum[column]) for name, column in (("loglam", "loglam"), ("pixels", "flux"))}
    title = f"{'mock ' if spectrum['is_mock'] else ''}{name}"
    title += f", z = {spectrum['z']:z.4f}" if np.isfinite(spectrum["z"]) else ""
    label = f"text ({config}, {len(decoded)} values)"
    with new_file(path, suffixes=canvas.FORMATS) as partial:
        figures.decoded_spectrum(
            partial, **pixels, edges=encoding.edges, binned=flux[0], decoded=decoded, z=spectrum["z"],
            spectype=spectrum["spectype"], title=title, label=label, axis=encoding.axis,
        )  # fmt: skip
    error, clipped = float(np.nanmax(np.abs(step))), int(clipped[0])
    shown = {"name": name, "split": split, "number": number, "config": config, "z": spectrum["z"], "bins": len(decoded)}
    if encoding.target.stored_in == "target" and split:
        shown["asked"] = f"{encoding.target.words} {text['target']} {encoding.target.unit}".rstrip()
    return shown | {"warnings": warnings, "text": series, "error": error, "clipped": clipped, "path": str(path)}


def _find(folder, files, row):
    """Split and number of a row."""
    splits = [split for split in SPLITS if split_files(files, "spectra", split)]
    before, colon, after = row.partition(":")
    if colon:
        if before not in splits or not _is_number(after):
            raise SpecdataError(f"row {row[:60]!r}: write SPLIT:NUMBER with one of {', '.join(splits)}, such as test:0")
        size = sum(file.metadata.num_rows for file in _open(folder, files, "spectra", before))
        if int(after) >= size:
            raise SpecdataError(f"row {row!r}: {before} has {size} rows, 0 to {size - 1}")
        return before, int(after)
    parts = row.split("-")
    is_observation = len(parts) == 3 and all(map(_is_number, parts))
    for split in splits:
        table = read_columns(folder, split_files(files, "spectra", split), ["specobjid", *_OBSERVATION])
        same = np.array(table["specobjid"].to_pylist()) == row
        if is_observation:
            columns = zip(_OBSERVATION, parts, strict=True)
            same = np.all([table[name].to_numpy() == int(part) for name, part in columns], axis=0)
        if same.any():
            return split, int(np.argmax(same))
    raise SpecdataError(
        f"row {row[:60]!r}: is not in the data set; write SPLIT:NUMBER, PLATE-MJD-FIBERID or a specobjid"
    )


def _is_number(text):
    return text.isdecimal() and len(text) < 10


def _open(folder, files, config, split):
    return [open_file(folder, name) for name in split_files(files, config, split)]


def _row(folder, files, config, split, number):
    """One row, read from the row group that it lies in."""
    for table in read_rows(_open(folder, files, config, split), number, number + 1):
        return table.to_pylist()[0]
    raise SpecdataError(f"{config}/{split}: its files hold fewer rows than those of the spectra; build it again")
