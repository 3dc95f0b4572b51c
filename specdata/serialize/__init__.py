"""Numbers to text and back: each scheme is an encoder beside its exact inverse, for any numbers, not spectra alone.

What all schemes have in common, for any one-dimensional array of numbers:

- ``decode(encode(x))`` is x rounded to the scheme's ``step``, ``np.rint(x / step) * step``, and
  ``encode(decode(text))`` is `text`. A zero has no sign.
- NaN, or an entry that a masked array masks, is a missing value and is written as ``NaN``.
- A value that rounds to one outside ``low`` to ``high`` is a `SpecdataError` with its position, and so is a text that
  `encode` could not have written. Nothing is clipped or repaired silently.
- ``encode_batch`` and ``decode_batch`` do the same for a whole array at once.

Llama-3's tokenizer writes any run of up to three digits as one token, others write one token a digit;
``specdata tokens`` measures what a scheme costs.

`PAPER`
    The text form of "Teaching LLMs to Speak Spectroscopy" (arXiv 2508.10075), after LLMTime (arXiv 2310.07820):
    hundredths, digit by digit, as in ``4|5|6 , 7|5|4 , 1|1|2|0 ,``.
    Grammar: ``text = "" | (value " , ")* value " ,"``; ``value = "NaN" | "0" | "-"? [1-9] ("|" [0-9])*``.
    Range: 15 digits, so that the whole number is exact in float64.
`CSV`
    Hundredths as plain whole numbers, as in ``456,754,1120``.
    Grammar: ``text = "" | (value ",")* value``; ``value = "NaN" | "0" | "-"? [1-9] [0-9]*``. Range: as `PAPER`.
`PACKED`
    Hundredths plus two hundred in three digits, without separators, as in ``656954`` for 4.56 and 7.54: one Llama-3
    token a value.
    Grammar: ``text = value*``; ``value = "NaN" | [0-9] [0-9] [0-9]``. Range: -2.00 to 7.99; the error inside it is at
    most 0.005.
`DIGIT`
    One of ten levels a value, one digit, as in ``3344567``: for models with one token a digit, which then read a value
    from one token, and for spectra in asinh (`specdata.text.encoding`), most of which lie within the range.
    Grammar: ``text = value*``; ``value = "N" | [0-9]``. Range: 0.8 to 2.6; the error inside it is at most 0.1.
"""

from specdata.serialize.schemes import FixedScheme, Scheme, SeparatedScheme

PAPER = SeparatedScheme("paper", between_digits="|", separator=" , ", end=" ,")
CSV = SeparatedScheme("csv", between_digits="", separator=",", end="")
PACKED = FixedScheme("packed", width=3, step=(1, 100), offset=200)
DIGIT = FixedScheme("digit", width=1, step=(1, 5), offset=-4)

SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in (PAPER, CSV, PACKED, DIGIT)}
