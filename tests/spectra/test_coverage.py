"""Spectra of another range, sampling or resolution than the bins were made for."""

import numpy as np
import pytest

from specdata import SpecdataError, Spectrum, bin_spectrum
from specdata.spectra.coverage import cover
from specdata.spectra.mock.spectrum import mock_spectra

EDGES = np.geomspace(3900.0, 9100.0, 65)


def of(start, stop, step, **options):
    wave = np.arange(start, stop, step)
    return Spectrum.from_arrays(wave, 2 + wave / 1000, np.ones(len(wave)), source="mine", **options)


def test_a_spectrum_of_sdss_stays_as_it_is():
    spectrum = next(mock_spectra(1))
    covered, warnings = cover(spectrum, EDGES)
    assert warnings == []
    np.testing.assert_array_equal(covered.loglam, spectrum.loglam)


@pytest.mark.parametrize(("start", "stop", "share"), [(3000, 8000, "79%"), (5000, 9500, "79%"), (4500, 8000, "67%")])
def test_bins_beyond_a_spectrum_are_marked_and_filled(start, stop, share):
    covered, warnings = cover(of(start, stop, 0.8), EDGES)
    binned = bin_spectrum(covered, EDGES)
    middle = 0.5 * (EDGES[1:] + EDGES[:-1])
    inside = (EDGES[:-1] > start) & (EDGES[1:] < stop)
    np.testing.assert_allclose(binned.flux[inside], 2 + middle[inside] / 1000, rtol=1e-4)
    assert not binned.mask[inside].any()
    assert binned.mask[(EDGES[1:] < start) | (EDGES[:-1] > stop)].all()
    assert share in warnings[0]
    assert len(warnings) == 1


def test_coarse_pixels_and_a_coarse_resolution_are_told():
    assert "its pixels, of up to 60 A, are wider than" in cover(of(3800, 9200, 60.0), EDGES)[1][0]
    assert "a FWHM of up to 235.5 A, is coarser" in cover(of(3800, 9200, 5.0, lsf_sigma=20.0), EDGES)[1][0]
    assert cover(of(3800, 9200, 0.8, lsf_sigma=1.5), EDGES)[1] == []


@pytest.mark.parametrize(("start", "stop"), [(380, 920), (8000, 12000), (3800, 6000)])
def test_less_than_half_is_refused(start, stop):
    with pytest.raises(SpecdataError, match=r"mine: spans .* give one that covers at least half"):
        cover(of(start, stop, 0.8), EDGES)
