"""The columns of each config of a data set: names, types, units, and how a row is filled."""

import functools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from datasets import Features, List, Value

from specdata import prompts
from specdata.spectra.axis import SKY
from specdata.spectra.binning import bin_spectra, median_scale
from specdata.spectra.spectrum import good_pixels
from specdata.targets import REDSHIFT
from specdata.text import conversation

IDENTITY = {
    "specobjid": ("string", "SpecObj number of the observation, as text"),
    "position_id": ("string", "position of the object; spectra of one object share it and are never in two splits"),
    "plate": ("int32", "spectroscopic plate"),
    "mjd": ("int32", "modified Julian date of the observation"),
    "fiberid": ("int32", "fibre number; 0 where there is none"),
    "run2d": ("string", "version of the reduction"),
    "z": ("float64", "redshift"),
    "spectype": ("string", "class of the pipeline's fit"),
    "subclass": ("string", "subclass of the pipeline's fit"),
    "ra": ("float64", "right ascension, ICRS, degrees"),
    "dec": ("float64", "declination, ICRS, degrees"),
    "snmedian": ("float32", "median signal-to-noise ratio per pixel"),
    "is_mock": ("bool", "true for a synthetic spectrum"),
}
METADATA = {
    "zerr": ("float64", "error of the redshift"),
    "zwarning": ("int32", "bit mask of redshift warnings, 0 = good"),
    "vdisp": ("float32", "velocity dispersion of the stars, km/s; NaN where unknown"),
    "teff": ("float32", "effective temperature of a star, K; NaN where unknown"),
    "logg": ("float32", "log10 of the surface gravity of a star in cm/s2; NaN where unknown"),
    "feh": ("float32", "[Fe/H] of a star, dex; NaN where unknown"),
    "survey": ("string", "survey, where it is known"),
    "instrument": ("string", "spectrograph, where it is known"),
    "dered_i": ("float32", "dereddened i magnitude; NaN where unknown"),
    "bestobjid": ("string", "number of the photometric object, as text"),
    "spectroflux": ("list of float32", "flux in u, g, r, i, z of the spectrum itself, nanomaggies; NaN where unknown"),
    "modelmag": ("list of float32", "model magnitudes in u, g, r, i, z; NaN where unknown"),
    "extinction": ("list of float32", "extinction by the Milky Way in u, g, r, i, z, mag; NaN where unknown"),
    "target_bits": ("string", "bit masks of targeting that are not 0, such as BOSS_TARGET1=3"),
    "source": ("string", "file that the spectrum was read from, or generator"),
}
POSITION = {
    "healpix": (
        "int64",
        "HEALPix pixel of the position, order 29, nested, as _healpix_29 of HATS; `healpix >> 50` is that of nside 16; "
        "-1 where the position is unknown",
    ),
}
PIXELS = {
    "loglam": ("list of float32", "log10 of the vacuum wavelength of each pixel in Angstrom, observed frame"),
    "flux": ("list of float32", "flux density of each pixel, 1e-17 erg/s/cm2/A"),
    "ivar": ("list of float32", "inverse variance of flux; 0 = no information"),
    "and_mask": ("list of int32", "SPPIXMASK bits that are set in all exposures"),
    "or_mask": ("list of int32", "SPPIXMASK bits that are set in any exposure"),
    "wdisp": ("list of float32", "sigma of the line spread function in pixels; NaN where unknown"),
}
MESSAGES = {
    "prompt": ("list of messages", "one user message: the instruction and the encoded flux"),
    "completion": ("list of messages", "one assistant message: the redshift to four decimals"),
}
CONVERSATION = {
    "prompt": ("list of messages", "the encoded flux, the redshift, and questions and answers up to a last question"),
    "completion": ("list of messages", "one assistant message: the answer to the last question"),
}
BINNED = {
    "scale": ("float32", "median flux of the good pixels, 1e-17 erg/s/cm2/A; 1 where the normalisation is none"),
    "wavelength": ("list of float32", "bin centres, vacuum Angstrom, observed frame"),
    "flux": ("list of float32", "mean flux density of the bin, 1e-17 erg/s/cm2/A"),
    "ivar": ("list of float32", "inverse variance of flux for independent pixels; 0 where the flux is interpolated"),
    "mask": ("list of bool", "true where good pixels cover less than half of the bin and the flux is interpolated"),
}
SPECTRA = {**IDENTITY, **METADATA, **POSITION, **PIXELS}
TEXT = {**MESSAGES, **IDENTITY, **BINNED}
# Columns that say nothing of a curve that is no spectrum of the sky.
OF_SKY = {*IDENTITY, *METADATA, *POSITION, "and_mask", "or_mask", "wdisp"}
OF_SKY -= {"specobjid", "position_id", "snmedian", "is_mock", "source"}
_FLUX = "1e-17 erg / (Angstrom s cm2)"
UNITS = {
    **{"ra": "deg", "dec": "deg", "mjd": "d", "vdisp": "km / s", "teff": "K", "logg": "dex(cm / s2)", "feh": "dex"},
    **{"dered_i": "mag(AB)", "modelmag": "mag(AB)", "extinction": "mag", "spectroflux": "nmgy"},
    **{"loglam": "dex(Angstrom)", "wavelength": "Angstrom", "flux": _FLUX, "scale": _FLUX},
    "ivar": "1e34 Angstrom2 s2 cm4 / erg2",
}


def target_column(target) -> dict[str, tuple[str, str]]:
    """The column that a text config has beside `TEXT` for a target whose value is not there already."""
    if target.stored_in != "target":
        return {}
    said = f"{target.label}, before it is rounded for the answer" if target.is_number else target.words
    return {"target": ("float64" if target.is_number else "string", said)}


def columns_along(axis, columns) -> dict[str, tuple[str, str]]:
    """The columns of a config, with what those of pixels and bins mean for an axis of its own."""
    if axis.is_sky:
        return columns
    own = {
        "specobjid": "name of the curve",
        "position_id": "name of the object, here of the curve; those of one object are never in two splits",
        "loglam": f"log10 of {axis.label} at each point",
        "wavelength": f"{axis.label} at the middle of each bin",
        "flux": f"{axis.values_label}, of each point or the mean of a bin",
        "scale": f"median of {axis.values_label}; 1 where the normalisation is none",
    }
    return {name: (kind, own.get(name, said)) for name, (kind, said) in columns.items()}


@functools.cache
def schema(config, target=REDSHIFT, axis=SKY) -> pa.Schema:
    """Arrow schema of a config, with what `datasets` has to know of its types, and units and meanings for astropy.

    `astropy.table.Table.read` finds the latter in the same form in which it writes them itself.
    """
    from astropy.table import Column, Table, meta
    from astropy.units import Unit

    def feature(kind):
        if kind == "list of messages":
            return List({"role": Value("string"), "content": Value("string")})
        return List(Value(kind.removeprefix("list of "))) if kind.startswith("list of ") else Value(kind)

    columns = columns_along(axis, SPECTRA if config == "spectra" else TEXT | target_column(target))
    fields = Features({name: feature(kind) for name, (kind, _) in columns.items()}).arrow_schema
    units = UNITS if axis.is_sky else {"wavelength": axis.unit, "flux": axis.values_unit, "scale": axis.values_unit}
    units = units | {"target": target.unit}
    described = Table()
    for name, (_, said) in columns.items():
        unit = Unit(units[name], parse_strict="silent") if units.get(name) else None
        described[name] = Column([], unit=unit, description=said)
    return fields.with_metadata(fields.metadata | {b"table_meta_yaml": "\n".join(meta.get_yaml_from_table(described))})


@functools.cache
def _stored_schema():
    """Schema of the `spectra` config without `position_id`, for which all rows have to be known."""
    fields = schema("spectra").remove_metadata()
    return fields.remove(fields.get_field_index("position_id"))


def spectra_batch(spectra) -> pa.RecordBatch:
    """Rows of the `spectra` config, all but `position_id`, of a list of `Spectrum`."""

    def column(field):
        if field.name == "healpix":
            return pa.array(_healpix([spectrum.ra for spectrum in spectra], [spectrum.dec for spectrum in spectra]))
        values = [getattr(spectrum, field.name) for spectrum in spectra]
        return _list_array(values, field.type) if field.name in PIXELS else pa.array(values, field.type)

    return pa.record_batch([column(field) for field in _stored_schema()], schema=_stored_schema())


def _healpix(ra, dec):
    """HEALPix pixels of positions in degrees, as the column `healpix` holds them."""
    from astropy.units import rad
    from astropy_healpix import HEALPix

    ra, dec = np.array(ra, dtype=np.float64), np.array(dec, dtype=np.float64)
    known = np.isfinite(ra) & (np.abs(dec) <= 90)
    pixels = np.full(len(ra), -1, dtype=np.int64)
    lon, lat = np.radians(ra[known]) << rad, np.radians(dec[known]) << rad
    pixels[known] = HEALPix(nside=2**29, order="nested").lonlat_to_healpix(lon, lat)
    return pixels


class Pixels(NamedTuple):
    """Pixels of a stored spectrum, as `specdata.bin_spectrum` takes them."""

    loglam: np.ndarray
    flux: np.ndarray
    ivar: np.ndarray
    good: np.ndarray


def stored_pixels(table) -> Iterator[Pixels]:
    """Yield the `Pixels` of each row of a table of the `spectra` config."""
    names = ("loglam", "flux", "ivar", "and_mask")
    for loglam, flux, ivar, and_mask in zip(
        *(table[name].to_numpy(zero_copy_only=False) for name in names), strict=True
    ):
        yield Pixels(loglam.astype(np.float64), flux, ivar, good_pixels(flux, ivar, and_mask))


class BinnedRows(NamedTuple):
    """Spectra on one grid, as a text config stores them: `flux`, `ivar` (float32) and `mask`, of shape (rows, n)."""

    flux: np.ndarray
    ivar: np.ndarray
    mask: np.ndarray


def bin_one(spectrum, encoding) -> tuple["BinnedRows", np.ndarray]:
    """Bins of one spectrum and its scale, an array of float32 of shape (1,), as a build stores them."""
    binned = bin_rows(pa.Table.from_batches([spectra_batch([spectrum])]), encoding.edges)
    span = encoding.edges[0], encoding.edges[-1]
    return binned, np.float32([1.0 if encoding.normalisation == "none" else median_scale(spectrum, *span)])


def bin_rows(table, edges) -> BinnedRows:
    """Put rows of the `spectra` config on a grid."""
    binned = bin_spectra(stored_pixels(table), edges)
    return BinnedRows(**binned | {name: binned[name].astype(np.float32) for name in ("flux", "ivar")})


def messages(series, spectra, encoding, values) -> list[dict]:
    """Prompt and completion of rows, each as `specdata.prompts.build_row` gives them.

    `series` is the encoded flux of each and `values` the true value of the target. For an encoding with turns,
    `spectra` holds the rows of the `spectra` config.
    """
    if not encoding.turns:
        rows = zip(series, values, strict=True)
        return [prompts.build_row(text, value, target=encoding.target) for text, value in rows]
    span, rescaled = (encoding.edges[0], encoding.edges[-1]), encoding.normalisation != "none"
    rows = []
    for text, facts in zip(series, spectra.select(list(conversation.FACTS)).to_pylist(), strict=True):
        turns = conversation.follow_up(facts, span, turns=encoding.turns, rescaled=rescaled)
        rows.append(prompts.build_row(text, facts["z"], turns))
    return rows


def text_table(spectra, binned, scale, encoding, values=None, answers=None) -> tuple[pa.Table, np.ndarray]:
    """Rows of a text config, and how many values of each lay outside the range of the scheme.

    `binned` are the rows `spectra` of the `spectra` config on the grid of `encoding`. The text is made from what is
    stored there, from `scale`, an array of float32, and from the `values` of the target, by default the redshifts, and
    nothing else, so that anybody can make it again. `answers`, by default the values, is what the completions say.
    """
    fields = schema("text", encoding.target, encoding.axis)
    values = spectra["z"].to_pylist() if values is None else values
    series, clipped = encoding.encode(binned.flux, scale)
    turns = messages(series.to_pylist(), spectra, encoding, values if answers is None else answers)
    turns = pa.Table.from_pylist(turns, schema=pa.schema([fields.field(name) for name in MESSAGES]))
    wavelength = np.broadcast_to(encoding.wavelength.astype(np.float32), binned.flux.shape)
    arrays = {"wavelength": wavelength, "flux": binned.flux, "ivar": binned.ivar, "mask": binned.mask}
    data = {name: turns[name] for name in MESSAGES} | {name: spectra[name] for name in IDENTITY}
    data["scale"] = pa.array(scale, pa.float32())
    data |= {name: _list_array(list(rows), fields.field(name).type) for name, rows in arrays.items()}
    if "target" in fields.names:
        data["target"] = pa.array(values, fields.field("target").type)
    return pa.table(data, schema=fields), clipped


def _list_array(arrays, kind):
    """Arrays of any lengths as one Arrow list array."""
    offsets = np.cumsum([0, *map(len, arrays)], dtype=np.int32)
    flat = np.concatenate(arrays) if arrays else np.empty(0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, kind.value_type), type=kind)
