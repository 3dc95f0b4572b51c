"""Along what the values of a curve are measured: vacuum wavelength for spectra of the sky, or any other quantity."""

from dataclasses import asdict, dataclass

from specdata.errors import SpecdataError


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The quantity x of a curve y(x), with what y is.

    A `Spectrum` of another axis than `SKY` holds x, in the unit that is given here, where others hold the wavelength in
    Angstrom, and y where others hold flux.

    Attributes
    ----------
    name : str
        Of x, such as ``wavelength`` or ``time``; a column with this name has it in tables.
    unit : str
        Of x, such as ``nm`` or ``h``; empty for a pure number.
    values : str
        Name of y, such as ``absorbance``; a column with this name has it in tables.
    values_unit : str
        Of y.
    """

    name: str
    unit: str = ""
    values: str = "values"
    values_unit: str = ""

    def __post_init__(self):
        for text in (self.name, self.unit, self.values, self.values_unit):
            if not isinstance(text, str) or len(text) > 100 or not (text.isprintable() or text == ""):
                raise SpecdataError(f"axis: {str(text)[:60]!r} is not one line of text")
        if not self.name.strip() or not self.values.strip():
            raise SpecdataError("axis: name and values must not be empty")

    @property
    def is_sky(self) -> bool:
        """Whether the curves are spectra of the sky, which have redshift, class and lines."""
        return self == SKY

    @property
    def noun(self) -> str:
        """What one of the curves is called."""
        return "spectrum" if self.is_sky else "curve"

    @property
    def plural(self) -> str:
        """What several of them are called."""
        return "spectra" if self.is_sky else "curves"

    @property
    def shown_unit(self) -> str:
        """The unit of x as people write it."""
        return "Å" if self.is_sky else self.unit

    @property
    def label(self) -> str:
        """The quantity x with its unit."""
        if self.is_sky:
            return "observed wavelength (vacuum Å)"
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def values_label(self) -> str:
        """The quantity y with its unit."""
        if self.is_sky:
            return r"flux ($10^{-17}$ erg/s/cm$^2$/Å)"
        return f"{self.values} ({self.values_unit})" if self.values_unit else self.values

    def span(self, start, stop) -> str:
        """Two values of x in words, such as ``3840 to 9160 A``."""
        form = ".0f" if self.is_sky else ".6g"
        return f"{start:{form}} to {stop:{form}} {self.unit}".rstrip()

    def to_dict(self) -> dict:
        """What ``Axis(**stored)`` reads, as JSON can hold it."""
        return asdict(self)


SKY = Axis(name="wavelength", unit="A", values="flux", values_unit="1e-17 erg/s/cm2/A")
