"""Questions about an object after its redshift, and their answers from its catalogue values.

Each kind of question is a function of the facts that returns some wordings of a question and of its answer, or None
where it cannot be asked. Which kinds a row asks, in which order and in which words, is decided by a hash of the
observation, so that it depends on no other row. What a model cannot read in the text (the signal-to-noise ratio, the
pipeline's subclass, the declination, and in a rescaled spectrum the magnitude) stands in the question, or the answer is
that the text does not hold it: a row that asks for a value that cannot be seen teaches a model to invent one.
"""

import hashlib
import math

from specdata.spectra.lines import (
    ALTITUDE_MIN,
    INSTRUMENTS,
    LATITUDES,
    LINES_OF,
    TELLURIC,
    highest,
    observed,
)

# Columns of the `spectra` config that the answers are made from.
FACTS = ("plate", "mjd", "fiberid", "z", "spectype", "subclass", "dec", "snmedian", "dered_i")
MAGNITUDE = 18.0  # the limit of the paper's sample
TARGETS = (10, 20, 30, 50, 100)  # signal-to-noise ratios per pixel that an exposure is asked for
MOST_EXPOSURES = 4.0  # times the exposure of the spectrum; a follow-up that takes more is called not feasible
# What makes the pipeline's subclasses (https://www.sdss4.org/dr17/spectro/catalogs/).
_SUBCLASSES = {
    "STARFORMING": "emission lines with the ratios of star formation",
    "STARBURST": "strong emission lines with the ratios of star formation",
    "AGN": "emission lines with the ratios of a Seyfert or LINER nucleus",
    "BROADLINE": "fitted line widths above about 200 km/s",
}
_NOUNS = {"GALAXY": "galaxy", "QSO": "quasar", "STAR": "star"}


def follow_up(facts, span, *, turns, rescaled=True) -> list[dict]:
    """Ask about an object whose redshift has been answered.

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


def _noun(facts):
    return _NOUNS.get(facts["spectype"], "object")


def _lines_of(facts):
    """Rest wavelengths of the lines that are asked for; none of a star, which has others."""
    return LINES_OF[facts["spectype"]] if facts["spectype"] in ("GALAXY", "QSO") else {}


def _type(facts):
    spectype, subclass = facts["spectype"], facts["subclass"]
    # Stars have a spectral type there, which explains itself. Whatever else may stand in a file, such as a special
    # token of a tokenizer, stays out of the conversation.
    if spectype not in ("GALAXY", "QSO") or not set(words := subclass.split()) <= set(_SUBCLASSES):
        return None
    if _hash(facts, "type unseen") % 3 == 0:
        return [
            "Which subclass does it have by the rules of the SDSS pipeline?",
            "Does the SDSS pipeline count it as star-forming, or as an active nucleus?",
            f"What kind of {_noun(facts)} is this by the SDSS pipeline's rules?",
        ], [
            "The text does not say: the pipeline's subclass rests on fitted widths and ratios of lines.",
            "I cannot tell from this text. The SDSS pipeline decides that from line fits to the full spectrum.",
            "That takes the pipeline's line fits, which are not in this text: its subclass would have to be given.",
        ]
    if not words:
        return [
            f"By the rules of the SDSS pipeline its class is {spectype}, without a subclass. What does that say?",
            f"Its class is {spectype} and its subclass is empty. Can you tell me more about its type from that?",
        ], [
            f"No more than that it is of class {spectype} and that no rule for a subclass applied.",
            f"Nothing beyond the class {spectype}: an empty subclass only means that no rule for one applied.",
        ]
    meaning = ", and ".join(_SUBCLASSES[word] for word in words)
    if spectype == "GALAXY" and words[-1] == "BROADLINE":
        meaning += ", which many galaxies without a broad-line nucleus have"
    return [
        f"By the rules of the SDSS pipeline it is {spectype}, subclass {subclass}. What does that mean?",
        f"Its class is {spectype} and its subclass {subclass}, as the SDSS pipeline uses them. What does that mean?",
        f"What does the subclass {subclass} say about this {_noun(facts)}?",
    ], [
        f"{subclass} stands for {meaning}.",
        f"It means {meaning}.",
        f"The subclass {subclass} is given for {meaning}.",
    ]


def _signal(facts):
    ratio = facts["snmedian"]
    if not 0.05 <= ratio < 1e4 or _hash(facts, "signal unseen") % 3 == 0:  # or NaN
        return [
            "Can you read the signal-to-noise ratio from the text?",
            "Could you measure from the text how noisy the spectrum is?",
            "Does the text tell how good the spectrum is?",
        ], [
            "No: the text holds the mean flux of wavelength bins, and no errors.",
            "No. I see the flux in bins without its errors; a ratio would have to be given.",
            "No: errors are left out of it, and a mean over a bin hides the noise of its pixels.",
        ]
    ratio = f"{ratio:.1f}"
    noise = f"{100 / float(ratio):.0f}"
    return [
        f"Its median signal-to-noise ratio is {ratio} per pixel. How noisy is that?",
        f"This spectrum has a median S/N per pixel of {ratio}. How good is that?",
    ], [
        f"In a typical pixel the noise is about {noise} % of the flux, and in a bin of many pixels it is less.",
        f"One part in {ratio}: noise of about {noise} % of the flux in a typical pixel, before binning.",
    ]


def _place(facts, line):
    """A line's observed wavelength as text, and whether the spectrum has it: inside, below or above."""
    at = f"{observed(_lines_of(facts)[line], facts['z']):.0f}"
    start, stop = facts["span"]
    return at, "below" if float(at) <= start else "above" if float(at) >= stop else "inside"


def _lines(facts):
    z, (start, stop) = f"{facts['z']:.4f}", facts["span"]
    places = {line: _place(facts, line) for line in _lines_of(facts)}
    if not places:
        return None
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
        f"Between {start:.0f} and {stop:.0f} Å fall, at z = {z}: {inside}.{others} Vacuum wavelengths, expected "
        "and not measured.",
        f"With z = {z}, expect within {start:.0f} to {stop:.0f} Å: {inside}.{others} I only shift rest wavelengths in "
        "vacuum; no line was measured.",
    ]


def _line(facts):
    lines = _lines_of(facts)
    if not lines:
        return None
    line = _one_of(facts, "line", list(lines))
    z, rest, (at, where) = f"{facts['z']:.4f}", f"{lines[line]:.1f}", _place(facts, line)
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
            "and not its brightness. The magnitude would have to be given.",
            "The spectrum that I see is rescaled, so its brightness is lost.",
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
        f"It has a dereddened i magnitude of {value}. How does that compare with i = {limit}?",
        f"Its dereddened i magnitude is {value}. Is it brighter than {limit}, and by how much?",
    ], [
        f"i = {value} is {abs(apart):.2f} magnitudes {than} than {limit}, that is, {times}.",
        f"It is {than} than i = {limit} by {abs(apart):.2f} magnitudes: {times}.",
    ]


def _instrument(facts):
    lines = _lines_of(facts)
    if not lines or not math.isfinite(facts["dec"]):
        return None
    instrument, line = _one_of(facts, "instrument", list(INSTRUMENTS)), _one_of(facts, "its line", list(lines))
    (low, high, site), (at, _), z = INSTRUMENTS[instrument], _place(facts, line), f"{facts['z']:.4f}"
    declination = round(facts["dec"], 1) + 0.0  # never -0.0
    dec, latitude, altitude = f"{declination:+.1f}°", f"{LATITUDES[site]:+.1f}°", f"{highest(declination, site):.1f}"
    questions = [
        f"Its declination is {dec}. Could I observe {line} of this {_noun(facts)} with {instrument}?",
        f"Is a follow-up of {line} with {instrument} feasible? The {_noun(facts)} has a declination of {dec}.",
        f"I want to measure {line} with {instrument}, at declination {dec}. Does that work from the ground?",
    ]
    if float(altitude) < ALTITUDE_MIN:
        return questions, [
            f"No. {site} has a latitude of {latitude}, so a declination of {dec} rises to {altitude}° at most, and "
            f"{ALTITUDE_MIN}° is the least for a good observation.",
            f"{instrument} stands at {site}, where the {_noun(facts)} culminates at 90° - |{dec} - ({latitude})| = "
            f"{altitude}°: below {ALTITUDE_MIN}°, so that is not feasible.",
        ]
    place = f"At z = {z} {line} falls at {at} Å"
    if not low <= float(at) <= high:
        return questions, [
            f"No. {place}, and {instrument} covers {low} to {high} Å.",
            f"{place}, outside the {low} to {high} Å of {instrument}, so that is not feasible.",
        ]
    rises = f"at {site} the {_noun(facts)} rises to {altitude}°"
    for band, a, b in TELLURIC:
        if a <= float(at) <= b:
            return questions, [
                f"{place}, which {instrument} covers ({low} to {high} Å), and {rises}, but a telluric {band} band ({a} "
                f"to {b} Å) absorbs there: feasible only with a good telluric correction.",
                f"With care. {place}, inside the {low} to {high} Å of {instrument}, and {rises}; but it lies in a "
                f"telluric {band} band, {a} to {b} Å, which has to be corrected.",
            ]
    return questions, [
        f"As far as position and wavelength go, yes. {place}, inside the {low} to {high} Å of {instrument} and outside "
        f"the strong telluric bands, and {rises}.",
        f"{place}. {instrument} covers {low} to {high} Å, no strong telluric band is there, and {rises}: neither "
        "wavelength nor position stands against it.",
    ]


def _exposure(facts):
    if not 0.05 <= facts["snmedian"] < 1e4:
        return None
    ratio, target = f"{facts['snmedian']:.1f}", _one_of(facts, "target", TARGETS)
    questions = [
        f"It has a median S/N of {ratio} per pixel. Is a follow-up that reaches {target} feasible?",
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
        "With photon noise the ratio grows as the square root of the exposure time, so the same telescope needs "
        f"({target} / {ratio})^2 = {factor} times the exposure of this spectrum, {verdict} ({rule}).",
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
