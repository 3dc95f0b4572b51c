"""Read one SDSS `spec` file, lite or full, of SDSS-I/II (`SPECOBJ`) or BOSS/eBOSS (`SPALL`).

Format: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html

astropy reads the headers of the tables; the rows are decoded here with one numpy dtype, because astropy builds 126 to
236 column objects for HDU 2 of every file, which is ten times the work of everything else. Surveys write that header
with the same bytes in file after file, so astropy's answer is kept and asked for once a layout.
"""

import gzip
import io
import math
import re
import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits

from specdata.errors import SpecdataError, one_line
from specdata.inputs import file_errors, read_bytes
from specdata.spectra.spectrum import Spectrum

# BOSS_TARGET1 bits of the galaxy samples: GAL_LOZ, GAL_CMASS, GAL_CMASS_COMM, GAL_CMASS_SPARSE, SDSS_KNOWN,
# GAL_CMASS_ALL, GAL_IFIBER2_FAINT (https://www.sdss3.org/dr10/algorithms/bitmask_boss_target1.php)
BOSS_GALAXY = sum(1 << bit for bit in (0, 1, 2, 3, 6, 7, 8))
EBOSS_MJD = 56839  # 1 July 2014, when SDSS-IV began
XCSAO_R = 6.0  # cross-correlation strength above which the stellar parameters of SDSS-V are used
_LARGEST = 2**26  # bytes of a file; full ones with many exposures have some 10 MB
_TARGET_BITS = re.compile(r"PRIMTARGET|SECTARGET|[A-Z0-9_]+_TARGET[0-9]*")
_COADD = [re.compile(rb"TTYPE\d+ *= *'%s *'" % name, re.IGNORECASE) for name in (b"loglam", b"and_mask")]
_BLOCK = 2880  # every FITS header and every data unit fills whole blocks of this many bytes (FITS 4.0, section 3.1)
_END = b"END" + b" " * 77
_ROWS = slice(320, 400)  # the card NAXIS2 of a binary table (FITS 4.0, section 7.3.1)
_AGAIN = "download the file again"


def read_spectrum(path) -> Spectrum:
    """Read one SDSS `spec` file.

    Parameters
    ----------
    path : str or Path
        A `spec-PLATE-MJD-FIBER.fits` file, lite or full, or the same compressed with gzip.

    Returns
    -------
    Spectrum
        With arrays of its own in native byte order; the file is closed.

        Redshift: for a BOSS galaxy target (`BOSS_TARGET1`) that the pipeline did not call a QSO, `z`, `zerr`,
        `zwarning` and `subclass` come from the `*_NOQSO` columns, the fit without quasar templates that BOSS uses for
        its galaxies (Bolton et al. 2012, AJ 144, 144): there `ZWARNING` may say "a quasar fits nearly as well" and
        `ZWARNING_NOQSO` does not. `spectype` is always `CLASS`. So a target that the pipeline calls a QSO stays one,
        with the redshift of its quasar fit, and is not taken for a galaxy.

        Columns that a dialect lacks become ``""`` or NaN; a missing `or_mask` becomes a copy of `and_mask`, whose bits
        it holds by definition. `SPALL` has neither SURVEY nor INSTRUMENT: its files are of the BOSS spectrograph, and
        of the survey eboss from `EBOSS_MJD` on, before that of boss. `ra` and `dec` are those of the fibre (`PLUG_RA`,
        `PLUG_DEC`), which both dialects have. `dered_i` is `MODELMAG - EXTINCTION` in the i band, as in the catalogue
        archive's PhotoObj, where the file has both. `vdisp` is NaN unless its error is above 0, which marks a fit that
        worked. `teff`, `logg` and `feh` are, where the class is STAR, those of the ELODIE star that fits best, or of
        pyXCSAO in SDSS-V.

        SDSS-V has no plates and joins fibres: `plate` is the field, `fiberid` 0, and `specobjid` the SPECOBJID or
        ``FIELD-MJD-CATALOGID``.

    Raises
    ------
    SpecdataError
        If the file is missing, truncated, not FITS, not of this format, or holds no usable flux. HDUs after the
        second are not read, and so not checked.
    """
    path = Path(path)
    try:
        raw = _read_bytes(path)
        primary, position = _cut_header(raw, 0, 0)
        coadd, position = _read_table(raw, position, 1)
        spec, _ = _read_table(raw, position, 2)
        mock = any(primary[at : at + 30] == b"MOCK    = %20s" % b"T" for at in range(0, len(primary), 80))
        # A damaged file may hold any bit pattern, such as signalling NaNs: the checks below judge the values.
        with np.errstate(all="ignore"):
            return Spectrum(**_pixels(coadd), **_metadata(spec, mock), source=path.name)
    except SpecdataError as error:
        raise SpecdataError(f"{path}: {error}") from error.__cause__


def is_spec(head) -> bool:
    """Whether the first bytes of a FITS file are those of an SDSS `spec` file, by two columns of its HDU 1."""
    return all(column.search(head) for column in _COADD)


def check_whole(path) -> None:
    """Refuse, by a SpecdataError, a FITS file that ends inside an HDU, be it one that `read_spectrum` does not read."""
    raw = _read_bytes(Path(path))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # astropy only warns of a file that is truncated
            with fits.open(io.BytesIO(raw)) as hdus:
                len(hdus)  # reads them all
    except Exception as error:  # astropy promises no particular exception for a damaged header
        raise SpecdataError(f"the file is truncated or damaged ({one_line(error)}); {_AGAIN}") from error


def _read_bytes(path):
    with file_errors():
        raw = read_bytes(path, _LARGEST)
        if raw.startswith(b"\x1f\x8b"):
            with gzip.open(io.BytesIO(raw)) as stream:
                raw = stream.read(_LARGEST + 1)
    if len(raw) > _LARGEST:
        raise SpecdataError(f"the file has more than {_LARGEST:,} bytes when it is decompressed; {_AGAIN}")
    if not raw.startswith(b"SIMPLE  ="):
        what = f"begins with {raw[:20]!r}" if raw else "is empty"
        raise SpecdataError(f"this is not a FITS file, it {what}; {_AGAIN}")
    if len(raw) % _BLOCK:
        raise SpecdataError(f"the file is truncated, {len(raw)} bytes are no multiple of {_BLOCK}; {_AGAIN}")
    return raw


def _cut_header(raw, start, number):
    """Bytes of the header at `start`, and where they stop."""
    if start == len(raw):
        raise SpecdataError(f"HDU {number} is missing, the file stops after HDU {number - 1}; {_AGAIN}")
    end = raw.find(_END, start)
    while end >= 0 and (end - start) % 80:  # END counts only as a card of its own, not inside a comment
        end = raw.find(_END, end + 1)
    if end < 0:
        raise SpecdataError(f"the header of HDU {number} has no END, so the file is truncated or damaged; {_AGAIN}")
    stop = start + (end - start) // _BLOCK * _BLOCK + _BLOCK
    return raw[start:stop], stop


class _Table(NamedTuple):
    label: str  # for messages: the number and name of the HDU
    scaled: dict  # column name -> (TSCAL, TZERO), where they do something
    rows: np.ndarray  # big-endian, with upper-case names of columns

    def column(self, name, *, required=True):
        """Values of a column in physical units, shape (rows, ...); None where it is missing and need not be there."""
        key = name.upper()  # FITS names of columns are the same in both cases
        if key not in self.rows.dtype.names:
            if not required:
                return None
            raise SpecdataError(f"column '{name}' is missing from {self.label}; {_AGAIN}, or pass an SDSS spec file")
        values = self.rows[key]
        if key in self.scaled:
            # physical = TZERO + TSCAL x stored (FITS 4.0, section 7.3.2), in Python numbers: an unsigned 64-bit
            # integer, stored as a signed one with TZERO = 2**63, fits into no sum of numpy integers.
            scale, zero = self.scaled[key]
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
            raise SpecdataError(f"column '{name}' of {self.label} must hold one {kind.__name__}; {_AGAIN}")
        return default


def _read_table(raw, start, number):
    """The table whose header begins at `start`, and where it stops."""
    header, start = _cut_header(raw, start, number)
    try:
        # Files of one survey differ in the number of rows alone.
        name, value = header[_ROWS].split(b"/")[0].split(b"=")
        if name.strip() != b"NAXIS2" or (rows := int(value)) < 0:
            raise ValueError("its fifth card is no NAXIS2")
        one_row = header[: _ROWS.start] + (b"NAXIS2  = %20d" % 1).ljust(80) + header[_ROWS.stop :]
        label, dtype, scaled, extra = _layout(one_row, number)
    except Exception as error:  # astropy promises no particular exception for a damaged header
        raise SpecdataError(f"the header of HDU {number} is damaged ({one_line(error)}); {_AGAIN}") from error
    size = rows * dtype.itemsize + extra
    if start + size > len(raw):
        raise SpecdataError(f"the file is truncated inside {label}; {_AGAIN}")
    return _Table(label, scaled, np.frombuffer(raw, dtype, rows, start)), start + -(-size // _BLOCK) * _BLOCK


@lru_cache(maxsize=64)  # one entry a dialect
def _layout(header, number):
    """Label, dtype of a row, scaled columns, and bytes after the rows, of the header of a binary table with one row."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cards = fits.Header.fromstring(header.decode("ascii"))
        if cards["XTENSION"] != "BINTABLE" or cards["BITPIX"] != 8 or cards["NAXIS"] != 2:
            raise ValueError("it does not describe a binary table")
        if not 0 < cards["TFIELDS"] <= 999:  # FITS allows no more, and astropy would make any number of columns
            raise ValueError(f"TFIELDS is {cards['TFIELDS']}")
        columns = fits.BinTableHDU.fromstring(header).columns
        dtype = columns.dtype.newbyteorder(">")
        dtype.names = [name.upper() for name in dtype.names]
        width, extra = cards["NAXIS1"], cards.get("PCOUNT", 0)
        if dtype.itemsize != width or not width or not isinstance(extra, int) or extra < 0:
            raise ValueError(f"its columns take {dtype.itemsize} bytes a row, NAXIS1 is {width} and PCOUNT {extra}")
        scaled = {
            column.name.upper(): (_factor(column.bscale, 1), _factor(column.bzero, 0))
            for column in columns
            if (column.bscale not in (None, "", 1) or column.bzero not in (None, "", 0))
            and dtype[column.name.upper()].base.kind in "iuf"
        }
    return f"HDU {number} ({cards.get('EXTNAME', 'no name')})", dtype, scaled, extra


def _factor(value, default):
    """Return TSCAL or TZERO as an int where it is one, so that 2**63 stays exact."""
    value = default if value in (None, "") else value
    if not abs(value) <= 2**64:
        raise ValueError(f"TSCAL or TZERO is {value}")
    return int(value) if float(value).is_integer() else float(value)


def _pixels(table):
    """HDU 1 -> the arrays of a Spectrum, checked."""
    where = table.label
    if not len(table.rows):
        raise SpecdataError(f"{where} has no pixels; leave the file out, or {_AGAIN}")

    def array(name, dtype, values=None):
        values = table.column(name) if values is None else values
        integer = np.issubdtype(dtype, np.integer)
        if values.ndim != 1 or values.dtype.kind not in ("iuO" if integer else "fO"):
            raise SpecdataError(f"column '{name}' of {where} must hold one {dtype.__name__} a pixel; {_AGAIN}")
        if values.dtype.kind == "O":  # scaled, so Python numbers; bit 31 of an unsigned mask becomes the sign
            values = np.array([int(value) & 0xFFFFFFFF for value in values] if integer else values.tolist())
        return np.array(values, dtype=dtype, order="C")

    loglam, flux, ivar = array("loglam", np.float64), array("flux", np.float32), array("ivar", np.float32)
    and_mask = array("and_mask", np.int32)
    or_mask, wdisp = table.column("or_mask", required=False), table.column("wdisp", required=False)
    # the range, 100 A to 100 micrometre, tells a column of wavelengths from one of their logarithms
    if not (np.isfinite(loglam).all() and (np.diff(loglam) > 0).all() and loglam[0] > 2 and loglam[-1] < 6):
        raise SpecdataError(f"'loglam' of {where} must be log10 of the wavelength in Angstrom and increase; {_AGAIN}")
    if not (np.isfinite(ivar).all() and (ivar >= 0).all()):
        raise SpecdataError(f"'ivar' of {where} must be finite and not negative; {_AGAIN}")
    if not ivar.any():
        raise SpecdataError(f"'ivar' of {where} is 0 in every pixel, so there is no information; leave the file out")
    if not np.isfinite(flux).any():
        raise SpecdataError(f"'flux' of {where} is not a number in any pixel; leave the file out, or {_AGAIN}")
    return {
        "loglam": loglam,
        "flux": flux,
        "ivar": ivar,
        "and_mask": and_mask,
        "or_mask": and_mask.copy() if or_mask is None else array("or_mask", np.int32, or_mask),
        "wdisp": np.full_like(flux, np.nan) if wdisp is None else array("wdisp", np.float32, wdisp),
    }


def _metadata(table, mock):
    """HDU 2 -> the other fields of a Spectrum, except `source`."""
    if len(table.rows) != 1:
        raise SpecdataError(f"{table.label} has {len(table.rows)} rows, not 1; pass one file a spectrum")
    nan = math.nan
    spectype = table.value("CLASS", str)
    galaxy_target = table.value("BOSS_TARGET1", int, 0) & BOSS_GALAXY and spectype != "QSO"
    has_noqso = table.value("CLASS_NOQSO", str, "") and math.isfinite(table.value("Z_NOQSO", float, nan))
    fit = "_NOQSO" if galaxy_target and has_noqso else ""
    # SPECOBJID is text in SPECOBJ and an integer in SPALL. SN_MEDIAN has one value for each band in the real files.
    specobjid = table.value("SPECOBJID", str, "") or str(table.value("SPECOBJID", int, 0) or "")
    snmedian = table.value("SN_MEDIAN_ALL", float, table.value("SN_MEDIAN", float, nan))
    if in_sdss5 := table.column("CATALOGID", required=False) is not None:  # which joins spectra of several fibres
        numbers = {"plate": table.value("FIELD", int), "mjd": table.value("MJD", int)}
        specobjid = specobjid or "-".join(str(table.value(name, int)) for name in ("FIELD", "MJD", "CATALOGID"))
    else:
        numbers = {name: table.value(name.upper(), int) for name in ("plate", "mjd", "fiberid")}
    texts = {name: table.value(name.upper(), str, "") for name in ("run2d", "survey", "instrument")}
    if "(SPALL)" in table.label and not mock:
        survey = "sdss5" if in_sdss5 else "eboss" if numbers["mjd"] >= EBOSS_MJD else "boss"
        texts["survey"] = texts["survey"] or survey
        texts["instrument"] = texts["instrument"] or "BOSS"
    bestobjid = table.value("BESTOBJID", str, "") or table.value("OBJID", str, "")  # in SPALL, a text column is OBJID
    ugriz = {name: table.value(name.upper(), list, []) for name in ("spectroflux", "modelmag", "extinction")}
    vdisp, star = table.value("VDISP", float, nan), {}
    if spectype == "STAR" and table.value("ELODIE_TEFF", float, 0.0) > 0:
        star = {name: table.value(f"ELODIE_{name.upper()}", float, nan) for name in ("teff", "logg", "feh")}
    elif spectype == "STAR" and table.value("XCSAO_RXC", float, 0.0) > XCSAO_R:
        star = {name: table.value(f"XCSAO_{name.upper()}", float, nan) for name in ("teff", "logg", "feh")}
    return {
        **numbers,
        **texts,
        "z": table.value("Z" + fit, float),
        "zerr": table.value("Z_ERR" + fit, float, nan),
        "zwarning": table.value("ZWARNING" + fit, int),
        "spectype": spectype,
        "subclass": table.value("SUBCLASS" + fit, str, ""),
        "specobjid": specobjid,
        "ra": table.value("PLUG_RA", float, nan),
        "dec": table.value("PLUG_DEC", float, nan),
        "snmedian": snmedian,
        "dered_i": _dered_i(ugriz["modelmag"], ugriz["extinction"]),
        "vdisp": vdisp if table.value("VDISP_ERR", float, 0.0) > 0 else nan,
        **star,
        "bestobjid": bestobjid,
        **{name: tuple(values) for name, values in ugriz.items() if len(values) == 5 and isinstance(values[0], float)},
        "target_bits": _target_bits(table),
        "is_mock": mock or texts["survey"] == "mock",
    }


def _target_bits(table):
    """Bit masks of targeting that are not 0, such as ``LEGACY_TARGET1=96``, in the order of the columns."""
    names = [name for name in table.rows.dtype.names if _TARGET_BITS.fullmatch(name)]
    return " ".join(f"{name}={bits}" for name in names if (bits := table.value(name, int, 0)))


def _dered_i(modelmag, extinction):
    """Magnitudes and extinctions of one object in ugriz, as lists -> the dereddened i magnitude, or NaN."""
    if not all(len(values) == 5 and isinstance(values[3], float) for values in (modelmag, extinction)):
        return math.nan
    dered = modelmag[3] - extinction[3]
    return dered if 0 < modelmag[3] < 40 and 0 < dered < 40 else math.nan  # 0 or -9999: there is no photometry
