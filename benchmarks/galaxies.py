"""What mock galaxies are made of, from real galaxies: makes `galaxies.csv` and `variety.csv` of the mocks.

    python benchmarks/galaxies.py FOLDER

FOLDER holds SDSS `spec` files of galaxies, of which every other one is used, so that the rest can judge the mocks
(`python benchmarks/mocks.py FOLDER --half 1`; `--half 1` here fits the rest instead).

1. The numbers that describe a galaxy are fitted to each spectrum, with a Gaussian prior for each number.
2. What these fits leave, out of emission lines, has the principal components of `variety.csv`, optical depths of the
   stars. All is fitted again with these, and once more with those of what is left then.
3. How the numbers are distributed among galaxies of a 4000 A break is found from all fits together, by expectation
   maximisation: mean and covariance of the likelihoods' Gaussian approximations. Best fits scatter more than galaxies
   do, because they follow the noise.
4. For each galaxy, `galaxies.csv` gets one draw from the numbers that both its spectrum and this distribution allow, by
   a Markov chain (preconditioned Crank-Nicolson: Cotter et al. 2013, Statistical Science 28, 424) with its exact
   likelihood.

Half an hour of two cores.
"""

import argparse
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from absorption import EMISSION, FIRST, LAST, LOGLAM, REST, without
from mocks import BREAK, measure
from scipy.ndimage import gaussian_filter1d, uniform_filter1d
from tqdm import tqdm

from specdata.spectra.mock import galaxy, stars
from specdata.spectra.mock.dust import transmission
from specdata.spectra.mock.galaxy import COLUMNS, KNOTS
from specdata.spectra.mock.instrument import OVERESTIMATED
from specdata.spectra.specfile import read_spectrum

# Mean and standard deviation of the prior of each of `COLUMNS`
PRIOR = {
    "5 Myr": (-2.2, 0.8), "60 Myr": (-2.2, 0.8), "300 Myr": (-2.0, 0.8), "1 Gyr": (-1.2, 0.7), "3 Gyr": (-0.3, 0.6),
    "feh": (0.05, 0.22), "ebv_stars": (-1.22, 0.4), "sigma_stars": (2.26, 0.13), "sodium": (0.3, 1.0),
    "H alpha": (0.2, 1.0), "[N II]": (-0.1, 0.3), "[S II]": (-0.2, 0.25), "[O I]": (-1.0, 0.3), "[O III]": (0.1, 0.4),
    "[O II]": (0.3, 0.35), "ebv_gas": (-0.82, 0.4), "sigma_gas": (2.18, 0.12),
}  # fmt: skip
MILKY_WAY = 0.03  # E(B-V) in mag of dust in front of all
DEPTHS = (24, 40)  # principal components, and those of what fits with these leave
# Numbers are in units of these: COLUMNS, the continuum at KNOTS, DEPTHS
UNITS = np.r_[[sigma for _, sigma in PRIOR.values()], np.full(KNOTS.size, 0.0144), np.ones(sum(DEPTHS))]
CENTRE = np.r_[[mean / sigma for mean, sigma in PRIOR.values()], np.zeros(KNOTS.size + sum(DEPTHS))]
FIRST_DEPTH = len(COLUMNS) + KNOTS.size
CORES = 2


class Fit:
    """The numbers of one galaxy.

    `fit` finds them, and with them `curvature` (n, n) and `pull` (n,) of the likelihood L, so that near the best fit
    ln L = pull x - x curvature x / 2, but for a constant. The brightness is always the best one.
    """

    def __init__(self, spectrum):
        self.spectrum = spectrum
        self.loglam = np.rint(1e4 * spectrum.loglam) / 1e4
        wdisp = np.where(spectrum.wdisp > 0.3, spectrum.wdisp, np.median(spectrum.wdisp[spectrum.wdisp > 0.3]))
        self.wdisp = np.clip(wdisp.astype(float), 0.6, 1.8)
        self.flux = spectrum.flux.astype(float)
        wavelength, good = 10**self.loglam, spectrum.good.copy()
        self.rest = wavelength / (1 + spectrum.z)
        good[:3] = good[-3:] = False
        self.used = good & (self.rest > 3650) & (self.rest < 8800) & (np.abs(wavelength - 5579) > 8)
        level = np.maximum(uniform_filter1d(self.flux, 51), 0.05 * np.median(self.flux[good]))
        instrument = "BOSS" if spectrum.loglam.size > 4100 else "SDSS"
        ratio = spectrum.snmedian / np.interp(wavelength, *zip(*OVERESTIMATED[instrument], strict=True))
        # More than the noise of a pixel, because neighbouring ones are not independent and no model is exact
        variance = 1.15 / np.where(self.used, spectrum.ivar, np.inf) / (1 + ratio * ratio) + (0.004 * level) ** 2
        self.weight = np.where(self.used, 1 / np.sqrt(variance), 0)
        self.dust = transmission(wavelength, MILKY_WAY)
        self.numbers = CENTRE[:FIRST_DEPTH]

    def light(self, numbers):
        """Noiseless flux density; the brightness is that of the spectrum."""
        made = galaxy.from_numbers(np.random.default_rng(0), numbers * UNITS[: len(numbers)])
        light = made.observed(self.loglam, self.wdisp, self.spectrum.z) * self.dust
        w2 = self.weight * self.weight
        return light * (np.sum(w2 * self.flux * light) / np.sum(w2 * light * light))

    def residual(self, numbers):
        return (self.light(numbers) - self.flux) * self.weight

    def _slopes(self, numbers, residual, step=1e-2):
        """Derivatives of the residual, shape (n, pixels)."""
        return np.array([(self.residual(numbers + step * one) - residual) / step for one in np.eye(len(numbers))])

    def fit(self, mean, precision, steps):
        """Gauss-Newton steps, each damped until likelihood times prior increases; a prior of `mean` and `precision`."""
        numbers = np.r_[self.numbers, mean[len(self.numbers) :]]
        damping, residual = 1e-2, self.residual(numbers)

        def cost(numbers, residual):
            return residual @ residual + (numbers - mean) @ precision @ (numbers - mean)

        for _ in range(steps):
            slopes = self._slopes(numbers, residual)
            self.curvature = slopes @ slopes.T
            self.pull = self.curvature @ numbers - slopes @ residual
            curvature = self.curvature + precision
            gradient = slopes @ residual + precision @ (numbers - mean)
            least = cost(numbers, residual)
            for _ in range(5):
                step = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), gradient)
                new = numbers - np.clip(step, -1.5, 1.5)
                new_residual = self.residual(new)
                if cost(new, new_residual) < least:
                    break
                damping = max(damping, 1e-3) * 8
            else:
                break
            numbers, residual, damping = new, new_residual, damping / 6
            if least - cost(numbers, residual) < 1e-4 * least:
                break
        self.numbers = numbers
        return self

    def draw(self, rng, mean, precision, steps=60, reach=0.35):
        """Numbers from the posterior under a prior of `mean` and `precision`."""
        covariance = np.linalg.inv(self.curvature + precision)
        best, root = covariance @ (self.pull + precision @ mean), np.linalg.cholesky(covariance)

        def excess(white):
            """What minus the logarithm of the posterior has beyond its Gaussian approximation."""
            numbers = best + root @ white
            residual = self.residual(numbers)
            prior = (numbers - mean) @ precision @ (numbers - mean)
            return 0.5 * (residual @ residual + prior - white @ white)

        white = np.zeros(len(best))
        now = excess(white)
        for _ in range(steps):
            new = np.sqrt(1 - reach * reach) * white + reach * rng.standard_normal(len(best))
            then = excess(new)
            if np.log(rng.random()) < now - then:
                white, now = new, then
        return best + root @ white


def components(fits, number):
    """Optical depths of which what the fits left is made, and the mean and sigma of each in these galaxies.

    Of shapes (number, stars.NPIX) and (2, number).
    """
    left, known = [], []
    for fit in fits:
        light, loglam = fit.light(fit.numbers), fit.loglam[fit.used] - np.log10(1 + fit.spectrum.z)
        missing = -np.log(np.clip(fit.flux[fit.used] / light[fit.used], 0.7, 1.4))
        missing = np.interp(LOGLAM, loglam, missing, left=0, right=0)
        known.append(np.interp(LOGLAM, loglam, (fit.weight * light)[fit.used], left=0, right=0))
        bright = (fit.numbers * UNITS[: len(fit.numbers)])[
            COLUMNS.index("H alpha")
        ] > 0.5  # too strong to be subtracted
        left.append(without(EMISSION, missing) if bright else missing)
    taper = np.clip((REST - 3690) / 40, 0, 1) * np.clip((8780 - REST) / 100, 0, 1)
    left = np.clip(gaussian_filter1d(np.array(left), 1.6, axis=1) * taper, -0.15, 0.15)
    left -= gaussian_filter1d(left, 200, axis=1)
    known = np.median(known, axis=0)  # where the signal-to-noise ratio is high, more of what is left is true
    known = np.clip(gaussian_filter1d(known / np.median(known), 30), 0.2, 2)
    scores, size, shapes = np.linalg.svd(left * known, full_matrices=False)
    scores = scores[:, :number] * np.sqrt(len(fits))
    seen = shapes[:number] * (size[:number, None] / np.sqrt(len(fits))) / known
    depths = seen
    for _ in range(3):  # sharper, as the motion of the stars and the instrument will smear them
        depths = depths + seen - gaussian_filter1d(depths, 2.6, axis=1)
    return np.pad(depths, ((0, 0), (FIRST, stars.NPIX - LAST))), np.array([scores.mean(axis=0), scores.std(axis=0)])


def population(breaks, fits, steps=150):
    """Mean (galaxies, n) and precision (galaxies, n, n) of the numbers of galaxies like each of these.

    Galaxies are sorted by their `breaks`. The mean is linear between seven breaks; the covariance is that of some
    hundred galaxies of about the same break and, for three tenths, of all. Because no spectrum tells old stars with
    dust from older ones without, every number keeps besides its `PRIOR`, twice as wide.
    """
    weak = np.eye(len(UNITS)) / 4
    curvature = np.array([fit.curvature for fit in fits]) + weak
    pull = np.array([fit.pull for fit in fits]) + weak @ CENTRE
    places = np.quantile(breaks, [0.0, 0.07, 0.2, 0.4, 0.6, 0.8, 1.0])
    near = np.array([np.interp(breaks, places, one) for one in np.eye(len(places))]).T
    rank = np.arange(len(fits))
    centres = rank[::15]
    shares = np.exp(-0.5 * ((centres[:, None] - rank) / 60) ** 2)
    shares = 0.7 * shares / shares.sum(axis=1, keepdims=True) + 0.3 / len(fits)
    nearest = np.minimum((rank + 7) // 15, len(centres) - 1)

    numbers, covariance = np.array([fit.numbers for fit in fits]), np.tile(0.3 * np.eye(len(UNITS)), (len(fits), 1, 1))
    for _ in tqdm(range(steps), desc="distribution"):
        mean = near @ np.linalg.lstsq(near, numbers)[0]
        apart = numbers - mean
        spread = apart[:, :, None] * apart[:, None, :] + covariance
        spread = np.array([np.tensordot(share, spread, 1) for share in shares]) + 1e-3 * np.eye(len(UNITS))
        precision = np.linalg.inv(spread)[nearest]
        covariance = np.linalg.inv(curvature + precision)
        numbers = np.einsum("nij,nj->ni", covariance, pull + np.einsum("nij,nj->ni", precision, mean))
    return mean, precision + weak


def _fit(fit, mean, precision, steps):
    return fit.fit(mean, np.diag(precision), steps)


def _fitted(fits, depths, mean, precision, steps):
    galaxy.variety = lambda: depths
    job = partial(_fit, mean=mean, precision=precision, steps=steps)
    return _each(job, fits, f"{len(depths)} components")


def _draw(job):
    number, fit, mean, precision = job
    return fit.draw(np.random.default_rng(number), mean, precision)


def _each(function, jobs, label):
    """`function` of each job; processes start anew, because `galaxy.variety` changes."""
    with get_context("fork").Pool(CORES) as pool:
        return list(tqdm(pool.imap(function, jobs), total=len(jobs), desc=label))


def _write(name, header, rows):
    with Path(stars.__file__).with_name(name).open("w", newline="\n") as stream:
        stream.writelines(",".join(map(str, row)) + "\n" for row in [header, *rows])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--half", type=int, choices=(0, 1), default=0, help="which files are fitted (default 0)")
    args = parser.parse_args()
    whole = (spectrum for spectrum in map(read_spectrum, sorted(args.folder.glob("spec-*.fits"))[args.half :: 2]))
    found = [(measure(spectrum)[BREAK], spectrum) for spectrum in whole if spectrum.good.mean() > 0.9]
    found = sorted((pair for pair in found if np.isfinite(pair[0])), key=lambda pair: pair[0])
    breaks = np.array([value for value, _ in found])

    fits = [Fit(spectrum) for _, spectrum in found]
    depths, mean, precision = np.zeros((0, stars.NPIX)), CENTRE[:FIRST_DEPTH], np.full(FIRST_DEPTH, 4.0)
    fits = _fitted(fits, depths, mean, precision, steps=8)
    for number in DEPTHS:
        more, (centre, sigma) = components(fits, number)
        depths, mean = np.vstack([depths, more]), np.r_[mean, centre]
        precision = np.r_[np.ones(len(precision)), 1 / sigma**2]
        fits = _fitted(fits, depths, mean, precision, steps=4)
    means, precisions = population(breaks, fits)
    jobs = [*zip(range(len(fits)), fits, means, precisions, strict=True)]
    rows = [
        [f"{value:.3f}", *(f"{x:.2f}" for x in numbers[: len(COLUMNS)])]
        + [f"{x:.3f}" for x in numbers[len(COLUMNS) : FIRST_DEPTH]]
        + [f"{x:.2f}" for x in numbers[FIRST_DEPTH:]]
        for value, numbers in zip(breaks, UNITS * np.array(_each(_draw, jobs, "draws")), strict=True)
    ]
    names = [f"depth {k + 1}" for k in range(sum(DEPTHS))]
    _write("galaxies.csv", [BREAK, *COLUMNS, *(f"{x:.0f} A" for x in KNOTS), *names], rows)
    pixels = range(FIRST - 1, LAST, 2)
    rows = [[k, *np.rint(1e4 * depths[:, max(k, FIRST)]).astype(int)] for k in pixels]
    _write("variety.csv", ["pixel", *names], rows)


if __name__ == "__main__":
    main()
