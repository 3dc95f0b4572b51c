"""Template fits: against brute force, on shifted and on mock spectra, with templates from a file and from spectra."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits

from specdata import SpecdataError
from specdata.evaluation.baselines import templates
from specdata.evaluation.baselines.methods import CIRCULAR, run_baselines
from specdata.evaluation.baselines.templates import (
    STEP,
    TERMS,
    Templates,
    average,
    candidates,
    fit_bins,
    fit_pixels,
    pca_templates,
    read_templates,
    rest_pixels,
)
from specdata.evaluation.split import open_split
from specdata.spectra.binning import linear_edges, log_edges

RANGE = (0.0, 0.3)
FIRST, PIXELS = 35850, 1600  # 3846 to 5559 Angstrom
REST = rest_pixels(10 ** (FIRST * STEP), 10 ** ((FIRST + PIXELS) * STEP), RANGE)


def galaxy(wavelength):
    """Two rest-frame spectra, shape (2, n): a continuum with a break and absorption lines, and emission lines."""
    old = 1 + np.tanh((wavelength - 4000) / 20) / 3 + wavelength / 10_000
    for line in (3934, 3969, 4304, 4861):
        old = old - 0.3 * np.exp(-0.5 * ((wavelength - line) / 6) ** 2)
    lines = sum(np.exp(-0.5 * ((wavelength - line) / 4) ** 2) for line in (3728, 4341, 4861, 4960, 5008))
    return np.array([old, lines])


@pytest.fixture(scope="module")
def known():
    return Templates(REST[0], galaxy(10 ** (np.arange(REST[0], REST[1] + 1) * STEP)))


def spectra(z, rng, noise=0.02):
    """Pixels of galaxies, and their inverse variance, a tenth of them missing with nonsense in their place."""
    wavelength = 10 ** ((FIRST + np.arange(PIXELS)) * STEP)
    mixed = rng.uniform(0.2, 1, (len(z), 2))
    flux = np.array([mix @ galaxy(wavelength / (1 + one)) for mix, one in zip(mixed, z, strict=True)])
    flux += rng.normal(0, noise, flux.shape)
    missing = rng.random(flux.shape) < 0.1
    return np.where(missing, 1e3, flux), np.where(missing, 0, noise**-2)


def test_correlations_give_the_chi_square_of_each_shift(known):
    rng = np.random.default_rng(0)
    flux, ivar = spectra(np.array([0.123456]), rng)
    ivar *= rng.uniform(0.5, 2, ivar.shape)
    smooth = templates._legendre(10 ** ((FIRST + np.arange(PIXELS)) * STEP))
    low, high = 400, 600  # shifts in pixels: 0.096 < z < 0.148
    chi2 = []
    for shift in range(low, high + 1):
        start = FIRST - shift - known.first
        functions = np.vstack([known.flux[:, start : start + PIXELS], smooth]) * np.sqrt(ivar)
        chi2.append(np.linalg.lstsq(functions.T, flux[0] * np.sqrt(ivar[0]))[1][0])
    expected = templates._best_redshift(-np.array([chi2]), np.arange(low, high + 1) * STEP)
    found = fit_pixels(known, FIRST, flux, ivar, tuple(10 ** (n * STEP) - 1 for n in (low, high)))[0]
    assert found == pytest.approx(expected, abs=1e-7)


def test_redshifts_are_found_between_pixels_and_follow_a_shift(known):
    rng = np.random.default_rng(1)
    z = rng.uniform(0.01, 0.29, 20)
    flux, ivar = spectra(z, rng, noise=1e-3)
    found = fit_pixels(known, FIRST, flux, ivar, RANGE)[0]
    assert np.abs(found - z).max() < 1e-5  # a pixel is 2.3e-4
    shifted = fit_pixels(known, FIRST + 7, flux[z < 0.2], ivar[z < 0.2], RANGE)[0]
    assert (1 + shifted) == pytest.approx((1 + found[z < 0.2]) * 10 ** (7 * STEP), abs=1e-5)


@pytest.mark.parametrize("edges", [log_edges(3850, 5550, 90), linear_edges(3850, 5550, 70)])
def test_bins_of_any_kind_give_redshifts_much_finer_than_a_bin(known, edges):
    rng = np.random.default_rng(2)
    z = rng.uniform(0.01, 0.29, 20)
    wavelength = np.linspace(3840, 5560, 20_000)
    flux = np.array([average(wavelength, np.array([[1, 0.5]]) @ galaxy(wavelength / (1 + one)), edges)[0] for one in z])
    found = fit_bins(known, edges, 3.0 * flux + rng.normal(0, 0.003, flux.shape), RANGE)[0]
    assert np.abs(found - z).max() < 5e-4  # a bin is 0.005


def test_fits_with_fewer_templates_come_along(known):
    rng = np.random.default_rng(4)
    flux, ivar = spectra(rng.uniform(0.02, 0.28, 8), rng)
    one = known._replace(flux=known.flux[:1])
    together = fit_pixels(known, FIRST, flux, ivar, RANGE, [1, 2])
    for alone, found in zip((one, known), together, strict=True):
        assert found == pytest.approx(fit_pixels(alone, FIRST, flux, ivar, RANGE)[0], abs=1e-7)
    edges = log_edges(3850, 5550, 90)
    binned = average(10 ** ((FIRST + np.arange(PIXELS)) * STEP), np.where(ivar > 0, flux, 1), edges)
    together = fit_bins(known, edges, binned, RANGE, [1, 2])
    for alone, found in zip((one, known), together, strict=True):
        assert found == pytest.approx(fit_bins(alone, edges, binned, RANGE)[0], abs=1e-7)


def test_templates_of_spectra_fill_in_for_missing_pixels(known):
    rng = np.random.default_rng(3)
    z = rng.uniform(0.0, 0.3, 60)
    flux, ivar = spectra(z, rng)
    made = pca_templates((FIRST + np.arange(PIXELS)) * STEP, flux, ivar, z, 2, *REST)
    covered = slice(700, -700)
    left = np.linalg.lstsq(made.flux[:, covered].T, known.flux[:, covered].T)[1]
    assert np.sqrt(left / known.flux[:, covered].shape[1]).max() < 0.02  # as the noise of one spectrum
    new = rng.uniform(0.02, 0.28, 20)
    assert np.abs(fit_pixels(made, FIRST, *spectra(new, rng), RANGE)[0] - new).max() < 5e-4


def test_averages_are_exact_for_straight_lines():
    wavelength, edges = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 1.0, 3.0, 6.0])
    found = average(wavelength, 2 * wavelength[None], edges)
    assert found[0] == pytest.approx([2, 4, (7 + 16) / 3])  # the values at the ends go on


def write_templates(path, *, logarithmic):
    """Templates in the format of redrock, as `redrock.templates.Template` reads them."""
    x = np.linspace(3.3, 3.9, 30_000) if logarithmic else np.arange(1500.0, 9000.0, 0.3)
    image = fits.PrimaryHDU(galaxy(10**x if logarithmic else x))
    image.header.update(CRVAL1=x[0], CDELT1=x[1] - x[0], RRTYPE="GALAXY", EXTNAME="BASIS_VECTORS")
    if logarithmic:
        image.header["LOGLAM"] = 1
    image.writeto(path)
    return path


@pytest.mark.parametrize("logarithmic", [True, False])
def test_templates_are_read_in_the_format_of_redrock(logarithmic, known, tmp_path):
    found = read_templates(write_templates(tmp_path / "rrtemplate.fits", logarithmic=logarithmic), *REST)
    assert found.first == REST[0]
    scale = np.sqrt(np.mean(known.flux**2, axis=1, keepdims=True))
    np.testing.assert_allclose(found.flux, known.flux / scale, atol=0.03)  # lines are 13 high


def test_a_file_without_templates_is_one_sentence(tmp_path):
    with pytest.raises(SpecdataError, match=r"none.fits: holds no templates in redrock's format"):
        read_templates(tmp_path / "none.fits", *REST)
    (tmp_path / "text.fits").write_text("no FITS file")
    with pytest.raises(SpecdataError, match=r"text.fits: holds no templates in redrock's format"):
        read_templates(tmp_path / "text.fits", *REST)
    path = write_templates(tmp_path / "rrtemplate.fits", logarithmic=False)
    with pytest.raises(SpecdataError, match=r"covers 1500 to 9000 A, and the fit needs 9999 to"):
        read_templates(path, 40_000, 45_000)


def test_the_number_of_templates_is_bound_by_spectra_and_bins():
    assert candidates(400) == list(templates.COUNTS)
    assert candidates(16) == [1, 2, 3]
    assert candidates(400, bins=16) == [count for count in templates.COUNTS if count + TERMS <= 8]
    assert candidates(3) == candidates(400, bins=7) == []


def test_mocks_are_read_far_better_than_by_a_constant(mock_data, tmp_path):
    data = open_split(mock_data, "packed")
    z, names = data.rows["z"].to_numpy(), ("constant", "template_fit", "template_fit_pixels")
    found = run_baselines(data, names, progress=False)
    error = {name: np.abs(z_pred - z) for name, (z_pred, _) in found.items()}
    # 24 training spectra and 60 bins: now and then a galaxy is of no kind that these show, and its lines are mistaken
    assert np.sort(error["template_fit"])[20] < 0.02 * error["constant"].mean()
    assert error["template_fit"].mean() < 0.2 * error["constant"].mean()
    assert error["template_fit_pixels"].mean() < 0.01 * error["constant"].mean()
    facts = {name: facts for name, (_, facts) in found.items()}
    assert [facts[name]["reads"] for name in names] == ["nothing", "text", "pixels"]
    assert {facts[name]["note"] for name in names} == {""}
    assert facts["template_fit"]["chosen"]["templates"] in candidates(24)
    real = data.rows.set_column(data.rows.schema.get_field_index("is_mock"), "is_mock", [[False] * len(z)])
    real = dataclasses.replace(data, rows=real)
    path = write_templates(tmp_path / "rrtemplate.fits", logarithmic=False)
    of_file = run_baselines(real, names[:2], templates=path, progress=False)
    assert of_file["constant"][1]["note"] == ""
    assert of_file["template_fit"][1]["note"] == CIRCULAR
    assert of_file["template_fit"][1]["title"] == "template fit to the text, 2 templates of rrtemplate.fits"
    # The two templates are no galaxies of this kind, but have the lines of some: by chance one row would be so near.
    assert (np.abs(of_file["template_fit"][0] - z) < 0.01).sum() > 3
    with pytest.raises(SpecdataError, match="config spectra has other rows than packed"):
        run_baselines(dataclasses.replace(data, rows=data.rows.take(list(range(24))[::-1])), names[2:], progress=False)


def test_pixels_of_a_split_are_those_that_its_bins_are_made_of(mock_data):
    data = open_split(mock_data, "packed", limit=5)
    ((first, flux, ivar),) = data.pixels("rows")
    assert len(flux) == 5
    assert [10 ** (number * STEP) for number in (first, first + flux.shape[1] - 1)] == pytest.approx(
        [3840, 9160], rel=3e-4
    )
    assert np.median(flux[ivar > 0]) == pytest.approx(1, abs=0.05)
