"""How many seconds a server asks to wait before the next request, from the header ``Retry-After`` of its answer."""

import math
import time
from email.utils import mktime_tz, parsedate_tz

LONGEST_WAIT = 300.0  # s; where a server asks for more, a command ends and says so, and the user comes back later
DAY = 86_400.0  # s


def retry_after(headers, otherwise: float = 0.0) -> float:
    """Read the header ``Retry-After`` of an answer, which is a number of seconds or a date.

    Parameters
    ----------
    headers : mapping of str to str
    otherwise : float
        Returned where there is no such header, or neither a number nor a date in it.

    Returns
    -------
    float
        Seconds to wait, from 0 to `DAY`: negative numbers and past dates are 0, and whatever is longer than a day,
        infinity included, is a day. A caller that waits no longer than `LONGEST_WAIT` should say so.
    """
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = mktime_tz(parsedate_tz(value)) - time.time()
        except (TypeError, ValueError, OverflowError):
            return otherwise
    return otherwise if math.isnan(seconds) else min(max(seconds, 0.0), DAY)
