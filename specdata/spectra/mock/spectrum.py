"""Mock SDSS galaxies with known redshift, for tests, demonstrations and training without a download.

The galaxy is made in `mock_galaxy` and seen through the SDSS-I spectrograph of `mock_instrument`. Noise, masks,
brightness and signal-to-noise ratio belong to the observed frame and are drawn without a look at the redshift, so
nothing but the galaxy's own features can give the redshift away. Mocks carry ``survey="mock"`` and must never be
published as SDSS data.
"""

from collections.abc import Iterator
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from specdata.errors import SpecdataError
from specdata.spectra.mock.galaxy import LINES, PIXEL_VELOCITY, STEP, Z_MAX, draw_galaxy
from specdata.spectra.mock.instrument import draw_masks, draw_noise, draw_pixels, draw_sky, noise_sigma
from specdata.spectra.spectrum import Spectrum

PLATE_ZERO, MJD_ZERO = 90000, 50000  # no SDSS plate or night has such a number
SEED_MAX = 2_000_000_000  # keeps the plate inside the 32 bits that it has in a file


def mock_spectra(n, *, seed=0, z_min=0.01, z_max=0.5, snr_min=8.0, snr_max=40.0) -> Iterator[Spectrum]:
    """Yield mock galaxies, number `i` of which depends on `seed` and `i` alone (and on the four limits).

    Parameters
    ----------
    n : int
        How many.
    seed : int
        0 to 2,000,000,000. Two seeds share no spectrum and no file name.
    z_min, z_max : float
        Redshifts are uniform in [z_min, z_max); at most 0.8, where the population model ends.
    snr_min, snr_max : float
        The median signal-to-noise ratio per pixel is log-uniform between these.

    Raises
    ------
    SpecdataError
        For impossible arguments, at the call and not at the first spectrum.
    """
    if not isinstance(n, Integral) or n < 1:
        raise SpecdataError(f"n = {n!r}: the number of mock spectra must be a whole number of at least 1.")
    check_limits(seed, z_min, z_max, snr_min, snr_max)
    return (mock_spectrum(seed, i, z_min=z_min, z_max=z_max, snr_min=snr_min, snr_max=snr_max)[0] for i in range(n))


def mock_spectrum(seed, index, *, z_min=0.01, z_max=0.5, snr_min=8.0, snr_max=40.0):
    """One mock galaxy and the truth behind it; arguments as in `mock_spectra`.

    Returns
    -------
    spectrum : Spectrum
        Its `z` is the exact redshift; `dered_i` is the AB magnitude of the noiseless spectrum through a top hat from
        6930 to 8250 A. No dust of the Milky Way is put in front, so there is none to correct for.
    model : ndarray, shape (n,), float64
        The spectrum without noise in 1e-17 erg/s/cm2/A.
    """
    if not isinstance(index, Integral) or index < 0:
        raise SpecdataError(f"index = {index!r}: mock spectra are counted from 0; give a whole number.")
    check_limits(seed, z_min, z_max, snr_min, snr_max)
    seed, index = int(seed), int(index)
    rng = np.random.default_rng([seed, index])
    z = z_min + (z_max - z_min) * rng.random()
    faintness, cos_dec, ra = rng.random(3)
    snr = snr_min * (snr_max / snr_min) ** (1.0 - faintness)
    # Bright galaxies tend to have the better spectra. Fainter ones are more common.
    i_mag = 18.0 - 3.5 * (0.7 * (1.0 - faintness) + 0.3 * rng.random()) ** 1.5
    galaxy = draw_galaxy(rng)

    loglam, wdisp = draw_pixels(rng)
    wavelength = 10.0**loglam
    model = galaxy.observed(loglam, wdisp, z)
    scale = 10.0 ** (0.4 * (_i_magnitude(wavelength, model) - i_mag))
    model *= scale

    sky_continuum, sky_lines = draw_sky(rng, loglam)
    sigma = noise_sigma(model, wavelength, sky_continuum, sky_lines)
    sigma *= np.median(model / sigma) / snr
    and_mask, or_mask, lost = draw_masks(rng, sky_lines)
    flux = model + sigma * draw_noise(rng, sky_continuum, sky_lines)
    flux[lost] = np.interp(loglam[lost], loglam[~lost], flux[~lost])  # as the pipeline fills them
    flux, ivar = flux.astype(np.float32), np.where(lost, 0.0, sigma**-2).astype(np.float32)

    spectrum = Spectrum(
        loglam=loglam,
        flux=flux,
        ivar=ivar,
        and_mask=and_mask,
        or_mask=or_mask,
        wdisp=np.where(lost, 0.0, wdisp).astype(np.float32),
        z=float(z),
        zerr=float(np.clip(2.5e-5 * (20.0 / snr) * rng.lognormal(0.0, 0.3), 1e-5, 1e-4)),
        zwarning=0,
        spectype="GALAXY",
        subclass=_subclass(galaxy, scale, wavelength / (1.0 + z), wdisp, model, sigma),
        plate=PLATE_ZERO + seed,
        mjd=MJD_ZERO + index // 1000,
        fiberid=index % 1000 + 1,
        run2d="mock",
        specobjid=f"mock-{seed}-{index}",
        ra=360.0 * float(ra),
        dec=float(np.degrees(np.arcsin(2.0 * cos_dec - 1.0))),
        survey="mock",
        instrument="SDSS",
        snmedian=float(np.median((flux * np.sqrt(ivar))[~lost])),
        dered_i=float(i_mag),
        is_mock=True,
        source=f"mock seed={seed} index={index}",
    )
    return spectrum, model


def check_limits(seed, z_min, z_max, snr_min, snr_max):
    """Refuse what cannot be made."""
    if not isinstance(seed, Integral) or not 0 <= seed <= SEED_MAX:
        raise SpecdataError(f"seed = {seed!r}: give a whole number from 0 to {SEED_MAX}.")
    for name, value in {"z_min": z_min, "z_max": z_max, "snr_min": snr_min, "snr_max": snr_max}.items():
        if not isinstance(value, Real) or not np.isfinite(value):
            raise SpecdataError(f"{name} = {value!r}: give a finite number.")
    if z_min < 0 or z_min >= z_max:
        raise SpecdataError(f"z_min = {z_min}: give a redshift of at least 0 that is below z_max = {z_max}.")
    if z_max > Z_MAX:
        raise SpecdataError(f"z_max = {z_max}: the mock galaxies end at {Z_MAX}; give at most that.")
    if snr_min <= 0 or snr_min > snr_max:
        raise SpecdataError(f"snr_min = {snr_min}: give a ratio above 0 that does not exceed snr_max = {snr_max}.")


def _i_magnitude(wavelength, flux):
    """AB magnitude of `flux` in 1e-17 erg/s/cm2/A through a top hat with the edges of the SDSS i band."""
    band = (wavelength > 6930.0) & (wavelength < 8250.0)
    # f_nu = f_lambda lambda^2 / c, with photon weights and pixels of equal steps in ln(lambda)
    f_nu = 1e-17 * np.sum(flux[band] * wavelength[band] ** 2) / (2.99792458e18 * np.sum(band))
    return -2.5 * np.log10(f_nu) - 48.6


def _subclass(galaxy, scale, rest, wdisp, model, sigma):
    """`SUBCLASS` by the rules of the SDSS pipeline, where all four of its lines could be detected; otherwise "".

    The rules: https://www.sdss4.org/dr17/spectro/catalogs/. A galaxy above
    log([O III]/H beta) = 0.7 - 1.2 (log([N II]/H alpha) + 0.4) is an AGN; one below it is STARFORMING, or STARBURST
    where the equivalent width of H alpha exceeds 50 A. `scale` turns the galaxy's unit into that of `model`.
    """
    flux = []
    for name in ("H beta", "[O III] 5008", "H alpha", "[N II] 6585"):
        pixel = np.searchsorted(rest, LINES[name])
        if not 0 < pixel < rest.size:
            return ""
        flux.append(scale * galaxy.emitted(name))
        width = np.hypot(wdisp[pixel], galaxy.sigma_gas / PIXEL_VELOCITY)
        # error of the flux of a Gaussian line in white noise, in A of the rest frame
        error = sigma[pixel] * rest[pixel] * np.log(10.0) * STEP * np.sqrt(2.0 * np.sqrt(np.pi) * width)
        if flux[-1] < 3.0 * error:
            return ""
    h_beta, o3, h_alpha, n2 = flux
    if np.log10(o3 / h_beta) > 0.7 - 1.2 * (np.log10(n2 / h_alpha) + 0.4):
        return "AGN"
    beside = (np.abs(rest - 6565.0) > 40.0) & (np.abs(rest - 6565.0) < 90.0)
    return "STARBURST" if h_alpha > 50.0 * np.median(model[beside]) else "STARFORMING"


def write_spec_lite(spectrum, path, *, model=None):
    """Write one spectrum as an SDSS `spec-lite` file; the same spectrum always gives the same bytes.

    Layout: https://data.sdss.org/datamodel/files/SPECTRO_REDUX/RUN2D/spectra/lite/PLATE4/spec.html, of which HDU 2
    holds the columns that a `Spectrum` can fill. A mock also says ``MOCK = T`` in the primary header.

    Parameters
    ----------
    spectrum : Spectrum
        What to write.
    path : str or Path
        The file; replaced if it exists, and never left half-written.
    model : ndarray, shape (n,), optional
        For the column `model`, in 1e-17 erg/s/cm2/A. Zeros when not given, as is `sky`: a `Spectrum` has neither.
    """
    from astropy.io import fits

    path, n = Path(path), spectrum.loglam.size
    primary = fits.PrimaryHDU()
    primary.header["MJD"] = (spectrum.mjd, "MJD of observation")
    primary.header["PLATEID"] = (spectrum.plate, "Plate Id")
    primary.header["COEFF0"] = (round(float(spectrum.loglam[0]), 10), "Central wavelength (log10) of first pixel")
    step = float(spectrum.loglam[-1] - spectrum.loglam[0]) / (n - 1)
    primary.header["COEFF1"] = (round(step, 10), "Log10 dispersion per pixel")
    primary.header["VACUUM"] = (True, "Wavelengths are in vacuum")
    primary.header["BUNIT"] = "1E-17 erg/cm^2/s/Ang"
    primary.header["PLUG_RA"] = (spectrum.ra, "RA of object [deg]")
    primary.header["PLUG_DEC"] = (spectrum.dec, "dec of object [deg]")
    primary.header["FIBERID"] = spectrum.fiberid
    primary.header["RUN2D"] = (spectrum.run2d, "Reduction version")
    if spectrum.is_mock:
        primary.header["MOCK"] = (True, "Synthetic: not an SDSS observation")
    zeros = np.zeros(n, np.float32)
    coadd = {"flux": spectrum.flux, "loglam": spectrum.loglam, "ivar": spectrum.ivar, "and_mask": spectrum.and_mask}
    coadd |= {"or_mask": spectrum.or_mask, "wdisp": spectrum.wdisp, "sky": zeros}
    coadd["model"] = zeros if model is None else model
    coadd = [fits.Column(k, "J" if k.endswith("mask") else "E", array=v) for k, v in coadd.items()]
    row = {"SURVEY": spectrum.survey, "INSTRUMENT": spectrum.instrument, "PROGRAMNAME": spectrum.survey}
    row |= {"SPECPRIMARY": True, "SPECOBJID": f"{spectrum.specobjid:>22}", "RUN2D": spectrum.run2d}
    row |= {"PLATE": spectrum.plate, "MJD": spectrum.mjd, "FIBERID": spectrum.fiberid}
    row |= {"PLUG_RA": spectrum.ra, "PLUG_DEC": spectrum.dec, "CLASS": spectrum.spectype}
    row |= {"SUBCLASS": spectrum.subclass, "Z": spectrum.z, "Z_ERR": spectrum.zerr, "ZWARNING": spectrum.zwarning}
    row |= {"WAVEMIN": spectrum.wavelength[0], "WAVEMAX": spectrum.wavelength[-1], "SN_MEDIAN_ALL": spectrum.snmedian}
    specobj = [fits.Column(k, _column_format(k, v), array=[v]) for k, v in row.items()]
    # No line was fitted: the table is there, as readers expect, and has no row.
    lines = {"PLATE": "J", "MJD": "J", "FIBERID": "J", "LINENAME": "13A", "LINEWAVE": "D", "LINEZ": "E"}
    lines |= {name: "E" for name in ("LINEZ_ERR", "LINESIGMA", "LINESIGMA_ERR", "LINEAREA", "LINEAREA_ERR", "LINEEW")}
    hdus = [
        primary,
        fits.BinTableHDU.from_columns(coadd, name="COADD"),
        fits.BinTableHDU.from_columns(specobj, name="SPECOBJ"),
        fits.BinTableHDU.from_columns([fits.Column(k, v) for k, v in lines.items()], nrows=0, name="SPZLINE"),
    ]
    unfinished = path.with_name(path.name + ".partial")
    try:
        with unfinished.open("wb") as file:
            fits.HDUList(hdus).writeto(file)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _column_format(name, value):
    """FITS format of a SPECOBJ column, as the survey's own files have it."""
    if isinstance(value, str):
        return f"{max(1, len(value))}A"
    if isinstance(value, bool):
        return "B"
    if isinstance(value, Integral):
        return "J"
    return "D" if name.startswith("PLUG_") else "E"
