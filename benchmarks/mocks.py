"""How far mock galaxies differ from real ones: line indices, emission, colours and noise.

    python benchmarks/mocks.py FOLDER --half 1 --output mocks.csv --figure mocks.png
    python benchmarks/mocks.py FOLDER --half 1 --real

FOLDER holds SDSS `spec` files of galaxies. For each of them `--mocks` mock galaxies are made at its redshift, with its
signal-to-noise ratio and for its spectrograph, and the one whose 4000 A break is nearest is compared with it, so that
the table shows what differs at equal redshift, noise and break. Printed and written, for each quantity:

- median and spread (half of the range from the 16th to the 84th percentile) of real galaxies and of mocks;
- the Kolmogorov-Smirnov distance of the two distributions and its p value;
- the area under the ROC curve (AUC) by which this quantity alone tells the two apart, 0.5 being chance, with its 95 %
  interval from the bootstrap over galaxies.

The last rows are the AUC of a logistic regression on all quantities, their squares and products, scored by five-fold
cross-validation, and of such regressions on the absorption, the emission, the colours and the noise alone: the mean of
six, with the mocks of nearest break, of second nearest, and so on. A quantity whose wavelengths lie outside the
spectrum is left out of its own row, and is the median in the last ones.

With `--real` the other half of the real galaxies stands in for the mocks, each drawn as often as chance has it: what
such a comparison tells of mocks that are real galaxies of the fitted half.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from scipy import ndimage, optimize, stats
from tqdm import tqdm

from specdata.spectra.mock.spectrum import mock_spectrum
from specdata.spectra.specfile import read_spectrum

# Band, and the continuum to its blue and red, in A. Lick and HdA indices are defined in air: Worthey et al. 1994 (ApJS
# 94, 687), Worthey & Ottaviani 1997 (ApJS 111, 377). The others are ours, about the vacuum wavelengths of the lines.
INDICES = {
    "H delta A": ((4083.50, 4122.25), (4041.60, 4081.50), (4128.50, 4161.00)),
    "G4300": ((4281.38, 4316.38), (4266.38, 4282.62), (4317.62, 4335.12)),
    "Fe4383": ((4369.12, 4420.38), (4359.12, 4370.38), (4442.88, 4455.38)),
    "H beta": ((4847.88, 4876.62), (4827.88, 4847.88), (4876.62, 4891.62)),
    "Mg b": ((5160.12, 5192.62), (5117.70, 5142.70), (5191.38, 5206.38)),
    "Fe5270": ((5245.65, 5285.65), (5233.15, 5248.15), (5285.65, 5318.15)),
    "Na D": ((5876.88, 5909.38), (5860.62, 5875.68), (5922.12, 5948.12)),
    "TiO2": ((6189.62, 6272.12), (6066.62, 6141.62), (6372.62, 6415.12)),
}
EMISSION = {
    "[O II]": ((3717.0, 3740.0), (3690.0, 3712.0), (3742.0, 3764.0)),
    "[O III]": ((4998.0, 5018.0), (4975.0, 4995.0), (5020.0, 5040.0)),
    "H alpha + [N II]": ((6535.0, 6600.0), (6490.0, 6530.0), (6605.0, 6645.0)),
    "[S II]": ((6705.0, 6745.0), (6660.0, 6695.0), (6755.0, 6790.0)),
}
# Ratio of the flux in two rest-frame bands (A) as a magnitude, and the break of Balogh et al. 1999 (ApJ 527, 54)
COLOURS = {
    "4200 - 5500 A": ((4150.0, 4250.0), (5450.0, 5550.0)),
    "5500 - 6800 A": ((5450.0, 5550.0), (6760.0, 6860.0)),
    "6800 - 8000 A": ((6760.0, 6860.0), (7950.0, 8050.0)),
}
BREAK = "Dn4000"
DRAWS = 6  # mocks of each galaxy that are compared with it, one at a time


def _air_to_vacuum(wavelength):
    """Morton 1991 (ApJS 77, 119), to 0.01 A."""
    inverse = (1e4 / wavelength) ** 2
    return wavelength * (1 + 6.4328e-5 + 2.94981e-2 / (146 - inverse) + 2.5540e-4 / (41 - inverse))


def measure(spectrum) -> dict[str, float]:
    """All quantities of one spectrum; NaN where its wavelengths do not reach."""
    good = spectrum.good
    rest = spectrum.wavelength / (1 + spectrum.z)
    flux = np.interp(rest, rest[good], spectrum.flux[good].astype(float))
    width = np.gradient(rest)

    def mean(band):
        inside = (rest >= band[0]) & (rest < band[1])
        if rest[0] > band[0] or rest[-1] < band[1]:
            return np.nan
        return np.sum((flux * width)[inside]) / np.sum(width[inside])

    def equivalent_width(bands):
        band, blue, red = bands
        if rest[0] > blue[0] or rest[-1] < red[1]:
            return np.nan
        level = np.interp(rest, [np.mean(blue), np.mean(red)], [mean(blue), mean(red)])
        inside = (rest >= band[0]) & (rest < band[1])
        return np.sum(((1 - flux / level) * width)[inside])

    found = {BREAK: mean((4000.0, 4100.0)) / mean((3850.0, 3950.0))}
    found |= {
        name: equivalent_width([tuple(map(_air_to_vacuum, band)) for band in bands]) for name, bands in INDICES.items()
    }
    # Equivalent widths of emission spread over decades: arcsinh, which is log where they are large
    found |= {name: np.arcsinh(-equivalent_width(bands)) for name, bands in EMISSION.items()}
    with np.errstate(invalid="ignore", divide="ignore"):
        found |= {name: -2.5 * np.log10(mean(a) / mean(b)) for name, (a, b) in COLOURS.items()}
    return found | noise(spectrum)


def noise(spectrum) -> dict[str, float]:
    """Noise against what `ivar` says, in parts of the spectrum with few lines of galaxies or of the sky.

    The third difference of neighbouring pixels holds next to nothing of the galaxy. Of white noise that obeys `ivar`,
    its mean square is 20, of which the root is taken as 1, and its correlation at one pixel's distance is -0.75. `ivar`
    is smoothed, because the pipeline derives it from the same counts as the flux, which would hide half of the noise.
    """
    found = {}
    for name, low, high in (("blue", 4200.0, 5500.0), ("red", 6700.0, 7200.0)):
        inside = (spectrum.wavelength > low) & (spectrum.wavelength < high)
        ivar = ndimage.median_filter(spectrum.ivar[inside].astype(float), 41)
        pull = np.where(spectrum.good[inside], spectrum.flux[inside] * np.sqrt(ivar), np.nan)
        difference = np.convolve(pull, [1, -3, 3, -1], "valid") / np.sqrt(20)
        difference = difference[np.isfinite(difference)]
        limit = 4 * stats.median_abs_deviation(difference, scale="normal")
        difference = np.clip(difference, -limit, limit)
        size = np.mean(difference * difference)
        found[f"noise, {name}"] = np.sqrt(size)
        found[f"noise correlation, {name}"] = np.mean(difference[1:] * difference[:-1]) / size
    return found


def auc(real, mock) -> float:
    """Chance that a real value is above a mock one, ties counting half."""
    return stats.mannwhitneyu(real, mock).statistic / (len(real) * len(mock))


def _resampled(real, mock, rng, repeats=500):
    return [auc(rng.choice(real, len(real)), rng.choice(mock, len(mock))) for _ in range(repeats)]


def classify(values, is_real, rng, folds=5, penalty=1.0):
    """Scores, from folds that were not fitted, of a logistic regression on all values, squares and products."""
    values = np.where(np.isfinite(values), values, np.nanmedian(values, axis=0))
    centre, scale = np.median(values, axis=0), stats.median_abs_deviation(values, axis=0, scale="normal")
    values = np.clip((values - centre) / np.maximum(scale, 1e-9), -5, 5)
    pairs = np.triu_indices(values.shape[1])
    columns = np.column_stack([np.ones(len(values)), values, values[:, pairs[0]] * values[:, pairs[1]] / 3])
    sign, fold, score = np.where(is_real, 1.0, -1.0), rng.permutation(len(values)) % folds, np.empty(len(values))
    for k in range(folds):
        x, y = columns[fold != k], sign[fold != k]

        def loss(w, x=x, y=y):
            margin = y * (x @ w)
            slope = -y / (1 + np.exp(np.clip(margin, -500, 500)))
            prior = penalty * np.r_[0, w[1:]]
            return np.logaddexp(0, -margin).sum() + 0.5 * prior @ w, x.T @ slope + prior

        w = optimize.minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
        score[fold == k] = columns[fold == k] @ w
    return score


def compare(real, mocks, seed=0) -> list[dict]:
    """Rows of the table, from the `measure` of each real galaxy, and from lists of mocks of these, nearest first."""
    rng, rows = np.random.default_rng(seed), []
    for name in real[0]:
        a, b = (np.array([row[name] for row in rows_of]) for rows_of in (real, [near[0] for near in mocks]))
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        row = {"quantity": name, "n": len(a)}
        for label, x in (("real", a), ("mock", b)):
            low, middle, high = np.percentile(x, [16, 50, 84])
            row |= {f"{label} median": middle, f"{label} spread": (high - low) / 2}
        test = stats.ks_2samp(a, b)
        low, high = np.percentile(_resampled(a, b, rng), [2.5, 97.5])
        rows.append(row | {"KS": test.statistic, "p": test.pvalue, "AUC": auc(a, b), "AUC low": low, "AUC high": high})
    is_real = np.arange(2 * len(real)) < len(real)
    names = list(real[0])
    noises = [name for name in names if "noise" in name]
    groups = {"all": names, "absorption": [BREAK, *INDICES], "emission": [*EMISSION], "colours": [*COLOURS]}
    for label, group in (groups | {"noise": noises}).items():
        areas, resampled = [], []
        for draw in range(DRAWS):
            values = np.array([[row[name] for name in group] for row in [*real, *(near[draw] for near in mocks)]])
            score = classify(values, is_real, rng)
            areas.append(auc(score[is_real], score[~is_real]))
            resampled += _resampled(score[is_real], score[~is_real], rng)
        low, high = np.percentile(resampled, [2.5, 97.5])
        rows.append({"quantity": label, "n": len(real), "AUC": np.mean(areas), "AUC low": low, "AUC high": high})
    return rows


def measured(paths):
    """Spectra of the files of which nine tenths are good pixels, and that reach the 4000 A break, with `measure`."""
    whole = (spectrum for spectrum in map(read_spectrum, paths) if spectrum.good.mean() > 0.9)
    return [pair for pair in ((spectrum, measure(spectrum)) for spectrum in whole) if np.isfinite(pair[1][BREAK])]


def nearest(candidates, wanted):
    """Those `DRAWS` of some measured spectra whose break is nearest."""
    return sorted(candidates, key=lambda row: abs(row[BREAK] - wanted[BREAK]))[:DRAWS]


def matched_mocks(spectra, each, seed=77):
    """For each spectrum those of nearest break out of `each` mocks at its redshift and noise."""
    chosen = []
    for number, (spectrum, wanted) in enumerate(tqdm(spectra)):
        limits = {"z_min": max(spectrum.z - 1e-5, 0), "z_max": spectrum.z + 1e-5}
        limits |= dict.fromkeys(("snr_min", "snr_max"), max(spectrum.snmedian, 1.0))
        limits |= {"boss_share": float(spectrum.loglam.size > 4100)}
        mocks = [mock_spectrum(seed, number * each + k, **limits)[0] for k in range(each)]
        chosen.append(nearest([measure(mock) for mock in mocks], wanted))
    return chosen


def draw(real, mock, path):
    """Each quantity's distribution, as the share of galaxies below a value, of real galaxies and of mocks."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(4, 5, figsize=(11, 7.5), layout="constrained", sharey=True)
    for name, axis in zip(real[0], axes.flat, strict=True):
        both = [np.sort([row[name] for row in rows if np.isfinite(row[name])]) for rows in (real, mock)]
        for values, label in zip(both, ("real", "mock"), strict=True):
            axis.plot(values, np.linspace(0, 1, len(values)), label=label)
        axis.set_xlim(*np.percentile(np.concatenate(both), [1, 99]))
        axis.set_title(name, fontsize=9)
    axes[0, 0].legend(frameon=False)
    figure.savefig(path, dpi=90)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mocks", type=int, default=32, help="made for each real galaxy (default 32)")
    parser.add_argument("--half", type=int, choices=(0, 1), help="0: files to which mocks are fitted; 1: the others")
    parser.add_argument("--real", action="store_true", help="compare with the other half of the real galaxies")
    parser.add_argument("--output", type=Path, help="CSV file of the table")
    parser.add_argument("--figure", type=Path, help="PNG file of the distributions")
    args = parser.parse_args()
    if args.real and args.half is None:
        parser.error("--real: give --half 0 or 1")
    if args.mocks < DRAWS:
        parser.error(f"--mocks {args.mocks}: give at least {DRAWS}")
    paths = sorted(args.folder.glob("spec-*.fits"))
    real = measured(paths if args.half is None else paths[args.half :: 2])
    found = [quantities for _, quantities in real]
    if args.real:
        others, rng = [quantities for _, quantities in measured(paths[1 - args.half :: 2])], np.random.default_rng(0)
        mocks = [nearest([others[k] for k in rng.integers(0, len(others), args.mocks)], row) for row in found]
    else:
        mocks = matched_mocks(real, args.mocks)
    rows = compare(found, mocks)
    print(f"{'':28}{'n':>5}{'real':>16}{'mock':>16}{'KS':>7}{'AUC':>7}")
    for row in rows:
        row = {key: value if isinstance(value, str) else float(f"{value:.4g}") for key, value in row.items()}
        both = [f"{row[f'{k} median']:9.3f} ±{row[f'{k} spread']:5.2f}" for k in ("real", "mock") if "KS" in row]
        interval = f"[{row['AUC low']:.3f}, {row['AUC high']:.3f}]"
        middle = f"{''.join(both):>32}{row.get('KS', np.nan):7.3f}{row['AUC']:7.3f}"
        print(f"{row['quantity']:28}{row['n']:5.0f}{middle} {interval}")
    if args.figure:
        draw(found, [near[0] for near in mocks], args.figure)
    if args.output:
        with args.output.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows({k: v if isinstance(v, str) else f"{v:.4g}" for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    main()
