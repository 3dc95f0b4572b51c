"""A spectrum's file to a redshift with its interval: written as the adapter was trained, answered, p(z) read off."""

import csv
import json
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from specdata import prompts
from specdata.dataset import rows
from specdata.dataset.manifest import read_manifest
from specdata.errors import SpecdataError
from specdata.hub import local_folder, public_name, weights_revision
from specdata.inference.local import MAX_NEW_TOKENS, Generator
from specdata.results import RESULTS, load_results
from specdata.spectra.binning import median_scale
from specdata.spectra.specfile import read_spectrum
from specdata.text.encoding import Encoding


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """What a model says of one spectrum.

    Attributes
    ----------
    spectrum : specdata.spectra.spectrum.Spectrum
    prompt : list of dict
        One user message.
    answer : str
        The model's greedy answer, as it is.
    z : float or None
        The redshift in it, None if it does not parse.
    posterior : specdata.posterior.RedshiftPosterior
    warnings : list of str
        What speaks against the prediction, a sentence each.
    """

    spectrum: object
    prompt: list
    answer: str
    z: float | None
    posterior: object
    warnings: list = field(default_factory=list)

    def to_dict(self):
        """The numbers that are stored, without the spectrum and p(z) themselves."""
        found = self.spectrum
        return {
            "file": found.source, "name": found.name, "class": found.spectype, "z_file": found.z, "answer": self.answer,
            "z": self.z, **self.posterior.summary(), "warnings": self.warnings,
        }  # fmt: skip


def load_encoding(adapter, dataset=None, config=None):
    """How the spectra have to be written for an adapter.

    Parameters
    ----------
    adapter : Path
        Folder of the adapter; `specdata card` has put the evaluation's ``results.json`` there, which says it.
    dataset : str, optional
        The data set that it was trained on, a folder or a Hub name, which says it, too.
    config : str, optional
        The text config that it was trained on; needed where the data set has more than one way to write a spectrum.

    Returns
    -------
    specdata.text.encoding.Encoding
    """
    if dataset is None:
        if config is not None:
            raise SpecdataError(f"--config {config}: is a config of a data set; give --dataset, too, or leave it out")
        hint = "give --dataset and --config of its training, or the folder that `specdata card` made"
        stored = load_results(adapter, hint)["encoding"]
        return Encoding.from_dict(stored, "adapter")
    manifest = read_manifest(local_folder(dataset, "dataset"), dataset)
    found = {name: Encoding.from_dict(stored, name) for name, stored in manifest["configs"].items()}
    if config is None:
        ways = {(one.edges.tobytes(), one.normalisation, one.scheme) for one in found.values()}
        if len(ways) > 1:
            raise SpecdataError(
                f"{dataset}: has the text configs {', '.join(found)}; say by --config which was trained"
            )
        config = next(iter(found))
    if config not in found:
        raise SpecdataError(f"config {config!r}: {dataset} has the text configs {', '.join(found)}")
    return found[config]


def encode_spectrum(spectrum, encoding):
    """Write a spectrum as the build does, to the letter.

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
        warnings.append(
            f"the pipeline's class is {spectrum.spectype}; the model knows galaxies alone, and answers anyway"
        )
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
        See `load_encoding`.
    device : str, optional

    Attributes
    ----------
    encoding : specdata.text.encoding.Encoding
    generator : specdata.inference.local.Generator
    adapter, model : str
        Names, without the folders that they lie in.
    warnings : list of str
        What speaks against this pair of model and adapter.
    """

    def __init__(self, adapter, model=None, *, dataset=None, config=None, device=None):
        folder = local_folder(adapter, "model")
        try:
            named = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
        except (OSError, ValueError, KeyError, TypeError):
            raise SpecdataError(f"{adapter}: has no adapter_config.json; give the folder of a LoRA adapter") from None
        self.encoding = load_encoding(folder, dataset, config)
        self.generator = Generator(str(model or named), folder, device=device)
        self.adapter, self.model = public_name(adapter), public_name(model or named)
        self.warnings = self._other_base(folder, str(model or named))

    def _other_base(self, folder, model):
        """A warning if these are not the weights that the adapter was evaluated on."""
        if not (folder / RESULTS).is_file():
            return []
        expected = load_results(folder)["model"]["base_revision"]
        found = self.generator.revision or weights_revision(model)
        if len(found) != len(expected) or found == expected:  # a Hub commit and a hash of files cannot be compared
            return []
        return [f"the base model has revision {found[:12]}, and the adapter was evaluated on {expected[:12]}"]

    def predict(self, path):
        """Read one file; `Prediction`."""
        spectrum = read_spectrum(path)
        series, warnings = encode_spectrum(spectrum, self.encoding)
        prompt = prompts.build_row(series, 0.0)["prompt"]
        answer = self.generator.answer([prompt], max_new_tokens=MAX_NEW_TOKENS)[0]
        return Prediction(
            spectrum=spectrum,
            prompt=prompt,
            answer=answer,
            z=prompts.parse_redshift(answer),
            posterior=self.generator.posterior(prompt),
            warnings=warnings,
        )


def write_predictions(path, predictions):
    """Write what `Prediction.to_dict` gives for several spectra, as JSON or, one row each, as CSV.

    Parameters
    ----------
    path : Path
        Ends in ``.json`` or ``.csv``.
    predictions : list of dict
    """
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
