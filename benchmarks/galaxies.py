"""What mock galaxies are made of, from real galaxies: makes `galaxies.csv` and `variety.csv` of the mocks.

    python benchmarks/galaxies.py FOLDER

FOLDER holds SDSS `spec` files of galaxies, of which every other one is used, so that the rest can judge the mocks
(`python benchmarks/mocks.py FOLDER --half 1`). All that a mock galaxy is made of is fitted to each spectrum, by least
squares with a Gaussian prior for each number. What these fits leave, out of emission lines, has the principal
components of `variety.csv`, optical depths of the stars; then all is fitted again with these. Ten minutes of one core.
"""

import argparse
from pathlib import Path

import numpy as np
from absorption import EMISSION, FIRST, LAST, LOGLAM, REST, without
from mocks import BREAK, measure
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from tqdm import tqdm

from specdata.spectra.mock import galaxy, stars
from specdata.spectra.mock.dust import transmission
from specdata.spectra.mock.galaxy import COLUMNS, KNOTS
from specdata.spectra.mock.instrument import CALIBRATION
from specdata.spectra.specfile import read_spectrum

# Mean and standard deviation of the prior of each of `COLUMNS`
PRIOR = {
    "5 Myr": (-2.2, 0.8), "60 Myr": (-2.2, 0.8), "300 Myr": (-2.0, 0.8), "1 Gyr": (-1.2, 0.7), "3 Gyr": (-0.3, 0.6),
    "feh": (0.05, 0.22), "ebv_stars": (-1.22, 0.4), "sigma_stars": (2.26, 0.13), "sodium": (0.3, 1.0),
    "H alpha": (0.2, 1.0), "[N II]": (-0.1, 0.3), "[S II]": (-0.2, 0.25), "[O I]": (-1.0, 0.3), "[O III]": (0.1, 0.4),
    "[O II]": (0.3, 0.35), "ebv_gas": (-0.82, 0.4), "sigma_gas": (2.18, 0.12),
}  # fmt: skip
MILKY_WAY = 0.03  # E(B-V) in mag of dust in front of all
DEPTHS = 24  # principal components


class Fit:
    """The numbers of one galaxy, found by Gauss-Newton steps.

    With them the `continuum` is fitted: errors of the calibration have two shapes, and with what the populations of
    the mocks lack it varies by `knots` at each wavelength of its own. Residuals are divided by `soft`, because those of
    neighbouring pixels are not independent.
    """

    def __init__(self, spectrum, start, prior, knots, soft, steps=9):
        self.spectrum = spectrum
        self.loglam = np.rint(1e4 * spectrum.loglam) / 1e4
        wdisp = np.where(spectrum.wdisp > 0.3, spectrum.wdisp, np.median(spectrum.wdisp[spectrum.wdisp > 0.3]))
        self.wdisp = np.clip(wdisp.astype(float), 0.6, 1.8)
        self.flux = spectrum.flux.astype(float)
        wavelength, good = 10**self.loglam, spectrum.good.copy()
        rest = wavelength / (1 + spectrum.z)
        good[:3] = good[-3:] = False
        self.used = good & (rest > 3650) & (rest < 8800) & (np.abs(wavelength - 5579) > 8)
        level = np.maximum(uniform_filter1d(self.flux, 51), 0.05 * np.median(self.flux[good]))
        variance = 1 / np.where(self.used, spectrum.ivar, np.inf) + (0.012 * level) ** 2
        self.weight = np.where(self.used, 1 / np.sqrt(variance) / soft, 0)
        self.dust = transmission(wavelength, MILKY_WAY)
        self.errors = np.vstack([CALIBRATION[1:, : KNOTS.size], knots * np.eye(KNOTS.size)])
        self.shapes = np.array([np.interp(rest, KNOTS, error) for error in self.errors])
        mean, self.sigma = prior
        self.numbers = self._steps(start, mean, steps)

    def _galaxy(self, numbers):
        """Noiseless flux, in the unit of `Galaxy`."""
        depths = np.zeros(len(galaxy.variety()))
        depths[: len(numbers) - len(COLUMNS)] = numbers[len(COLUMNS) :]
        numbers = np.r_[numbers[: len(COLUMNS)], np.zeros(KNOTS.size), depths]
        made = galaxy.from_numbers(np.random.default_rng(0), numbers)
        return made.observed(self.loglam, self.wdisp, self.spectrum.z) * self.dust

    def _steps(self, numbers, mean, steps):
        """Reduce the sum of squares; each step is damped until it does."""
        number, damping = len(numbers), 1e-2
        light = self._galaxy(numbers)
        w2 = self.weight * self.weight
        # In units of the prior: the numbers, the parts of the continuum, and the logarithm of the brightness
        own = np.r_[(numbers - mean) / self.sigma, np.zeros(len(self.shapes))]
        own = np.r_[own, np.log(np.sum(w2 * self.flux * light) / np.sum(w2 * light * light))]
        prior = np.r_[np.ones(len(own) - 1), 0]

        def cost(own, light):
            flux = light * np.exp(own[-1] + own[number:-1] @ self.shapes)
            residual = (flux - self.flux) * self.weight
            return flux, residual, residual @ residual + prior @ (own * own)

        self.model, residual, least = cost(own, light)
        for _ in range(steps):
            slopes = [
                (self._galaxy(mean + self.sigma * (own[:number] + 1e-3 * one)) - light) / 1e-3 for one in np.eye(number)
            ]
            slopes = np.array([*(slopes * self.model / light), *(self.shapes * self.model), self.model]) * self.weight
            curvature, gradient = slopes @ slopes.T + np.diag(prior), slopes @ residual + prior * own
            for _ in range(5):
                step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), gradient)
                new = own - np.clip(step, -1.5, 1.5)
                new_light = self._galaxy(mean + self.sigma * new[:number])
                model, new_residual, new_least = cost(new, new_light)
                if new_least < least:
                    break
                damping = max(damping, 1e-3) * 8
            else:
                break
            gain, own, light, damping = least - new_least, new, new_light, damping / 6
            self.model, residual, least = model, new_residual, new_least
            if gain < 1e-4 * least:
                break
        self.continuum = own[number:-1] @ self.errors
        return mean + self.sigma * own[:number]


def components(fits, number):
    """Optical depths of which what the fits left is made, and the mean and sigma of each in these galaxies.

    Of shapes (number, stars.NPIX) and (2, number).
    """
    left = []
    for fit in fits:
        loglam = fit.loglam[fit.used] - np.log10(1 + fit.spectrum.z)
        missing = -np.log(np.clip(fit.flux[fit.used] / fit.model[fit.used], 0.7, 1.4))
        missing = np.interp(LOGLAM, loglam, missing, left=0, right=0)
        bright = fit.numbers[COLUMNS.index("H alpha")] > 0.5  # emission too strong to be subtracted
        left.append(without(EMISSION, missing) if bright else missing)
    taper = np.clip((REST - 3690) / 40, 0, 1) * np.clip((8780 - REST) / 100, 0, 1)
    left = np.clip(gaussian_filter1d(np.array(left), 1.0, axis=1) * taper, -0.15, 0.15)
    scores, size, shapes = np.linalg.svd(left, full_matrices=False)
    scores = scores[:, :number] * np.sqrt(len(fits))
    seen = shapes[:number] * (size[:number, None] / np.sqrt(len(fits)))
    depths = seen
    for _ in range(3):  # sharper, as the motion of the stars and the instrument will smear them
        depths = depths + seen - gaussian_filter1d(depths, 2.4, axis=1)
    return np.pad(depths, ((0, 0), (FIRST, stars.NPIX - LAST))), np.array([scores.mean(axis=0), scores.std(axis=0)])


def _write(name, header, rows):
    with Path(stars.__file__).with_name(name).open("w", newline="\n") as stream:
        stream.writelines(",".join(map(str, row)) + "\n" for row in [header, *rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    whole = (spectrum for spectrum in map(read_spectrum, sorted(folder.glob("spec-*.fits"))[::2]))
    found = [(measure(spectrum)[BREAK], spectrum) for spectrum in whole if spectrum.good.mean() > 0.9]
    found = sorted((pair for pair in found if np.isfinite(pair[0])), key=lambda pair: pair[0])

    prior = np.array([*PRIOR.values()]).T
    fits = [Fit(spectrum, prior[0], prior, knots=0.001, soft=2.0) for _, spectrum in tqdm(found)]
    depths, of_depths = components(fits, DEPTHS)
    print("principal components:", depths.std(axis=1).round(4))
    galaxy.variety = lambda: depths
    starts, prior = [np.r_[fit.numbers, of_depths[0]] for fit in fits], np.hstack([prior, of_depths])
    pairs = zip(found, starts, strict=True)
    fits = [
        Fit(spectrum, start, prior, knots=0.0144, soft=1.0) for (_, spectrum), start in tqdm(pairs, total=len(fits))
    ]
    rows = [
        [f"{value:.3f}", *(f"{x:.2f}" for x in fit.numbers[: len(COLUMNS)]), *(f"{x:.3f}" for x in fit.continuum)]
        + [f"{x:.2f}" for x in fit.numbers[len(COLUMNS) :]]
        for (value, _), fit in zip(found, fits, strict=True)
    ]
    names = [f"depth {k + 1}" for k in range(DEPTHS)]
    _write("galaxies.csv", [BREAK, *COLUMNS, *(f"{x:.0f} A" for x in KNOTS), *names], rows)
    pixels = range(FIRST - 1, LAST, 2)
    rows = [[k, *np.rint(1e4 * depths[:, max(k, FIRST)]).astype(int)] for k in pixels]
    _write("variety.csv", ["pixel", *names], rows)


if __name__ == "__main__":
    main()
