"""What dust lets pass."""

import numpy as np

from specdata.spectra.portable import exp10


def transmission(wavelength, ebv) -> np.ndarray:
    """Fraction of light that passes the dust: Calzetti et al. 2000 (ApJ 533, 682), equations 2 to 4, R_V = 4.05.

    `wavelength` is that at rest in A, a float or an array, and `ebv` the colour excess E(B-V) in mag.
    """
    inverse = 1e4 / np.asarray(wavelength)  # per micrometre
    blue = 2.659 * (-2.156 + inverse * (1.509 + inverse * (-0.198 + inverse * 0.011))) + 4.05
    red = 2.659 * (-1.857 + 1.040 * inverse) + 4.05
    return exp10(-0.4 * ebv * np.where(inverse > 1.0 / 0.63, blue, red))
