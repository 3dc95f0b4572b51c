"""Spectra from a folder of SDSS `spec` files."""

from pathlib import Path

from specdata.errors import SpecdataError
from specdata.spectra.specfile import read_spectrum


def folder_paths(folder):
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


def folder_spectra(folder, *, on_error=None):
    """Read the spectra of a folder one after the other, in the order of `folder_paths`.

    Parameters
    ----------
    folder : str or Path
    on_error : callable, optional
        Called as ``on_error(path, error)`` with the `SpecdataError` of a file that cannot be read; the file is then
        left out, so that one broken download among thousands is counted and named instead of ending the build. By
        default the error is raised.

    Yields
    ------
    Spectrum
    """
    return read_spectra(folder_paths(folder), on_error=on_error)


def read_spectra(paths, *, on_error=None):
    """Read spectra one after the other; `on_error` and what is yielded as for `folder_spectra`."""
    for path in paths:
        try:
            spectrum = read_spectrum(path)
        except SpecdataError as error:
            if on_error is None:
                raise
            on_error(path, error)
        else:
            yield spectrum
