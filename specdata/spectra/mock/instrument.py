"""The spectrographs of SDSS-I and BOSS and the sky above them, as far as a mock spectrum needs them.

All is in the observed frame. Nothing here is told the redshift, so the noise and the masks cannot give it away.
"""

from functools import cache

import numpy as np

from specdata.spectra.mock.dust import transmission
from specdata.spectra.mock.stars import STEP
from specdata.spectra.portable import exp, exp10, gaussian, log10, normal

NEARBADPIXEL, FULLREJECT, PARTIALREJECT, BRIGHTSKY, COMBINEREJ = (1 << bit for bit in (16, 18, 19, 23, 25))  # SPPIXMASK

# Two spectrographs in round numbers, read off public spectra: wavelength (A), value. `THROUGHPUT` is relative, `WDISP`
# the sigma of a line in pixels, `SKY` its continuum in 1e-17 erg/s/cm2/A, lower for the smaller fibres of BOSS.
THROUGHPUT = {
    "SDSS": [(3800, 0.26), (4000, 0.52), (4400, 0.80), (5000, 0.92), (5500, 0.80), (5700, 0.78), (5800, 1.00),
             (5950, 1.14), (6100, 0.97), (6250, 0.90), (7000, 0.87), (7800, 0.73), (8500, 0.57), (9000, 0.44),
             (9250, 0.36)],
    "BOSS": [(3560, 0.03), (3600, 0.05), (3700, 0.13), (3800, 0.25), (4000, 0.53), (4200, 0.75), (4500, 0.93),
             (5000, 1.0), (5500, 0.97), (5800, 0.87), (6000, 1.0), (6150, 1.05), (6500, 0.97), (7500, 0.98),
             (8000, 0.89), (8500, 0.82), (9000, 0.8), (9250, 0.7), (9500, 0.5), (9800, 0.5), (10100, 0.26),
             (10360, 0.08)],
}  # fmt: skip
WDISP = {
    "SDSS": [(3800, 1.17), (4000, 1.12), (4500, 1.02), (5000, 0.92), (5500, 0.85), (5800, 0.83), (6100, 0.95),
             (6250, 0.97), (6500, 0.93), (7000, 0.85), (7500, 0.79), (8000, 0.74), (8500, 0.71), (9250, 0.69)],
    "BOSS": [(3560, 1.37), (3800, 1.30), (4000, 1.20), (4200, 1.12), (4500, 1.04), (5000, 0.95), (5500, 0.90),
             (5800, 0.88), (6000, 0.95), (6300, 0.97), (6500, 0.95), (7000, 0.89), (7500, 0.85), (8000, 0.81),
             (8500, 0.77), (9000, 0.75), (9800, 0.75), (10360, 0.82)],
}  # fmt: skip
SKY = {
    "SDSS": [(3800, 10.0), (4100, 13.0), (4850, 13.0), (5350, 11.5), (5850, 16.0), (6350, 11.8), (7100, 9.2),
             (7850, 10.5), (8350, 8.0), (8850, 7.0), (9250, 5.5)],
    "BOSS": [(3560, 3.6), (3800, 3.9), (4500, 4.3), (5000, 3.8), (5500, 4.2), (5850, 5.3), (6300, 4.2), (7000, 3.1),
             (7500, 3.5), (8000, 3.3), (9000, 2.8), (9800, 3.8), (10360, 6.2)],
}  # fmt: skip
LINES_OF_BOSS, OXYGEN_OF_BOSS = 0.5, 0.7  # brightness of sky lines in its smaller fibres, and that of [O I] 5579
# Sky lines: vacuum wavelength (A), typical peak in 1e-17 erg/s/cm2/A, from the median of the `sky` column of SDSS-I
# spectra. Mercury and sodium lamps, [O I] 5579, 6302 and 6366; above 6400 A the OH forest and an O2 band at 8650.
SKY_LINES = np.array([
    *[(3913.8, 12), (4047.7, 22), (4359.4, 44), (5462.5, 37), (5578.9, 396), (5689.9, 16), (5771.4, 12), (5792.0, 11)],
    *[(5868.4, 11), (5891.5, 97), (5897.5, 64), (5934.7, 12), (5955.3, 11), (6237.6, 15), (6259.7, 13), (6302.2, 92)],
    *[(6331.6, 12), (6365.4, 31), (6500.4, 14), (6534.8, 11), (6555.4, 13), (6579.3, 11), (6831.5, 23), (6865.9, 33)],
    *[(6951.0, 21), (7243.1, 50), (7245.6, 46), (7278.3, 67), (7286.3, 26), (7318.3, 51), (7331.4, 24), (7343.0, 59)],
    *[(7360.7, 21), (7371.5, 43), (7404.0, 29), (7526.3, 36), (7573.8, 26), (7601.0, 25), (7630.8, 20), (7717.5, 66)],
    *[(7752.8, 78), (7762.0, 28), (7796.2, 61), (7810.8, 26), (7823.6, 74), (7843.5, 24), (7855.6, 81), (7862.3, 30)],
    *[(7872.2, 38), (7882.1, 24), (7892.0, 42), (7915.9, 99), (7922.8, 44), (7933.5, 29), (7951.1, 20), (7967.0, 72)],
    *[(7981.4, 32), (7995.5, 74), (8016.5, 23), (8028.1, 60), (8064.5, 30), (8283.4, 53), (8290.4, 70), (8300.6, 80)],
    *[(8313.0, 23), (8346.8, 172), (8354.2, 55), (8366.8, 22), (8384.5, 42), (8401.4, 114), (8417.6, 52)],
    *[(8432.5, 130), (8454.5, 46), (8467.6, 100), (8495.8, 31), (8507.1, 61), (8551.2, 27), (8629.9, 51), (8657.8, 48)],
    *[(8661.5, 50), (8667.4, 45), (8671.1, 38), (8677.0, 28), (8764.4, 96), (8769.4, 124), (8780.0, 135)],
    *[(8793.5, 40), (8829.3, 260), (8838.4, 101), (8851.9, 29), (8869.7, 70), (8888.2, 194), (8905.6, 75)],
    *[(8922.0, 202), (8945.7, 70), (8960.4, 162), (8990.8, 55), (9003.7, 106), (9040.6, 26), (9051.8, 47)],
    *[(9315.4, 276), (9326.1, 260), (9341.1, 72), (9377.8, 584), (9403.7, 64), (9423.2, 108), (9442.8, 430)],
    *[(9460.2, 188), (9479.8, 318), (9503.9, 136), (9521.4, 168), (9554.3, 90), (9569.7, 212), (9609.5, 48)],
    *[(9622.8, 68), (9671.6, 56), (9685.0, 82), (9702.9, 100), (9723.0, 124), (9740.9, 54), (9792.6, 234)],
    *[(9851.4, 78), (9874.2, 246), (9896.9, 106), (9917.4, 266), (9949.5, 304), (9958.6, 230), (9974.7, 72)],
    *[(10002.3, 44), (10016.1, 442), (10027.7, 146), (10046.2, 52), (10062.4, 94), (10085.6, 260), (10106.5, 120)],
    *[(10127.4, 300), (10155.5, 132), (10174.2, 352), (10193.0, 206), (10214.1, 284), (10228.2, 168), (10273.1, 48)],
    *[(10289.6, 618), (10349.0, 128)],
])  # fmt: skip
# First and last pixel in units of `STEP`: the range from which each end of a spectrum is drawn
ENDS = {"SDSS": ((35795, 35836), (39626, 39648)), "BOSS": ((35511, 35577), (40137, 40170))}
# Noise is white noise seen through weights of 1 at its own pixel, of these one pixel away (wavelength in A, weight),
# and of minus half of them two pixels away: resampling takes power from the shortest waves, down to a quarter, and
# leaves waves longer than four pixels as they are. After the power spectra of 405 real galaxies.
BESIDE = {
    "SDSS": [(4118, 0.108), (4305, 0.095), (4500, 0.095), (4700, 0.074), (4915, 0.058), (5137, 0.058), (5370, 0.048),
             (5900, 0.063), (6130, 0.095), (6407, 0.069), (6696, 0.087), (7000, 0.076), (9200, 0.044)],
    "BOSS": [(6000, 0.133), (6200, 0.163)],
}  # fmt: skip
# The pipeline's errors are too large for bright spectra. Wavelength (A), and the signal-to-noise ratio at which the
# variance of the noise is half of 1 / ivar, as the same power spectra have it at periods of three to six pixels.
OVERESTIMATED = {
    "SDSS": [(3940, 330), (4118, 120), (4305, 100), (4500, 80), (4700, 63), (4915, 59.5), (5137, 57), (5370, 56),
             (5900, 60), (6130, 44.5), (6407, 41), (6696, 41), (7000, 44), (7300, 46), (8000, 85)],
    "BOSS": [(4118, 157), (4305, 96), (4500, 96), (4700, 72.5), (4915, 70), (5137, 60), (5370, 62), (5700, 66),
             (6130, 68), (6407, 58), (6696, 64), (7000, 65), (8000, 70)],
}  # fmt: skip
UNDERESTIMATED = {"SDSS": 0.4, "BOSS": 1.0}  # what a sky line adds to the variance, relative to 1 / ivar
# Variance in sky lines, relative to that of their photons, and the brightness at which errors of the subtracted sky
# double it, after the `ivar` of real spectra
SKY_LINE_NOISE = {"SDSS": (0.6, 100.0), "BOSS": (1.5, 65.0)}
# Errors of the flux calibration: wavelength (A), and the sizes of two shapes by which the continua of real galaxies
# with equal lines differ more than those of mocks without such errors. Each wavelength errs by another 0.8 per cent.
CALIBRATION = np.array([
    *[(3560, 0.12, -0.05), (3850, 0.09, -0.03), (4000, 0.075, -0.01), (4200, 0.065, 0.015), (4450, 0.05, 0.02)],
    *[(4700, 0.035, 0.021), (5000, 0.025, 0.021), (5300, 0.012, 0.015), (5600, 0.005, 0.011), (5900, 0.003, 0.01)],
    *[(6300, 0.0, 0.005), (6650, 0.0, 0.002), (7050, -0.003, -0.002), (7450, -0.009, -0.009), (7900, -0.011, -0.014)],
    *[(8350, -0.016, -0.018), (8800, -0.016, -0.023), (9500, -0.02, -0.03), (10400, -0.02, -0.04)],
]).T  # fmt: skip


@cache
def _tables(name):
    """Wavelength, `WDISP`, `THROUGHPUT`, `SKY`, lamp and [O I] lines, and OH lines of a spectrograph; (6, pixels)."""
    (first, _), (_, last) = ENDS[name]
    loglam = np.arange(first, last) / 10_000
    wavelength = exp10(loglam)
    tables = [np.interp(wavelength, *zip(*table[name], strict=True)) for table in (WDISP, THROUGHPUT, SKY)]
    lines = SKY_LINES[:, 1:] * gaussian((loglam - log10(SKY_LINES[:, :1])) / STEP / 0.95)
    if name == "BOSS":
        lines *= np.where(SKY_LINES[:, :1] == 5578.9, OXYGEN_OF_BOSS, LINES_OF_BOSS)
    is_oh = SKY_LINES[:, 0] > 6400.0
    return np.array([wavelength, *tables, lines[~is_oh].sum(0), lines[is_oh].sum(0)])


def resampled(white, beside) -> np.ndarray:
    """White noise of n + 4 pixels as the pipeline's resampling leaves it, with variance 1; `beside` has n weights."""
    smooth = white[2:-2] + beside * (white[1:-3] + white[3:-1] - 0.5 * (white[:-4] + white[4:]))
    return smooth / np.sqrt(1.0 + 2.5 * beside * beside)


class Exposure:
    """One night's view through one fibre, drawn from the numbers of `rng`; every array has shape (n,).

    `name` is SDSS (about 3800 to 9200 A) or BOSS (3570 to 10,350 A). `loglam` and `wavelength` (vacuum, A) are
    multiples of `STEP`; `wdisp` is the sigma of the line spread function in pixels, of two arms that meet at 6000 A;
    and the sky has a `continuum` and `lines`, in 1e-17 erg/s/cm2/A. `response` is the flux that is measured for a flux
    of 1: the calibration errs by some per cent, and smoothly, by `calibration` times what is usual, and SDSS spectra
    are not corrected for the dust of our own Galaxy.
    """

    def __init__(self, rng, name="SDSS", calibration=1.0):
        self.name = name
        ends = ENDS[name]
        first, stop = rng.integers(*ends[0]), rng.integers(*ends[1])
        self.loglam = np.arange(first, stop) / 10_000
        tables = _tables(name)[:, first - ends[0][0] : stop - ends[0][0]]
        self.wavelength, wdisp, self._throughput, continuum, lamps, hydroxyl = tables
        self.wdisp = wdisp * (normal(rng, 1.0, 0.05) + normal(rng, 0.0, 0.03) * (self.wavelength - 6200.0) / 2600.0)
        bright = exp(normal(rng, 0.0, np.array([0.15, 0.3, 0.3]), 3))
        self.continuum, self.lines = bright[0] * continuum, bright[1] * lamps + bright[2] * hydroxyl
        blue, slope = normal(rng, size=2)
        errors = calibration * (blue * CALIBRATION[1] + slope * CALIBRATION[2])
        errors += normal(rng, 0.0, 0.008, CALIBRATION[0].size)
        ebv = min(0.10, 0.03 * exp(normal(rng, 0.0, 0.6)))
        self.response = exp(np.interp(self.wavelength, CALIBRATION[0], errors)) * transmission(self.wavelength, ebv)

    def sigma(self, model) -> np.ndarray:
        """Noise per pixel up to a factor: photons of galaxy and sky, and the detector."""
        photons = self._throughput * self.wavelength / 5500.0  # per unit of flux
        share, bright = SKY_LINE_NOISE[self.name]
        sky = self.continuum + share * self.lines * (1.0 + self.lines / bright)
        return np.sqrt((np.maximum(model, 0.0) + sky) / photons + 2.0 / (photons * photons))

    def draw_noise(self, rng, snr) -> np.ndarray:
        """Noise in units of the sigma that `ivar` tells, for a spectrum of the signal-to-noise ratio `snr`.

        In SDSS-I neighbouring pixels do not follow each other in bright sky lines, whose own errors are as sharp as a
        pixel.
        """
        n = self.lines.size
        white = normal(rng, size=n + 4)
        blue = self.wavelength < 6000.0
        # `BESIDE` varies from spectrum to spectrum, in each arm apart
        beside = np.where(blue, *np.maximum(0.0, normal(rng, 1.0, 0.08 if self.name == "BOSS" else 0.18, 2)))
        beside = beside * np.interp(self.wavelength, *zip(*BESIDE[self.name], strict=True))
        smooth = resampled(white, beside)
        in_lines = self.lines / (self.lines + 2.0 * self.continuum)
        share = 0.0 if self.name == "BOSS" else in_lines
        noise = np.sqrt(1.0 - share * share) * smooth + share * normal(rng, size=n)
        ratio = snr / np.interp(self.wavelength, *zip(*OVERESTIMATED[self.name], strict=True))
        variance = (1.0 + UNDERESTIMATED[self.name] * in_lines) / (1.0 + (1.0 - in_lines) * ratio * ratio)
        # ln of the noise relative to what `ivar` says: of both arms, and of the red one besides
        mean, spread = ((0.075, -0.07), (0.06, 0.10)) if self.name == "BOSS" else ((0.005, -0.04), (0.13, 0.13))
        both, red = normal(rng, np.array(mean), np.array(spread), 2)
        return exp(np.where(blue, both, 1.3 * both + red)) * np.sqrt(variance) * noise

    def draw_masks(self, rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The SPPIXMASK bits `and_mask` and `or_mask` (int32), and where pixels are lost, with ivar 0 (bool).

        Cosmic rays that hit every exposure cost pixels, and now and then a bad column.
        """
        n = self.lines.size
        and_mask, or_mask, lost = np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n, bool)
        runs = [int(rng.integers(2, 8)) for _ in range(1 + rng.poisson(1.5))]
        if rng.random() < 0.04:
            runs.append(int(rng.integers(40, 160)))
        for length in runs:
            start = int(rng.integers(0, n - length))
            lost[start : start + length] = True
        and_mask[lost] |= NEARBADPIXEL | FULLREJECT | COMBINEREJ
        # The brighter the line, the more often the pipeline gives up on it.
        chance = np.clip((self.lines - 60.0) / 500.0, 0.0, 0.8)
        and_mask[rng.random(n) < chance] |= BRIGHTSKY
        or_mask[(self.lines > 90.0) & (rng.random(n) < 0.6)] |= BRIGHTSKY
        for start in rng.integers(0, n - 5, rng.poisson(60)):
            or_mask[start : start + int(rng.integers(1, 5))] |= NEARBADPIXEL | PARTIALREJECT
        return and_mask, or_mask | and_mask, lost
