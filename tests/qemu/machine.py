# SPDX-License-Identifier: Apache-2.0
"""A machine with Debian's own kernel, in QEMU, whose root file system is this machine's.

The root is shared over 9p, read-only, with a tmpfs overlay on top, so the programs in the guest are those installed here and whatever
they write is gone with the guest.  QEMU translates (TCG): nested virtualisation cannot be relied upon.  A guest runs a list of steps
and powers itself off; the serial console, on which it marks where each step begins and ends, is the only way out.

    outcome = run([Step("kernel", "uname -r", 30)], directory)
    outcome.steps["kernel"].status, outcome.steps["kernel"].text
"""

import gzip
import re
import shlex
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUSYBOX = Path("/bin/busybox")
CPU = "Nehalem-v1"  # old enough that the C library keeps to the vector instructions that TCG is quick at
BOOT = 120  # seconds, and to go down
BOOT_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
MARK = re.compile(r"^@@ (begin|end) (\S+)(?: (\d+))?\s*$")


class MachineError(Exception):
    """The guest cannot be made or did not come as far as its last step."""


@dataclass(frozen=True)
class Step:
    name: str
    command: str  # for /bin/sh
    timeout: int  # seconds


@dataclass
class Ended:
    status: int
    text: str


@dataclass
class Outcome:
    steps: dict = field(default_factory=dict)  # name -> Ended
    console: str = ""
    seconds: float = 0.0
    trouble: str = ""  # why there are fewer steps than asked for

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.console.splitlines()[-lines:])


def newest_kernel() -> Path:
    """Debian's full kernel: the cloud flavour has no 9p."""
    def version(path: Path):
        return [int(number) for number in re.findall(r"\d+", path.name)]
    found = [path for path in Path("/boot").glob("vmlinuz-*-amd64") if "cloud" not in path.name and "-rt-" not in path.name]
    usable = [path for path in found if (modules_of(path) / "modules.dep").exists()]
    if not usable:
        raise MachineError("no Debian kernel in /boot with its modules in /lib/modules (apt-get install linux-image-amd64)")
    return max(usable, key=version)


def modules_of(kernel: Path) -> Path:
    return Path("/lib/modules") / kernel.name.removeprefix("vmlinuz-")


def in_order(modules: Path, names) -> list:
    """The modules of these names after everything that they need."""
    needs, by_name = {}, {}
    for line in (modules / "modules.dep").read_text().splitlines():
        module, _, rest = line.partition(":")
        needs[module] = rest.split()
        by_name[Path(module).name.partition(".")[0].replace("-", "_")] = module
    ordered = []
    for name in names:
        if name.replace("-", "_") not in by_name:
            raise MachineError(f"{modules}: there is no module {name}")
        module = by_name[name.replace("-", "_")]
        for one in [*reversed(needs[module]), module]:
            if one not in ordered:
                ordered.append(one)
    return [modules / module for module in ordered]


def initramfs(directory: Path, kernel: Path, script: str) -> Path:
    """busybox, the modules that reach the root file system, our init, and the script that is to run behind it."""
    tree = directory / "initramfs"
    for name in ("bin", "modules", "root", "lower", "upper", "proc"):
        (tree / name).mkdir(parents=True)
    names = ["bin/busybox", "init", "guest.sh", "modules/order"]
    (tree / "bin/busybox").write_bytes(BUSYBOX.read_bytes())
    (tree / "init").write_text((HERE / "init.sh").read_text())
    (tree / "guest.sh").write_text(script)
    modules = in_order(modules_of(kernel), BOOT_MODULES)
    for module in modules:
        (tree / "modules" / module.name).write_bytes(module.read_bytes())
        names.append(f"modules/{module.name}")
    (tree / "modules/order").write_text("".join(f"{module.name}\n" for module in modules))
    for name in ("bin/busybox", "init"):
        (tree / name).chmod(0o755)
    names += ["bin", "modules", "root", "lower", "upper", "proc"]
    done = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], input="".join(f"{name}\n" for name in sorted(names)).encode(),
                          cwd=tree, stdout=subprocess.PIPE, check=True)
    image = directory / "initramfs.gz"
    image.write_bytes(gzip.compress(done.stdout, 1))
    return image


def script_of(steps, environment) -> str:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    lines.append(f". {shlex.quote(str(HERE / 'guest.sh'))}")
    lines += [f"step {step.name} {step.timeout} {shlex.quote(step.command)}" for step in steps]
    return "\n".join(lines) + "\n"


# norandmaps: QEMU finds code that it has translated before by its virtual address as well, so a program is translated anew
# in every process that has it elsewhere, and starting one took several times as long.
def command(kernel: Path, image: Path, console: Path, memory: int) -> list:
    return ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", CPU, "-smp", "2", "-m", str(memory),
            "-nodefaults", "-display", "none", "-no-reboot", "-nic", "none", "-kernel", str(kernel), "-initrd", str(image),
            "-append", "console=ttyS0 quiet loglevel=3 panic=1 oops=panic mitigations=off tsc=reliable norandmaps",
            "-serial", f"file:{console}", "-device", "virtio-rng-pci",
            "-virtfs", "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap"]


def run(steps, directory: Path, environment=None, memory: int = 3072) -> Outcome:
    """Boot, run the steps, wait for the power to go off (or pull the plug when no step has time left).  The console stays in
    directory."""
    timeout = BOOT + sum(step.timeout for step in steps)
    kernel = newest_kernel()
    directory.mkdir(parents=True, exist_ok=True)
    image = initramfs(directory, kernel, script_of(steps, environment or {}))
    console = directory / "console.log"
    console.write_text("")
    outcome, begun = Outcome(), time.monotonic()
    with open(directory / "qemu.log", "w") as log:
        guest = subprocess.Popen(command(kernel, image, console, memory), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            status = guest.wait(timeout)
            outcome.trouble = "" if status == 0 else f"QEMU ended with {status}: {(directory / 'qemu.log').read_text().strip()[-500:]}"
        except subprocess.TimeoutExpired:
            outcome.trouble = f"still running after {timeout:g} s"
        finally:
            guest.kill()
            guest.wait()
    outcome.seconds = time.monotonic() - begun
    outcome.console = console.read_text(errors="replace").replace("\r", "")
    outcome.steps = parse(outcome.console)
    missing = [step.name for step in steps if step.name not in outcome.steps]
    if missing and not outcome.trouble:
        outcome.trouble = f"the guest went down before it ended {missing[0]}"
    return outcome


def parse(console: str) -> dict:
    """The steps that ended."""
    ended, name, lines = {}, None, []
    for line in console.splitlines():
        mark = MARK.match(line)
        if not mark:
            lines.append(line)
        elif mark[1] == "begin":
            name, lines = mark[2], []
        elif mark[2] == name:
            ended[name] = Ended(int(mark[3]), "\n".join(lines))
            name, lines = None, []
    return ended
