"""A binned spectrum to text, and back to wavelengths and flux: grid, normalisation and scheme together, and the target.

The same pixels give the same text on every x86-64 processor; see `specdata.spectra.binning` for the flux in its bins.
"""

from dataclasses import dataclass

import numpy as np

from specdata import serialize
from specdata.errors import SpecdataError
from specdata.spectra.axis import SKY, Axis
from specdata.spectra.binning import linear_edges, log_edges
from specdata.spectra.portable import arcsinh
from specdata.targets import REDSHIFT, Target

# Each of them takes flux in 1e-17 erg/s/cm2/A and the row's `scale` in the same unit, or numbers of order one.
NORMALISATIONS = ("median", "asinh", "none")
MOST_BINS = 10_000  # of a grid; narrower ones than pixels say nothing more
SOFTENING = 0.2  # of asinh, in units of the scale


def grid_edges(grid, bins=None) -> np.ndarray:
    """Edges of a recipe's `Grid`, vacuum Angstrom; `bins` is their number where the grid asks for tokens instead."""
    if grid.kind == "edges":
        return np.array(grid.edges, dtype=np.float64)
    return (log_edges if grid.kind == "log" else linear_edges)(grid.start, grid.stop, grid.bins or bins)


def normalise(flux, scale, normalisation) -> np.ndarray:
    """Turn flux into numbers of order one.

    Parameters
    ----------
    flux : ndarray, shape (..., n)
        1e-17 erg/s/cm2/A.
    scale : float or ndarray, shape (..., 1)
        Median flux of each spectrum in the same unit, or 1 where the normalisation is ``none``.
    normalisation : str
        ``median``, flux / scale; ``asinh``, asinh(flux / (0.2 scale)), which is linear about zero and logarithmic above
        (Lupton et al. 1999, AJ 118, 1406), so that one step of a scheme is the same share of a faint continuum and of a
        bright line; ``none``, flux itself.

    Returns
    -------
    ndarray, shape (..., n), float64
    """
    ratio = np.asarray(flux, dtype=np.float64) / np.asarray(scale, dtype=np.float64)
    return arcsinh(ratio / SOFTENING) if normalisation == "asinh" else ratio


def restore(values, scale, normalisation) -> np.ndarray:
    """Turn numbers of order one back into flux: the inverse of `normalise`."""
    values = np.asarray(values, dtype=np.float64)
    ratio = SOFTENING * np.sinh(values) if normalisation == "asinh" else values
    return ratio * np.asarray(scale, dtype=np.float64)


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoding:
    """How the text of one config was made from binned flux."""

    edges: np.ndarray  # of the bins, vacuum Angstrom, observed frame; shape (n + 1,), float64
    normalisation: str  # one of `NORMALISATIONS`
    scheme: str  # name of a scheme of `specdata.serialize`
    turns: int = 0  # most questions after the redshift, see `specdata.text.conversation`
    target: Target = REDSHIFT  # what the prompt asks for
    axis: Axis = SKY  # along what the edges lie, if not along vacuum wavelength

    @classmethod
    def from_recipe(cls, config, bins=None, *, target=REDSHIFT, axis=SKY) -> "Encoding":
        """The encoding that a `TextConfig` of a recipe asks for; `bins` as for `grid_edges`."""
        turns = config.conversation.turns if config.conversation else 0
        edges = grid_edges(config.grid, bins)
        ways = {"normalisation": config.normalisation, "scheme": config.scheme, "turns": turns}
        return cls(edges=edges, **ways, target=target, axis=axis)

    @classmethod
    def from_dict(cls, stored, name) -> "Encoding":
        """The encoding that a manifest or `results.json` stores for the config `name`: the inverse of `to_dict`.

        Raises
        ------
        SpecdataError
            If it is not all there, or names a scheme or a normalisation that this version does not know.
        """
        try:
            edges = np.array(stored["edges"], dtype=np.float64)
            scheme, normalisation = str(stored["scheme"]), str(stored["normalisation"])
            turns = int(stored.get("turns", 0))
            target = Target.from_dict(stored["target"]) if "target" in stored else REDSHIFT
            axis = Axis(**stored["axis"]) if stored.get("axis") else SKY
            if len(edges) < 2 or not (edges[0] > 0 and np.isfinite(edges[-1]) and (np.diff(edges) > 0).all()):
                raise ValueError("edges")
        except (KeyError, TypeError, ValueError, AttributeError):
            raise SpecdataError(
                f"config {name!r}: the manifest does not say how its text was made; build the data set again"
            ) from None
        for value, known in ((scheme, tuple(serialize.SCHEMES)), (normalisation, NORMALISATIONS)):
            if value not in known:
                raise SpecdataError(
                    f"config {name!r}: {value!r} is not one of {', '.join(known)}; read it with the version of "
                    "specdata that made it, or build it again"
                )
        ways = {"normalisation": normalisation, "scheme": scheme, "turns": turns}
        return cls(edges=edges, **ways, target=target, axis=axis)

    def to_dict(self) -> dict:
        """What `from_dict` reads, as JSON can hold it."""
        more = {"turns": self.turns} if self.turns else {}
        if self.target != REDSHIFT:  # which data sets have that say nothing else
            more["target"] = self.target.to_dict()
        if not self.axis.is_sky:
            more["axis"] = self.axis.to_dict()
        return {"edges": self.edges.tolist(), "normalisation": self.normalisation, "scheme": self.scheme} | more

    @property
    def wavelength(self) -> np.ndarray:
        """Bin centres, vacuum Angstrom, observed frame; ndarray of shape (n,), float64."""
        return 0.5 * (self.edges[1:] + self.edges[:-1])

    def encode(self, flux, scale) -> tuple:
        """Write binned flux as text.

        Parameters
        ----------
        flux : ndarray, shape (rows, n)
            1e-17 erg/s/cm2/A.
        scale : ndarray, shape (rows,)

        Returns
        -------
        texts : pyarrow.StringArray
        clipped : ndarray, shape (rows,), int
            Values of each row that lie outside the range of the scheme and were moved to its end.
        """
        if np.shape(flux)[1:] != self.wavelength.shape:
            raise SpecdataError(f"the flux has shape {np.shape(flux)} and the grid {len(self.wavelength)} bins")
        scheme = serialize.SCHEMES[self.scheme]
        values = normalise(flux, np.asarray(scale, dtype=np.float64)[:, None], self.normalisation)
        inside = np.clip(values, scheme.low, scheme.high)
        # What rounds to the end of the range is inside it.
        clipped = np.abs(values - inside) > 0.5 * scheme.step
        return scheme.encode_batch(inside, arrow=True), clipped.sum(axis=1)

    def decode(self, texts, scale) -> np.ndarray:
        """Read a sequence of texts back as flux: the inverse of `encode`, with the same shapes and units."""
        values = serialize.SCHEMES[self.scheme].decode_batch(texts)
        if values.shape[1:] != self.wavelength.shape:
            raise SpecdataError(f"the text has {values.shape[1]} values and the grid {len(self.wavelength)} bins")
        return restore(values, np.asarray(scale, dtype=np.float64)[:, None], self.normalisation)
