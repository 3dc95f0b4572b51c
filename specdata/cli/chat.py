"""Commands that read single spectra with a trained adapter."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from specdata.errors import SpecdataError

app = typer.Typer()

Adapter = Annotated[str, typer.Option(help="LoRA adapter, a folder or a Hub name.")]
Model = Annotated[str | None, typer.Option(help="Base model, a folder or a Hub name; by default the adapter's.")]
Dataset = Annotated[str | None, typer.Option(help="Data set that it was trained on, if its folder does not say how.")]
Config = Annotated[str | None, typer.Option(help="Text config of that data set.")]
Device = Annotated[str | None, typer.Option(help="Such as cuda or cpu; a GPU if there is one.")]


@app.command()
def chat(
    adapter: Adapter,
    spectrum: Annotated[Path, typer.Option(help="A spec file, lite or full.")],
    model: Model = None,
    dataset: Dataset = None,
    config: Config = None,
    question: Annotated[list[str] | None, typer.Option(help="Ask this and end; repeatable.")] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the conversation: a .json or .md file.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw p(z): a PNG, PDF or SVG file.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 256,
    device: Device = None,
):
    """Have a model predict the redshift of a spectrum, with its interval, and talk about the galaxy."""
    from specdata import canvas
    from specdata.evaluation import figures
    from specdata.files import new_file
    from specdata.inference.chat import FORMATS, Session
    from specdata.inference.reader import Reader
    from specdata.spectra.specfile import read_spectrum

    read_spectrum(spectrum)  # before the model, which takes longer
    nothing = contextlib.nullcontext()
    with (
        new_file(save, suffixes=FORMATS) if save else nothing as transcript,
        new_file(figure, suffixes=canvas.FORMATS) if figure else nothing as drawing,
    ):
        reader = Reader(adapter, model, dataset=dataset, config=config, device=device)
        session = Session(reader, spectrum)
        _introduce(reader, session)
        if figure:
            found = session.prediction
            title = f"{'mock ' if found.spectrum.is_mock else ''}{found.spectrum.name}"
            figures.redshift_density(
                drawing, found.posterior, z_pred=found.z, z_file=found.spectrum.z, title=title
            )  # fmt: skip
        for text in question or _questions():
            if question or not sys.stdin.isatty():
                print(f"\nuser       {text}")
            _answer(session, text, max_new_tokens, wait=not question and sys.stdin.isatty())
        if save:
            session.write(transcript)
    for path in (save, figure):
        if path:
            print(f"\nwritten to {path}")


def _introduce(reader, session):
    """Print what the conversation begins with."""
    from specdata.inference.chat import describe

    found, encoding = session.prediction, reader.encoding
    spectrum, series = found.spectrum, found.prompt[0]["content"]
    kind = "mock, " if spectrum.is_mock else ""
    print(f"model      {reader.model} with {reader.adapter}")
    print(
        f"spectrum   {spectrum.source}: {kind}{spectrum.name}, as {len(encoding.wavelength)} bins in {encoding.scheme}"
    )
    print(f"not told   {spectrum.spectype} {spectrum.subclass}".rstrip(), end="")
    print(f", z = {spectrum.z:.4f}, S/N {spectrum.snmedian:.1f}: what the file says, which the model does not see")
    for warning in [*reader.warnings, *found.warnings]:
        print(f"specdata: warning: {warning}", file=sys.stderr)
    print(f"\nuser       {series if len(series) < 110 else f'{series[:84]} … {series[-20:]}'}")
    print(f"assistant  {found.answer}")
    print(f"           {describe(found)}", flush=True)


def _questions():
    """Questions from the terminal until /exit or Ctrl-D, or the lines of what is piped in."""
    if not sys.stdin.isatty():
        for line in sys.stdin:
            if line.strip() == "/exit":
                return
            if line.strip():
                yield line.strip()
        return
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401, for its editing and history
    print("\nAsk about the galaxy; Ctrl-C stops an answer, /exit or Ctrl-D ends.")
    while True:
        try:
            text = input("\nuser       ").strip()
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if text == "/exit":
            return
        if text.startswith("/"):
            print(f"           {text} is no command; /exit ends")
        elif text:
            yield text


def _answer(session, text, max_new_tokens, *, wait):
    """Print the answer as it comes. At a terminal a question that cannot be answered does not end the conversation."""
    print("assistant  ", end="", flush=True)
    try:
        session.ask(text, max_new_tokens=max_new_tokens, on_text=lambda piece: print(piece, end="", flush=True))
    except SpecdataError as error:
        if not wait:
            raise
        print(error, end="")
    print()


@app.command()
def predict(
    adapter: Adapter,
    files: Annotated[list[Path] | None, typer.Argument(help="Spec files, lite or full.")] = None,
    spectrum: Annotated[list[Path] | None, typer.Option(help="The same as an option; repeatable.")] = None,
    model: Model = None,
    dataset: Dataset = None,
    config: Config = None,
    output: Annotated[Path | None, typer.Option(help="Keep the table: a .csv or .json file.")] = None,
    device: Device = None,
):
    """Print the redshift of spectra with its 68 % and 95 % intervals."""
    from tqdm import tqdm

    from specdata.cli.report import print_predictions
    from specdata.files import new_file
    from specdata.inference.reader import Reader, write_predictions

    paths = [*(files or []), *(spectrum or [])]
    if not paths:
        raise SpecdataError("no spectrum: give one or more spec files")
    with new_file(output, suffixes=(".csv", ".json")) if output else contextlib.nullcontext() as partial:
        reader = Reader(adapter, model, dataset=dataset, config=config, device=device)
        for warning in reader.warnings:
            print(f"specdata: warning: {warning}", file=sys.stderr)
        found, failed = [], []
        for path in tqdm(paths, unit=" spectra", desc="predict", disable=len(paths) == 1):
            try:
                found.append(reader.predict(path).to_dict())
            except SpecdataError as error:
                failed.append(str(error))
        if found:
            print_predictions(found)
        if not found:
            raise SpecdataError("; ".join(failed))
        if output:
            write_predictions(partial, found)
    if output:
        print(f"written to {output}")
    if failed:
        raise SpecdataError(f"{len(failed)} of {len(paths)} spectra were left out: {'; '.join(failed)}")
