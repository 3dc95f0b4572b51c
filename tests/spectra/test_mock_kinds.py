"""Mock stars and quasars: what is known of them shows in their light, and a recipe says how common they are."""

import numpy as np
import pytest

from specdata.errors import SpecdataError
from specdata.spectra.mock.quasar import LY_ALPHA, draw_quasar
from specdata.spectra.mock.spectrum import mock_spectra, mock_spectrum
from specdata.spectra.mock.star import Star
from specdata.spectra.mock.stars import rest_wavelength


def depth(star, centre, width=12.0):
    """Equivalent width (A) around a wavelength, against the light beside it."""
    wavelength, light = rest_wavelength(), star.light()
    away = np.abs(wavelength - centre)
    level = np.median(light[(away > 2 * width) & (away < 4 * width)])
    inside = away < width
    return float(np.sum((1 - light[inside] / level) * np.gradient(wavelength)[inside]))


def colour(star):
    wavelength, light = rest_wavelength(), star.light()
    return light[np.abs(wavelength - 4500) < 50].mean() / light[np.abs(wavelength - 8000) < 50].mean()


def test_temperature_gravity_and_metallicity_of_a_star_show_in_its_light():
    blue = [colour(Star("dwarf", teff, 4.4, -0.3)) for teff in (3500.0, 4500.0, 5500.0, 7000.0, 12000.0)]
    assert np.all(np.diff(blue) > 0)
    # Magnesium and sodium tell cool dwarfs from giants, and the wings of hydrogen hot ones.
    for centre in (5175.0, 5894.6):
        assert depth(Star("dwarf", 4600.0, 4.6, 0.0), centre) > 1.3 * depth(Star("giant", 4600.0, 2.0, 0.0), centre)
    pressed = [depth(Star("hot star", 9500.0, logg, 0.0), 4862.7, 60.0) for logg in (3.0, 4.0)]
    pressed.append(depth(Star("white dwarf", 12000.0, 8.0, np.nan), 4862.7, 60.0))
    assert np.all(np.diff(pressed) > 2.0)
    calcium = [depth(Star("dwarf", 5800.0, 4.4, feh), 3934.8) for feh in (-2.0, -1.0, 0.0)]
    assert np.all(np.diff(calcium) > 0.5)


def test_a_quasar_has_its_lines_and_the_forest_of_its_redshift():
    loglam = np.arange(35511, 40170) / 10_000
    wdisp, passed = np.full(loglam.size, 1.0), []
    for seed in range(30):
        quasar = draw_quasar(np.random.default_rng(seed), 2.8)
        rest = 10**loglam / 3.8
        flux = quasar.observed(loglam, wdisp, 2.8)
        if not quasar.outflow.size:
            beside = np.median(flux[np.abs(rest - 1465) < 15])
            assert flux[np.abs(rest - LY_ALPHA) < 12].max() > 1.5 * beside
            assert flux[np.abs(rest - 1549) < 12].max() > beside
        passed.append(quasar._passed(rest, wdisp, 2.8)[np.abs(rest - 1120) < 40].mean())
    assert 0.65 < np.mean(passed) < 0.85  # at z = 2.5, where Faucher-Giguere et al. 2008 have exp(-0.24)


def test_kinds_are_as_common_as_asked_and_have_their_columns():
    found = list(mock_spectra(60, seed=4, kinds={"galaxy": 1, "star": 2, "quasar": 1}))
    classes = [spectrum.spectype for spectrum in found]
    assert 20 <= classes.count("STAR") <= 40
    assert 7 <= classes.count("QSO") <= 23
    for spectrum in found:
        numbers = np.array([spectrum.vdisp, spectrum.teff, spectrum.logg])
        known = {"GALAXY": (True, False, False), "STAR": (False, True, True), "QSO": (False,) * 3}[spectrum.spectype]
        assert tuple(np.isfinite(numbers)) == known
        assert abs(spectrum.z) < 0.003 if spectrum.spectype == "STAR" else spectrum.z >= 0.01
        assert np.isfinite(spectrum.flux).all()
    again = mock_spectrum(4, 7, kinds={"galaxy": 1, "star": 2, "quasar": 1})[0]
    assert np.array_equal(again.flux, found[7].flux)
    assert np.array_equal(mock_spectrum(4, 7)[0].flux, mock_spectrum(4, 7, kinds={"galaxy": 3, "star": 0})[0].flux)


@pytest.mark.parametrize(
    ("kinds", "said"),
    [({"comet": 1}, "galaxy, star, quasar"), ({"star": -1}, "kinds.star = -1"), ({"star": 0}, "a share above 0")],
)
def test_impossible_kinds_are_refused(kinds, said):
    with pytest.raises(SpecdataError, match=said):
        mock_spectra(1, kinds=kinds)
