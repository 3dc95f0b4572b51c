"""A spectrum to a redshift with its interval: written as the adapter was trained, p(z) read from the model."""

import contextlib
import functools
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from specdata.dataset import rows
from specdata.errors import SpecdataError
from specdata.extras import need, need_model
from specdata.hub import local_folder, public_name, weights_revision
from specdata.inference.adapter import CONFIG, read_config
from specdata.inference.endpoint import Endpoint, connect
from specdata.inference.local import Generator, check_model, most_tokens
from specdata.inference.trained import doubts, load_encoding, only_target, other_revision, training_range
from specdata.posterior import Posterior
from specdata.results import RESULTS, load_results, target_of
from specdata.spectra.coverage import cover
from specdata.text.smollm2 import PACKAGE

BATCH = 16  # spectra that are read together
_CHUNK = 4  # batches whose p(z) are read before their answers, and held in memory until then


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A spectrum as it is put to the model, without its pixels, so that ten thousand of them need little memory.

    Attributes
    ----------
    facts : dict
        What identifies the spectrum and what its file says of it: `file`, `name`, `class`, `ra` and `dec` (deg),
        `snmedian` and `z_file`. The model is not told any of it.
    prompt : list of dict
        One user message.
    warnings : list of str
        Reasons to doubt the prediction, a sentence each.
    """

    facts: dict
    prompt: list
    warnings: list


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """What a model says of one spectrum.

    Attributes
    ----------
    facts : dict
        See `Asked`.
    prompt : list of dict
        One user message.
    posterior : specdata.posterior.Posterior or None
        Its `estimate` is the predicted redshift. None where only the answer was asked for.
    answer : str
        The model's greedy answer, as it is.
    z_greedy : float, str or None
        The redshift, or the value of another target, in it; None if it does not parse.
    warnings : list of str
        Reasons to doubt the prediction, a sentence each.
    """

    facts: dict
    prompt: list
    posterior: Posterior | None
    answer: str
    z_greedy: float | str | None
    warnings: list = field(default_factory=list)

    @property
    def estimate(self) -> float | str | None:
        """The predicted value, such as the median of p(z), or, where that was not read, the greedy answer."""
        return self.z_greedy if self.posterior is None else self.posterior.estimate

    def to_dict(self) -> dict:
        """The numbers that are stored, without p(z) itself."""
        found = {} if self.posterior is None else self.posterior.summary()
        return {**self.facts, **found, "answer": self.answer, "z_greedy": self.z_greedy, "warnings": self.warnings}


def encode_spectrum(spectrum, encoding) -> tuple[str, list[str]]:
    """Write a spectrum exactly as a data set build does.

    Parameters
    ----------
    spectrum : specdata.spectra.spectrum.Spectrum
    encoding : specdata.text.encoding.Encoding

    Returns
    -------
    series : str
    warnings : list of str

    Raises
    ------
    SpecdataError
        If it covers less than half of the bins' range, or cannot be scaled.
    """
    spectrum, warnings = cover(spectrum, encoding.edges, encoding.axis)
    try:
        binned, scale = rows.bin_one(spectrum, encoding)
    except SpecdataError as error:
        raise SpecdataError(f"{spectrum.source}: {error}") from None
    texts, clipped = encoding.encode(binned.flux, scale)
    missing = int(binned.mask.sum())
    if encoding.target.instruction.startswith("Galaxy ") and spectrum.spectype not in ("GALAXY", ""):
        warnings.append(f"the pipeline's class is {spectrum.spectype}, and the question is worded for galaxies")
    if spectrum.zwarning:
        warnings.append(f"zwarning is {spectrum.zwarning}, so the file's own redshift is in doubt")
    if missing:
        warnings.append(
            f"{missing} of {binned.mask.size} bins are covered by good pixels to less than half and are interpolated"
        )
    if clipped[0]:
        warnings.append(f"{clipped[0]} values lie outside the range of the scheme and are set to its end")
    return texts[0].as_py(), warnings


class Reader:
    """An adapter and how spectra are written for it; its model is loaded when it is first needed.

    Parameters
    ----------
    adapter : str
        A folder or a Hub name; or the folder of a model of which all weights were trained.
    model : str, optional
        Base model; by default the one that the adapter names.
    dataset, config : str, optional
        See `specdata.inference.trained.load_encoding`.
    device : str, optional
    endpoint : str, optional
        Address of a server that serves the adapter; nothing is loaded then. See `specdata.inference.endpoint`.
    served : str, optional
        Name of the adapter there.

    Attributes
    ----------
    encoding : specdata.text.encoding.Encoding
    adapter, model, title : str
        Names, without the folders that they lie in; `title` has both.
    results : dict or None
        Of the adapter's evaluation, if that was about the same target.
    only_target : bool
        Whether the adapter was trained on nothing but its target, so that it cannot be expected to talk.
    """

    def __init__(
        self, adapter, model=None, *, dataset=None, config=None, device=None, endpoint=None, served=None
    ):  # fmt: skip
        if endpoint is None:
            need_model("this command")
        else:
            need("serve", "transformers", what="an endpoint")
        self._folder, self._device = local_folder(adapter, "model"), device
        self._endpoint, self._served = endpoint, served
        self._scored = load_results(self._folder) if (self._folder / RESULTS).is_file() else None
        is_model = not (self._folder / CONFIG).is_file() and (self._folder / "config.json").is_file()
        if is_model and (model or endpoint):
            raise SpecdataError(f"{adapter}: is a whole model, no adapter; leave out --model and --endpoint")
        named = adapter if is_model else read_config(self._folder, adapter)["base_model_name_or_path"]
        self._lora = None if is_model else self._folder
        if self._scored and self._scored["model"]["base"] == PACKAGE:  # other weights than the Hub's: quantised
            named = PACKAGE
        self._model = str(model or named)
        if endpoint is None:
            check_model(self._model)
        self.encoding = load_encoding(self._folder, dataset, config)
        self.adapter, self.model = public_name(adapter), public_name(self._model)
        self.title = self.model if is_model else f"{self.model} with {self.adapter}"
        is_same = self._scored and target_of(self._scored) == self.encoding.target  # of several that it answers
        self.results = self._scored if is_same else None
        self.only_target = only_target(self._folder, self._scored)

    @functools.cached_property
    def generator(self) -> Generator | Endpoint:
        """The model with the adapter, loaded or behind a server."""
        if self._endpoint is None:
            return Generator(self._model, self._lora, device=self._device)
        return connect(self._endpoint, self._folder, self._model, served=self._served, target=self.encoding.target)

    @property
    def identity(self) -> list:
        """What the predictions depend on, beside the spectra: names and hashes; list of str."""
        with contextlib.suppress(SpecdataError):  # a folder without weights, beside a server that has them
            return [self.adapter, self.model, str(self._endpoint), weights_revision(self._folder)]
        return [self.adapter, self.model, str(self._endpoint)]

    @functools.cached_property
    def warnings(self) -> list[str]:
        """Reasons to doubt this pair of model and adapter, a sentence each; list of str. Loads the model."""
        warnings = doubts(self.results) if self.results else []
        if self._scored and not self.results:
            asked, scored = self.encoding.target.words, target_of(self._scored).words
            warnings.append(f"the adapter was scored on the {scored}, and its answers for the {asked} were not")
        if self._endpoint is not None:
            return warnings + self.generator.notes
        if not self._scored:
            return []
        scored, own = self._scored["model"], self._scored["model"]["adapter_revision"] or ""
        base = self.generator.revision or weights_revision(self._model)
        adapter = own and weights_revision(self._folder)
        return [
            *warnings,
            *other_revision("base model", base, scored["base_revision"]),
            *other_revision("adapter", adapter, own),
        ]

    def ask(self, spectrum) -> Asked:
        """Write a spectrum for the model.

        Parameters
        ----------
        spectrum : specdata.spectra.spectrum.Spectrum

        Raises
        ------
        SpecdataError
            If it does not span the bins, or cannot be scaled.
        """
        series, warnings = encode_spectrum(spectrum, self.encoding)
        (low, high), (faint, bright) = training_range(self.results)
        target = self.encoding.target
        stated = getattr(spectrum, target.column, None)
        if target.is_number and stated is not None and np.isfinite(stated) and not low <= stated <= high:
            shown, *ends = map(target.show, (stated, low, high))
            warnings.append(
                f"its file says {target.symbol} = {shown}, and the adapter was trained from {' to '.join(ends)}"
            )
        if not faint <= spectrum.snmedian <= bright and np.isfinite(spectrum.snmedian):
            warnings.append(
                f"its S/N is {spectrum.snmedian:.1f}, and the adapter was scored from {faint:.1f} to {bright:.1f}"
            )
        facts = {"file": spectrum.source, "name": spectrum.name, f"{target.key}_file": target.accept(stated)}
        if self.encoding.axis.is_sky:
            facts |= {"class": spectrum.spectype, "ra": spectrum.ra, "dec": spectrum.dec}
            facts |= {"snmedian": spectrum.snmedian, "z_file": spectrum.z}
        prompt = [{"role": "user", "content": target.instruction + series}]
        return Asked(facts=facts, prompt=prompt, warnings=warnings)

    def predict(self, asked, *, answer_only=False, batch_size=BATCH, progress=False) -> Iterator[Prediction]:
        """Read spectra in batches, in their order; p(z) of no more than a few batches is in memory at a time.

        Parameters
        ----------
        asked : sequence of Asked
        answer_only : bool
            Leave p(z) out, which takes most of the time.
        batch_size : int
            Most spectra that are read together.
        progress : bool

        Yields
        ------
        Prediction
        """
        (low, high), _ = training_range(self.results)
        z_max, target = (self.results or {}).get("posterior", {}).get("z_max") or 1, self.encoding.target
        with tqdm(total=len(asked), unit=" spectra", desc="predict", disable=not progress) as bar:
            for start in range(0, len(asked), _CHUNK * batch_size):
                chunk = asked[start : start + _CHUNK * batch_size]
                answer_only = answer_only or not self.generator.has_posterior
                found, posteriors = [one.prompt for one in chunk], [None] * len(chunk)
                if not answer_only:
                    options = {"target": target, "z_max": z_max, "batch_size": batch_size}
                    for number, posterior in self.generator.posteriors(found, **options):
                        posteriors[number] = posterior
                        bar.update(1)  # the answer takes little beside it
                for first in range(0, len(chunk), batch_size):
                    some = slice(first, first + batch_size)
                    answers = self.generator.answer(found[some], max_new_tokens=most_tokens(target))
                    for one, posterior, answer in zip(chunk[some], posteriors[some], answers, strict=True):
                        said = Prediction(
                            facts=one.facts, prompt=one.prompt, posterior=posterior, answer=answer,
                            z_greedy=target.parse(answer), warnings=list(one.warnings),
                        )  # fmt: skip
                        outside = said.estimate is not None and target.is_number and not low <= said.estimate <= high
                        if outside:
                            shown, *ends = map(target.show, (said.estimate, low, high))
                            said.warnings.append(
                                f"{target.symbol} = {shown} lies outside of the training range, {' to '.join(ends)}"
                            )
                        yield said
                    bar.update(len(answers) if answer_only else 0)
