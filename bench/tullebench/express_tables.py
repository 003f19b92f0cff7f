# SPDX-License-Identifier: Apache-2.0
"""What the measurements of the data path say: tables, the goals and whether they are met, a chart."""
import statistics
from dataclasses import dataclass

from . import chart


@dataclass(frozen=True)
class Test:
    group: str  # for --only
    how: str  # netbench's word
    value: str  # of its answer
    flows: int = 1


OTHER_CPU = "UDP 64 B, other CPU"
RATES = ("mbit_per_s",)  # more is better
TESTS = {"TCP_RR": Test("latency", "rr", "p50_us"), "TCP_CRR": Test("latency", "crr", "p50_us"), "UDP_RR": Test("latency", "udprr", "p50_us"),
         "UDP 64 B": Test("packets", "udp", "ns_per_packet"), OTHER_CPU: Test("packets", "udp", "ns_per_packet"),
         "TCP": Test("throughput", "stream", "mbit_per_s"), "TCP, 8 flows": Test("throughput", "stream", "mbit_per_s", 8),
         "UDP": Test("throughput", "udpstream", "mbit_per_s"), "UDP, 8 flows": Test("throughput", "udpstream", "mbit_per_s", 8),
         "TCP_RR, 100 flows": Test("flows", "rr", "p50_us", 100), "TCP_RR, many flows": Test("flows", "rr", "p50_us", 10_000),
         "UDP_RR, 100 flows": Test("flows", "udprr", "p50_us", 100), "UDP_RR, many flows": Test("flows", "udprr", "p50_us", 10_000)}
UNITS = {"p50_us": "us", "ns_per_packet": "ns/packet", "mbit_per_s": "Mbit/s"}
OVERHEAD = {"none": 0, "vxlan": 50, "ipip": 20, "udp": 28}
TUNNELS, MTU = ("vxlan", "ipip", "udp"), 1500
FLANNEL = (("Flannel's VXLAN", 1.5), ("Flannel's VXLAN, rules", 1.8))


def name_of(where, count, express) -> str:
    return f"Tulle {where}, {count:,} policies{'' if express is None else ', express' if express else ', kernel path'}"


class Figures:
    """The samples, as figures: best of the runs, or median."""

    def __init__(self, samples):
        self.samples = samples

    def has(self, row, test) -> bool:
        return bool(self.samples.get(row, {}).get(test))

    def values(self, row, test) -> list:
        return [one[TESTS[test].value] for one in self.samples[row][test]]

    def best(self, row, test) -> float:
        return (max if TESTS[test].value in RATES else min)(self.values(row, test))

    def median(self, row, test) -> float:
        return statistics.median(self.values(row, test))

    def speed(self, row, other, test, how="best"):
        """How fast one is, as a share of the other; None without both."""
        if not (self.has(row, test) and self.has(other, test)):
            return None
        one, two = (getattr(self, how)(name, test) for name in (row, other))
        return one / two if TESTS[test].value in RATES else two / one

    def cheap(self, row, other, test):
        """How little processor time one takes, as a share of the other: what else runs on the machine does not matter for it."""
        one, two = (min(sample["cpu_ns"] for sample in self.samples[name][test]) for name in (row, other))
        return two / one

    def cell(self, row, test) -> str:
        if not self.has(row, test):
            return "-"
        digits = 2 if TESTS[test].value == "p50_us" else 0
        return f"{self.best(row, test):.{digits}f} ({self.median(row, test):.{digits}f})"

    def share(self, row, test) -> str:
        found = self.speed(row, "minimal", test)
        return "-" if found is None else f"{found:.2f}"

    def cpu(self, row, test) -> str:
        if not self.has(row, test):
            return "-"
        return f"{min(one['cpu_ns'] for one in self.samples[row][test]):.0f}"

    def retransmitted(self, row, test) -> str:
        return str(max(one["retransmitted"] for one in self.samples[row][test])) if self.has(row, test) else "-"


def _order(data) -> list:
    """As they were made, bare and minimal first, then the others by hand, then ours, one place together."""
    ranks = ("bare", "minimal", "Flannel", "Calico", *(f"Tulle {place}," for place in ("same node", *OVERHEAD)))
    return sorted(data["rows"], key=lambda name: next(i for i, start in enumerate(ranks) if name.startswith(start)))


def _table(figures, rows, group, cpu, retransmitted=()):
    """A line each row: best (median) and share of minimal for each test of the group; processor time; segments sent again."""
    tests = [name for name, test in TESTS.items() if test.group == group]
    headings = [group, *(part for name in tests for part in (f"{name} {UNITS[TESTS[name].value]}", "of minimal")),
                *(f"CPU ns {what}" for what in cpu.values()), *(f"sent again, {name}" for name in retransmitted)]
    return headings, [[row, *(part for name in tests for part in (figures.cell(row, name), figures.share(row, name))),
                       *(figures.cpu(row, name) for name in cpu), *(figures.retransmitted(row, name) for name in retransmitted)] for row in rows]


@dataclass(frozen=True)
class Goal:
    what: str
    row: str
    test: str
    against: str
    least: float  # share of the other's speed


def _goals(flows) -> list:
    def ours(where, express=True):
        return name_of(where, 1_000, express)
    calico = {where: [("Calico's VXLAN", 1.3), ("Calico's VXLAN, rules", 1.6)] for where in TUNNELS}
    calico["ipip"] += [("Calico's IPIP", 1.3), ("Calico's IPIP, rules", 1.6)]
    goals = [Goal("no encapsulation, of minimal", ours("none"), test, "minimal", 0.97) for test in ("TCP_RR", "TCP_CRR", "UDP 64 B", OTHER_CPU)]
    for where in TUNNELS:
        goals += [Goal(f"{where}, of minimal", ours(where), test, "minimal", 0.94) for test in ("TCP_RR", "UDP_RR")]
        goals += [Goal(f"{where}, of {other}", ours(where), test, other, least) for other, least in
                  (*FLANNEL, *calico[where]) for test in ("TCP_RR", "UDP_RR")]
        goals += [Goal(f"{where}, of minimal", ours(where), test, "minimal", 0.91) for test in ("TCP_CRR", "UDP 64 B", OTHER_CPU)]
    goals.append(Goal("same node, of bare", ours("same node"), "TCP_RR", "bare", 0.95))
    for where, overhead in OVERHEAD.items():
        goals += [Goal(f"{where}, of minimal, less the header", ours(where), test, "minimal", 1 - overhead / MTU) for test in ("TCP", "TCP, 8 flows", "UDP", "UDP, 8 flows")]
        goals += [Goal(f"{where}, {flows:,} flows, of the kernel path", ours(where), test, ours(where, False), 1) for test in ("TCP_RR, many flows", "UDP_RR, many flows")]
    return goals


def _goal_line(figures, goal):
    best, median = (figures.speed(goal.row, goal.against, goal.test, how) for how in ("best", "median"))
    if best is None:
        return [goal.what, goal.test, f"{goal.least:.2f}", "-", "-", "-", "not measured"]
    cheap = figures.cheap(goal.row, goal.against, goal.test)
    return [goal.what, goal.test, f"{goal.least:.2f}", f"{best:.2f}", f"{median:.2f}", f"{cheap:.2f}", "met" if best >= goal.least else "missed"]


def _goal_table(figures, flows, measured):
    lines = [_goal_line(figures, goal) for goal in _goals(flows) if goal.test in measured]
    return ("goal, with 1,000 policies", "test", "at least", "best", "median", "by CPU time", "by best"), lines


def tables(data):
    figures, rows = Figures(data["samples"]), _order(data)
    measured = {test for of in data["samples"].values() for test in of}

    def there(group):
        return any(TESTS[test].group == group for test in measured)
    if there("latency"):
        yield _table(figures, rows, "latency", {"TCP_RR": "a TCP_RR", "TCP_CRR": "a TCP_CRR"})
    if there("packets"):
        yield _table(figures, rows, "packets", {"UDP 64 B": "a packet", OTHER_CPU: "a packet, other CPU"})
    if there("throughput"):
        yield _table(figures, rows, "throughput", {"TCP": "1448 B of TCP", "UDP": "1400 B of UDP"}, ("TCP", "TCP, 8 flows"))
    if there("flows"):
        yield _table(figures, rows, "flows", {"TCP_RR, many flows": f"a TCP_RR, {data['flows']:,} flows"})
    if data["left_out"]:
        yield ("left out", "because"), list(data["left_out"].items())
    if data["failed"]:
        yield ("failed",), [(one,) for one in data["failed"]]
    yield _goal_table(figures, data["flows"], measured)


def plot(data, path) -> None:
    """TCP_RR of every row as a share of minimal, by best."""
    figures = Figures(data["samples"])
    bars = [(name, 100 * figures.speed(name, "minimal", "TCP_RR"), _colour(name)) for name in _order(data) if figures.has("minimal", "TCP_RR")]
    if bars:
        path.write_text(chart.bars("TCP request/response, pod to pod: speed in % of a redirect without policy or encapsulation", bars, 100))


def _colour(name) -> str:
    if name.startswith("Tulle"):
        return "#1b6ca8" if name.endswith("express") else "#8ab6d6"
    return "#555555" if name in ("bare", "minimal") else "#c9a26b" if name.startswith("Flannel") else "#c98a6b"
