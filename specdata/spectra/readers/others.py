"""Spectra of formats that specutils reads, where it is installed."""

import importlib.util
import warnings

import numpy as np

from specdata.spectra.readers.metadata import make, metadata


def read(path) -> list | None:
    """Spectra of a file, or None where specutils is not installed or does not read it."""
    if importlib.util.find_spec("specutils") is None:
        return None
    from specutils import SpectrumList

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = SpectrumList.read(path)
    except Exception:  # of the loaders that are tried, of which each has its own
        return None
    spectra = []
    for one in found:
        count = int(np.prod(one.flux.shape[:-1]))
        for number in range(count):
            name = path.name if len(found) * count == 1 else f"{path.name}[{len(spectra)}]"
            spectra.append(_spectrum(one, number, name))
    return spectra or None


def _spectrum(one, number, name):
    """Spectrum `number` of the rows of an object of specutils."""
    import astropy.units as u
    from astropy.nddata import StdDevUncertainty

    n, header = one.flux.shape[-1], one.meta.get("header", one.meta)
    arrays = {"flux": one.flux.reshape(-1, n)[number]}
    if one.uncertainty is not None:
        sigma = one.uncertainty.represent_as(StdDevUncertainty)
        arrays["sigma"] = sigma.array.reshape(-1, n)[number] * (sigma.unit or one.flux.unit)
    if one.mask is not None:
        arrays["mask"] = np.asarray(one.mask).reshape(-1, n)[number]
    known = {"specobjid": name} | metadata(dict(header)) | {"source": name}
    return make(u.Quantity(one.spectral_axis), **arrays, **known)
