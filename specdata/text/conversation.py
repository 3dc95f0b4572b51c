"""Questions about a galaxy after its redshift, and their answers from its catalogue values: facts, and nothing else.

Each kind of question is a function of the facts that returns some wordings of a question and of its answer, or None
where the catalogue does not have the value. Which kinds a row asks, in which order and in which words, is decided by a
hash of the observation, so that it depends on no other row. A magnitude, which a model cannot see in a rescaled
spectrum, and the exact signal-to-noise ratio from which an exposure follows are given in the question, or the answer is
that they cannot be seen: a row that teaches a model to name a number that it cannot see teaches it to invent one.
"""

import hashlib
import re

from specdata.spectra.lines import INSTRUMENTS, LINES, TELLURIC, observed

# Columns of the `spectra` config that the answers are made from.
FACTS = ("plate", "mjd", "fiberid", "z", "spectype", "subclass", "snmedian", "dered_i")
MAGNITUDE = 18.0  # the limit of the paper's sample
TARGETS = (10, 20, 30, 50, 100)  # signal-to-noise ratios per pixel that an exposure is asked for
MOST_EXPOSURES = 4.0  # times the exposure of the spectrum; a follow-up that takes more is called not feasible
# What makes the pipeline's subclasses (https://www.sdss4.org/dr17/spectro/catalogs/).
_SUBCLASSES = {
    "STARFORMING": "emission lines with the ratios of star formation",
    "STARBURST": "strong emission lines with the ratios of star formation",
    "AGN": "emission lines with the ratios of a Seyfert or LINER nucleus",
    "BROADLINE": "broad lines",
}


def follow_up(facts, span, *, turns, rescaled=True) -> list[dict]:
    """Ask about a galaxy whose redshift has been answered.

    Parameters
    ----------
    facts : dict
        The values of `FACTS`.
    span : (float, float)
        First and last wavelength of the text, vacuum Angstrom.
    turns : int
        Most questions, each of another kind; the hash decides how many, evenly from 1 to this number.
    rescaled : bool
        Whether the flux was divided by its median, so that the text does not hold the brightness.

    Returns
    -------
    list of dict
        Messages, user and assistant in turn.
    """
    # The redshift as it stands in the answer, so that what follows from it can be checked within the conversation.
    facts = facts | {"z": float(f"{facts['z']:.4f}"), "span": span, "rescaled": rescaled}
    count = 1 + _hash(facts, "turns") % turns
    messages = []
    for kind in sorted(KINDS, key=lambda kind: _hash(facts, kind)):
        found = KINDS[kind](facts)
        if found and count:
            count -= 1
            for role, wordings in zip(("user", "assistant"), found, strict=True):
                text = wordings[_hash(facts, f"{kind} {role}") % len(wordings)]
                messages.append({"role": role, "content": text})
    return messages


def _hash(facts, what):
    key = f"{facts['plate']}-{facts['mjd']}-{facts['fiberid']}:{what}"
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def _one_of(facts, what, options):
    return options[_hash(facts, what) % len(options)]


def _type(facts):
    questions = [
        "What type of galaxy is this?",
        "How does the SDSS pipeline classify it?",
        "Is it forming stars, or does it have an active nucleus?",
        "Which class and subclass would you give this spectrum?",
    ]
    spectype, subclass = facts["spectype"], facts["subclass"]
    # Whatever else stands in a file there, such as a special token of a tokenizer, stays out of the conversation.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 ()+./-]*", subclass):
        return questions, [
            f"The pipeline's class is {spectype}, without a subclass; the catalogue does not say more.",
            f"{spectype}. The catalogue gives no subclass for it, neither star formation nor an active nucleus.",
            f"It is of class {spectype}. The subclass is empty in the catalogue, so I cannot say more about its type.",
        ]
    meaning = ", and ".join(_SUBCLASSES[word] for word in subclass.split() if word in _SUBCLASSES)
    meaning = f" ({meaning})" if meaning else ""
    return questions, [
        f"The SDSS pipeline classifies it as {spectype}, subclass {subclass}{meaning}.",
        f"{spectype}, with the subclass {subclass}{meaning}.",
        f"Its class is {spectype} and its subclass {subclass}{meaning}.",
    ]


def _signal(facts):
    ratio = facts["snmedian"]
    if not 0.05 <= ratio < 1e4:  # NaN, too
        return None
    ratio, noise = f"{ratio:.1f}", f"{100 / float(f'{ratio:.1f}'):.0f}"
    return ["How good is this spectrum?", "What is its signal-to-noise ratio?", "How noisy is the spectrum?"], [
        f"Its median signal-to-noise ratio is {ratio} per pixel, so the noise is about {noise} % of the flux.",
        f"The catalogue's median S/N per pixel is {ratio}: in a typical pixel the noise is {noise} % of the flux.",
        f"The median S/N is {ratio} per pixel, that is, noise of {noise} %.",
    ]


def _place(facts, line):
    """A line's observed wavelength as text, and whether the spectrum has it: inside, below or above."""
    at = f"{observed(LINES[line], facts['z']):.0f}"
    start, stop = facts["span"]
    return at, "below" if float(at) <= start else "above" if float(at) >= stop else "inside"


def _lines(facts):
    z, (start, stop) = f"{facts['z']:.4f}", facts["span"]
    places = {line: _place(facts, line) for line in LINES}
    inside = ", ".join(f"{line} at {at} Å" for line, (at, where) in places.items() if where == "inside")
    others = ", ".join(f"{line} ({at} Å)" for line, (at, where) in places.items() if where != "inside")
    inside = inside or "none of the main lines"
    others = f" Outside it: {others}." if others else " None of the main lines is outside it."
    return [
        "Which lines should I see in this spectrum, and where?",
        "Which of the main lines fall inside the spectrum at that redshift?",
        "At this redshift, what falls where?",
    ], [
        f"At z = {z}, from {start:.0f} to {stop:.0f} Å: {inside}.{others} These are the places where a redshift puts "
        "them; whether a line is there was not measured.",
        f"Between {start:.0f} and {stop:.0f} Å there is, at z = {z}: {inside}.{others} Vacuum wavelengths, expected "
        "and not measured.",
        f"With z = {z}, expect within {start:.0f} to {stop:.0f} Å: {inside}.{others} I only shift rest wavelengths in "
        "vacuum; no line was measured.",
    ]


def _line(facts):
    line = _one_of(facts, "line", list(LINES))
    z, rest, (at, where) = f"{facts['z']:.4f}", f"{LINES[line]:.1f}", _place(facts, line)
    start, stop = facts["span"]
    unseen = "" if where == "inside" else ", so it cannot be seen here"
    where = f"{where} the {start:.0f} to {stop:.0f} Å of this spectrum{unseen}"
    return [
        f"Where is {line} in this spectrum?",
        f"At which wavelength would {line} be?",
        f"Is {line} inside the spectrum?",
    ], [
        f"{line} is at {rest} Å at rest (vacuum), so at z = {z} it falls at {at} Å, {where}.",
        f"{rest} Å times (1 + {z}) is {at} Å (vacuum): {line} falls {where}.",
        f"At {at} Å, {where}: {line} has a rest wavelength of {rest} Å in vacuum, and z = {z}.",
    ]


def _magnitude(facts):
    known = 0 < facts["dered_i"] < 40
    if facts["rescaled"] and (not known or _hash(facts, "magnitude unseen") % 2):
        return ["How bright is it?", "What is its i magnitude?", "Can you tell its apparent magnitude?"], [
            "I cannot tell: the flux that I was given is divided by its median, so it holds the shape of the spectrum "
            "and not its brightness. The catalogue's magnitude would have to be given.",
            "The spectrum that I see is rescaled, so its brightness is lost. Look up the magnitude in the catalogue.",
            "That is not in the rescaled flux: only its shape is left, and I would have to invent a magnitude.",
        ]
    if not known:
        return None
    value, limit = f"{facts['dered_i']:.2f}", f"{MAGNITUDE:.1f}"
    apart = MAGNITUDE - float(value)
    than = "brighter" if apart >= 0 else "fainter"
    ratio = f"{10 ** (0.4 * abs(apart)):.2f}"
    times = f"{ratio} times the flux" if apart >= 0 else f"a flux {ratio} times lower"
    return [
        f"The catalogue gives a dereddened i magnitude of {value}. How does that compare with i = {limit}?",
        f"Its dereddened i is {value} in the catalogue. Is it brighter than {limit}, and by how much?",
    ], [
        f"i = {value} is {abs(apart):.2f} magnitudes {than} than {limit}, that is, {times}.",
        f"It is {than} than i = {limit} by {abs(apart):.2f} magnitudes: {times}.",
    ]


def _instrument(facts):
    instrument, line = _one_of(facts, "instrument", list(INSTRUMENTS)), _one_of(facts, "its line", list(LINES))
    (low, high), (at, _), z = INSTRUMENTS[instrument], _place(facts, line), f"{facts['z']:.4f}"
    place = f"At z = {z} {line} falls at {at} Å"
    band = next((name for name, (a, b) in TELLURIC.items() if a <= float(at) <= b), None)
    questions = [
        f"Could I observe {line} of this galaxy with {instrument}?",
        f"Is a follow-up of {line} with {instrument} feasible?",
        f"I want to measure {line} with {instrument}. Does that work from the ground?",
    ]
    if not low <= float(at) <= high:
        return questions, [
            f"No. {place}, and {instrument} covers {low} to {high} Å.",
            f"{place}, outside the {low} to {high} Å of {instrument}, so that is not feasible.",
        ]
    if band:
        a, b = TELLURIC[band]
        return questions, [
            f"{place}, which {instrument} covers ({low} to {high} Å), but the telluric {band} band ({a} to {b} Å) "
            "absorbs there: feasible only with a good telluric correction.",
            f"With care. {place}, inside the {low} to {high} Å of {instrument} and inside the telluric {band} band, "
            f"{a} to {b} Å, which has to be corrected.",
        ]
    return questions, [
        f"Yes. {place}, inside the {low} to {high} Å of {instrument} and outside the strong telluric bands.",
        f"{place}. {instrument} covers {low} to {high} Å, and no strong telluric band is there, so it is feasible.",
    ]


def _exposure(facts):
    if not 0.05 <= facts["snmedian"] < 1e4:
        return None
    ratio, target = f"{facts['snmedian']:.1f}", _one_of(facts, "target", TARGETS)
    questions = [
        f"The catalogue gives a median S/N of {ratio} per pixel. Is a follow-up that reaches {target} feasible?",
        f"Its median S/N per pixel is {ratio}. How much longer would one have to expose for {target}?",
        f"I need a signal-to-noise ratio of {target} per pixel, and this spectrum has {ratio}. Is that feasible?",
    ]
    if target <= float(ratio):
        return questions, [
            f"This spectrum has it already: {ratio} is at least {target}.",
            f"It takes no more exposure: with {ratio}, a ratio of {target} is reached.",
        ]
    factor = f"{(target / float(ratio)) ** 2:.2f}"
    few = float(factor) <= MOST_EXPOSURES
    verdict = "which I call feasible" if few else "which I call not feasible"
    rule = f"{'at most' if few else 'more than'} {MOST_EXPOSURES:.0f} times"
    return questions, [
        f"The ratio grows as the square root of the exposure time, so the same telescope needs ({target} / {ratio})^2 "
        f"= {factor} times the exposure of this spectrum, {verdict} ({rule}).",
        f"{factor} times this spectrum's exposure with the same instrument, since S/N goes as the square root of the "
        f"time: ({target} / {ratio})^2. That is {rule}, {verdict}.",
    ]


KINDS = {
    "type": _type,
    "signal": _signal,
    "lines": _lines,
    "line": _line,
    "magnitude": _magnitude,
    "instrument": _instrument,
    "exposure": _exposure,
}
