"""`Spectrum.from_arrays`: units, air and vacuum, errors, and what it refuses."""

import doctest
import math

import astropy.units as u
import numpy as np
import pytest

from specdata import SpecdataError, Spectrum
from specdata.spectra import spectrum as module
from specdata.spectra.arrays import FLUX, air_to_vacuum

WAVE = np.linspace(4000.0, 9000.0, 500)
NOISY = 10 + np.random.default_rng(1).normal(0, 0.5, 500)


def test_plain_numbers_have_the_units_of_sdss():
    spectrum = Spectrum.from_arrays(WAVE, NOISY, np.full(500, 4.0), z=0.25, source="mine")
    np.testing.assert_allclose(spectrum.wavelength, WAVE)
    np.testing.assert_allclose(spectrum.flux, NOISY, rtol=1e-6)
    assert (spectrum.ivar == 4).all()
    assert spectrum.good.all()
    assert (spectrum.z, spectrum.source, spectrum.spectype, spectrum.name) == (0.25, "mine", "", "")
    assert spectrum.snmedian == pytest.approx(20, rel=0.02)
    assert math.isnan(spectrum.teff)
    assert {name: getattr(spectrum, name).dtype.kind for name in ("wdisp", "and_mask", "or_mask")} == {
        "wdisp": "f", "and_mask": "i", "or_mask": "i"
    }  # fmt: skip


@pytest.mark.parametrize("unit", ["Jy", "W / (m2 um)", "erg / (s cm2 Hz)", "1e-17 erg / (Angstrom s cm2)"])
@pytest.mark.parametrize("error", ["sigma", "ivar"])
def test_units_are_converted_with_their_errors(unit, error):
    unit, density = u.Unit(unit), u.spectral_density(WAVE * u.AA)
    flux = (NOISY * u.Unit(FLUX)).to(unit, density)
    sigma = (np.full(500, 0.5) * u.Unit(FLUX)).to(unit, density)
    given = {"sigma": sigma} if error == "sigma" else {"ivar": 1 / sigma**2}
    spectrum = Spectrum.from_arrays((WAVE / 1e4) * u.um, flux, **given)
    np.testing.assert_allclose(spectrum.flux, NOISY, rtol=1e-5)
    np.testing.assert_allclose(spectrum.ivar, 4, rtol=1e-5)


def test_frequencies_in_rising_order_are_wavelengths_in_rising_order():
    frequency = (WAVE * u.AA).to(u.THz, u.spectral())[::-1]
    spectrum = Spectrum.from_arrays(frequency, NOISY[::-1], np.ones(500))
    np.testing.assert_allclose(spectrum.wavelength, WAVE)
    np.testing.assert_allclose(spectrum.flux, NOISY, rtol=1e-6)


def test_air_wavelengths_become_those_in_vacuum():
    # [O III] and H alpha, in air and in vacuum, as the SDSS line list has them
    np.testing.assert_allclose(air_to_vacuum([5006.843, 6562.79]), [5008.240, 6564.603], atol=2e-3)
    assert air_to_vacuum([1500.0]) == 1500
    shifted = Spectrum.from_arrays(WAVE, NOISY, np.ones(500), medium="air").wavelength / WAVE - 1
    assert 2.7e-4 < shifted.min() < shifted.max() < 2.9e-4


def test_pixels_without_information():
    ivar, flux, wave = np.ones(500), NOISY.copy(), WAVE.copy()
    ivar[:3], flux[3], wave[4] = (0, -1, np.nan), np.nan, -1
    mask = np.arange(500) == 5
    spectrum = Spectrum.from_arrays(wave, flux, ivar, mask=mask)
    np.testing.assert_array_equal(spectrum.good, ~np.isin(np.arange(500), range(6))[np.arange(500) != 4])


def test_noise_is_estimated_where_it_is_not_given():
    spectrum = Spectrum.from_arrays(WAVE, NOISY * u.adu)
    np.testing.assert_allclose(spectrum.ivar**-0.5, 0.5, rtol=0.15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"wavelength": WAVE * u.kg}, "wavelength cannot be converted to Angstrom"),
        ({"flux": NOISY * u.kg}, "flux is in kg"),
        ({"flux": NOISY[1:]}, "flux has the shape (499,)"),
        ({"sigma": np.ones(500)}, "ivar and sigma are both given"),
        ({"medium": "water"}, "medium = 'water'"),
        ({"ivar": np.zeros(500)}, "no pixel holds information"),
        ({"wavelength": np.ones(500)}, "values of wavelength repeat"),
        ({"wavelength": -WAVE}, "fewer than two pixels"),
        ({"flux": np.ones(500), "ivar": None}, "the noise cannot be estimated"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(SpecdataError) as caught:
        Spectrum.from_arrays(**{"wavelength": WAVE, "flux": NOISY, "ivar": np.ones(500)} | change)
    assert message in str(caught.value)


def test_the_example():
    assert doctest.testmod(module).failed == 0
