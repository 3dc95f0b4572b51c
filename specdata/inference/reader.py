"""A spectrum's file to a redshift with its interval: written as the adapter was trained, p(z) read from the model."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from specdata import prompts
from specdata.dataset import rows
from specdata.errors import SpecdataError
from specdata.extras import need_model
from specdata.hub import local_folder, public_name, weights_revision
from specdata.inference.adapter import read_config
from specdata.inference.local import MAX_NEW_TOKENS, Generator, check_model
from specdata.inference.trained import load_encoding
from specdata.posterior import RedshiftPosterior
from specdata.results import RESULTS, load_results
from specdata.spectra.binning import median_scale
from specdata.spectra.specfile import read_spectrum
from specdata.spectra.spectrum import Spectrum
from specdata.text.smollm2 import PACKAGE


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """What a model says of one spectrum.

    Attributes
    ----------
    spectrum : specdata.spectra.spectrum.Spectrum
    prompt : list of dict
        One user message.
    posterior : specdata.posterior.RedshiftPosterior
        Its `estimate` is the predicted redshift.
    answer : str
        The model's greedy answer, as it is.
    z_greedy : float or None
        The redshift in it, None if it does not parse.
    warnings : list of str
        Reasons to doubt the prediction, a sentence each.
    """

    spectrum: Spectrum
    prompt: list
    posterior: RedshiftPosterior
    answer: str
    z_greedy: float | None
    warnings: list = field(default_factory=list)

    def to_dict(self) -> dict:
        """The numbers that are stored, without the spectrum and p(z) themselves."""
        found = self.spectrum
        return {
            "file": found.source, "name": found.name, "class": found.spectype, "z_file": found.z,
            **self.posterior.summary(), "answer": self.answer, "z_greedy": self.z_greedy, "warnings": self.warnings,
        }  # fmt: skip


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
        If it does not span the bins, or cannot be scaled.
    """
    span, reach = (encoding.edges[0], encoding.edges[-1]), spectrum.wavelength[[0, -1]]
    table = pa.Table.from_batches([rows.spectra_batch([spectrum])])
    try:
        binned = rows.bin_rows(table, encoding.edges)
        scale = 1.0 if encoding.normalisation == "none" else median_scale(spectrum, *span)
    except SpecdataError as error:
        if reach[0] > span[0] or reach[1] < span[1]:
            raise SpecdataError(
                f"{spectrum.source}: spans {reach[0]:.0f} to {reach[1]:.0f} A, but the adapter reads {span[0]:.0f} to "
                f"{span[1]:.0f} A; give a spectrum that covers that"
            ) from None
        raise SpecdataError(f"{spectrum.source}: {error}") from None
    texts, clipped = encoding.encode(binned.flux, np.float32([scale]))
    warnings, missing = [], int(binned.mask.sum())
    if spectrum.spectype != "GALAXY":
        warnings.append(f"the pipeline's class is {spectrum.spectype}, and the model has seen galaxies only")
    if spectrum.zwarning:
        warnings.append(f"zwarning is {spectrum.zwarning}, so the file's own redshift is in doubt")
    if missing:
        warnings.append(f"{missing} of {binned.mask.size} bins hold no good pixels and are interpolated")
    if clipped[0]:
        warnings.append(f"{clipped[0]} values lie outside the range of the scheme and are set to its end")
    return texts[0].as_py(), warnings


class Reader:
    """A model with an adapter, and how spectra are written for it.

    Parameters
    ----------
    adapter : str
        A folder or a Hub name.
    model : str, optional
        Base model; by default the one that the adapter names.
    dataset, config : str, optional
        See `specdata.inference.trained.load_encoding`.
    device : str, optional

    Attributes
    ----------
    encoding : specdata.text.encoding.Encoding
    generator : specdata.inference.local.Generator
    adapter, model : str
        Names, without the folders that they lie in.
    warnings : list of str
        Reasons to doubt this pair of model and adapter, a sentence each.
    """

    def __init__(self, adapter, model=None, *, dataset=None, config=None, device=None):
        need_model("this command")
        folder = local_folder(adapter, "model")
        results = load_results(folder) if (folder / RESULTS).is_file() else None
        named = read_config(folder, adapter)["base_model_name_or_path"]
        if results and results["model"]["base"] == PACKAGE:  # the package has other weights than the Hub: quantised
            named = PACKAGE
        model = str(model or named)
        check_model(model)
        self.encoding = load_encoding(folder, dataset, config)
        self.generator = Generator(model, folder, device=device)
        self.adapter, self.model = public_name(adapter), public_name(model)
        self.warnings, self._z_max = [], 1
        if results:
            self._z_max = results.get("posterior", {}).get("z_max", 1)
            found, scored = self.generator.revision or weights_revision(model), results["model"]["base_revision"]
            if len(found) == len(scored) and found != scored:  # a Hub commit and a hash of files cannot be compared
                self.warnings = [
                    f"the base model has revision {found[:12]}, and the adapter was scored on {scored[:12]}"
                ]

    def predict(self, path) -> Prediction:
        """Read one file."""
        spectrum = read_spectrum(path)
        series, warnings = encode_spectrum(spectrum, self.encoding)
        prompt = prompts.build_row(series, 0.0)["prompt"]
        answer = self.generator.answer([prompt], max_new_tokens=MAX_NEW_TOKENS)[0]
        return Prediction(
            spectrum=spectrum,
            prompt=prompt,
            posterior=next(self.generator.posteriors([prompt], z_max=self._z_max))[1],
            answer=answer,
            z_greedy=prompts.parse_redshift(answer),
            warnings=warnings,
        )


def write_predictions(path: Path, predictions) -> None:
    """Write the dicts of several predictions as JSON or, one row each, as CSV; the end of the path says which."""
    if path.suffix.lower() == ".json":
        path.write_text(json.dumps(predictions, indent=2) + "\n", encoding="utf-8")
        return
    flat = []
    for row in predictions:
        flat.append({})
        for key, value in row.items():
            if key.startswith("interval"):
                flat[-1] |= {f"{key}_low": value[0], f"{key}_high": value[1]}
            else:
                flat[-1][key] = "; ".join(value) if key == "warnings" else value
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(flat[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(flat)
