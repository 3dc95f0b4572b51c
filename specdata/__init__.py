"""SDSS spectra as text for language models: data sets, recipes for training, adapters and their evaluation.

Example
-------
Read a spec file of SDSS or BOSS (`specdata.spectra.readers` lists what else can be read), average its flux in 80 bins,
and write these as a prompt with its answer:

>>> import numpy as np
>>> import specdata
>>> spectrum = specdata.read_spectrum("spec-3587-55182-0148.fits")
>>> spectrum.name, round(spectrum.z, 4)
('3587-55182-0148', 0.0449)
>>> binned = specdata.bin_spectrum(spectrum, np.linspace(3840, 9160, 81))
>>> series = specdata.serialize.PAPER.encode(binned.flux / np.median(binned.flux))
>>> row = specdata.prompts.build_row(series, spectrum.z)
>>> row["completion"][0]["content"]
'Redshift: [0.0449]'

Packages
--------
In the order in which data go through them:

- ``archive``: a selection on SkyServer, and its spec files from the SDSS archive
- ``spectra``: one spectrum, read from a file or made as a mock, and binned
- ``text``: binned flux to text and back, and how many tokens a text has
- ``dataset``: a recipe to a folder with Parquet files, a card and a manifest
- ``training``: check, launch and sweep ``trl sft``
- ``inference``: a trained model that answers with a redshift and p(z), or in a conversation
- ``evaluation``: answers to scores with intervals, beside those of baselines
- ``publish``: results to a card, and everything to the Hugging Face Hub
- ``serve``: an agent's tools and a page, with a trained model behind them
- ``cli``: the command ``specdata``

``serialize``, ``prompts`` and ``posterior`` are what other code needs to speak with a trained model.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # for editors and type checkers
    from specdata import posterior, prompts, serialize
    from specdata.errors import SpecdataError
    from specdata.inference.predict import predict
    from specdata.spectra.binning import bin_spectrum
    from specdata.spectra.readers import read_spectra, read_spectrum
    from specdata.spectra.spectrum import Spectrum

__version__ = "0.1.0"
__all__ = ["SpecdataError", "Spectrum", "bin_spectrum", "posterior", "predict", "prompts"]
__all__ += ["read_spectra", "read_spectrum", "serialize"]

# Imported on first use: `import specdata` itself has to be fast and to need nothing else.
_HOMES = {
    "SpecdataError": "specdata.errors",
    "Spectrum": "specdata.spectra.spectrum",
    "bin_spectrum": "specdata.spectra.binning",
    "predict": "specdata.inference.predict",
    "read_spectra": "specdata.spectra.readers",
    "read_spectrum": "specdata.spectra.readers",
}


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in __all__:
        return import_module(f"specdata.{name}")
    raise AttributeError(f"module 'specdata' has no attribute {name!r}")


def __dir__():
    return __all__
