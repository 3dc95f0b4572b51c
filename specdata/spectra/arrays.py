"""Arrays in any units to the pixels of a `Spectrum`: vacuum wavelength, flux density, inverse variance."""

import numpy as np

from specdata.errors import SpecdataError, one_line
from specdata.spectra.axis import SKY

FLUX = "1e-17 erg / (Angstrom s cm2)"
_AIR_FROM = 2000.0  # Angstrom; below it, wavelengths are given in vacuum


def convert(wavelength, flux, ivar=None, *, sigma=None, medium="vacuum", mask=None, lsf_sigma=None, axis=SKY) -> dict:
    """Arrays of a `Spectrum`, and its `snmedian`; arguments as in `Spectrum.from_arrays`."""
    if medium not in ("vacuum", "air"):
        raise SpecdataError(f"medium = {medium!r}: give vacuum or air")
    if ivar is not None and sigma is not None:
        raise SpecdataError("ivar and sigma are both given; give one of them")
    wave = _in_unit(wavelength, "Angstrom", "wavelength") if axis.is_sky else _plain(wavelength, axis.unit, axis.name)
    given = {"flux": flux, "ivar": ivar, "sigma": sigma, "mask": mask, "lsf_sigma": lsf_sigma}
    for name, values in given.items():
        if values is not None and np.shape(values) != wave.shape and not (name == "lsf_sigma" and np.ndim(values) == 0):
            raise SpecdataError(
                f"{name} has the shape {np.shape(values)}, the {axis.name} {wave.shape}; give one a pixel"
            )
    if axis.is_sky:
        flux, error = _flux_and_sigma(flux, ivar, sigma, wave)
    else:
        flux, error = _values_and_sigma(flux, ivar, sigma, axis)
    flux = np.where(np.abs(flux) < np.finfo(np.float32).max, flux, np.nan)  # as which it is kept
    good = np.isfinite(flux) & np.isfinite(error) & (error > 0)
    if mask is not None:
        good &= ~np.asarray(mask, dtype=bool)
    if ivar is None and sigma is None:
        error = np.full_like(flux, _noise(flux[good]))
    order, usable = np.argsort(wave, kind="stable"), np.isfinite(wave) & (wave > 0)
    order = order[usable[order]]  # padding of fixed-length tables often has no or negative wavelengths
    if len(order) < 2:
        raise SpecdataError(f"fewer than two pixels have a {axis.name} above 0; add a constant to it if it may be less")
    wave = wave[order]
    loglam = np.log10(air_to_vacuum(wave) if axis.is_sky and medium == "air" else wave)
    if not (np.diff(loglam.astype(np.float32)) > 0).all():
        raise SpecdataError(
            f"values of {axis.name} repeat, or differ by less than 1 part in a million; combine those pixels first"
        )
    if not good[order].any():
        raise SpecdataError(f"no pixel holds information: {axis.values} or its error are not finite, 0, or masked")
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(good, 1.0 / (error * error), 0.0)[order].astype(np.float32)
    inverse[~np.isfinite(inverse)] = 0.0
    wdisp = np.full(wave.shape, np.nan) if lsf_sigma is None else np.broadcast_to(lsf_sigma, flux.shape)[order]
    flux = np.where(np.isfinite(flux), flux, 0.0)[order].astype(np.float32)
    none = np.zeros(wave.shape, dtype=np.int32)
    usable = inverse > 0
    return {
        "loglam": loglam,
        "flux": flux,
        "ivar": inverse,
        "and_mask": none,
        "or_mask": none.copy(),
        "wdisp": wdisp.astype(np.float32),
        "snmedian": float(np.median((flux * np.sqrt(inverse))[usable])),
    }


def air_to_vacuum(wavelength) -> np.ndarray:
    """Vacuum wavelengths in Angstrom of those in air, ndarray; what lies below 2000 Angstrom is not changed.

    The formula is N. Piskunov's inverse of that of Morton (2000, ApJS 130, 403) as VALD uses it
    (https://www.astro.uu.se/valdwiki/Air-to-vacuum%20conversion); it agrees with Ciddor (1996) to 0.0001 Angstrom.
    """
    wavelength = np.asarray(wavelength, dtype=np.float64)
    square = (1e4 / wavelength) ** 2
    index = (
        1
        + 8.336624212083e-5
        + 0.02408926869968 / (130.1065924522 - square)
        + 1.599740894897e-4 / (38.92568793293 - square)
    )
    return np.where(wavelength >= _AIR_FROM, wavelength * index, wavelength)


def _in_unit(values, unit, name, equivalencies=None):
    """An array of float64 in a unit; without a unit of its own, it is in that one already."""
    import astropy.units as u

    try:
        if isinstance(values, u.Quantity):
            equivalencies = u.spectral() if equivalencies is None else equivalencies
            values = values.to_value(unit, equivalencies=equivalencies)
        return np.asarray(values, dtype=np.float64)
    except (u.UnitsError, TypeError, ValueError) as error:
        raise SpecdataError(f"{name} cannot be converted to {unit} ({one_line(error)})") from None


def _plain(values, unit, name):
    """An array of float64; what has a unit of its own is converted."""
    import astropy.units as u

    if isinstance(values, u.Quantity):
        return _in_unit(values, u.Unit(unit, parse_strict="silent"), name)
    return _in_unit(np.ma.filled(np.ma.asanyarray(values, dtype=np.float64), np.nan), unit, name)


def _values_and_sigma(values, ivar, sigma, axis):
    """Values of another axis than that of the sky and their standard deviation, as plain arrays."""
    if ivar is not None:
        with np.errstate(divide="ignore", invalid="ignore"):
            sigma = np.asarray(ivar) ** -0.5
    values = _plain(values, axis.values_unit, axis.values)
    return values, np.ones_like(values) if sigma is None else _plain(sigma, axis.values_unit, "sigma")


def _flux_and_sigma(flux, ivar, sigma, wave):
    """Flux and its standard deviation, as plain arrays."""
    import astropy.units as u

    own = getattr(flux, "unit", None)
    physical = own is not None and own.is_equivalent(FLUX, u.spectral_density(1 * u.AA))
    if (
        isinstance(flux, u.Quantity)
        and not physical
        and own.physical_type not in ("dimensionless", "data quantity", "unknown")
    ):
        raise SpecdataError(f"flux is in {own}, which is no flux density; give one such as erg/s/cm2/A or Jy")
    density = u.spectral_density(wave * u.AA) if physical else []
    unit = u.Unit(FLUX) if physical else own or u.one

    def convert(values, power, name):
        if not isinstance(values, u.Quantity):
            values = np.asarray(values, dtype=np.float64) * (own or unit) ** power
        if power == -2:  # the equivalency knows flux densities, not their inverse squares
            with np.errstate(divide="ignore", invalid="ignore"):
                values = values**-0.5
        return _in_unit(values, unit, name, density)

    flux = convert(np.ma.filled(flux, np.nan) if isinstance(flux, np.ma.MaskedArray) else flux, 1, "flux")
    if sigma is not None:
        return flux, convert(sigma, 1, "sigma")
    return flux, np.ones_like(flux) if ivar is None else convert(ivar, -2, "ivar")


def _noise(flux):
    """Standard deviation of noise in a spectrum without errors, from second differences of its pixels.

    Stoehr et al. (2008, ASP Conf. 394, 505), DER_SNR: 1.482602 / sqrt(6) times the median of
    |2 f(i) - f(i-2) - f(i+2)|.
    """
    if len(flux) < 5:
        raise SpecdataError("the noise of fewer than 5 pixels cannot be estimated; give ivar or sigma")
    noise = 1.482602 / np.sqrt(6) * np.median(np.abs(2 * flux[2:-2] - flux[:-4] - flux[4:]))
    if not noise > 0:
        raise SpecdataError("the noise cannot be estimated, because neighbouring pixels are equal; give ivar or sigma")
    return noise
