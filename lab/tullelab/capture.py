# SPDX-License-Identifier: Apache-2.0
"""Looking at packets: tcpdump on a host's interface, as text or as bytes."""

import signal
import struct
import time

from . import proc, wait

PCAP_RAW_IP = 101


class Capture:
    """with lab.capture(node, "eth0", "udp port 8472") as seen: …; seen.wait_line("VXLAN")."""

    def __init__(self, host, interface: str, expression: str = "", netns=None, verbose: bool = False, decode=None):
        """decode: what tcpdump shall take UDP for, "vxlan" say (it takes port 8472 for OTV otherwise)."""
        proc.need("tcpdump")
        self.host, self.expression = host, expression
        words = ["tcpdump", "-i", interface, "-nn", "-l", "--immediate-mode", "-Z", "root", "-xx"]
        words += (["-v"] if verbose else []) + (["-T", decode] if decode else [])
        self._tcpdump = host.spawn([*words, expression] if expression else words, netns=netns)
        self._tcpdump.wait_line("listening on", 5)

    @property
    def lines(self) -> list:
        """tcpdump's text, one packet a line (an encapsulated packet's inner part is joined to its line)."""
        return [text for text, _ in self.packets]

    @property
    def packets(self) -> list:
        """(text, bytes of the frame) of every packet so far."""
        found = []
        for line in self._tcpdump.lines:
            if line.startswith("\t0x"):
                if found:
                    found[-1][1].append(line.split(":", 1)[1].replace(" ", ""))
            elif line[:2].isdigit() and line[2:3] == ":":
                found.append([line, []])
            elif found and line[:1] in (" ", "I") and not found[-1][1]:
                found[-1][0] += " | " + line.strip()
        return [(text, bytes.fromhex("".join(parts))) for text, parts in found]

    def wait_line(self, *parts: str, timeout: float = 3) -> str:
        """The first packet whose text has every part in it."""
        return wait.until(lambda: next((line for line in self.lines if all(part in line for part in parts)), None),
                          f"{self.host.name}: a packet {self.expression!r} that shows {', '.join(map(repr, parts))}", timeout,
                          detail=lambda: "\n".join(self.lines[-10:]) or "nothing was captured")

    def stop(self) -> None:
        self._tcpdump.stop(signal.SIGINT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def udp_payload(frame: bytes) -> bytes:
    """What an Ethernet frame with UDP in IPv4 or IPv6 (no extension headers) carries."""
    kind = struct.unpack_from("!H", frame, 12)[0]
    start = 14 + ((frame[14] & 15) * 4 if kind == 0x0800 else 40)
    return frame[start + 8:]


def describe_ip(packet: bytes, host) -> str:
    """tcpdump's one line about a bare IP packet."""
    header = struct.pack("=IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, PCAP_RAW_IP)
    now = int(time.time())
    record = struct.pack("=IIII", now, 0, len(packet), len(packet))
    path = host.lab.log_path(f"{host.name}-decode.pcap")
    path.write_bytes(header + record + packet)
    done = proc.run(["tcpdump", "-nn", "-t", "-r", str(path)], where="tcpdump", env=proc.environment())
    return done.stdout.strip()
