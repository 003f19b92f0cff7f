# SPDX-License-Identifier: Apache-2.0
"""The prober's process (prober.py), and how to ask it."""

import json
import select
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import proc, wait
from .errors import LabError

PROBER = Path(__file__).with_name("prober.py")
PATIENCE = 0.6  # seconds without an answer after which a packet counts as dropped; more on a machine that answers slowly


@dataclass(frozen=True)
class Outcome:
    connected: bool
    note: str  # how it ended if it did not connect


@dataclass(frozen=True)
class Answers:
    outcomes: list  # in the order of the probes
    seconds: float
    slowest: float  # of those that were answered, in seconds


class Prober:
    def __init__(self, lab):
        self._log = lab.log_path("prober")
        with open(self._log, "w") as log:
            self._process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", "--", proc.PYTHON, "-I", "-S", "-B", str(PROBER)],
                                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, env=proc.environment(),
                                             start_new_session=True)
        lab.remember_process(self._process.pid, "prober")

    def ask(self, places: dict, listen, probes, patience=PATIENCE, timeout: float = 120) -> Answers:
        """places: name → path of its network namespace.  listen: (place, ip, protocol, port); probes: (place, ip or None, ip, protocol,
        port, own port or 0).  As prober.py has it."""
        line = {"places": places, "listen": sorted(listen, key=repr), "probes": list(probes), "patience": patience * wait.SLOW}
        try:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
            ready, _, _ = select.select([self._process.stdout], [], [], timeout * wait.SLOW)
            answer = json.loads(self._process.stdout.readline()) if ready else {"error": f"no answer within {timeout:g} s"}
        except (OSError, ValueError) as error:
            raise LabError(f"the prober has failed: {error}\n{wait.tail(self._log)}") from None
        if "error" in answer:
            raise LabError(f"the prober: {answer['error']}")
        return Answers([Outcome(ok, note) for ok, note in answer["results"]], answer["seconds"], answer["slowest"])

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
