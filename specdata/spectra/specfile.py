"""Read one SDSS `spec` file, lite or full, of SDSS-I/II (`SPECOBJ`) or BOSS/eBOSS (`SPALL`).

Format: https://data.sdss.org/datamodel/files/BOSS_SPECTRO_REDUX/RUN2D/spectra/PLATE4/spec.html
"""

import math
from pathlib import Path

import numpy as np

from specdata.errors import SpecdataError
from specdata.spectra.fitstable import AGAIN, keyword, read_tables
from specdata.spectra.spectrum import Spectrum

# BOSS_TARGET1 bits of the galaxy samples: GAL_LOZ, GAL_CMASS, GAL_CMASS_COMM, GAL_CMASS_SPARSE, SDSS_KNOWN,
# GAL_CMASS_ALL, GAL_IFIBER2_FAINT (https://www.sdss3.org/dr10/algorithms/bitmask_boss_target1.php)
BOSS_GALAXY = sum(1 << bit for bit in (0, 1, 2, 3, 6, 7, 8))


def read_spectrum(path):
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

        Columns that a dialect lacks become ``""`` or NaN (`SPALL` has neither SURVEY nor INSTRUMENT); a missing
        `or_mask` becomes a copy of `and_mask`, whose bits it holds by definition. `ra` and `dec` are those of the
        fibre (`PLUG_RA`, `PLUG_DEC`), which both dialects have. `dered_i` is `MODELMAG - EXTINCTION` in the i band,
        as in the catalogue archive's PhotoObj, where the file has both.

    Raises
    ------
    SpecdataError
        If the file is missing, truncated, not FITS, not of this format, or holds no usable flux. HDUs after the
        second are not read, and so not checked.
    """
    path = Path(path)
    try:
        primary, coadd, spec = read_tables(path)
        # A damaged file may hold any bit pattern, such as signalling NaNs: the checks below judge the values.
        with np.errstate(all="ignore"):
            return Spectrum(
                **_pixels(coadd),
                **_metadata(spec, mock=bool(keyword(primary, "MOCK"))),
                source=path.name,
            )
    except SpecdataError as error:
        raise SpecdataError(f"{path}: {error}") from error.__cause__


def _pixels(table):
    """HDU 1 -> the arrays of a Spectrum, checked."""
    where = table.layout.label
    if not len(table.rows):
        raise SpecdataError(f"{where} has no pixels; leave the file out, or {AGAIN}")

    def array(name, dtype, values=None):
        values = table.column(name) if values is None else values
        integer = np.issubdtype(dtype, np.integer)
        if values.ndim != 1 or values.dtype.kind not in ("iuO" if integer else "fO"):
            raise SpecdataError(f"column '{name}' of {where} must hold one {dtype.__name__} a pixel; {AGAIN}")
        if values.dtype.kind == "O":  # scaled, so Python numbers; bit 31 of an unsigned mask becomes the sign
            values = np.array([int(value) & 0xFFFFFFFF for value in values] if integer else values.tolist())
        return np.array(values, dtype=dtype, order="C")

    loglam, flux, ivar = array("loglam", np.float64), array("flux", np.float32), array("ivar", np.float32)
    and_mask = array("and_mask", np.int32)
    or_mask, wdisp = table.column("or_mask", required=False), table.column("wdisp", required=False)
    # the range, 100 A to 100 micrometre, tells a column of wavelengths from one of their logarithms
    if not (np.isfinite(loglam).all() and (np.diff(loglam) > 0).all() and loglam[0] > 2 and loglam[-1] < 6):
        raise SpecdataError(f"'loglam' of {where} must be log10 of the wavelength in Angstrom and increase; {AGAIN}")
    if not (np.isfinite(ivar).all() and (ivar >= 0).all()):
        raise SpecdataError(f"'ivar' of {where} must be finite and not negative; {AGAIN}")
    if not ivar.any():
        raise SpecdataError(f"'ivar' of {where} is 0 in every pixel, so there is no information; leave the file out")
    if not np.isfinite(flux).any():
        raise SpecdataError(f"'flux' of {where} is not a number in any pixel; leave the file out, or {AGAIN}")
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
        raise SpecdataError(f"{table.layout.label} has {len(table.rows)} rows, not 1; pass one file a spectrum")
    nan = math.nan
    spectype, survey = table.value("CLASS", str), table.value("SURVEY", str, "")
    galaxy_target = table.value("BOSS_TARGET1", int, 0) & BOSS_GALAXY and spectype != "QSO"
    has_noqso = table.value("CLASS_NOQSO", str, "") and math.isfinite(table.value("Z_NOQSO", float, nan))
    fit = "_NOQSO" if galaxy_target and has_noqso else ""
    # SPECOBJID is text in SPECOBJ and an integer in SPALL. SN_MEDIAN has one value for each band in the real files.
    specobjid = table.value("SPECOBJID", str, "") or str(table.value("SPECOBJID", int, 0) or "")
    snmedian = table.value("SN_MEDIAN_ALL", float, table.value("SN_MEDIAN", float, nan))
    return {
        "z": table.value("Z" + fit, float),
        "zerr": table.value("Z_ERR" + fit, float, nan),
        "zwarning": table.value("ZWARNING" + fit, int),
        "spectype": spectype,
        "subclass": table.value("SUBCLASS" + fit, str, ""),
        "plate": table.value("PLATE", int),
        "mjd": table.value("MJD", int),
        "fiberid": table.value("FIBERID", int),
        "run2d": table.value("RUN2D", str, ""),
        "specobjid": specobjid,
        "ra": table.value("PLUG_RA", float, nan),
        "dec": table.value("PLUG_DEC", float, nan),
        "survey": survey,
        "instrument": table.value("INSTRUMENT", str, ""),
        "snmedian": snmedian,
        "dered_i": _dered_i(table.value("MODELMAG", list, []), table.value("EXTINCTION", list, [])),
        "is_mock": mock or survey == "mock",
    }


def _dered_i(modelmag, extinction):
    """Magnitudes and extinctions of one object in ugriz, as lists -> the dereddened i magnitude, or NaN."""
    if not all(len(values) == 5 and isinstance(values[3], float) for values in (modelmag, extinction)):
        return math.nan
    dered = modelmag[3] - extinction[3]
    return dered if 0 < modelmag[3] < 40 and 0 < dered < 40 else math.nan  # 0 or -9999: there is no photometry
