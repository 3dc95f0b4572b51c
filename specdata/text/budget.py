"""The most bins that a number of tokens pays for, proven over all rows."""

from dataclasses import dataclass

from specdata.errors import SpecdataError


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What `most_bins` found.

    Attributes
    ----------
    bins : int
        Number of bins.
    longest : int
        Tokens of the longest row with them, at most `limit`.
    beyond : tuple of int
        Tokens of a row that is too long with one bin more, with two more and so on, as `longest` said; empty if `bins`
        is the highest number that was allowed.
    limit : int
        Tokens that a row may have.
    evaluations : int
        How often all rows were measured.
    """

    bins: int
    longest: int
    beyond: tuple[int, ...]
    limit: int
    evaluations: int


def most_bins(longest, limit, low=1, high=4096, margin=4):
    """Find the most bins with which every row has at most `limit` tokens.

    More bins cost more tokens, nearly in proportion. Not quite: other bins hold other numbers, and a longest row can
    get shorter by a few tokens. So the search interpolates, then walks on until `margin` numbers in a row do not fit.

    What is measured, and so certain: all rows fit with the result, and not with any of the next `margin` numbers. It is
    the largest number of all that fit if no `margin` numbers in a row below that one fail; else one nearer to `low` may
    have been found, never one that does not fit.

    Parameters
    ----------
    longest : callable
        Tokens of the longest of all rows, int, for a number of bins, int. Where that is more than `limit`, any row over
        the limit will do, so that it can stop there. It is called once for a number, and for few of them: 7 to 10 for a
        limit of 573 on real spectra.
    limit : int
        Tokens that a row may have.
    low, high : int
        Range of the number of bins.
    margin : int
        How many larger numbers must fail in a row.

    Returns
    -------
    Budget

    Raises
    ------
    SpecdataError
        If `low` bins do not fit.
    """
    if not 1 <= low <= high or margin < 1:
        raise SpecdataError(
            f"low {low}, high {high}, margin {margin}: give 1 <= low <= high and a margin of at least 1"
        )
    measured = {}

    def tokens(bins):
        if bins not in measured:
            measured[bins] = int(longest(bins))
        return measured[bins]

    if tokens(low) > limit:
        raise SpecdataError(
            f"limit {limit}: with only {low} bin{'s' if low > 1 else ''} a row has {tokens(low)} tokens, the words "
            "around the numbers included; give a larger limit"
        )
    fits, fails = _bracket(tokens, limit, low, high)
    fits = _narrow(tokens, limit, fits, fails)
    while True:
        following = range(fits + 1, min(fits + margin, high) + 1)
        fitting = [bins for bins in following if tokens(bins) <= limit]
        if not fitting:
            break
        fits = fitting[-1]
    return Budget(
        bins=fits,
        longest=tokens(fits),
        beyond=tuple(tokens(bins) for bins in following),
        limit=limit,
        evaluations=len(measured),
    )


def _bracket(tokens, limit, low, high):
    """A number that fits and a larger one that does not, or is `high` + 1; by the slope from `low` on."""
    fits, step, least = low, 16, 1
    while fits < high:
        bins = min(fits + step, high)
        if tokens(bins) > limit:
            return fits, bins
        slope = max((tokens(bins) - tokens(low)) / (bins - low), 1e-9)
        # One more than the slope promises, to have done with it; and not far beyond what is known, since the caller may
        # not be able to make so many bins. Where the slope falls, ever larger steps.
        step = min(max(int((limit - tokens(bins)) / slope) + 1, least), 7 * bins)
        fits, least = bins, 2 * least
    return fits, high + 1


def _narrow(tokens, limit, fits, fails):
    """The last number that fits before one that does not, between the two."""
    halve = False
    while fails - fits > 1:
        width = fails - fits
        if halve:
            bins = fits + width // 2
        else:
            share = (limit - tokens(fits)) / (tokens(fails) - tokens(fits))
            bins = min(max(fits + int(share * width), fits + 1), fails - 1)
        fits, fails = (bins, fails) if tokens(bins) <= limit else (fits, bins)
        # An interpolation that leaves most of the range was a bad guide; halving bounds the number of steps.
        halve = not halve and fails - fits > width // 2
    return fits
