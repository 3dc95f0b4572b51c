"""Commands that read single spectra with a trained adapter."""

import contextlib
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from specdata.cli.options import Device, Endpoint, Output, Overwrite, ServedModel, warn
from specdata.errors import SpecdataError

app = typer.Typer()
_MOST_PRINTED = 50  # rows of a table that is also written
_Adapter = Annotated[
    str,
    typer.Option(help="LoRA adapter: a folder or a Hub name; or a folder with a model that was trained as a whole."),
]
_Model = Annotated[str | None, typer.Option(help="Base model, a folder or a Hub name; by default the adapter's.")]
_Dataset = Annotated[str | None, typer.Option(help="Data set that it was trained on, if its folder does not name it.")]
_Config = Annotated[str | None, typer.Option(help="Text config of that data set.")]


@app.command()
def chat(
    adapter: _Adapter,
    spectrum: Annotated[Path, typer.Option(help="A file of any format in docs/data.md; 'FILE[3]' is one of several.")],
    model: _Model = None,
    dataset: _Dataset = None,
    config: _Config = None,
    question: Annotated[list[str] | None, typer.Option(help="Ask this and end; repeatable.")] = None,
    save: Annotated[Path | None, typer.Option(help="Keep the conversation: a .json or .md file.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw p(z): a PNG, PDF or SVG file.")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Tokens of the longest answer.")] = 256,
    device: Device = None,
    endpoint: Endpoint = None,
    served_model: ServedModel = None,
) -> None:
    """Predict the redshift of a spectrum and talk about it."""
    from specdata import canvas
    from specdata.evaluation import figures
    from specdata.files import new_file
    from specdata.inference.chat import FORMATS, Session
    from specdata.inference.reader import Reader
    from specdata.spectra.readers import read_spectrum

    at_terminal = not question and sys.stdin.isatty()
    with (
        new_file(save, suffixes=FORMATS) if save else contextlib.nullcontext() as transcript,
        new_file(figure, suffixes=canvas.FORMATS) if figure else contextlib.nullcontext() as drawing,
    ):
        where = {"device": device, "endpoint": endpoint, "served": served_model}
        reader = Reader(adapter, model, dataset=dataset, config=config, **where)  # loads no model yet
        found = read_spectrum(spectrum, axis=reader.encoding.axis)
        session = Session(reader, found)
        _introduce(reader, session)
        if figure:
            if session.prediction.posterior is None:
                raise SpecdataError(f"{figure}: the server tells no probabilities to draw; leave --figure out")
            said, title = session.prediction, f"{'mock ' if found.is_mock else ''}{found.name}"
            options = {"greedy": said.z_greedy, "stated": session.stated, "title": title}
            canvas.save_figure(figures.answer_figure(said.posterior, **options), drawing)
        for text in question or _questions(at_terminal):
            print("assistant  " if at_terminal else f"\nuser       {text}\nassistant  ", end="", flush=True)
            try:
                session.ask(text, max_new_tokens=max_new_tokens, on_text=lambda piece: print(piece, end="", flush=True))
            except SpecdataError as error:
                if not at_terminal:
                    raise
                print(error, end="")
            print()
        if save:
            session.write(transcript)
    for path in filter(None, (save, figure)):
        print(f"\nwritten to {path}")


def _introduce(reader, session) -> None:
    """Print the model, the spectrum and the answer, with which a conversation begins."""
    from specdata.inference.chat import describe

    found, encoding = session.prediction, reader.encoding
    spectrum, series = session.spectrum, found.prompt[0]["content"]
    name = f"{'mock, ' if spectrum.is_mock else ''}{spectrum.name}"
    print(f"model      {reader.title}")
    print(f"spectrum   {spectrum.source}: {name}, as {len(encoding.wavelength)} bins in {encoding.scheme}")
    target, hidden = encoding.target, [f"{spectrum.spectype} {spectrum.subclass}".strip()]
    hidden += [f"z = {spectrum.z:z.4f}"] if math.isfinite(spectrum.z) else []
    if target.stored_in == "target" and session.stated is not None:
        hidden.append(f"{target.symbol} = {target.show(session.stated)} {target.unit}".rstrip())
    hidden.append(f"S/N {spectrum.snmedian:.1f}")
    print(f"not told   {', '.join(filter(None, hidden))} (in the file, hidden from the model)")
    warn(*reader.warnings, *found.warnings)
    if reader.only_target:
        warn(f"the adapter was trained without conversations and only knows the {target.words}")
    print(f"\nuser       {series if len(series) < 110 else f'{series[:84]} … {series[-20:]}'}")
    print(f"assistant  {found.answer}\n           {describe(found)}", flush=True)


def _questions(at_terminal):
    """Yield the lines that are typed or piped in, until /exit or the end."""
    if at_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401, lets the user edit a line and recall earlier ones
        print("\nAsk about the spectrum; Ctrl-C stops an answer, /exit or Ctrl-D ends.")
    while True:
        try:
            text = input("\nuser       " if at_terminal else "").strip()
        except (EOFError, KeyboardInterrupt):
            return
        except UnicodeDecodeError:
            raise SpecdataError("standard input is not UTF-8; convert it, such as with iconv") from None
        if text == "/exit":
            return
        if at_terminal and text.startswith("/"):
            print(f"           {text} is no command; /exit ends")
        elif text:
            yield text


@app.command()
def predict(
    adapter: _Adapter,
    files: Annotated[list[Path], typer.Argument(help="Files with spectra; 'FILE[3]' is one of several.")],
    model: _Model = None,
    dataset: _Dataset = None,
    config: _Config = None,
    output: Annotated[Path | None, typer.Option(help="Keep it: a .csv, .ecsv, .parquet or .fits file.")] = None,
    answer_only: Annotated[bool, typer.Option(help="Give the greedy answers, without p(z) and intervals.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Most spectra that are read together.")] = 16,
    device: Device = None,
    endpoint: Endpoint = None,
    served_model: ServedModel = None,
) -> None:
    """Predict redshifts or other targets of spectra, with intervals."""
    from specdata.files import new_file
    from specdata.inference.predict import FORMATS, ask_all, kept_rows, to_row, to_table, write_table
    from specdata.inference.reader import Reader

    with new_file(output, suffixes=tuple(FORMATS)) if output else contextlib.nullcontext() as partial:
        where = {"device": device, "endpoint": endpoint, "served": served_model}
        reader = Reader(adapter, model, dataset=dataset, config=config, **where)
        asked, failed = ask_all(reader, files, progress=len(files) > 1)
        if not asked:
            raise SpecdataError("; ".join(failed))
        options = {"answer_only": answer_only, "batch_size": batch_size, "progress": len(asked) > 1}
        if output:
            journal = output.with_name(f"{output.name}.partial.jsonl")
            rows = kept_rows(reader, asked, journal, **options)
        else:
            rows = (to_row(found, reader.encoding.target) for found in reader.predict(asked, **options))
        table = to_table(reader, rows)
        warn(*reader.warnings)
        _print_table(table, _MOST_PRINTED if output else len(table), reader.encoding.target)
        if output:
            write_table(table, partial)
    if output:
        journal.unlink()
        print(f"written to {output}")
    if failed:
        raise SpecdataError(f"{len(failed)} left out, and {len(asked)} read: {'; '.join(failed)}")


def _print_table(table, most, target) -> None:
    """Print the first rows of a table of predictions, each with its warnings below."""
    width, has_interval = max(8, *(len(name) for name in table["file"])), "z_low_68" in table.colnames
    if target.key != "z":
        _print_values(table[:most], width, target)
        return
    head = f"{'file':<{width}}  {'class':<8}{'z_file':>8}{'z':>9}   "
    print(head + (f"{'68 %':<18}{'95 %':<18}{'greedy':<9}no answer" if has_interval else "answer"))
    for row in table[:most]:
        z_file = row["z_file"] if "z_file" in table.colnames else math.nan
        line = f"{row['file']:<{width}}  {row['class']:<8}{_number(z_file):>8}{_number(row['z']):>9}   "
        if has_interval:
            for level in (68, 95):
                line += f"{row[f'z_low_{level}']:.4f} to {row[f'z_high_{level}']:.4f}".ljust(18)
            print(f"{line}{_number(row['z_greedy']):<9}{100 * (1 - row['answered']):.1f} %")
        else:
            print(f"{line}{row['answer']}")
        for warning in filter(None, row["warnings"].split("; ")):
            print(f"{'':<{width}}  {warning}")
    if len(table) > most:
        print(f"... and {len(table) - most} more")


def _print_values(table, width, target) -> None:
    """The same for another target than the redshift."""
    key = target.key
    for row in table:
        missing = not row[key] if isinstance(row[key], str) else math.isnan(row[key])
        said = "none" if missing else f"{target.show(row[key])} {target.unit}".rstrip()
        line = f"{row['file']:<{width}}  {key} = {said}"
        if f"{key}_low_68" in table.colnames:
            for level in (68, 95):
                ends = (target.show(row[f"{key}_{end}_{level}"]) for end in ("low", "high"))
                line += f", {level} % from {' to '.join(ends)}"
        elif not target.is_number and "answered" in table.colnames:
            p = {name: row[name] for name in table.colnames if name.startswith("p_")}
            line += "".join(f", {name[2:]} {100 * p[name]:.1f} %" for name in sorted(p, key=p.get, reverse=True)[:3])
        print(line)
        for warning in filter(None, row["warnings"].split("; ")):
            print(f"{'':<{width}}  {warning}")


def _number(value) -> str:
    return "none" if math.isnan(value) else f"{value:.4f}"


@app.command()
def merge(
    adapter: _Adapter,
    output: Output,
    model: _Model = None,
    overwrite: Overwrite = False,
) -> None:
    """Merge an adapter into its base model, for engines without LoRA."""
    from specdata.extras import need_model
    from specdata.inference.merge import merge as run

    need_model("the merge")
    warn(*run(adapter, output, model=model, overwrite=overwrite))
    print(f"written to {output}")
