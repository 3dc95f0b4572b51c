"""An MCP server: an agent measures redshifts with a trained adapter, and asks its model about a galaxy."""

import threading
from typing import Annotated

from pydantic import BaseModel, Field

import specdata
from specdata.errors import SpecdataError
from specdata.inference.chat import Session, describe
from specdata.inference.predict import open_spectra
from specdata.results import format_score

MOST_SPECTRA = 100  # of one file that a call measures

Path = Annotated[str | None, Field(description="Path of a file with spectra, such as FITS, ECSV or CSV.")]
Wavelength = Annotated[list[float] | None, Field(description="Vacuum wavelengths in Angstrom, in place of a file.")]
Flux = Annotated[list[float] | None, Field(description="Flux density at each wavelength, in 1e-17 erg/s/cm2/A.")]
Ivar = Annotated[list[float] | None, Field(description="Inverse variance of the flux; 0 is no information.")]


class Measurement(BaseModel):
    """What the model says of one spectrum. A redshift is null where the model most probably answers none."""

    name: str
    z: float | None = Field(description="Redshift: the median of p(z), or the greedy answer where there is no p(z).")
    interval_68: tuple[float, float] | None = Field(description="Central 68 % interval of p(z).")
    interval_95: tuple[float, float] | None = Field(description="Central 95 % interval of p(z).")
    answer: str = Field(description="The model's greedy answer, as it is.")
    z_file: float | None = Field(description="Redshift that the file states; the model was not told it.")
    warnings: list[str] = Field(description="Reasons to doubt it.")


class Measurements(BaseModel):
    """A measurement of each spectrum, and doubts about the adapter itself."""

    spectra: list[Measurement]
    doubts: list[str]


class Description(BaseModel):
    """What an adapter is, from its own evaluation; null where it has none."""

    adapter: str
    model: str
    bins: int
    wavelength_range: tuple[float, float] = Field(description="Vacuum Angstrom; a spectrum has to cover it.")
    training_rows: int | None
    mocks_among_them: int | None
    scores: dict[str, str] = Field(description="On a split that it was not trained on, with 95 % intervals.")
    doubts: list[str]


class Reply(BaseModel):
    """The redshift with its interval, and the model's answer to a question after it."""

    redshift: str
    answer: str


def make_server(reader):
    """Make the server.

    Parameters
    ----------
    reader : specdata.inference.reader.Reader
        Its model is loaded at the first call that needs it.

    Returns
    -------
    mcp.server.mcpserver.MCPServer
    """
    from mcp.server.mcpserver import MCPServer
    from mcp.server.mcpserver.exceptions import ToolError

    server = MCPServer(
        "specdata",
        version=specdata.__version__,
        instructions="Measures redshifts of galaxy spectra with intervals. Read its warnings and doubts.",
    )
    one_at_a_time = threading.Lock()  # the tools run in threads, and share a model

    @server.tool()
    def measure_redshift(
        path: Path = None, wavelength: Wavelength = None, flux: Flux = None, ivar: Ivar = None
    ) -> Measurements:
        """Measure the redshift of each spectrum of a file, or of one spectrum given as arrays."""
        try:
            with one_at_a_time:
                asked = [reader.ask(spectrum) for spectrum in _spectra(path, wavelength, flux, ivar)]
                found = [_measurement(said) for said in reader.predict(asked)]
                return Measurements(spectra=found, doubts=reader.warnings)
        except SpecdataError as error:
            raise ToolError(str(error)) from None

    @server.tool()
    def describe_adapter() -> Description:
        """Describe the adapter: what it reads, what it was trained on, and how well it did."""
        try:
            with one_at_a_time:
                return _description(reader)
        except SpecdataError as error:
            raise ToolError(str(error)) from None

    @server.tool()
    def ask_about_spectrum(
        question: str, path: Path = None, wavelength: Wavelength = None, flux: Flux = None, ivar: Ivar = None
    ) -> Reply:
        """Ask the model a question about the galaxy of one spectrum, after it has measured the redshift."""
        try:
            with one_at_a_time:
                spectra = _spectra(path, wavelength, flux, ivar)
                if len(spectra) > 1:
                    raise SpecdataError(f"{path}: holds more than one spectrum; give a file with one")
                session = Session(reader, spectra[0])
                answer = session.ask(question, on_text=lambda _: None)
                return Reply(redshift=describe(session.prediction), answer=answer)
        except SpecdataError as error:
            raise ToolError(str(error)) from None

    return server


def _spectra(path, wavelength, flux, ivar):
    if (path is None) == (wavelength is None or flux is None):
        raise SpecdataError("give either path, or wavelength and flux")
    found = []
    for spectrum in open_spectra(path if path is not None else (wavelength, flux, ivar)):
        found.append(spectrum)
        if len(found) > MOST_SPECTRA:
            raise SpecdataError(f"{path}: holds more than {MOST_SPECTRA} spectra; use specdata predict")
    return found


def _measurement(said):
    posterior, stated = said.posterior, said.facts["z_file"]
    spans = [None, None] if posterior is None else [posterior.interval(level) for level in (0.68, 0.95)]
    return Measurement(
        name=said.facts["name"], z=said.estimate, interval_68=spans[0], interval_95=spans[1], answer=said.answer,
        z_file=stated if stated == stated else None, warnings=said.warnings,
    )  # fmt: skip


def _description(reader):
    results, edges = reader.results or {}, reader.encoding.edges
    scored = results.get("dataset", {})
    return Description(
        adapter=reader.adapter, model=reader.model, bins=len(edges) - 1,
        wavelength_range=(float(edges[0]), float(edges[-1])), training_rows=scored.get("n_train"),
        mocks_among_them=scored.get("n_mock_train"),
        scores={name: format_score(score) for name, score in results.get("metrics", {}).items()},
        doubts=reader.warnings,
    )  # fmt: skip
