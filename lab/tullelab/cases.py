# SPDX-License-Identifier: Apache-2.0
"""`tulle-lab cases`: plays policy cases on real pods and writes down who could reach whom.

Files are shared out to some processes, each with labs of its own; files whose addresses go together are played in one lab."""

import json
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait as wait_for
from pathlib import Path

from . import case_file, case_plan, proc
from .case_lab import CaseLab
from .errors import LabError, UsageError
from .kernel import die_with_parent
from .probing import PATIENCE

WORTH_A_LAB = 12  # steps
SUFFIXES = (".json", ".json.xz")


@dataclass
class Played:
    """A file that has been played."""

    path: str
    probes: int
    seconds: float  # of probing
    slowest: float
    different: list = field(default_factory=list)  # lines, for people
    trouble: str = ""  # why it could not be played


@dataclass(frozen=True)
class Settings:
    backend: str
    patience: float
    agent_args: tuple = ()


# --- what is to be done ---


def find_files(names) -> list:
    """A folder stands for the cases in it."""
    found = []
    for name in names:
        inside = sorted(path for path in Path(name).iterdir() if path.name.endswith(SUFFIXES)) if Path(name).is_dir() else [Path(name)]
        if not inside:
            raise UsageError(f"{name}: no *.json or *.json.xz in it")
        found += inside
    return found


def read_all(paths) -> list:
    cases, bad = [], []
    for path in paths:
        try:
            cases.append(case_file.read(path))
        except case_file.CaseError as error:
            bad.append(str(error))
    if bad:
        raise UsageError("\n".join(bad))
    return cases


def name_outputs(paths, out: str) -> dict:
    """Case → its observation's path."""
    target = Path(out)
    if len(paths) == 1 and not target.is_dir() and not out.endswith("/"):
        named = {paths[0]: target}
    elif target.exists() and not target.is_dir():
        raise UsageError(f"--out {out}: expected a folder, for there are {len(paths)} files")
    else:
        named = {path: target / (path.name.removesuffix(".xz").removesuffix(".json") + ".json") for path in paths}
    for path, other in ((a, b) for a in paths for b in paths if a < b and named[a] == named[b]):
        raise UsageError(f"{path} and {other} would both be observed in {named[path]}")
    for path, observation in named.items():
        if observation.resolve() == path.resolve():
            raise UsageError(f"--out {out}: {observation} is a case itself")
    return named


def share_out(groups, jobs: int) -> list:
    """[[(files, Plan)]] for each process."""
    total = sum(len(case.steps) for files, _ in groups for case in files)
    most = max(WORTH_A_LAB, -(-total // jobs))
    parts = []
    for files, plan in groups:
        part = []
        for case in files:
            if part and sum(len(c.steps) for c in (*part, case)) > most:
                parts.append((part, plan))
                part = []
            part.append(case)
        parts.append((part, plan))
    shares = [[] for _ in range(jobs)]
    for part in sorted(parts, key=lambda part: -_steps(part)):
        min(shares, key=lambda share: sum(map(_steps, share))).append(part)
    return [share for share in shares if share]


def _steps(part) -> int:
    return sum(len(case.steps) for case in part[0])


# --- playing ---


def play_group(files, plan, outputs: dict, settings: Settings, say, tell) -> None:
    """tell(Played) for each file.  A file that fails takes its lab with it; the others go on in a new one."""
    waiting = list(files)
    while waiting:
        case = None
        try:
            with CaseLab(plan, settings.backend, say, settings.agent_args) as lab:
                while waiting:
                    case = waiting[0]
                    tell(play(lab, case, outputs[case.path], settings))
                    waiting.pop(0)
                    if case.leaves_flows:
                        lab.empty()
        except (LabError, OSError) as error:
            failed = [waiting.pop(0)] if case else waiting
            for one in failed:
                tell(Played(str(one.path), one.probes, 0, 0, trouble=str(error)))
            if not case:
                return


def play(lab: CaseLab, case, output: Path, settings: Settings) -> Played:
    results, played = [], Played(str(case.path), case.probes, 0, 0)
    for step in case.steps:
        lab.go(step.world)
        answers = lab.probe(step.probes, settings.patience)
        played.seconds += answers.seconds
        played.slowest = max(played.slowest, answers.slowest)
        for probe, outcome in zip(step.probes, answers.outcomes):
            results.append(observed(step, probe, outcome))
            if probe.expected is not None and probe.expected != outcome.connected:
                played.different.append(describe(case, step, probe, outcome))
    write(output, {"results": results})
    return played


def observed(step, probe, outcome) -> dict:
    found = {"step": step.number, "id": probe.id, "connected": outcome.connected}
    return found if outcome.connected or outcome.note == "no answer" else {**found, "note": outcome.note}


def describe(case, step, probe, outcome) -> str:
    what = "allowed, " + (outcome.note or "not connected") if probe.expected else "denied, it connected"
    title = f" ({step.title})" if step.title else ""
    return (f"{case.path} step {step.number}{title} probe {probe.id}: {probe.source} {probe.source_ip} to {probe.target} {probe.target_ip} "
            f"{probe.words}: expected {what}")


def write(path: Path, observation: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text("{\"results\":[\n" + ",\n".join(map(json.dumps, observation["results"])) + "\n]}\n")
    os.rename(new, path)


# --- the processes ---


def run(paths, out: str, settings: Settings, jobs: int, say) -> list:
    """Play everything; a Played for each file, in order."""
    cases = read_all(paths)
    outputs = name_outputs(paths, out)
    shares = share_out(case_plan.together(cases), jobs)
    found = {}

    def tell(played: Played) -> None:
        found[played.path] = played
        say(progress(played, len(found), len(cases)))
    if len(shares) == 1:
        for files, plan in shares[0]:
            play_group(files, plan, outputs, settings, say, tell)
    else:
        _in_processes(shares, outputs, settings, say, tell)
    return [found.get(str(path)) or Played(str(path), 0, 0, 0, trouble="the process that played it has ended") for path in paths]


def progress(played: Played, number: int, total: int) -> str:
    if played.trouble:
        return f"{number}/{total} {played.path}: NOT PLAYED: {played.trouble}"
    different = f", {len(played.different)} not as expected" if played.different else ""
    return f"{number}/{total} {played.path}: {played.probes} probes in {played.seconds:.2f} s{different}"


def _in_processes(shares, outputs, settings, say, tell) -> None:
    context = multiprocessing.get_context("fork")
    workers = []
    try:
        for share in shares:
            mine, theirs = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(share, outputs, settings, theirs))
            worker.start()
            theirs.close()
            workers.append((worker, mine))
        pipes = [mine for _, mine in workers]
        while pipes:
            for pipe in wait_for(pipes):
                try:
                    message = pipe.recv()
                except EOFError:
                    pipes.remove(pipe)
                    continue
                (say if isinstance(message, str) else tell)(message)
    except BaseException:
        for worker, _ in workers:
            proc.send(proc.identity(worker.pid), signal.SIGTERM)
        raise
    finally:
        for worker, _ in workers:
            worker.join()  # it removes its lab first


def _work(share, outputs, settings, pipe) -> None:
    """One process: its labs go when it goes, also when its parent does."""
    def terminated(*_):
        raise KeyboardInterrupt
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who tells us
    signal.signal(signal.SIGTERM, terminated)
    die_with_parent(signal.SIGTERM)
    try:
        for files, plan in share:
            play_group(files, plan, outputs, settings, pipe.send, pipe.send)
    except KeyboardInterrupt:
        pass
    finally:
        pipe.close()


def summary(everything: list, started: float) -> str:
    played = [one for one in everything if not one.trouble]
    probes, seconds = sum(one.probes for one in played), sum(one.seconds for one in played)
    wall = time.monotonic() - started
    rate = f", {probes / seconds:.0f} probes a second" if seconds else ""
    return (f"{len(played)} of {len(everything)} files played, {probes} probes in {seconds:.1f} s{rate}; "
            f"{wall:.1f} s in all ({probes / wall:.0f} a second), slowest answer {max((one.slowest for one in played), default=0) * 1000:.0f} ms")


def default_jobs() -> int:
    """Most of the time goes into waiting for what does not come."""
    return min(4, 2 * (os.cpu_count() or 1))
