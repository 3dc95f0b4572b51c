"""The one reader of Retry-After."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from specdata.retries import DAY, retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0), ("7", 7), (" 2.5 ", 2.5), ("-5", 0), ("-inf", 0), ("inf", DAY), ("1e400", DAY), ("9" * 5000, DAY),
        ("nan", 3), ("", 3), ("soon", 3), ("Fri, 99 Foo 99999 99:99:99 GMT", 3), ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", DAY),
    ],
)  # fmt: skip
def test_whatever_a_server_says_is_a_wait_between_nothing_and_a_day(value, seconds):
    assert retry_after({"Retry-After": value}, otherwise=3) == seconds
    assert retry_after({}, otherwise=3) == 3


def test_a_date_counts_from_now(monkeypatch):
    now = datetime(2026, 11, 5, 12, tzinfo=UTC)
    monkeypatch.setattr("time.time", now.timestamp)
    then = now + timedelta(seconds=90)
    assert math.isclose(retry_after({"Retry-After": format_datetime(then, usegmt=True)}), 90)
    assert math.isclose(retry_after({"Retry-After": format_datetime(then)}), 90)
