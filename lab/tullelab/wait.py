# SPDX-License-Identifier: Apache-2.0
"""Waiting on conditions with a deadline.  Nothing in the lab sleeps for a guessed time."""

import os
import time

from .errors import LabError

INTERVAL = 0.02
SLOW = float(os.environ.get("TULLE_SLOW") or 1)  # on a machine that is so many times as slow, deadlines are as many times as long


class WaitTimeout(LabError):
    """The condition did not come true; says what was seen last."""


def until(condition, what: str, timeout: float = 10.0, interval: float = INTERVAL, detail=None):
    """Poll condition until it returns something true, and return that.

    Exceptions of the kinds that a thing not yet there causes (OSError, LabError, ValueError) count as *not yet*.
    detail: a function whose text (a log's tail, say) is added to the message when the time is up."""
    timeout *= SLOW
    deadline = time.monotonic() + timeout
    while True:
        try:
            seen = condition()
            if seen:
                return seen
        except WaitTimeout:
            raise
        except GiveUp as error:
            raise LabError(f"{what}: {error}" + _more(detail)) from None
        except (OSError, LabError, ValueError) as error:
            seen = f"{type(error).__name__}: {error}"
        if time.monotonic() >= deadline:
            raise WaitTimeout(f"{what}: not within {timeout:g} s; last seen: {seen!r}" + _more(detail))
        time.sleep(interval)


class GiveUp(Exception):
    """Raised by a condition that can no longer come true (the process it waits for has died)."""


def _more(detail) -> str:
    if detail is None:
        return ""
    text = detail() if callable(detail) else str(detail)
    return f"\n{text}" if text else ""


def tail(path, lines: int = 15) -> str:
    """The end of a log file, headed by its name."""
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 16384))
            text = file.read().decode(errors="replace")
    except OSError as error:
        return f"(no log: {error})"
    return f"--- {path}\n" + "\n".join(text.splitlines()[-lines:])
