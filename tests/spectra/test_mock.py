"""The mocks: do they hold the physics they claim, and is each of them reproducible?"""

import itertools
import os
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from astropy.io import fits
from numpy._core._multiarray_umath import __cpu_dispatch__ as DISPATCHED
from spec_lite import write_spec_lite

from specdata.errors import SpecdataError
from specdata.spectra.mock.galaxy import CASE_B, LINES, draw_galaxy, transmission
from specdata.spectra.mock.instrument import _tables
from specdata.spectra.mock.spectrum import mock_spectra, mock_spectrum
from specdata.spectra.mock.stars import AGES, LIGHT_SHARES, STEP, population_light, rest_wavelength
from specdata.spectra.specfile import read_spectrum
from specdata.spectra.spectrum import Spectrum

BANDS = ((0.02, 0.12), (0.17, 0.31), (0.36, 0.5))  # 1 / pixels, of the power of noise


@pytest.fixture(scope="module")
def mocks():
    """200 pairs of a spectrum and its noiseless model, all with H alpha inside."""
    return [mock_spectrum(11, index, z_min=0.01, z_max=0.35) for index in range(200)]


def _mean(rest, flux, low, high):
    return flux[(rest >= low) & (rest < high)].mean()


def _dn4000(spectrum, model):
    """Break at 4000 A with the narrow bands of Balogh et al. 1999."""
    rest = spectrum.wavelength / (1 + spectrum.z)
    return _mean(rest, model, 4000, 4100) / _mean(rest, model, 3850, 3950)


def _line(spectrum, model, low, high):
    """Flux (in the unit of `model` times observed A) and rest-frame equivalent width (A) above a straight continuum."""
    rest = spectrum.wavelength / (1 + spectrum.z)
    inside = (rest >= low) & (rest < high)
    beside = [(rest > low - 25) & (rest < low), (rest > high) & (rest < high + 25)]
    continuum = np.interp(rest[inside], [low - 12, high + 12], [np.median(model[side]) for side in beside])
    width = spectrum.wavelength[inside] * np.log(10) * STEP
    flux = np.sum((model[inside] - continuum) * width)
    return flux, flux / continuum.mean() / (1 + spectrum.z)


def _ha_ew(spectrum, model):
    return _line(spectrum, model, 6540, 6592)[1]


def test_a_mock_is_a_spectrum_on_the_sdss_grid(mocks):
    spectrum, model = mocks[0]
    assert isinstance(spectrum, Spectrum)
    kinds = {"loglam": "f8", "flux": "f4", "ivar": "f4", "wdisp": "f4", "and_mask": "i4", "or_mask": "i4"}
    for name, dtype in kinds.items():
        array = getattr(spectrum, name)
        assert (array.dtype, array.shape) == (np.dtype(dtype), model.shape), name
        assert np.isfinite(array).all(), name
    assert (spectrum.is_mock, spectrum.survey, spectrum.run2d, spectrum.spectype) == (True, "mock", "mock", "GALAXY")
    assert (spectrum.zwarning, spectrum.source) == (0, "mock seed=11 index=0")
    for spectrum, _ in mocks:
        pixels = spectrum.loglam / STEP
        np.testing.assert_allclose(pixels, np.rint(pixels[0]) + np.arange(pixels.size), atol=1e-6)
        assert spectrum.wavelength[0] < 3840 < 9160 < spectrum.wavelength[-1]
    assert len({spectrum.loglam[0] for spectrum, _ in mocks}) > 20


@pytest.mark.parametrize("name", ["H beta", "[O III] 4960", "[O III] 5008", "H alpha", "[S II] 6718", "[S II] 6733"])
def test_emission_lines_peak_at_their_vacuum_wavelengths(mocks, name):
    bright = sorted(mocks, key=lambda pair: -_line(*pair, LINES[name] - 12, LINES[name] + 12)[1])[:5]
    for spectrum, model in bright:
        for flux in (model, spectrum.flux):
            pixel = (np.log10(LINES[name] * (1 + spectrum.z)) - spectrum.loglam[0]) / STEP
            near = np.arange(round(pixel) - 4, round(pixel) + 5)
            if (spectrum.ivar[near] == 0).any() or spectrum.snmedian < 15:
                continue
            assert abs(near[flux[near].argmax()] - pixel) <= (0.75 if flux is model else 1.5)


@pytest.mark.parametrize(("wavelength", "half_window"), [(3934.78, 8), (5894.3, 12)])  # Ca II K, Na I D
def test_absorption_of_old_galaxies_lies_at_vacuum_wavelengths(mocks, wavelength, half_window):
    shifts = []
    for spectrum, model in sorted(mocks, key=lambda pair: -_dn4000(*pair))[:20]:
        rest = spectrum.wavelength / (1 + spectrum.z)
        near = np.abs(rest - wavelength) < half_window
        depth = model[near].max() - model[near]
        core = np.clip(depth - 0.5 * depth.max(), 0, None)
        shifts.append(np.sum(core * rest[near]) / core.sum() - wavelength)
        beside = (np.abs(rest - wavelength) > 15) & (np.abs(rest - wavelength) < 40)
        assert model[near].min() < 0.9 * np.median(model[beside])
    assert abs(np.median(shifts)) < 0.5  # in air the lines would be 1.1 and 1.6 A to the blue


def test_mg_b_and_iron_are_deeper_in_old_galaxies(mocks):
    ranked = sorted(mocks, key=lambda pair: _dn4000(*pair))
    for low, high, more in [(5160, 5193, 1.3), (5261, 5280, 0.35), (4295, 4318, 1.0)]:  # A of equivalent width
        young, old = ([-_line(*pair, low, high)[1] for pair in part] for part in (ranked[:40], ranked[-40:]))
        assert np.median(old) > more + np.median(young)


def test_balmer_absorption_peaks_between_young_and_old():
    np.testing.assert_allclose(np.sum(LIGHT_SHARES, axis=1), 1.0)
    around_h_delta, rest = {}, rest_wavelength()
    light = population_light()[1]
    for age, flux in zip(AGES, light, strict=True):
        beside = 0.5 * (_mean(rest, flux, 4042, 4081) + _mean(rest, flux, 4122, 4161))
        around_h_delta[age] = 1 - _mean(rest, flux, 4084, 4123) / beside
    assert around_h_delta["300 Myr"] > 0.15
    assert around_h_delta["300 Myr"] > 2 * around_h_delta["5 Myr"]
    assert around_h_delta["300 Myr"] > 3 * around_h_delta["10 Gyr"]


def test_the_4000_break_spans_real_galaxies_and_falls_with_star_formation(mocks):
    dn4000 = np.array([_dn4000(*pair) for pair in mocks])
    ha_ew = np.array([_ha_ew(*pair) for pair in mocks])
    assert 0.6 < dn4000.min() < 1.2  # one of the fitted galaxies is a starburst with 0.66
    assert 1.85 < dn4000.max() < 2.2
    assert ha_ew.max() > 50
    assert np.median(ha_ew[dn4000 > 1.75]) < 2
    rank = [np.argsort(np.argsort(x)) for x in (dn4000, ha_ew)]
    assert np.corrcoef(*rank)[0, 1] < -0.3  # real: -0.48, many being quiescent with weak lines


def test_line_ratios_before_dust_and_the_reddened_decrement():
    for index in range(50):
        galaxy = draw_galaxy(np.random.default_rng(index))
        assert galaxy.light.sum() == pytest.approx(1.0)
        assert galaxy.lines["[O III] 5008"] / galaxy.lines["[O III] 4960"] == pytest.approx(2.98)
        assert galaxy.lines["[N II] 6585"] / galaxy.lines["[N II] 6550"] == pytest.approx(3.05)
        assert galaxy.lines["H alpha"] / galaxy.lines["H beta"] == pytest.approx(CASE_B["H alpha"])
        assert galaxy.emitted()["H alpha"] / galaxy.emitted()["H beta"] >= CASE_B["H alpha"]


def test_gas_and_dust_of_quiescent_galaxies_follow_each_other():
    """In the fits to real ones of equal break these pairs correlate by 0.4 and 0.5; when drawn apart, by 0."""
    some = [draw_galaxy(np.random.default_rng(seed), 0.05, "quiescent") for seed in range(300)]
    gas, dust = (np.log([pick(one) for one in some]) for pick in (lambda g: g.lines["H alpha"], lambda g: g.ebv_stars))
    assert np.corrcoef(gas, dust)[0, 1] > 0.15
    assert np.corrcoef(gas, [one.sodium for one in some])[0, 1] > 0.15


def test_dust_follows_calzetti():
    # k(V) = R_V = 4.05 and k(B) - k(V) = 1: what E(B-V) means (equation 4 of the paper, to its own precision)
    k = -2.5 * np.log10(transmission(np.array([5500.0, 4400.0]), 1.0))
    assert k[0] == pytest.approx(4.05, abs=0.05)
    assert k[1] - k[0] == pytest.approx(1.0, abs=0.08)
    np.testing.assert_array_equal(transmission(np.array([3000.0, 9000.0]), 0.0), 1.0)
    assert transmission(6299.9, 0.5) == pytest.approx(transmission(6300.1, 0.5), rel=2e-2)


def test_no_flux_of_a_line_is_lost_between_pixels():
    galaxy = next(g for i in itertools.count() if (g := draw_galaxy(np.random.default_rng(i))).lines["H alpha"] > 40)
    loglam, z = np.arange(35800, 39640) / 10000, 0.1
    for shift in (0.0, 0.3, 0.5):
        gas = galaxy._gas(loglam + shift * STEP, 10 ** (loglam + shift * STEP) / (1 + z), np.full(loglam.size, 0.8), z)
        rest = 10 ** (loglam + shift * STEP) / (1 + z)
        inside = (rest > 4990) & (rest < 5030)
        total = np.sum((gas * rest * np.log(10) * STEP)[inside])
        assert total == pytest.approx(galaxy.emitted()["[O III] 5008"], rel=1e-3)


def test_noise_of_faint_spectra_is_what_ivar_says(mocks):
    for part in (slice(0, 1500), slice(1500, 3000), slice(3000, None)):
        pulls = [((s.flux - m) * np.sqrt(s.ivar))[part][s.good[part]] for s, m in mocks if s.snmedian < 15]
        assert np.median([pull.std() for pull in pulls]) == pytest.approx(1.0, abs=0.08)
        assert np.concatenate(pulls).mean() == pytest.approx(0.0, abs=0.02)  # 3 to 4 sigma


@pytest.mark.parametrize(
    ("boss_share", "start", "middle", "short"),
    [(0, 4250, 0.82, 0.42), (0, 4810, 0.55, 0.37), (0, 6270, 0.37, 0.21), (1, 4810, 0.68, 0.25), (1, 6270, 0.78, 0.22)],
)
def test_power_of_the_noise_of_bright_spectra_is_that_of_real_ones(boss_share, start, middle, short):
    """Relative to 1 / ivar, at periods of 3 to 6 pixels and below: medians of 317 spectra of SDSS and 72 of BOSS."""
    powers = []
    for index in range(40):
        mock, model = mock_spectrum(3, index, z_max=0.1, snr_min=56, snr_max=60, boss_share=boss_share)
        first = np.searchsorted(mock.wavelength, start)
        pull = ((mock.flux - model) * np.sqrt(mock.ivar))[first : first + 400]
        power = np.abs(np.fft.rfft(pull * np.hanning(400))) ** 2 / np.sum(np.hanning(400) ** 2)
        frequency = np.arange(201) / 400
        powers.append([power[(frequency > low) & (frequency < high)].mean() for low, high in BANDS])
    longest, found_middle, found_short = np.median(powers, axis=0)
    assert found_middle == pytest.approx(middle, rel=0.15)
    assert found_short == pytest.approx(short, rel=0.2)
    assert longest == pytest.approx(found_middle, rel=0.15)


def test_boss_reaches_farther_than_sdss(mocks):
    share = np.mean([s.instrument == "BOSS" for s, _ in mocks])
    assert share == pytest.approx(0.2, abs=0.1)
    for spectrum, _ in mocks:
        if spectrum.instrument == "BOSS":
            assert spectrum.wavelength[0] < 3620
            assert spectrum.wavelength[-1] > 10300


def test_few_galaxies_beyond_a_third_shine_in_oxygen(mocks):
    far = [mock_spectrum(2, index, z_min=0.35, z_max=0.5) for index in range(100)]
    assert np.mean([_line(*pair, 3717, 3740)[1] > 10 for pair in far]) < 0.05


def test_noise_follows_the_sky_and_the_throughput(mocks):
    red = []
    for spectrum, _ in mocks[:30]:
        sigma = np.where(spectrum.ivar > 0, np.maximum(spectrum.ivar, 1e-12) ** -0.5, np.nan)

        def noise(low, high, sigma=sigma, wavelength=spectrum.wavelength):
            return np.nanmedian(sigma[(wavelength > low) & (wavelength < high)])

        assert noise(8828, 8831) > 1.5 * noise(8805, 8825)  # a line of the OH forest
        red.append(noise(9100, 9160) / noise(7450, 7520))
    assert np.median(red) > 1  # not in each: a bright blue galaxy's own photons outdo the sky


@pytest.mark.parametrize(("boss_share", "measured"), [(0.0, 4.56), (1.0, 10.08)])  # medians of 52 and 72 real galaxies
def test_the_brightest_sky_line_is_as_deep_in_ivar_as_in_real_spectra(boss_share, measured):
    limits = {"z_min": 0.02, "z_max": 0.04, "snr_min": 55.0, "snr_max": 65.0, "boss_share": boss_share}
    excess = []
    for spectrum in mock_spectra(80, seed=5, **limits):
        near = (np.abs(spectrum.wavelength - 5578.9) < 150.0) & (spectrum.ivar > 0)
        line = near & (np.abs(spectrum.wavelength - 5578.9) < 2.0)
        excess.append(np.median(spectrum.ivar[near]) / np.min(spectrum.ivar[line], initial=np.inf) - 1.0)
    assert np.median(excess) == pytest.approx(measured, rel=0.35)


def test_signal_to_noise_and_brightness(mocks):
    for spectrum, model in mocks:
        good, band = spectrum.ivar > 0, (spectrum.wavelength > 6930) & (spectrum.wavelength < 8250)
        assert spectrum.snmedian == pytest.approx(np.median((spectrum.flux * np.sqrt(spectrum.ivar))[good]), rel=1e-5)
        assert 7 < spectrum.snmedian < 45
        assert 14.4 < spectrum.dered_i <= 18.0
        # AB: f_nu = 3631 Jy at magnitude 0; f_lambda at 7480 A as the check
        expected = 3.631e-20 * 10 ** (-0.4 * spectrum.dered_i) * 2.99792458e18 / 7480**2 / 1e-17
        assert np.mean(model[band]) == pytest.approx(expected, rel=0.35)  # dust of our Galaxy, and the calibration


def test_masks(mocks):
    share_lost = np.array([np.mean(s.ivar == 0) for s, _ in mocks])
    assert (share_lost > 0).all()
    assert share_lost.mean() < 0.02
    for spectrum, _ in mocks:
        assert ((spectrum.and_mask & spectrum.or_mask) == spectrum.and_mask).all()
        assert (spectrum.or_mask != spectrum.and_mask).any()
    bright_sky = np.concatenate([s.wavelength[(s.and_mask & (1 << 23)) > 0] for s, _ in mocks])
    assert ((bright_sky > 5575) & (bright_sky < 5583)).sum() > 50
    assert np.mean(((bright_sky > 5570) & (bright_sky < 5590)) | (bright_sky > 5880)) > 0.998


def test_redshift_shows_only_in_the_features():
    """With other limits on z, a mock keeps its grid, masks, signal-to-noise ratio and brightness."""
    near = [mock_spectrum(3, i, z_min=0.02, z_max=0.03)[0] for i in range(20)]
    far = [mock_spectrum(3, i, z_min=0.4, z_max=0.41)[0] for i in range(20)]
    for a, b in zip(near, far, strict=True):
        for name in ("loglam", "and_mask", "or_mask", "wdisp"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        np.testing.assert_array_equal(a.ivar == 0, b.ivar == 0)
        assert a.dered_i == b.dered_i
        assert a.zerr == b.zerr
        assert a.snmedian == pytest.approx(b.snmedian, rel=0.1)
    assert np.mean([b.snmedian / a.snmedian for a, b in zip(near, far, strict=True)]) == pytest.approx(1.0, abs=0.02)


def test_redshifts_fill_the_range_evenly():
    z = np.array([s.z for s in mock_spectra(200, seed=8, z_min=0.1, z_max=0.3)])
    assert 0.1 <= z.min() < z.max() < 0.3
    counts = np.histogram(z, bins=4, range=(0.1, 0.3))[0]
    assert (np.abs(counts - 50) < 25).all()


def test_variety(mocks):
    subclasses = {spectrum.subclass for spectrum, _ in mocks}
    assert subclasses == {"", "STARFORMING", "STARBURST", "AGN"}
    positions = {(spectrum.ra, spectrum.dec) for spectrum, _ in mocks}
    assert len(positions) == len(mocks)
    assert len({spectrum.specobjid for spectrum, _ in mocks}) == len(mocks)
    colours = []
    for spectrum, model in mocks:
        rest = spectrum.wavelength / (1 + spectrum.z)
        colours.append(_mean(rest, model, 4200, 4300) / _mean(rest, model, 6600, 6700))
    assert np.ptp(np.log(colours)) > 1.0


def test_seed_and_index_alone_decide_the_spectrum():
    few, many = list(mock_spectra(10, seed=4)), list(itertools.islice(mock_spectra(100, seed=4), 10))
    for a, b in zip([*few, mock_spectrum(4, 7)[0]], [*many, many[7]], strict=True):
        assert (a.z, a.name) == (b.z, b.name)
        np.testing.assert_array_equal(a.flux, b.flux)
        np.testing.assert_array_equal(a.ivar, b.ivar)
    assert not np.array_equal(next(mock_spectra(1, seed=5)).flux, few[0].flux)
    names = [mock_spectrum(2, i)[0].name for i in (0, 999, 1000)]  # the next night begins after 1,000 fibres
    assert names == ["90002-50000-0001", "90002-50000-1000", "90002-50001-0001"]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"n": 0}, "n = 0"),
        ({"n": 2.5}, "n = 2.5"),
        ({"seed": -1}, "seed = -1"),
        ({"seed": "a"}, "seed = 'a'"),
        ({"z_min": -0.1}, "z_min = -0.1"),
        ({"z_min": 0.3, "z_max": 0.3}, "z_min = 0.3"),
        ({"z_max": 0.81}, "z_max = 0.81"),
        ({"z_max": float("nan")}, "z_max = nan"),
        ({"snr_min": 0.0}, "snr_min = 0.0"),
        ({"snr_min": 50.0}, "snr_min = 50.0"),
        ({"snr_max": float("inf")}, "snr_max = inf"),
        ({"boss_share": 1.5}, "boss_share = 1.5"),
    ],
)
def test_impossible_arguments_are_refused_at_the_call(arguments, field):
    with pytest.raises(SpecdataError) as error:
        mock_spectra(**({"n": 3} | arguments))  # nothing is drawn: the call itself must refuse
    assert field in str(error.value)
    with pytest.raises(SpecdataError, match="index = -1"):
        mock_spectrum(0, -1)


def test_the_whole_range_of_redshift_is_covered():
    for spectrum in mock_spectra(5, z_min=0.0, z_max=0.001):
        assert np.sum(spectrum.flux[spectrum.good] == 0) <= 1  # by chance, in noise as large as the flux
    for spectrum, model in (mock_spectrum(0, i, z_min=0.799, z_max=0.8) for i in range(5)):
        assert (model > 0).all()
        assert spectrum.loglam.size == model.size


def test_a_mock_in_a_file_is_read_back_as_it_was(tmp_path):
    spectrum, model = mock_spectrum(6, 3)
    path = tmp_path / "spec-90006-50000-0004.fits"
    write_spec_lite(spectrum, path, model=model)
    again = read_spectrum(path)
    for name, value in vars(spectrum).items():
        if name in ("flux", "ivar", "and_mask", "or_mask", "wdisp", "loglam"):
            np.testing.assert_allclose(getattr(again, name), value, rtol=1e-7 * (name == "loglam"), err_msg=name)
        elif isinstance(value, str) and name != "source":
            assert getattr(again, name) == value
    assert [again.z, again.zerr, again.snmedian] == pytest.approx([spectrum.z, spectrum.zerr, spectrum.snmedian], 1e-6)
    assert (again.ra, again.dec, again.is_mock) == (spectrum.ra, spectrum.dec, True)
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "COADD", "SPECOBJ", "SPZLINE"]
        assert hdus[0].header["MOCK"] is True
        assert hdus[1].columns.names == ["flux", "loglam", "ivar", "and_mask", "or_mask", "wdisp", "sky", "model"]
        np.testing.assert_allclose(hdus[1].data["model"], model, rtol=1e-6)


# Prints a hash of everything that is stored of three mocks, pixel by pixel, in bins and as numbers for a text.
HASH = """
import hashlib, numpy
from specdata.spectra.binning import bin_spectra, log_edges
from specdata.spectra.mock.spectrum import mock_spectra
from specdata.text.encoding import normalise
mocks, digest = list(mock_spectra(3, seed=6)), hashlib.sha256()
binned = bin_spectra(mocks, log_edges(3840, 9160, 300))
for values in [*map(vars, mocks), binned, {"text": normalise(binned["flux"], 20.0, "asinh")}]:
    for name, value in sorted(values.items()):
        digest.update(value.tobytes() if isinstance(value, numpy.ndarray) else repr(value).encode())
print(digest.hexdigest()[:16])
"""


@pytest.mark.parametrize("kernels", ["", "Nehalem", "Haswell"])
def test_every_processor_makes_the_same_bytes(kernels):
    """As here, and without numpy's code for AVX2, AVX-512 and FMA, with BLAS and the C library for an old processor."""
    environment = os.environ | {"PYTHONHASHSEED": "77"}
    if kernels:
        environment |= {"NPY_DISABLE_CPU_FEATURES": " ".join(DISPATCHED), "OPENBLAS_CORETYPE": kernels}
        environment |= {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"}
    out = subprocess.run([sys.executable, "-c", HASH], env=environment, capture_output=True, text=True, check=True)
    # Made on Intel Xeon with AVX-512. Another version of numpy may draw other numbers: then put the new hash here.
    assert out.stdout.strip() == "ac2d3c0e4e890e70"


def test_last_bits_that_differ_change_no_mock(monkeypatch):
    def noisy(function):
        def changed(*arguments):
            result = function(*arguments)
            return result * (1 + 1e-13 * noise.standard_normal(np.shape(result)))

        return changed

    noise = np.random.default_rng(3)
    expected = [mock_spectrum(6, index) for index in range(10)]
    for name in ("ldexp", "interp", "sum"):  # the first is the last step of every power and exponential
        monkeypatch.setattr(np, name, noisy(getattr(np, name)))
    for module, table in (("galaxy", population_light), ("instrument", _tables)):  # which every mock shares
        monkeypatch.setattr(f"specdata.spectra.mock.{module}.{table.__name__}", cache(table.__wrapped__))
    for index, (spectrum, model) in enumerate(expected):
        again, noisy_model = mock_spectrum(6, index)
        assert not np.array_equal(noisy_model, model)
        np.testing.assert_allclose(noisy_model, model, rtol=1e-8)
        for name, value in vars(spectrum).items():
            np.testing.assert_array_equal(getattr(again, name), value, err_msg=name)
