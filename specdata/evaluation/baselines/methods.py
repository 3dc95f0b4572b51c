"""All baselines of an evaluation, one after the other."""

import functools
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from specdata import prompts, serialize
from specdata.errors import SpecdataError
from specdata.evaluation.baselines import network, simple
from specdata.evaluation.baselines import templates as fits
from specdata.evaluation.split import Split
from specdata.text.encoding import restore

# Titles are filled with what a method chose.
TITLES = {
    "constant": "constant, {shown}",
    "nearest_neighbours": "nearest neighbours, k = {k}",
    "pca_neighbours": "nearest neighbours in {components} principal components, k = {k}",
    "ridge": "ridge regression, penalty {penalty:g}",
    "cnn": "small CNN, {steps} steps",
    "template_fit": "template fit to the text, {templates} {source}",
    "template_fit_pixels": "template fit to all pixels, {templates} {source}",
}
ON_TEXT = {
    "nearest_neighbours": simple.nearest_neighbours, "pca_neighbours": simple.pca_neighbours, "ridge": simple.ridge,
    "cnn": network.cnn,
}  # fmt: skip

TRAINING_ROWS = 600  # whose spectra make templates
JUDGED = {"template_fit": 150, "template_fit_pixels": 50}  # training rows that decide on the number of templates
CIRCULAR = (
    "SDSS's own redshifts come from template fits: on real spectra the error of a template fit says how well two such "
    "fits agree, not how well either finds the true redshift."
)


def check_names(names) -> tuple[str, ...]:
    """Names of baselines in the order of `TITLES`, the constant among them; all of them for None."""
    names = list(TITLES) if names is None else names
    for name in names:
        if name not in TITLES:
            raise SpecdataError(f"baseline {name!r}: give some of {', '.join(TITLES)}")
    return tuple(name for name in TITLES if name in ("constant", *names))


def run_baselines(
    data: Split, names: Sequence[str], *, templates=None, progress=True
) -> dict[str, tuple[np.ndarray, dict]]:
    """Predict the values of a split by simple methods.

    Parameters
    ----------
    data : Split
    names : sequence of str
        Of `check_names`.
    templates : path-like, optional
        File of templates in redrock's format; by default they are made of the training spectra.
    progress : bool

    Returns
    -------
    dict of str to tuple
        For each method its predictions for the rows as numbers, shape (n,), and what `specdata.results.Baseline` says
        of it without its scores. The network is left out where there are fewer than `network.LEAST_ROWS` training rows,
        and template fits where there are more templates than training rows or bins can determine, or another target.
    """
    target, true, objects = data.target, data.true("train"), data.train["position_id"].to_numpy()
    y_train = true if target.is_number else np.eye(len(target.labels))[true.astype(int)]
    if len(y_train) < network.LEAST_ROWS:
        names = [name for name in names if name != "cnn"]
    x_train, x = (read_text(part, data.encoding) for part in (data.train, data.rows))
    found, template_fits = {}, TemplateFits(data, templates) if target.template_fits else None
    names = [
        name
        for name in names
        if not name.startswith("template_fit") or (template_fits and template_fits.candidates(name))
    ]
    for name in (bar := tqdm(names, desc="baselines", disable=not progress)):
        bar.set_postfix_str(name)
        begin, reads, note = time.perf_counter(), "text", ""
        if name == "constant":
            # The median of the training rows, or their most frequent label
            constant = np.median(true) if target.is_number else np.bincount(true.astype(int)).argmax()
            reads, constant = "nothing", float(constant)
            y, chosen = np.full(len(x), constant), {target.stored_in: target.decode([constant])[0]}
        elif name.startswith("template_fit"):
            y, chosen = template_fits.predict(name, x_train, x)
            reads = "pixels" if name == "template_fit_pixels" else "text"
            note = "" if all(data.rows["is_mock"].to_pylist()) else CIRCULAR
        else:
            y, chosen = ON_TEXT[name](x_train, y_train, objects, x)
            y = y if target.is_number else y.argmax(axis=1).astype(float)
        shown = target.show(chosen[target.stored_in]) if name == "constant" else ""
        title = TITLES[name].format(shown=shown, **chosen)
        facts = {"title": title, "reads": reads, "chosen": chosen, "note": note}
        found[name] = y, facts | {"seconds": time.perf_counter() - begin}
    return found


class TemplateFits:
    """Template fits of the rows of a split, with templates from a file or of the training spectra.

    Raises
    ------
    SpecdataError
        If the file holds no templates that would do.
    """

    def __init__(self, data: Split, path=None):
        self.data, self.edges = data, data.encoding.edges
        self.z_train = data.train["z"].to_numpy()[:TRAINING_ROWS]
        self.judged = simple.held_out(data.train["position_id"].to_numpy()[:TRAINING_ROWS])
        self.z_range = fits.trial_range(data.train["z"].to_numpy())
        self.pixels = fits.rest_pixels(self.edges[0], self.edges[-1], self.z_range)
        self.source = "PCA templates" if path is None else f"templates of {Path(path).name}"
        self.templates = None if path is None else fits.read_templates(path, *self.pixels)

    def candidates(self, name) -> list[int]:
        """Numbers of templates to choose from."""
        bins = len(self.edges) - 1 if name == "template_fit" else None
        if self.templates is None:
            return fits.candidates(int((~self.judged).sum()), bins)
        count = len(self.templates.flux)
        return [count] if bins is None or count + fits.TERMS <= bins // 2 else []

    def predict(self, name, x_train, x) -> tuple[np.ndarray, dict]:
        """Redshifts of the rows, shape (n,), and what was chosen; `x_train` and `x` are what `read_text` gives."""
        counts, templates = self.candidates(name), self.templates
        count = counts[-1]
        if len(counts) > 1 and self.judged.any():
            made, judged = self._made_of(~self.judged, counts[-1]), np.flatnonzero(self.judged)[: JUDGED[name]]
            z = self._fit(name, made, x_train, "train", judged, counts)
            count = counts[int(np.argmin(np.abs(z - self.z_train[judged]).mean(axis=1)))]
        if templates is None:
            templates = self._made_of(np.full(len(self.judged), True), counts[-1])
            templates = templates._replace(flux=templates.flux[:count])
        chosen = {"templates": count, "legendre_terms": fits.TERMS, "source": self.source}
        chosen |= dict(zip(("z_low", "z_high"), self.z_range, strict=True))
        return self._fit(name, templates, x, "rows")[0], chosen

    def _fit(self, name, templates, x, part, some=slice(None), counts=None):
        if name == "template_fit":
            # Flux in units of each spectrum's scale: templates add up in flux, not in its asinh.
            flux = restore(x[some], 1, self.data.encoding.normalisation)
            return fits.fit_bins(templates, self.edges, flux, self.z_range, counts)
        if part == "train":
            first, flux, ivar = self._training
            return fits.fit_pixels(templates, first, flux[some], ivar[some], self.z_range, counts)
        batches = [fits.fit_pixels(templates, *batch, self.z_range) for batch in self.data.pixels(part)]
        return np.concatenate(batches, axis=1)

    def _made_of(self, some, count):
        first, flux, ivar = self._training
        loglam = (first + np.arange(flux.shape[1])) * fits.STEP
        return fits.pca_templates(loglam, flux[some], ivar[some], self.z_train[some], count, *self.pixels)

    @functools.cached_property
    def _training(self):
        first, flux, ivar = zip(*self.data.pixels("train", TRAINING_ROWS), strict=True)
        return first[0], np.concatenate(flux), np.concatenate(ivar)


def read_text(rows, encoding) -> np.ndarray:
    """Spectra as the model gets them, from the text itself; ndarray of shape (rows, bins)."""
    texts = [prompts.read_series(prompt, encoding.target) for prompt in rows["prompt"].to_pylist()]
    return serialize.SCHEMES[encoding.scheme].decode_batch(texts)
