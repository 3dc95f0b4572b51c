"""SDSS spec-lite files of mock spectra, for the tests and benchmarks that begin with files."""

import numpy as np
from astropy.io import fits


def write_spec_lite(spectrum, path, *, model=None) -> None:
    """Write one spectrum as an SDSS `spec-lite` file.

    Layout: https://data.sdss.org/datamodel/files/SPECTRO_REDUX/RUN2D/spectra/lite/PLATE4/spec.html, of which HDU 2
    holds the columns that a `Spectrum` can fill. A mock also says ``MOCK = T`` in the primary header.

    Parameters
    ----------
    spectrum : Spectrum
        What to write.
    path : str or Path
        The file; replaced if it exists.
    model : ndarray, shape (n,), optional
        For the column `model`, in 1e-17 erg/s/cm2/A. Zeros when not given, as is `sky`: a `Spectrum` has neither.
    """
    float32, int32 = np.float32, np.int32
    loglam, ends = spectrum.loglam, spectrum.wavelength[[0, -1]].astype(float32)
    cards = [
        ("MJD", spectrum.mjd, "MJD of observation"),
        ("PLATEID", spectrum.plate, "Plate Id"),
        ("COEFF0", round(float(loglam[0]), 10), "Central wavelength (log10) of first pixel"),
        ("COEFF1", round(float(loglam[-1] - loglam[0]) / (loglam.size - 1), 10), "Log10 dispersion per pixel"),
        ("VACUUM", True, "Wavelengths are in vacuum"),
        ("BUNIT", "1E-17 erg/cm^2/s/Ang"),
        ("PLUG_RA", spectrum.ra, "RA of object [deg]"),
        ("PLUG_DEC", spectrum.dec, "dec of object [deg]"),
        ("FIBERID", spectrum.fiberid),
        ("RUN2D", spectrum.run2d, "Reduction version"),
        *([("MOCK", True, "Synthetic: not an SDSS observation")] if spectrum.is_mock else []),
    ]
    coadd = {name: getattr(spectrum, name) for name in ("flux", "loglam", "ivar", "and_mask", "or_mask", "wdisp")}
    coadd |= {"loglam": loglam.astype(float32), "sky": np.zeros_like(spectrum.flux)}
    coadd["model"] = coadd["sky"] if model is None else model.astype(float32)
    row = {"SURVEY": spectrum.survey, "INSTRUMENT": spectrum.instrument, "PROGRAMNAME": spectrum.survey}
    row |= {"SPECPRIMARY": np.uint8(1), "SPECOBJID": f"{spectrum.specobjid:>22}", "RUN2D": spectrum.run2d}
    row |= {"PLATE": int32(spectrum.plate), "MJD": int32(spectrum.mjd), "FIBERID": int32(spectrum.fiberid)}
    row |= {"PLUG_RA": spectrum.ra, "PLUG_DEC": spectrum.dec, "CLASS": spectrum.spectype, "SUBCLASS": spectrum.subclass}
    row |= {"Z": float32(spectrum.z), "Z_ERR": float32(spectrum.zerr), "ZWARNING": int32(spectrum.zwarning)}
    row |= {"WAVEMIN": ends[0], "WAVEMAX": ends[1], "SN_MEDIAN_ALL": float32(spectrum.snmedian)}
    # No line was fitted: the table is there, as readers expect, and has no row.
    lines = {"PLATE": "i4", "MJD": "i4", "FIBERID": "i4", "LINENAME": "S13", "LINEWAVE": "f8", "LINEZ": "f4"}
    lines |= {f"LINE{name}": "f4" for name in ("Z_ERR", "SIGMA", "SIGMA_ERR", "AREA", "AREA_ERR", "EW")}
    tables = {
        "COADD": np.rec.fromarrays(list(coadd.values()), names=list(coadd)),
        "SPECOBJ": np.rec.fromarrays([[value] for value in row.values()], names=list(row)),
        "SPZLINE": np.empty(0, list(lines.items())),
    }
    hdus = [fits.PrimaryHDU(header=fits.Header(cards)), *(fits.BinTableHDU(t, name=name) for name, t in tables.items())]
    fits.HDUList(hdus).writeto(path, overwrite=True)
