"""DESI coadds and spectra: one file, many targets, each with the arms b, r and z.

Format: https://desidatamodel.readthedocs.io/en/latest/DESI_SPECTRO_REDUX/SPECPROD/healpix/SURVEY/PROGRAM/PIXGROUP/PIXNUM/
coadd-SURVEY-PROGRAM-PIXNUM.html
"""

import re
from collections.abc import Iterator

import numpy as np

from specdata.errors import SpecdataError, one_line
from specdata.spectra.readers.metadata import make, metadata

_TARGET_BITS = re.compile(r"(SV[123]_|CMX_)?(DESI|BGS|MWS|SCND)_TARGET|CMX_TARGET")
_ARM = re.compile(r"([A-Z]+)_WAVELENGTH")


def is_desi(hdus) -> bool:
    """Whether an open FITS file has the layout of DESI's spectra."""
    names = {hdu.name for hdu in hdus}
    return "FIBERMAP" in names and any(
        _ARM.fullmatch(name) and {name.replace("WAVELENGTH", part) for part in ("FLUX", "IVAR")} <= names
        for name in names
    )


def read(path) -> Iterator:
    """Yield the spectra of the targets of a file, which stays open meanwhile.

    Wavelengths are in vacuum. Fibres on empty sky are left out. Redshift and class come from the file of redrock, which
    lies beside the coadd under the name that begins with ``redrock-``, where it is there. Where arms overlap, their
    pixels are joined with their inverse variances as weights, as `desispec.coaddition.coadd_cameras` does.
    """
    from astropy.io import fits

    with fits.open(path) as hdus:
        yield from _spectra(hdus, path)


def _spectra(hdus, path):
    arms = [match[1] for hdu in hdus if (match := _ARM.fullmatch(hdu.name))]
    fibers = hdus["FIBERMAP"].data
    redshifts = _redshifts(path)
    bits = [name for name in fibers.names if _TARGET_BITS.fullmatch(name)]
    several = len(np.unique(fibers["TARGETID"])) < len(fibers)
    for number, fiber in enumerate(fibers):
        row = dict(zip(fibers.names, fiber, strict=True))
        if str(row.get("OBJTYPE", "TGT")).strip() == "SKY":
            continue
        target = int(row["TARGETID"])
        known = metadata(redshifts.get(target, {}), row)
        name = f"{target}-{row['EXPID']}" if several and "EXPID" in row else str(target)
        known |= {"survey": "desi", "instrument": "DESI", "specobjid": name, "source": f"{path.name}[{number}]"}
        known["target_bits"] = " ".join(f"{bit}={int(row[bit])}" for bit in bits if row[bit])
        yield make(**_join([_arm(hdus, arm, number) for arm in arms]), **known)


def _redshifts(path):
    """Rows of redrock's results beside a coadd, by target."""
    from astropy.io import fits

    beside = path.with_name(path.name.replace("coadd-", "redrock-", 1).replace("spectra-", "redrock-", 1))
    if beside == path or not beside.is_file():
        return {}
    try:
        with fits.open(beside) as hdus:
            table = hdus["REDSHIFTS"].data
            return {int(row["TARGETID"]): dict(zip(table.names, row, strict=True)) for row in table}
    except Exception as error:  # astropy promises no particular exception for a damaged file
        raise SpecdataError(f"its redshifts in {beside.name} cannot be read ({one_line(error)}); mend that") from error


def _arm(hdus, arm, number):
    """Wavelength, flux, inverse variance and sigma of the line spread function (in pixels) of one target in one arm."""
    wavelength = np.asarray(hdus[f"{arm}_WAVELENGTH"].data, dtype=np.float64)
    flux, ivar = (np.array(hdus[f"{arm}_{part}"].data[number], dtype=np.float64) for part in ("FLUX", "IVAR"))
    if f"{arm}_MASK" in hdus:
        ivar[hdus[f"{arm}_MASK"].data[number] != 0] = 0
    sigma = np.full(wavelength.shape, np.nan)
    if f"{arm}_RESOLUTION" in hdus:
        # diagonals of the resolution matrix, the highest first: how light of one wavelength spreads over the pixels
        spread = np.asarray(hdus[f"{arm}_RESOLUTION"].data[number], dtype=np.float64)
        offset = np.arange(len(spread) // 2, -(len(spread) // 2) - 1, -1)[: len(spread), None]
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (spread * offset).sum(axis=0) / spread.sum(axis=0)
            sigma = np.sqrt((spread * offset**2).sum(axis=0) / spread.sum(axis=0) - mean**2)
    return wavelength, flux, ivar, sigma


def _join(arms):
    """Join arms that share a grid where they overlap."""
    wavelength, flux, ivar, sigma = (np.concatenate(parts) for parts in zip(*arms, strict=True))
    # Wavelengths of two arms may differ in the last digits.
    grid, first, place = np.unique(np.round(wavelength, 3), return_index=True, return_inverse=True)
    total = np.bincount(place, ivar)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(total > 0, np.bincount(place, np.where(ivar > 0, ivar * flux, 0)) / total, 0)
        width = np.bincount(place, np.where(ivar > 0, ivar * np.nan_to_num(sigma), 0)) / total
    width = np.where(total > 0, width, sigma[first])
    return {"wavelength": grid, "flux": mean, "ivar": total, "lsf_sigma": np.where(width > 0, width, np.nan)}
