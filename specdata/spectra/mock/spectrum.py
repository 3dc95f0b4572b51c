"""Mock SDSS spectra of galaxies, stars and quasars, for tests, demonstrations and training without a download.

The object is made in `mock.galaxy`, `mock.star` or `mock.quasar` and seen through a spectrograph of `mock.instrument`.
Noise, masks, brightness and signal-to-noise ratio belong to the observed frame and are drawn without a look at the
object or its redshift, so that nothing but its own features can give them away. Mocks carry ``survey="mock"`` and must
never be published as SDSS data.

**Same bytes.** One seed gives the same bytes on every x86-64 processor, with AVX2, AVX-512 and FMA or without, and
whichever BLAS there is: all that is stored is computed with `specdata.spectra.portable`. Flux and noise are then
rounded to a thousandth of the noise. So where last bits differ after all, as on ARM, for which numpy is built to merge
a product and a sum into one rounding, about one pixel in 1e9 changes. Another version of numpy may draw other random
numbers; its policy allows that.
"""

import math
from collections.abc import Iterator
from numbers import Integral, Real

import numpy as np

from specdata.errors import SpecdataError
from specdata.spectra.mock.galaxy import LINES, PIXEL_VELOCITY, Z_MAX, draw_galaxy
from specdata.spectra.mock.instrument import Exposure
from specdata.spectra.mock.quasar import LIGHT, REDSHIFTS, draw_quasar
from specdata.spectra.mock.star import VELOCITY, draw_star
from specdata.spectra.mock.stars import STEP
from specdata.spectra.portable import LN_10, exp, exp10, log10, normal
from specdata.spectra.spectrum import Spectrum

PLATE_ZERO, MJD_ZERO = 90000, 50000  # no SDSS plate or night has such a number
SEED_MAX = 2_000_000_000  # keeps the plate inside the 32 bits that it has in a file
KINDS = {"galaxy": "GALAXY", "star": "STAR", "quasar": "QSO"}  # with their classes


def mock_spectra(
    n, *, seed=0, z_min=0.01, z_max=0.5, snr_min=8.0, snr_max=40.0, boss_share=0.2, kinds=None
) -> Iterator[Spectrum]:
    """Yield mock spectra, number `i` of which depends on `seed` and `i` alone (and on the other arguments).

    Parameters
    ----------
    n : int
        How many.
    seed : int
        0 to 2,000,000,000. Two seeds share no spectrum and no file name.
    z_min, z_max : float
        Redshifts of galaxies are uniform in [z_min, z_max); at most 0.8, where the population model ends. Those of
        quasars are uniform from 0.1 to 3.2, and those of stars are of their motion, some 100 km/s.
    snr_min, snr_max : float
        The median signal-to-noise ratio per pixel is log-uniform between these.
    boss_share : float
        How many of the mocks are seen by the spectrograph of BOSS (3570 to 10,350 A), the others by that of SDSS-I
        (3800 to 9200 A); a share from 0 to 1.
    kinds : dict, optional
        How common each of `KINDS` is, as numbers of which only the ratios count; by default all are galaxies.

    Raises
    ------
    SpecdataError
        For impossible arguments, at the call and not at the first spectrum.
    """
    if not isinstance(n, Integral) or n < 1:
        raise SpecdataError(f"n = {n!r}: the number of mock spectra must be a whole number of at least 1.")
    limits = {"z_min": z_min, "z_max": z_max, "snr_min": snr_min, "snr_max": snr_max, "boss_share": boss_share}
    check_limits(seed, **limits, kinds=kinds)
    return (mock_spectrum(seed, i, **limits, kinds=kinds)[0] for i in range(n))


def mock_spectrum(
    seed, index, *, z_min=0.01, z_max=0.5, snr_min=8.0, snr_max=40.0, boss_share=0.2, kinds=None
) -> tuple[Spectrum, np.ndarray]:
    """One mock spectrum and the truth behind it; arguments as in `mock_spectra`.

    Returns
    -------
    spectrum : Spectrum
        Its `z`, and the `vdisp` of a galaxy or the `teff`, `logg` and `feh` of a star, are exact; `dered_i` is the AB
        magnitude of the noiseless spectrum, before the dust of the Milky Way and errors of the calibration, through a
        top hat from 6930 to 8250 A.
    model : ndarray, shape (n,), float64
        The spectrum without noise in 1e-17 erg/s/cm2/A, with the dust of the Milky Way and errors of the calibration.
    """
    if not isinstance(index, Integral) or index < 0:
        raise SpecdataError(f"index = {index!r}: mock spectra are counted from 0; give a whole number.")
    check_limits(seed, z_min, z_max, snr_min, snr_max, boss_share, kinds)
    seed, index = int(seed), int(index)
    rng = np.random.default_rng([seed, index])
    # Random numbers of its own: how many an object takes depends on its kind, and so on the redshift.
    own = np.random.default_rng([seed, index, 1])
    kind = _draw_kind(seed, index, kinds)
    first, last = REDSHIFTS if kind == "quasar" else (z_min, z_max)
    z = first + (last - first) * rng.random()
    if kind == "star":
        z = normal(own, 0.0, VELOCITY) / LIGHT
    faintness, cos_dec, ra = rng.random(3)
    snr = snr_min * exp10(log10(snr_max / snr_min) * (1.0 - faintness))
    # Bright galaxies tend to have the better spectra. Fainter ones are more common.
    brightness = 0.7 * min(1.05, max(0.0, log10(snr / 8.0) / log10(5.0))) + 0.3 * rng.random()
    i_mag = 18.0 - 3.5 * brightness * np.sqrt(brightness) + 2.5 * max(0.0, log10(8.0 / snr))
    # The continua of mock galaxies come from calibrated spectra of real ones, with the errors of their calibration.
    seen = Exposure(rng, "BOSS" if rng.random() < boss_share else "SDSS", calibration=0.0 if kind == "galaxy" else 1.0)
    drawn = draw_star(own) if kind == "star" else {"galaxy": draw_galaxy, "quasar": draw_quasar}[kind](own, z)
    model = drawn.observed(seen.loglam, seen.wdisp, z)
    scale = exp10(0.4 * (_i_magnitude(seen.wavelength, model) - i_mag)) * seen.response
    model *= scale

    sigma = seen.sigma(model)
    sigma *= np.median(model / sigma) / snr
    step = math.ldexp(1.0, math.frexp(np.median(sigma))[1] - 11)  # 1/1024 to 1/2048 of the noise
    sigma = np.rint(sigma / step) * step
    and_mask, or_mask, lost = seen.draw_masks(rng)
    flux = model + sigma * seen.draw_noise(rng, snr)
    flux[lost] = np.interp(seen.loglam[lost], seen.loglam[~lost], flux[~lost])  # as the pipeline fills them
    flux = (np.rint(flux / step) * step).astype(np.float32)
    ivar = np.where(lost, 0.0, 1.0 / (sigma * sigma)).astype(np.float32)

    if kind == "galaxy":
        subclass = _subclass(drawn, scale, seen.wavelength / (1.0 + z), seen.wdisp, model, sigma)
        known = {"vdisp": round(float(drawn.sigma_stars), 3)}
    elif kind == "star":
        subclass, known = drawn.subclass, {"teff": drawn.teff, "logg": drawn.logg, "feh": drawn.feh}
    else:
        subclass, known = drawn.subclass, {}
    spectrum = Spectrum(
        loglam=seen.loglam,
        flux=flux,
        ivar=ivar,
        and_mask=and_mask,
        or_mask=or_mask,
        wdisp=np.where(lost, 0.0, seen.wdisp).round(4).astype(np.float32),
        z=float(z),
        zerr=round(float(np.clip(2.5e-5 * (20.0 / snr) * exp(normal(rng, 0.0, 0.3)), 1e-5, 1e-4)), 8),
        zwarning=0,
        spectype=KINDS[kind],
        subclass=subclass,
        plate=PLATE_ZERO + seed,
        mjd=MJD_ZERO + index // 1000,
        fiberid=index % 1000 + 1,
        run2d="mock",
        specobjid=f"mock-{seed}-{index}",
        ra=360.0 * float(ra),
        dec=round(float(np.degrees(np.arcsin(2.0 * cos_dec - 1.0))), 5),
        survey="mock",
        instrument=seen.name,
        snmedian=float(np.median((flux * np.sqrt(ivar))[~lost])),
        dered_i=round(float(i_mag), 5),
        **known,
        is_mock=True,
        source=f"mock seed={seed} index={index}",
    )
    return spectrum, model


def _draw_kind(seed, index, kinds):
    """One of `KINDS`, as common as `kinds` says."""
    shares = np.cumsum([(kinds or {"galaxy": 1.0}).get(kind, 0.0) for kind in KINDS])
    place = shares[-1] * np.random.default_rng([seed, index, 2]).random()
    return list(KINDS)[int(np.searchsorted(shares, place, side="right"))]


def check_limits(seed, z_min, z_max, snr_min, snr_max, boss_share=0.0, kinds=None) -> None:
    """Refuse what cannot be made; SpecdataError."""
    if not isinstance(seed, Integral) or not 0 <= seed <= SEED_MAX:
        raise SpecdataError(f"seed = {seed!r}: give a whole number from 0 to {SEED_MAX}.")
    limits = {"z_min": z_min, "z_max": z_max, "snr_min": snr_min, "snr_max": snr_max, "boss_share": boss_share}
    for name, value in limits.items():
        if not isinstance(value, Real) or not np.isfinite(value):
            raise SpecdataError(f"{name} = {value!r}: give a finite number.")
    if z_min < 0 or z_min >= z_max:
        raise SpecdataError(f"z_min = {z_min}: give a redshift of at least 0 that is below z_max = {z_max}.")
    if z_max > Z_MAX:
        raise SpecdataError(f"z_max = {z_max}: the mock galaxies end at {Z_MAX}; give at most that.")
    if snr_min <= 0 or snr_min > snr_max:
        raise SpecdataError(f"snr_min = {snr_min}: give a ratio above 0 that does not exceed snr_max = {snr_max}.")
    if not 0 <= boss_share <= 1:
        raise SpecdataError(f"boss_share = {boss_share}: give a share from 0 to 1.")
    if kinds is None:
        return
    if not isinstance(kinds, dict) or not set(kinds) <= set(KINDS):
        raise SpecdataError(f"kinds = {kinds!r}: give a share for each of {', '.join(KINDS)}, or for some of them.")
    for kind, share in kinds.items():
        if not isinstance(share, Real) or not 0 <= share < np.inf:
            raise SpecdataError(f"kinds.{kind} = {share!r}: give a number of at least 0.")
    if not sum(kinds.values()) > 0:
        raise SpecdataError(f"kinds = {kinds!r}: give one of them a share above 0.")


def _i_magnitude(wavelength, flux):
    """AB magnitude of `flux` in 1e-17 erg/s/cm2/A through a top hat with the edges of the SDSS i band."""
    band = (wavelength > 6930.0) & (wavelength < 8250.0)
    # f_nu = f_lambda lambda^2 / c, with photon weights and pixels of equal steps in ln(lambda)
    f_nu = 1e-17 * np.mean(flux[band] * wavelength[band] * wavelength[band]) / 2.99792458e18
    return -2.5 * log10(f_nu) - 48.6


def _subclass(galaxy, scale, rest, wdisp, model, sigma):
    """`SUBCLASS` by the rules of the SDSS pipeline, where all four of its lines could be detected; otherwise "".

    The rules: https://www.sdss4.org/dr17/spectro/catalogs/. A galaxy above
    log([O III]/H beta) = 0.7 - 1.2 (log([N II]/H alpha) + 0.4) is an AGN; one below it is STARFORMING, or STARBURST
    where the equivalent width of H alpha exceeds 50 A. `scale` turns the galaxy's unit into that of `model`.
    """
    emitted, flux = galaxy.emitted(), []
    for name in ("H beta", "[O III] 5008", "H alpha", "[N II] 6585"):
        pixel = np.searchsorted(rest, LINES[name])
        if not 0 < pixel < rest.size:
            return ""
        flux.append(scale[pixel] * emitted[name])
        width = np.hypot(wdisp[pixel], galaxy.sigma_gas / PIXEL_VELOCITY)
        # error of the flux of a Gaussian line in white noise, in A of the rest frame
        error = sigma[pixel] * rest[pixel] * LN_10 * STEP * np.sqrt(2.0 * np.sqrt(np.pi) * width)
        if flux[-1] < 3.0 * error:
            return ""
    h_beta, o3, h_alpha, n2 = flux
    if log10(o3 / h_beta) > 0.7 - 1.2 * (log10(n2 / h_alpha) + 0.4):
        return "AGN"
    beside = (np.abs(rest - 6565.0) > 40.0) & (np.abs(rest - 6565.0) < 90.0)
    return "STARBURST" if h_alpha > 50.0 * np.median(model[beside]) else "STARFORMING"
