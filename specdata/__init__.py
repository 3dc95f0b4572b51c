"""SDSS spectra as text for language models: data sets, recipes, adapters and their evaluation."""

from importlib import import_module

__version__ = "0.1.0"

# Public names, imported on first use: `import specdata` itself must stay fast and free of torch.
_PUBLIC = {
    "Spectrum": "specdata.spectra.spectrum",
    "read_spectrum": "specdata.spectra.specfile",
    "bin_spectrum": "specdata.spectra.binning",
    "SpecdataError": "specdata.errors",
}
__all__ = ["__version__", *_PUBLIC]


def __getattr__(name):
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in {"serialize", "prompts", "metrics", "baselines", "posterior"}:
        return import_module(f"specdata.{name}")
    raise AttributeError(f"module 'specdata' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_PUBLIC])
