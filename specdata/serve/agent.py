"""An MCP server: an agent measures redshifts, or what else an adapter was trained for, and asks about a spectrum."""

import contextlib
import threading
from typing import Annotated

from pydantic import BaseModel, Field

import specdata
from specdata.errors import SpecdataError
from specdata.inference.chat import Session, describe
from specdata.inference.predict import open_spectra
from specdata.results import format_score

MOST_SPECTRA = 100  # of one file that a call measures
MOST_PIXELS = 1_000_000  # of a spectrum that comes as arrays

Path = Annotated[str | None, Field(description="Path of a file with spectra, such as FITS, ECSV or CSV.")]
_AXES = "unless describe_adapter names another unit"
_Numbers = Annotated[list[float], Field(max_length=MOST_PIXELS)] | None
Wavelength = Annotated[_Numbers, Field(description=f"In place of a file: wavelengths in vacuum Angstrom, {_AXES}.")]
Flux = Annotated[_Numbers, Field(description=f"Flux density of each, in 1e-17 erg/s/cm2/A, {_AXES}.")]
Ivar = Annotated[_Numbers, Field(description="Inverse variance of the flux; 0 is no information.")]


class Measurement(BaseModel):
    """What the model says of one spectrum. The value is null where the model most probably gives none."""

    name: str
    quantity: str = Field(description="What was measured, such as redshift.")
    value: float | str | None = Field(
        description="The median of its probability or the most probable label; the greedy answer where there is none."
    )
    unit: str = Field(description="Of the value and of the intervals; empty for a pure number or a label.")
    interval_68: tuple[float, float] | None = Field(description="Of a number: the central 68 % interval.")
    interval_95: tuple[float, float] | None = Field(description="Of a number: the central 95 % interval.")
    probabilities: dict[str, float] | None = Field(description="Of labels: the probability of each.")
    answer: str = Field(description="The model's greedy answer, as it is.")
    stated: float | str | None = Field(description="The value that the file states; the model was not told it.")
    warnings: list[str] = Field(description="Reasons to doubt it.")


class Measurements(BaseModel):
    """A measurement of each spectrum, and doubts about the adapter itself."""

    spectra: list[Measurement]
    doubts: list[str]


class Description(BaseModel):
    """What an adapter is, from its own evaluation; null where it has none."""

    adapter: str
    model: str
    quantity: str = Field(description="What it measures, such as redshift.")
    unit: str
    labels: list[str] = Field(description="All answers that it may give, if it gives labels.")
    bins: int
    axis: str = Field(description="What the first array of a spectrum is, with its unit.")
    values: str = Field(description="What the second one is, with its unit.")
    range: tuple[float, float] = Field(description="Along the axis; a spectrum has to cover at least half of it.")
    training_rows: int | None
    mocks_among_them: int | None
    scores: dict[str, str] = Field(description="On a split that it was not trained on, with 95 % intervals.")
    doubts: list[str]


class Reply(BaseModel):
    """What was measured, with its interval or probabilities, and the model's answer to a question after it."""

    measured: str
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

    target = reader.encoding.target
    server = MCPServer(
        "specdata",
        version=specdata.__version__,
        instructions=f"Measures the {target.words} of spectra, with its uncertainty. Read its warnings and doubts.",
    )
    lock = threading.Lock()  # the tools run in threads, and share a model

    @contextlib.contextmanager
    def one_at_a_time():
        try:
            with lock:
                yield
        except SpecdataError as error:
            raise ToolError(str(error)) from None

    @server.tool(
        name=f"measure_{target.name.replace('-', '_')}",
        description=f"Measure the {target.words} of each spectrum of a file, or of one spectrum given as arrays.",
    )
    def measure(path: Path = None, wavelength: Wavelength = None, flux: Flux = None, ivar: Ivar = None) -> Measurements:
        with one_at_a_time():
            spectra = _spectra(reader, path, wavelength, flux, ivar)
            asked = [reader.ask(spectrum) for spectrum in spectra]
            found = [_measurement(said, target) for said in reader.predict(asked)]
            return Measurements(spectra=found, doubts=reader.warnings)

    @server.tool()
    def describe_adapter() -> Description:
        """Describe the adapter: what it reads, what it was trained on, and how well it did."""
        with one_at_a_time():
            return _description(reader)

    @server.tool()
    def ask_about_spectrum(
        question: str, path: Path = None, wavelength: Wavelength = None, flux: Flux = None, ivar: Ivar = None
    ) -> Reply:
        """Ask the model a question about one spectrum, after it has measured that."""
        with one_at_a_time():
            spectra = _spectra(reader, path, wavelength, flux, ivar)
            if len(spectra) > 1:
                raise SpecdataError(f"{path}: holds more than one spectrum; name one, as in {path}[0]")
            session = Session(reader, spectra[0])
            answer = session.ask(question, on_text=lambda _: None)
            return Reply(measured=describe(session.prediction), answer=answer)

    return server


def _spectra(reader, path, wavelength, flux, ivar):
    if (path is None) == (wavelength is None or flux is None):
        raise SpecdataError("give either path, or wavelength and flux")
    found = []
    for spectrum in open_spectra(path if path is not None else (wavelength, flux, ivar), axis=reader.encoding.axis):
        found.append(spectrum)
        if len(found) > MOST_SPECTRA:
            raise SpecdataError(f"{path}: holds more than {MOST_SPECTRA} spectra; use specdata predict")
    return found


def _measurement(said, target):
    summary = {} if said.posterior is None else said.posterior.summary()
    stated = said.facts[f"{target.key}_file"]
    return Measurement(
        name=said.facts["name"], quantity=target.words, value=said.estimate, unit=target.unit,
        interval_68=summary.get("interval_68"), interval_95=summary.get("interval_95"),
        probabilities=summary.get("probabilities"), answer=said.answer,
        stated=stated if stated == stated else None, warnings=said.warnings,
    )  # fmt: skip


def _description(reader):
    results, edges = reader.results or {}, reader.encoding.edges
    target, axis = reader.encoding.target, reader.encoding.axis
    scored = results.get("dataset", {})
    return Description(
        adapter=reader.adapter, model=reader.model, quantity=target.words, unit=target.unit,
        labels=list(target.labels), bins=len(edges) - 1, axis=axis.label,
        values=f"{axis.values} ({axis.values_unit})".removesuffix(" ()"),
        range=(float(edges[0]), float(edges[-1])), training_rows=scored.get("n_train"),
        mocks_among_them=scored.get("n_mock_train"),
        scores={name: format_score(score) for name, score in results.get("metrics", {}).items()},
        doubts=reader.warnings,
    )  # fmt: skip
