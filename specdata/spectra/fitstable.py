"""Tables of a FITS file, decoded fast: what `specfile` reads a spectrum from.

astropy reads the headers. The table bytes are decoded here with one numpy dtype, because astropy builds 126 to 236
column objects for HDU 2 of every file, which is ten times the work of everything else. Surveys write that header with
the same bytes in file after file, so astropy's answer is kept and asked for once a layout.
"""

import gzip
import math
import re
import warnings
import zlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from specdata.errors import SpecdataError, one_line

_BLOCK = 2880  # every FITS header and every data unit fills whole blocks of this many bytes (FITS 4.0, section 3.1)
_SIZE = re.compile(rb"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT) *=")
_ROWS = re.compile(rb"NAXIS2  = +(\d{1,18}) *(?:/.*)?")
_END = b"END" + b" " * 77
AGAIN = "download the file again"


class _Layout(NamedTuple):
    """What the header of a binary table says about its bytes."""

    label: str  # for messages: the number and name of the HDU
    dtype: np.dtype  # one row, big-endian, upper-case names
    scaled: dict  # column name -> (TSCAL, TZERO), where they do something
    rows: int
    size: int  # bytes of data, without the padding


class Table(NamedTuple):
    """A layout and its rows."""

    layout: _Layout
    rows: np.ndarray

    def column(self, name, *, required=True):
        """Values of a column in physical units, shape (rows, ...); None where it is missing and need not be there."""
        key = name.upper()  # FITS names of columns are the same in both cases
        if key not in self.rows.dtype.names:
            if required:
                where = self.layout.label
                raise SpecdataError(f"column '{name}' is missing from {where}; {AGAIN}, or pass an SDSS spec file")
            return None
        values = self.rows[key]
        if key in self.layout.scaled:
            # physical = TZERO + TSCAL x stored (FITS 4.0, section 7.3.2), in Python numbers: an unsigned 64-bit
            # integer, stored as a signed one with TZERO = 2**63, fits into no sum of numpy integers.
            scale, zero = self.layout.scaled[key]
            values = values.astype(object) * scale + zero
        return values

    def value(self, name, kind, default=None):
        """The int, float or (stripped) str of a one-row table; `default`, if given, where there is no such value."""
        values = self.column(name, required=default is None)
        value = default if values is None else values.tolist()[0]
        if isinstance(value, bytes) and value.isascii():
            value = value.split(b"\0")[0].decode("ascii").strip()
        elif isinstance(value, int) and kind is float:
            value = float(value)
        if isinstance(value, kind):
            return value
        if default is None:
            raise SpecdataError(f"column '{name}' of {self.layout.label} must hold one {kind.__name__}; {AGAIN}")
        return default


def _read_bytes(path):
    try:
        raw = path.read_bytes()
        if raw.startswith(b"\x1f\x8b"):
            raw = gzip.decompress(raw)
    except FileNotFoundError:
        raise SpecdataError("there is no such file; check the path") from None
    except IsADirectoryError:
        raise SpecdataError("this is a folder, not a file; pass one spec-*.fits file of it") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SpecdataError(f"the gzip data are damaged or cut short; {AGAIN}") from error
    except OSError as error:
        raise SpecdataError(
            f"the file cannot be read ({one_line(error)}); check the path and its permissions"
        ) from error
    if not raw.startswith(b"SIMPLE  ="):
        what = f"begins with {raw[:20]!r}" if raw else "is empty"
        raise SpecdataError(f"this is not a FITS file, it {what}; {AGAIN}")
    if len(raw) % _BLOCK:
        raise SpecdataError(f"the file is truncated, {len(raw)} bytes are no multiple of {_BLOCK}; {AGAIN}")
    return raw


def read_tables(path):
    """Path of a FITS file -> header of the primary HDU as bytes, and the tables of HDU 1 and HDU 2, as `Table`."""
    raw = _read_bytes(path)
    primary, position = _cut_header(raw, 0, 0)
    tables = []
    for number in (1, 2):
        header, position = _cut_header(raw, position, number)
        layout = _layout(header, number)
        if position + layout.size > len(raw):
            raise SpecdataError(f"the file is truncated inside {layout.label}; {AGAIN}")
        rows = np.frombuffer(raw, layout.dtype, layout.rows, position)
        tables.append(Table(layout, rows))
        position += -(-layout.size // _BLOCK) * _BLOCK
    return primary, *tables


def check_whole(path):
    """Refuse a FITS file that ends inside one of its HDUs, also of those that `read_tables` does not look at."""
    raw = _read_bytes(path)
    position = number = 0
    while position < len(raw):
        header, position = _cut_header(raw, position, number)
        position += -(-_data_size(header, number) // _BLOCK) * _BLOCK
        number += 1
    if position > len(raw):
        raise SpecdataError(f"the file is truncated inside HDU {number - 1}; {AGAIN}")


def _data_size(raw, number):
    """Bytes of data that belong to a header; what counts stands in its first cards (FITS 4.0, section 4.4.1)."""
    cards = (raw[i : i + 80] for i in range(0, min(len(raw), 20 * 80), 80))
    try:
        known = {card[:8].strip(): int(card[10:].split(b"/")[0]) for card in cards if _SIZE.match(card)}
        axes = [known[b"NAXIS%d" % (i + 1)] for i in range(known[b"NAXIS"])]
        values = math.prod(axes) + known.get(b"PCOUNT", 0) if axes else 0
        return abs(known[b"BITPIX"]) // 8 * known.get(b"GCOUNT", 1) * values
    except (KeyError, ValueError) as error:
        raise _damaged(number, error) from error


def _cut_header(raw, start, number):
    """Bytes of the header at `start`, and where they stop."""
    if start == len(raw):
        raise SpecdataError(f"HDU {number} is missing, the file stops after HDU {number - 1}; {AGAIN}")
    end = raw.find(_END, start)
    while end >= 0 and (end - start) % 80:  # END counts only as a card of its own, not inside a comment
        end = raw.find(_END, end + 1)
    if end < 0:
        raise SpecdataError(f"the header of HDU {number} has no END, so the file is truncated or damaged; {AGAIN}")
    stop = start + (end - start) // _BLOCK * _BLOCK + _BLOCK
    return raw[start:stop], stop


def keyword(raw, name):
    """Bytes of the primary header -> value of a keyword, None where there is none."""
    try:
        raw.decode("ascii")
        at = raw.find(f"{name:8}=".encode())
        while at % 80 and at > 0:  # inside another card
            at = raw.find(f"{name:8}=".encode(), at + 1)
        return None if at < 0 else _card_value(raw[at : at + 80])
    except Exception as error:  # astropy promises no particular exception for a damaged header
        raise _damaged(0, error) from error


@lru_cache(maxsize=64)
def _card_value(card):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fits.Card.fromstring(card).value


def _damaged(number, error):
    why = one_line(error)  # astropy's messages may run over several lines
    return SpecdataError(f"the header of HDU {number} is damaged ({why}); {AGAIN}")


def _layout(raw, number):
    """Header of a binary table, as bytes -> its layout.

    Files of one survey differ in the number of rows alone, which stands in the fifth card (FITS 4.0, section 7.3.1).
    """
    found = _ROWS.fullmatch(raw, 320, 400)
    if not found:
        return _read_layout(raw, number)
    one, rows = _read_layout(raw[:320] + b"NAXIS2  = %20d%50s" % (1, b"") + raw[400:], number), int(found[1])
    return one._replace(rows=rows, size=one.size + (rows - 1) * one.dtype.itemsize)


@lru_cache(maxsize=64)  # one entry a dialect
def _read_layout(raw, number):
    """What `_layout` says, by astropy."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = fits.Header.fromstring(raw.decode("ascii"))
            if header["XTENSION"] != "BINTABLE" or header["BITPIX"] != 8 or header["NAXIS"] != 2:
                raise ValueError("it does not describe a binary table")
            if not 0 < header["TFIELDS"] <= 999:  # FITS allows no more, and astropy would make any number of columns
                raise ValueError(f"TFIELDS is {header['TFIELDS']}")
            columns = fits.BinTableHDU.fromstring(raw).columns
            dtype = columns.dtype.newbyteorder(">")
            dtype.names = [name.upper() for name in dtype.names]
            width, rows, extra = header["NAXIS1"], header["NAXIS2"], header.get("PCOUNT", 0)
            if not all(isinstance(size, int) and size >= 0 for size in (width, rows, extra)):
                raise ValueError("its sizes are no counts")
            if dtype.itemsize != width or not width:
                raise ValueError(f"its columns take {dtype.itemsize} bytes a row and NAXIS1 says {width}")
            scaled = {
                column.name.upper(): (_factor(column.bscale, 1), _factor(column.bzero, 0))
                for column in columns
                if (column.bscale not in (None, "", 1) or column.bzero not in (None, "", 0))
                and dtype[column.name.upper()].base.kind in "iuf"
            }
            label = f"HDU {number} ({header.get('EXTNAME', 'no name')})"
    except Exception as error:  # as above
        raise _damaged(number, error) from error
    return _Layout(label, dtype, scaled, rows, width * rows + extra)


def _factor(value, default):
    """Return TSCAL or TZERO as an int where it is one, so that 2**63 stays exact."""
    value = default if value in (None, "") else value
    if not abs(value) <= 2**64:
        raise ValueError(f"TSCAL or TZERO is {value}")
    return int(value) if float(value).is_integer() else float(value)
