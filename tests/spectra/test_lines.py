"""Rest wavelengths against NIST's wavelengths in air, converted to vacuum."""

import numpy as np
import pytest

from specdata.spectra.lines import LINES, observed

AIR = {
    "[O II]": [3726.03, 3728.82],
    "Ca H+K": [3933.66, 3968.47],
    "H-beta": [4861.33],
    "[O III]": [5006.84],
    "Mg b": [5167.32, 5172.68, 5183.60],
    "Na D": [5889.95, 5895.92],
    "H-alpha": [6562.80],
    "[S II]": [6716.44, 6730.82],
}


def vacuum(air):
    """Morton 1991 (ApJS 77, 119), equation 3, the IAU's standard for above 2000 A; Angstrom."""
    square = (1e4 / air) ** 2  # per square micrometre
    return air * (1 + 6.4328e-5 + 2.94981e-2 / (146 - square) + 2.5540e-4 / (41 - square))


@pytest.mark.parametrize("name", AIR)
def test_rest_wavelengths_in_vacuum(name):
    assert LINES[name] == pytest.approx(np.mean(vacuum(np.array(AIR[name]))), abs=0.06)


def test_the_redshift_stretches_wavelengths():
    assert set(LINES) - set(AIR) == {"G band"}
    assert observed(5000.0, 0.1) == pytest.approx(5500.0)
