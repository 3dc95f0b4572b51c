"""Spectra of any file that can be read: which reader takes it is decided by what the file holds, never by its name.

SDSS spec       `specdata.spectra.specfile`: lite and full, SDSS-I/II, BOSS, eBOSS and SDSS-V
DESI coadds     `desi`: one file, many targets; the arms b, r and z are joined
tables          `tables`: FITS, ECSV, CSV and VOTable with columns of wavelength and flux
images          `images`: one-dimensional FITS images with a wavelength solution in the header
Parquet         `rows`: the config `spectra` of our data sets, MultimodalUniverse and OmniSky
what is left    `others`: whatever specutils reads, where it is installed
"""

import gzip
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from specdata.errors import SpecdataError, one_line
from specdata.inputs import check_regular, check_unpacked, file_errors
from specdata.spectra import specfile
from specdata.spectra.axis import SKY
from specdata.spectra.readers import desi, images, others, rows, tables
from specdata.spectra.spectrum import Spectrum

_ONE = re.compile(r"(.+)\[([^\[\]]+)\]", re.DOTALL)
FORMATS = (
    "SDSS spec files, DESI coadds, FITS, ECSV, CSV or VOTable tables with columns of wavelength and flux, "
    "one-dimensional FITS images with a wavelength solution, Parquet files with lists of flux and wavelength, and, "
    "with `pip install 'specdata[specutils]'`, what specutils reads"
)
_HEAD = 2**18  # bytes in which an SDSS spec file names its column loglam
_BLOCK = 2880  # bytes that FITS headers and data fill whole numbers of
_MOST_HEADER, _MOST_HDUS = 400 * _BLOCK, 1000  # bytes of a header, of which astropy reads 100,000 a second
_SIZE = re.compile(rb"(BITPIX|NAXIS[0-9]*|PCOUNT|GCOUNT) *= *(-?[0-9]{1,18})\b")


def read_spectra(path, *, medium=None, on_error=None, axis=SKY) -> Iterator[Spectrum]:
    """Read all spectra of a file.

    Parameters
    ----------
    path : str or Path
        A file of any format in `FORMATS`, or one of the FITS formats compressed with gzip. ``FILE[3]`` or
        ``FILE[NAME]`` is one spectrum of several: that of the row, from 0, or of the name.
    medium : {"vacuum", "air"}, optional
        What the wavelengths are measured in, where the file does not say; by default vacuum. The formats of SDSS, DESI
        and MultimodalUniverse are in vacuum.
    on_error : callable, optional
        Called with the `SpecdataError` of each spectrum that cannot be used, in a file whose others can be; without it,
        the error is raised.
    axis : specdata.spectra.axis.Axis, optional
        Of curves that are no spectra of the sky, in tables with columns of the names that it gives, or x and y.

    Yields
    ------
    Spectrum
        `specobjid` names each; where the file has no name, it is that of the file, with the number of the row in
        brackets where there are several.

    Raises
    ------
    SpecdataError
        If the file is missing, damaged, or not a spectrum that can be read.
    """
    path, wanted = split_name(path)
    broken, is_there = [], wanted is None
    try:
        head = _head(path)
        if head.startswith(b"SIMPLE  ="):
            found = _read_fits(path, head, medium, axis)
        elif head.startswith(b"PAR1"):
            found = rows.read(path, axis)
        else:
            found = tables.read_text(path, head, medium, axis)
        if found is None and not axis.is_sky:
            raise SpecdataError(f"not a table with columns {axis.name} (or x) and {axis.values} (or y)")
        if found is None and not _is_text(head):
            found = others.read(path)
        if found is None:
            raise SpecdataError(f"not a spectrum that can be read: {_what(path, head)}; these are: {FORMATS}")
        for number, spectrum in enumerate(found):
            if isinstance(spectrum, Spectrum):
                # Rows of our own data sets keep the source that they were made of; fibres on sky are counted, too.
                row = spectrum.source if spectrum.source.startswith(f"{path.name}[") else f"{path.name}[{number}]"
                if wanted in (None, spectrum.specobjid, spectrum.name) or row == f"{path.name}[{wanted}]":
                    is_there = True
                    yield spectrum
            elif wanted is not None:
                broken.append(spectrum)
            elif on_error is None:
                raise spectrum
            else:
                on_error(spectrum)
        if not is_there:
            reason = next((error for error in broken if str(error).startswith(f"{path.name}[{wanted}]: ")), None)
            raise reason or SpecdataError(f"holds no spectrum {wanted!r}; give its row, counted from 0, or its name")
    except SpecdataError as error:
        message = str(error).removeprefix(f"{path.name}: ")
        raise SpecdataError(message if message.startswith(f"{path}: ") else f"{path}: {message}") from error.__cause__
    except Exception as error:  # astropy and Arrow promise no particular exception for a damaged file
        raise SpecdataError(f"{path}: the file is damaged or cut short ({one_line(error)}); get it again") from error


def read_spectrum(path, *, medium=None, axis=SKY) -> Spectrum:
    """Read the only spectrum of a file, or one of several, as ``FILE[3]``; see `read_spectra`."""
    found = read_spectra(path, medium=medium, axis=axis)
    spectrum = next(found)
    if next(found, None) is not None:
        raise SpecdataError(
            f"{path}: holds more than one spectrum; name one, such as '{path}[{spectrum.specobjid}]', or read all with "
            "specdata.read_spectra"
        )
    return spectrum


def split_name(path) -> tuple[Path, str | None]:
    """Path and name of a spectrum that is written ``FILE[NAME]``; the name is None where that is a file itself."""
    match = None if os.path.isfile(path) else _ONE.fullmatch(str(path))  # noqa: PTH113, False for what is no name
    return (Path(match[1]), match[2]) if match and os.path.isfile(match[1]) else (Path(path), None)  # noqa: PTH113


def _head(path):
    """First bytes of a file, decompressed."""
    with file_errors():
        check_regular(path)
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        if head.startswith(b"\x1f\x8b"):
            check_unpacked(path)
            with gzip.open(path) as stream:
                head = stream.read(_HEAD)
    if not head:
        raise SpecdataError("the file is empty; download it again")
    return head


def _read_fits(path, head, medium, axis):
    """Spectra of a FITS file, or None where it holds none that we know."""
    if axis.is_sky and specfile.is_spec(head):
        return [specfile.read_spectrum(path)]
    from astropy.io import fits

    _check_headers(path)
    with fits.open(path) as hdus:
        hdus.verify("silentfix")
        if axis.is_sky and desi.is_desi(hdus):
            return desi.read(path)
        found = tables.read_fits(hdus, path, medium, axis)
        return images.read(hdus, path, medium) if found is None and axis.is_sky else found


def _check_headers(path):
    """Refuse a FITS file with a header, or a number of HDUs, for which astropy would need minutes or hours."""
    with path.open("rb") as raw, gzip.open(raw) if raw.peek(2)[:2] == b"\x1f\x8b" else raw as stream:
        for _ in range(_MOST_HDUS):
            header = b""
            while b"END" + b" " * 77 not in header[-_BLOCK:]:
                block = stream.read(_BLOCK)
                if not block:
                    return  # the end of the file, or a header that is cut short, which astropy tells
                header += block
                if len(header) > _MOST_HEADER:
                    raise SpecdataError(f"a header of the FITS file has more than {_MOST_HEADER:,} bytes")
            cards = (_SIZE.match(header, at) for at in range(0, len(header), 80))
            sizes = {card[1].decode(): int(card[2]) for card in cards if card}
            axes = [sizes.get(f"NAXIS{number + 1}", 0) for number in range(min(sizes.get("NAXIS", 0), 999))]
            pixels = math.prod(axes) if axes else 0
            size = abs(sizes.get("BITPIX", 8)) // 8 * sizes.get("GCOUNT", 1) * (sizes.get("PCOUNT", 0) + pixels)
            if not 0 <= size < 2**62:
                return
            stream.seek(-(-size // _BLOCK) * _BLOCK, 1)
        if stream.read(1):
            raise SpecdataError(f"the FITS file has more than {_MOST_HDUS:,} HDUs")


def _is_text(head):
    """Whether the first bytes of a file are text in UTF-8, whose last letter may be cut."""
    try:
        head.decode()
    except UnicodeDecodeError as error:
        if len(head) < _HEAD or error.start < len(head) - 3:
            return False
    return b"\0" not in head and not head.startswith(b"SIMPLE  =")


def _what(path, head):
    """What a file is, in a few words."""
    if not head.startswith(b"SIMPLE  ="):
        if _is_text(head):
            return "a text, of which no columns are wavelength and flux"
        return f"it begins with {head[:8]!r}"
    from astropy.io import fits

    with fits.open(path) as hdus:
        names = [f"{hdu.name or number} ({type(hdu).__name__})" for number, hdu in enumerate(hdus)]
    return f"a FITS file with the HDUs {', '.join(names[:8])}{' and more' if len(names) > 8 else ''}"
