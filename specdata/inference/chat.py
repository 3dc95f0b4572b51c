"""A conversation with a model, which first gives its answer to a spectrum and then talks about it."""

import json
from importlib.metadata import version

import specdata
from specdata.errors import SpecdataError

FORMATS = (".json", ".md")
ONE_ANSWER = "This adapter only knows the {}: it was trained without conversations, and gives that to every question."


class Session:
    """A conversation that begins with a spectrum and the model's answer, such as its redshift.

    Parameters
    ----------
    reader : specdata.inference.reader.Reader
    spectrum : specdata.spectra.spectrum.Spectrum

    Attributes
    ----------
    spectrum : specdata.spectra.spectrum.Spectrum
    prediction : specdata.inference.reader.Prediction
    messages : list of dict
        All turns; the first are the spectrum and the model's answer to it. The model sees the text of the flux alone,
        and nothing else from the file.
    """

    def __init__(self, reader, spectrum):
        self._reader, self.spectrum = reader, spectrum
        (self.prediction,) = reader.predict([reader.ask(spectrum)])
        self.stated = self.prediction.facts[f"{reader.encoding.target.key}_file"]
        self.messages = [*self.prediction.prompt, {"role": "assistant", "content": self.prediction.answer}]

    def ask(self, question, *, max_new_tokens=256, on_text) -> str:
        """Ask a question and return the answer.

        Parameters
        ----------
        question : str
        max_new_tokens : int
        on_text : callable
            Called with each piece of the answer as soon as it is there.

        Returns
        -------
        str
            The answer, or the part of it that was there when Ctrl-C stopped it. Where an adapter that was trained on
            nothing else gives its target again, `ONE_ANSWER` stands for it.
        """
        pieces, held = [], []
        only, target = self._reader.only_target, self._reader.encoding.target

        def receive(text):
            pieces.append(text)
            held.append(text)
            if not (only and target.may_become("".join(pieces))):
                text = "".join(held)
                held.clear()
                on_text(text)

        asked = [*self.messages, {"role": "user", "content": question}]
        try:
            answer = self._reader.generator.reply(asked, max_new_tokens=max_new_tokens, on_text=receive)
            if only and answer.strip() and target.may_become(answer):
                answer = ONE_ANSWER.format(target.words)
                held = [answer]
            if held:
                on_text("".join(held))
        except KeyboardInterrupt:
            answer = "".join(pieces)
        self.messages = [*asked, {"role": "assistant", "content": answer.strip()}]
        return self.messages[-1]["content"]

    def to_dict(self) -> dict:
        """The session as it is stored."""
        return {
            "format": 1,
            "model": self._reader.model,
            "adapter": self._reader.adapter,
            "encoding": self._reader.encoding.to_dict(),
            "prediction": self.prediction.to_dict(),
            "messages": self.messages,
            "decoding": "greedy",
            "versions": {"specdata": specdata.__version__}
            | {name: version(name) for name in ("peft", "torch", "transformers")},
        }

    def write(self, path) -> None:
        """Write the session as JSON or as Markdown, by the path's end."""
        if path.suffix.lower() == ".json":
            path.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        elif path.suffix.lower() == ".md":
            path.write_text(self._markdown(), encoding="utf-8")
        else:
            raise SpecdataError(f"{path}: give a name that ends in {', '.join(FORMATS)}")

    def _markdown(self):
        head = f"# {self.spectrum.name}\n\n{self._reader.title}. "
        head += f"{describe(self.prediction)}\n"
        warnings = "".join(f"\n- {warning}" for warning in self.prediction.warnings)
        turns = (f"\n**{turn['role']}**\n\n{turn['content']}\n" for turn in self.messages)
        return head + (f"{warnings}\n" if warnings else "") + "".join(turns)


def describe(prediction) -> str:
    """The prediction with its interval, as one sentence."""
    posterior = prediction.posterior
    if posterior is None:
        return "The greedy answer, without its probability, which this server does not tell."
    if posterior.estimate is None:
        return (
            f"No estimate: only {100 * posterior.answered:.1f} % of the probability is on a {posterior.target.words}."
        )
    target, nothing = posterior.target, f"{100 * (1 - posterior.answered):.1f} %"
    answer = f"no {target.words}" if prediction.z_greedy is None else target.show(prediction.z_greedy)
    if not target.is_number:
        p = posterior.summary()["probabilities"]
        shares = ", ".join(f"{label} {100 * p[label]:.1f} %" for label in sorted(p, key=p.get, reverse=True)[:4])
        said = f"{target.words}: {posterior.estimate} ({shares})"
        return f"{said}, and {nothing} on no label; the greedy answer is {answer}."
    (low, high), (lowest, highest) = posterior.interval(0.68), posterior.interval(0.95)
    unit, ends = f" {target.unit}" if target.unit else "", [target.show(end) for end in (low, high, lowest, highest)]
    return (
        f"{target.symbol} = {target.show(posterior.estimate)}{unit}, the median of p({target.symbol}), with 68 % from "
        f"{ends[0]} to {ends[1]}, 95 % from {ends[2]} to {ends[3]}, and {nothing} on no such {target.words}; the "
        f"greedy answer is {answer}."
    )
