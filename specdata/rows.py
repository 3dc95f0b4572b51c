"""The columns of each config of a data set: names, types, units, and how a row is filled."""

import numpy as np
from datasets import Features, List, Value

from specdata import prompts

IDENTITY = {
    "specobjid": ("string", "SpecObj number of the observation, as text"),
    "object_id": ("string", "position of the object; spectra of one object share it and are never in two splits"),
    "plate": ("int32", "spectroscopic plate"),
    "mjd": ("int32", "modified Julian date of the observation"),
    "fiberid": ("int32", "fibre number"),
    "run2d": ("string", "version of the reduction"),
    "z": ("float64", "redshift"),
    "is_mock": ("bool", "true for a synthetic spectrum"),
}
METADATA = {
    "zerr": ("float64", "error of the redshift"),
    "zwarning": ("int32", "bit mask of redshift warnings, 0 = good"),
    "spectype": ("string", "class of the pipeline's fit"),
    "subclass": ("string", "subclass of the pipeline's fit"),
    "ra": ("float64", "right ascension, ICRS, degrees"),
    "dec": ("float64", "declination, ICRS, degrees"),
    "survey": ("string", "survey, where the file says"),
    "instrument": ("string", "spectrograph, where the file says"),
    "snmedian": ("float32", "median signal-to-noise ratio per pixel"),
    "dered_i": ("float32", "dereddened i magnitude; NaN where unknown"),
    "source": ("string", "file that the spectrum was read from, or generator"),
}
ARRAYS = {
    "wavelength": ("list of float32", "bin centres, vacuum Angstrom, observed frame"),
    "flux": ("list of float32", "mean flux density of the bin, 1e-17 erg/s/cm2/A"),
    "ivar": ("list of float32", "inverse variance of flux; 0 where the flux is interpolated"),
    "mask": ("list of bool", "true where good pixels cover less than a tenth of the bin and the flux is interpolated"),
}
SCALE = {"scale": ("float32", "median flux of the observed bins, 1e-17 erg/s/cm2/A; the text holds flux / scale")}
MESSAGES = {
    "prompt": ("list of messages", "one user message: the instruction and the encoded flux"),
    "completion": ("list of messages", "one assistant message: the redshift to four decimals"),
}
CONFIGS = {
    "spectra": {**IDENTITY, **METADATA, **ARRAYS, **SCALE},
    "paper": {**MESSAGES, **IDENTITY, **SCALE},
}


def features(config):
    """Hugging Face `Features` of a config."""

    def feature(kind):
        if kind == "list of messages":
            return List({"role": Value("string"), "content": Value("string")})
        if kind.startswith("list of "):
            return List(Value(kind.removeprefix("list of ")))
        return Value(kind)

    return Features({name: feature(kind) for name, (kind, _) in CONFIGS[config].items()})


def spectra_row(spectrum, binned, scale):
    """One row of the `spectra` config, all but `object_id`, which takes knowledge of all rows."""
    names = [*IDENTITY, *METADATA]
    row = {name: getattr(spectrum, name) for name in names if name != "object_id"}
    row["wavelength"] = (0.5 * (binned.edges[1:] + binned.edges[:-1])).astype(np.float32)
    row["flux"], row["ivar"] = binned.flux.astype(np.float32), binned.ivar.astype(np.float32)
    row["mask"], row["scale"] = binned.mask, np.float32(scale)
    return row


def text_rows(batch, scheme):
    """Rows of a text config from rows of the `spectra` config.

    Parameters
    ----------
    batch : pyarrow.Table
        Rows of the `spectra` config. The text is made from what is stored there and nothing else, so that anybody can
        make it again.
    scheme : object
        A scheme of `specdata.serialize`.

    Returns
    -------
    list of dict
    """
    flux = np.stack(batch["flux"].to_numpy(zero_copy_only=False)).astype(np.float64)
    scale = batch["scale"].to_numpy().astype(np.float64)
    series = scheme.encode_batch(flux / scale[:, None])
    identity = batch.select([*IDENTITY, "scale"]).to_pylist()
    return [prompts.build_row(text, row["z"]) | row for text, row in zip(series, identity, strict=True)]
