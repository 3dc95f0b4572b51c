"""The most bins that a number of tokens has room for, by bisection over few rows and proven over all of them."""

from typing import NamedTuple

import numpy as np

from specdata.errors import SpecdataError

FEW = 100  # rows that the bisection begins with


class Budget(NamedTuple):
    """What `most_bins` found."""

    bins: int
    longest: int  # tokens of the longest row with them
    beyond: int | None  # tokens of a row that is too long with one bin more; None where more bins are not allowed


def most_bins(count, rows, limit, high) -> Budget:
    """Find a number of bins with which all rows fit into `limit` tokens, while with one bin more a row does not.

    More bins cost more tokens, apart from a few: other bins hold other numbers. A larger number that fits again by such
    a chance is not looked for. Few rows are counted often and all of them hardly more than once: where a row is too
    long with the number that fits the few, the longest rows join them, and the search goes on below that number.

    Parameters
    ----------
    count : callable
        Row numbers, ndarray of int, and a number of bins -> tokens of each of these rows, ndarray of int.
    rows : ndarray of int
        All rows; at least one.
    limit : int
        Tokens that a row may have.
    high : int
        The most bins that are allowed.

    Raises
    ------
    SpecdataError
        If not even one bin fits.
    """
    few, fails, beyond = rows[:FEW], high + 1, None
    while True:
        fits = 0
        while fails - fits > 1:
            bins = min((fits + fails) // 2, 2 * fits + 16)  # so that no row that is made is far too long
            longest = int(count(few, bins).max())
            if longest <= limit:
                fits = bins
            else:
                fails, beyond = bins, longest
        if fits == 0:
            raise SpecdataError(
                f"limit {limit}: with only 1 bin a row has {beyond} tokens, the words around the numbers included; "
                "give a larger limit"
            )
        tokens = count(rows, fits)
        longest = int(tokens.max())
        if longest <= limit:
            return Budget(fits, longest, beyond)
        fails, beyond = fits, longest
        few = np.union1d(few, rows[np.argsort(-tokens, kind="stable")[:FEW]])
