"""Binning against cases whose answer is known without it."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from specdata.dataset.rows import Pixels
from specdata.errors import SpecdataError
from specdata.spectra.binning import bin_spectra, bin_spectrum, linear_edges, log_edges, median_scale, pixel_edges
from specdata.spectra.mock.spectrum import mock_spectra
from specdata.spectra.specfile import read_spectrum
from specdata.spectra.spectrum import Spectrum

LOGLAM = 3.6 + 1e-4 * np.arange(600)
EDGES = np.linspace(4003.3, 4531.7, 24)  # inside LOGLAM (3981 to 4571 A), aligned with none of its pixels


def stand_in(flux, ivar=1.0, loglam=LOGLAM):
    flux = np.broadcast_to(np.asarray(flux, dtype=np.float64), loglam.shape)
    ivar = np.broadcast_to(np.asarray(ivar, dtype=np.float64), loglam.shape)
    return SimpleNamespace(loglam=loglam, flux=flux, ivar=ivar, good=(ivar > 0) & np.isfinite(flux))


def without(spectrum, at):
    keep = np.ones(len(spectrum.loglam), bool)
    keep[at] = False
    return SimpleNamespace(**{name: values[keep] for name, values in vars(spectrum).items()})


def overlaps(edges, loglam=LOGLAM):
    """Overlap in Angstrom of every pixel with every bin, straight from the definition; shape (bins, pixels)."""
    left, right = 10 ** (loglam - 0.5e-4), 10 ** (loglam + 0.5e-4)
    return np.clip(np.minimum(right, edges[1:, None]) - np.maximum(left, edges[:-1, None]), 0, None)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("bins", [1, 7, 80, 2000])  # 2000 bins are narrower than a pixel
def test_a_constant_stays_constant_under_any_ivar(rng, bins):
    ivar = 10 ** rng.uniform(-6, 6, 600) * (rng.random(600) > 0.3)
    binned = bin_spectrum(stand_in(3.7, ivar), linear_edges(4010, 4500, bins))
    np.testing.assert_allclose(binned.flux, 3.7, rtol=1e-12)
    assert np.array_equal(binned.mask, binned.ivar == 0)


def test_integrals_are_conserved(rng):
    flux = rng.normal(5, 3, 600)
    binned = bin_spectrum(stand_in(flux, 0.3), EDGES)
    np.testing.assert_allclose(binned.flux * np.diff(EDGES), overlaps(EDGES) @ flux, rtol=1e-9)
    left, right = pixel_edges(LOGLAM)
    edges = np.concatenate([[left[0]], np.sort(rng.uniform(left[1], right[-2], 30)), [right[-1]]])
    binned = bin_spectrum(stand_in(flux), edges)
    assert np.sum(binned.flux * np.diff(edges)) == pytest.approx(np.sum(flux * (right - left)), rel=1e-9)


def test_two_pixels_by_hand():
    spectrum = stand_in([2.0, 3.0], [4.0, 1.0], loglam=np.log10([4000.0, 4004.0]))
    left, right = pixel_edges(spectrum.loglam)
    assert left[1] == right[0]
    binned = bin_spectrum(spectrum, [right[0] - 1.0, right[0] + 0.5])
    assert binned.flux[0] == pytest.approx((1.0 * 2 + 0.5 * 3) / 1.5, rel=1e-9)
    assert binned.ivar[0] == pytest.approx(1.5**2 / (1.0**2 / 4 + 0.5**2 / 1), rel=1e-9)


def test_a_bin_inside_one_pixel_has_its_flux(rng):
    flux, ivar = rng.normal(5, 3, 600), rng.uniform(0.1, 9, 600)
    left, right = pixel_edges(LOGLAM)
    edges = np.linspace(left[20], right[40], 400)
    binned = bin_spectrum(stand_in(flux, ivar), edges)
    pixel = np.searchsorted(left, edges[:-1], side="right") - 1
    inside = edges[1:] <= right[pixel]
    np.testing.assert_allclose(binned.flux[inside], flux[pixel[inside]], rtol=1e-12)
    np.testing.assert_allclose(binned.ivar[inside], ivar[pixel[inside]], rtol=1e-9)


@pytest.mark.parametrize("height", [300.0, 0.3])
def test_a_line_keeps_its_flux_where_ivar_is_low(height):
    line = height * np.exp(-0.5 * ((np.arange(600) - 301.3) / 1.4) ** 2)
    # by its own photons, or by a sky line one pixel away, in which the faint line is one or two standard deviations
    ivar = 20 / (10 + line) if height > 1 else np.where(abs(np.arange(600) - 302) < 2, 1.0, 30.0)
    binned = bin_spectrum(stand_in(10 + line, ivar), EDGES)
    assert np.sum((binned.flux - 10) * np.diff(EDGES)) == pytest.approx(overlaps(EDGES).sum(0) @ line, rel=1e-9)


def test_ivar_is_the_inverse_variance_of_the_mean(rng):
    ivar = 10 ** rng.uniform(-1, 1, 600)
    edges = EDGES[::2]
    draws = [bin_spectrum(stand_in(2 + rng.normal(size=600) / np.sqrt(ivar), ivar), edges) for _ in range(1500)]
    chi2 = np.mean([(draw.flux - 2) ** 2 * draw.ivar for draw in draws], axis=0)
    assert np.abs(chi2 - 1).max() < 4.5 * np.sqrt(2 / 1500)
    assert np.mean(chi2) == pytest.approx(1, abs=4 * np.sqrt(2 / 1500 / len(chi2)))


@pytest.mark.parametrize("poison", [1e30, -1e30, np.nan, np.inf])
def test_bad_pixels_have_no_influence(rng, poison):
    flux, ivar = rng.normal(5, 1, 600), rng.uniform(0.5, 2, 600)
    bad = rng.random(600) < 0.3
    clean = bin_spectrum(stand_in(flux, np.where(bad, 0, ivar)), EDGES)
    poisoned = stand_in(np.where(bad, poison, flux), np.where(bad, 0, ivar))
    masked = stand_in(np.where(bad, poison, flux), ivar)
    masked.good = ~bad  # ivar above 0, and yet bad by a bit of and_mask
    nan_ivar = stand_in(flux, np.where(bad, np.nan, ivar))
    for spectrum in (poisoned, masked, nan_ivar):
        binned = bin_spectrum(spectrum, EDGES)
        for name in ("flux", "ivar", "mask"):
            np.testing.assert_array_equal(getattr(binned, name), getattr(clean, name))


def test_gaps_are_interpolated_and_marked():
    edges = np.arange(4000, 4510, 50.0)
    wavelength = 10**LOGLAM
    flux = np.floor((wavelength - 4000) / 50)  # bin i has about flux i
    blind = (wavelength < 4051) | ((wavelength > 4149) & (wavelength < 4251)) | (wavelength > 4449)
    binned = bin_spectrum(stand_in(flux, ~blind), edges)
    assert binned.mask.tolist() == [True, False, False, True, True, False, False, False, False, True]
    assert (binned.ivar[binned.mask] == 0).all()
    assert (binned.ivar[~binned.mask] > 0).all()
    assert binned.flux[0] == binned.flux[1]
    assert binned.flux[9] == binned.flux[8]
    between = np.interp([3, 4], [2, 5], binned.flux[[2, 5]])
    np.testing.assert_allclose(binned.flux[3:5], between, rtol=1e-12)


@pytest.mark.parametrize("hole", [slice(200, 320), slice(300, 301)])
def test_a_hole_in_loglam_is_a_gap_and_stretches_no_pixel(rng, hole):
    spectrum = stand_in(rng.normal(5, 1, 600), 1.0)
    spectrum.good = spectrum.good.copy()
    spectrum.good[hole] = False
    expected, found = (bin_spectrum(s, EDGES) for s in (spectrum, without(spectrum, hole)))
    assert expected.mask.sum() == (5 if hole.start == 200 else 0)
    for name in ("flux", "ivar", "mask"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9)


@pytest.mark.parametrize("last", [1e-9, 1e-3])
def test_a_sliver_of_a_pixel_is_no_observation_of_a_bin(last):
    left, right = pixel_edges(LOGLAM)
    spectrum = stand_in(np.where(np.arange(600) < 100, 1e6, 1.0))
    spectrum.good = spectrum.good.copy()
    spectrum.good[100:160] = False
    binned = bin_spectrum(spectrum, [left[10], left[100] - last, right[159], right[300]])
    assert binned.mask.tolist() == [False, True, False]


@pytest.mark.parametrize(("share", "masked"), [(0.45, True), (0.55, False)])
def test_a_bin_that_is_covered_by_less_than_half_is_marked(share, masked):
    left = pixel_edges(LOGLAM)[0]
    spectrum = stand_in(1.0, np.arange(600) < 200 + 100 * share)
    binned = bin_spectrum(spectrum, [left[0], left[200], left[300]])
    assert binned.mask.tolist() == [False, masked]


def test_linear_pixels_have_no_gaps_and_their_own_widths():
    wave = np.arange(3600.0, 9824.1, 0.8)  # as of DESI
    wave = wave[(wave < 5000) | (wave > 5050)]
    left, right = pixel_edges(np.log10(wave))
    gaps = np.flatnonzero(left[1:] != right[:-1])
    assert wave[gaps].tolist() == [wave[wave < 5000][-1]]
    np.testing.assert_allclose(right - left, 0.8, rtol=0.01)  # beside the gap, the width of the median step


def test_a_single_precision_grid_has_no_gaps(rng):
    flux = rng.normal(5, 1, 600)
    single = stand_in(flux, loglam=LOGLAM.astype(np.float32))
    left, right = pixel_edges(single.loglam.astype(np.float64))
    np.testing.assert_array_equal(left[1:], right[:-1])
    binned = bin_spectrum(single, EDGES)
    # 1e-7 in loglam is 0.1 % of a pixel, so 1e-3 of the scatter of 1, shared out over the 20 pixels of a bin
    np.testing.assert_allclose(binned.flux, bin_spectrum(stand_in(flux), EDGES).flux, atol=1e-3)


@pytest.mark.parametrize(
    ("edges", "part"),
    [
        ([3980.0, 4100], "bins span 3980 to"),
        ([4100, 4600.0], "to 4600 but the spectrum"),
        ([4100, 4100], "increasing"),
        ([4200, 4100], "increasing"),
        ([4100, np.nan, 4200], "increasing"),
        ([4100], "at least two"),
        ([[4100, 4200]], "one-dimensional"),
    ],
)
def test_edges_that_cannot_be(edges, part):
    with pytest.raises(SpecdataError, match=part):
        bin_spectrum(stand_in(1.0), edges)


def test_the_outermost_pixel_edges_are_inside():
    left, right = pixel_edges(LOGLAM)
    assert bin_spectrum(stand_in(2.0), [left[0], right[-1]]).flux.tolist() == [pytest.approx(2.0, rel=1e-12)]
    for edges in ([left[0] - 1e-6, right[-1]], [left[0], right[-1] + 1e-6]):
        with pytest.raises(SpecdataError, match="choose bins inside"):
            bin_spectrum(stand_in(2.0), edges)


def test_a_spectrum_without_a_good_pixel_in_the_bins():
    for ivar in (np.zeros(600), np.where(10**LOGLAM > 4540, 1.0, 0.0)):  # good pixels beyond the last edge do not count
        with pytest.raises(SpecdataError, match="no bin holds enough good pixels"):
            bin_spectrum(stand_in(1.0, ivar), EDGES)


@pytest.mark.parametrize("loglam", [[], [3.6], [3.6, 3.6], [3.7, 3.6], [3.6, np.nan, 3.7]])
def test_loglam_that_cannot_be(loglam):
    with pytest.raises(SpecdataError, match="increasing order"):
        pixel_edges(np.array(loglam))


@pytest.mark.parametrize(
    "grid", [(0, 1, 1), (-1, 1, 1), (2, 2, 1), (3, 2, 1), (np.nan, 2, 1), (1, np.nan, 1), (1, 2, 0)]
)
def test_grids_that_cannot_be(grid):
    with pytest.raises(SpecdataError, match="give"):
        linear_edges(*grid)


def test_edges():
    assert linear_edges(4000, 5000, 4).tolist() == [4000, 4250, 4500, 4750, 5000]
    edges = log_edges(4000, 9000, 5)
    assert edges[[0, -1]].tolist() == [4000, 9000]
    np.testing.assert_allclose(np.diff(np.log(edges)), np.log(9 / 4) / 5)


def test_median_scale_is_robust_and_linear():
    flux = np.linspace(1, 2, 600)
    spike = flux.copy()
    spike[250:253] = 1e6
    plain, spiked = (median_scale(stand_in(f), 3990, 4560) for f in (flux, spike))
    assert plain == pytest.approx(1.5, abs=0.1)
    assert spiked == pytest.approx(plain, rel=0.05)
    assert median_scale(stand_in(7 * flux), 3990, 4560) == pytest.approx(7 * plain, rel=1e-6)
    assert float(np.float32(plain)) == plain  # what a data set stores is the number itself


def test_median_scale_looks_only_at_good_pixels_inside():
    wavelength = 10.0**LOGLAM
    flux = np.where(wavelength < 4100, 100.0, 3.0)
    ivar = np.where(wavelength > 4300, 0.0, 1.0)
    flux[wavelength > 4300] = 50
    assert median_scale(stand_in(flux, ivar), 4100, 4500) == 3
    with pytest.raises(SpecdataError, match="no good pixel lies between 4400 and 4500:"):
        median_scale(stand_in(flux, ivar), 4400, 4500)


@pytest.mark.parametrize("level", [0.0, -2.0])
def test_a_spectrum_without_a_scale(level):
    with pytest.raises(SpecdataError, match="median flux"):
        median_scale(stand_in(level), 4000, 4500)


def test_a_real_file(spec_files):
    spectrum = read_spectrum(spec_files["boss_galaxy"])
    edges = linear_edges(3840, 9160, 80)
    binned = bin_spectrum(spectrum, edges)
    assert not binned.mask.any()
    covered = overlaps(edges, spectrum.loglam) * spectrum.good
    np.testing.assert_allclose(binned.flux, covered @ spectrum.flux / covered.sum(1), rtol=1e-4)
    assert median_scale(spectrum, 3840, 9160) == pytest.approx(np.median(binned.flux), rel=0.1)


def test_many_spectra_at_once_give_what_each_gives_alone(spec_files, monkeypatch):
    monkeypatch.setattr("specdata.spectra.binning.BATCH", 7)
    spectra = [*mock_spectra(20, seed=4), *(read_spectrum(spec_files[name]) for name in ("galaxy", "boss_galaxy"))]
    rng = np.random.default_rng(1)
    lost = spectra[3].ivar.copy()
    lost[1000:1400] = 0  # bins that have to be interpolated
    odd = np.linspace(3.57, 3.97, 4001)  # pixels of a grid that is not of SDSS
    spectra += [
        dataclasses.replace(spectra[3], ivar=lost),
        dataclasses.replace(spectra[4], flux=np.where(rng.random(len(lost := spectra[4].flux)) < 0.2, np.nan, lost)),
        Pixels(odd + 0.00003, np.ones(4001), np.ones(4001), rng.random(4001) < 0.9),
        spectra[5],
    ]
    for edges in (linear_edges(4750, 9100, 80), log_edges(4800, 9000, 1500), np.array([5000.0, 5001.0, 7000.0])):
        together = bin_spectra(iter(spectra), edges)
        for number, spectrum in enumerate(spectra):
            alone = bin_spectrum(spectrum, edges)
            for name, values in together.items():
                np.testing.assert_array_equal(values[number], getattr(alone, name), err_msg=name)
    blind = dataclasses.replace(spectra[5], ivar=np.zeros_like(spectra[5].ivar))
    with pytest.raises(SpecdataError, match="no bin holds enough good pixels"):
        bin_spectra([spectra[5], blind], linear_edges(5000, 9000, 10))


def test_the_scale_does_not_depend_on_the_sampling():
    def median(wave):
        flux = 20 * np.exp(-wave / 2500) + np.sin(wave / 50)
        return median_scale(Spectrum.from_arrays(wave, flux, np.ones_like(wave)), 3840, 9160)

    log = median(10 ** np.arange(3.57, 3.97, 1e-4))
    assert median(np.arange(3600, 9824, 0.8)) == pytest.approx(log, rel=1e-3)
    assert median(np.arange(3600, 9824, 3.0)) == pytest.approx(log, rel=1e-2)
