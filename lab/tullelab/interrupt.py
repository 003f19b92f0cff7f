# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM at the right moment: between steps, never in the middle of one that could not be undone."""

import contextlib
import signal

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def held_off(replay: bool = True):
    """Signals that arrive inside are acted upon at the end (replay), or forgotten.  In other threads there are none to hold off."""
    arrived = []
    try:
        old = {number: signal.signal(number, lambda n, _: arrived.append(n)) for number in NUMBERS}
    except ValueError:
        yield
        return
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
    if replay and arrived:
        signal.raise_signal(arrived[0])
