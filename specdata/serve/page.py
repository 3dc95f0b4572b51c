"""A page: pick or upload a spectrum, see it beside the model's answer and its probability, and ask about it."""

import base64
import html
import io
import tempfile
from pathlib import Path

import numpy as np

from specdata.canvas import BLUE, new_figure
from specdata.errors import SpecdataError
from specdata.evaluation.figures import answer_figure
from specdata.inference.chat import Session, describe
from specdata.inference.predict import open_spectra
from specdata.spectra.lines import LINES, observed

MOST_BYTES = "50mb"  # of a file that is uploaded
_CSS = """
.specdata img { width: 100%; border-radius: 8px; background: white; }
.specdata p { overflow-wrap: anywhere; }
"""


def make_page(reader, examples, *, gpu=None):
    """Make the page.

    Parameters
    ----------
    reader : specdata.inference.reader.Reader
    examples : path-like
        Folder with files of spectra to pick from.
    gpu : callable, optional
        Wraps what computes, such as ``spaces.GPU``.

    Returns
    -------
    gradio.Blocks
    """
    import gradio as gr

    gpu = gpu or (lambda function: function)
    paths = {path.name: str(path) for path in sorted(Path(examples).iterdir())}
    encoding, target, noun = reader.encoding, reader.encoding.target, reader.encoding.axis.noun

    @gpu
    def measure(example, upload):
        """The sentence, both figures, an empty conversation, and the session."""
        try:
            spectrum = next(iter(open_spectra(upload or paths[example], axis=encoding.axis)))
            session = Session(reader, spectrum)
        except (SpecdataError, KeyError, StopIteration) as error:
            return _error(error, upload), "", "", [], None
        said = session.prediction
        found = [f"**{html.escape(spectrum.name)}**: {html.escape(describe(said))}"]
        found += [f"- {html.escape(doubt)}" for doubt in [*reader.warnings, *said.warnings]]
        z = said.estimate if target.template_fits else None
        drawn = _spectrum(spectrum, z, encoding.axis), _answer(said, session.stated)
        return "\n".join([found[0], "", *found[1:]]), *drawn, [], session

    @gpu
    def ask(question, talk, session):
        """The conversation with the answer, and an empty question."""
        if not question.strip():
            return talk, ""
        talk = [*talk, {"role": "user", "content": html.escape(question)}]
        try:
            if session is None:
                raise SpecdataError(f"Predict a {target.words} first.")
            answer = session.ask(question, on_text=lambda _: None)
        except SpecdataError as error:
            answer = str(error)
        return [*talk, {"role": "assistant", "content": html.escape(answer)}], ""

    title = f"{target.words[0].upper()}{target.words[1:]} by a language model"
    with gr.Blocks(title=title, analytics_enabled=False) as page:
        session = gr.State(None)
        gr.Markdown(
            f"# {title}\n`{reader.title}` reads a {noun} as text, and answers with its {target.words}. "
            f"Pick an example or upload a {noun}."
        )
        with gr.Row():
            with gr.Column(min_width=280):
                example = gr.Dropdown(list(paths), value=next(iter(paths), None), label="Example")
                upload = gr.File(label=f"Or your own {noun}: FITS, ECSV or CSV", type="filepath", height=150)
                button = gr.Button("Predict", variant="primary")
                result = gr.Markdown(elem_id="result", elem_classes="specdata", container=True)
            with gr.Column(scale=2, min_width=280):
                shown = gr.HTML(elem_classes="specdata")
                answer = gr.HTML(elem_classes="specdata")
        talk = gr.Chatbot(label=f"About this {noun}", height=320)
        with gr.Row():
            question = gr.Textbox(label="Question", placeholder="What kind of object is it?", scale=4, min_width=200)
            send = gr.Button("Ask", min_width=80)
        outputs = [result, shown, answer, talk, session]
        button.click(measure, [example, upload], outputs, api_name="predict")
        for event in (question.submit, send.click):
            event(ask, [question, talk, session], [talk, question], api_name=False)
    return page


def launch(page, **options) -> None:
    """Show a page; the options are those of gradio's `launch`."""
    import gradio as gr

    theme = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    page.launch(theme=theme, css=_CSS, max_file_size=MOST_BYTES, **options)


def _error(error, upload):
    """The sentence of an error, without the folder into which the page has put the file."""
    if not isinstance(error, SpecdataError):
        return "**There is no spectrum.** Pick an example or upload a file."
    text = str(error)
    if upload:
        text = text.replace(str(Path(upload).parent) + "/", "").replace(tempfile.gettempdir(), "")
    return f"**This did not work.** {html.escape(text)}"


def _spectrum(spectrum, z, axis):
    """A picture of a spectrum, with the lines at a redshift where there is one."""
    figure, (axes,) = new_figure(4.6, 2.5)
    flux = np.where(spectrum.good, spectrum.flux, np.nan)
    axes.plot(spectrum.wavelength, flux, color="0.35", lw=0.5)
    low, high = np.nanpercentile(flux, [0.5, 99.5])
    margin = 0.25 * (high - low)
    axes.set(xlabel=axis.label, ylabel=axis.values_label, ylim=(low - margin, high + margin))
    for name, rest in LINES.items() if z is not None else ():
        at = observed(rest, z)
        if spectrum.wavelength[0] < at < spectrum.wavelength[-1]:
            axes.axvline(at, color=BLUE, lw=0.8, ls="--")
            axes.text(at, high + 0.9 * margin, name, rotation=90, ha="right", va="top", fontsize=8, color=BLUE)
    where = "" if z is None else f", with the lines at z = {z:.4f}"
    return _picture(figure, f"{axis.values} of {spectrum.name}{where}")


def _answer(said, stated):
    """A picture of the probabilities, or nothing where they were not read."""
    posterior = said.posterior
    if posterior is None:
        return ""
    target = posterior.target
    figure = answer_figure(posterior, greedy=said.z_greedy, stated=stated, size=(4.6, 3.0))
    p = f"p({target.symbol})"
    alt = (
        f"{p} with its median {target.show(posterior.median)}" if target.is_number else f"{p}, highest {posterior.mode}"
    )
    return _picture(figure, alt)


def _picture(figure, alt):
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=180)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{data}">'
