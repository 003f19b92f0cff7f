# SPDX-License-Identifier: Apache-2.0
"""What every test that starts servers on loopback needs."""

import os
import socket
import time

import pytest

SLOW = float(os.environ.get("TULLE_SLOW", "1"))
DEADLINE = 60 * SLOW


def free_ports(count):
    """Ports that nobody listens on; all are held until all are found, so they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def wait_for(what, condition, deadline=DEADLINE):
    """Polls until condition() is true and returns its value; what, a text or a function that makes one, names it in the
    failure."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"timed out waiting for {what() if callable(what) else what}")
        time.sleep(0.02)
