# SPDX-License-Identifier: Apache-2.0
"""`tulle-lab demo`: the walk-through of every article about Flannel, with every claim checked."""

import time

from . import address, pools, proc, web
from .capture import describe_ip, udp_payload
from .errors import LabError
from .lab import OUTSIDE_PORT, Lab

TICK, CROSS = "\u2713", "\u2717"
UDP_PORT = {"vxlan": 8472, "udp": 8285}
POOLS_PORT, POOLS_VNI = 4789, 4096


class Demo:
    def __init__(self, lab: Lab, out):
        self.lab, self.out, self.failed = lab, out, []

    def walk(self) -> None:
        node1, node2 = self.lab.nodes[:2]
        self.title("Two pods, as a container runtime makes them: a namespace, then the CNI plugin")
        nginx = self._pod(node1, "nginx-1", "nginx")
        apache = self._pod(node2, "apache-1", "apache")
        if not (nginx and apache):
            return
        for family in address.families(self.lab.family):
            self._family(family, nginx, apache)
        self.title("On the wire between the nodes")
        for family in address.families(self.lab.family):
            self._wire(family, nginx, apache)

    def _pod(self, node, name: str, kind: str):
        command = f"tulle-lab pod add {name} --node {node.name} --web {kind}"
        try:
            pod = node.pod_add(name)
            web.start(kind, pod)
        except LabError as error:
            self.say(False, command, str(error))
            return None
        self.say(True, command, f"{name}: {', '.join(pod.ips)}   ({web.SERVERS[kind][0]} answers)")
        return pod

    def _family(self, family: int, nginx, apache) -> None:
        self.title(f"IPv{family}: pod to pod, node to pod, pod to node, pod to the outside")
        node1 = nginx.node
        self._page(nginx, apache.ip_of(family), web.page("apache", apache))
        self._page(apache, nginx.ip_of(family), web.page("nginx", nginx))
        self._page(node1, apache.ip_of(family), web.page("apache", apache))
        # a node's own services: the lab starts an echo server there
        self._echo(apache, "node-1", node1.ip_of(family), "node-1", None)
        expected = apache.node.ip_of(family) if self.lab.ip_masq else None
        self._echo(apache, "outside", self.lab.outside.ip_of(family), "outside", expected)

    def _curl(self, place, url: str):
        """(the command as a user types it, its output or None, what went wrong)."""
        words = ["curl", "-sS", "--max-time", "3", url]
        done = place.run(words, check=False)
        quoted = f"'{url}'" if "[" in url else url
        return f"tulle-lab exec {place.name} -- curl {quoted}", done.stdout if done.returncode == 0 else None, done.stderr.strip()

    def _page(self, place, target: str, expected: str) -> None:
        command, text, trouble = self._curl(place, f"http://{address.url_host(target)}/")
        if text is None:
            self.say(False, command, trouble)
        else:
            self.say(text == expected, command, text.strip() + ("" if text == expected else f"   (expected: {expected.strip()})"))

    def _echo(self, place, label: str, target: str, server: str, seen_as) -> None:
        command, text, trouble = self._curl(place, f"http://{address.url_host(target)}:{OUTSIDE_PORT}/")
        if text is None:
            self.say(False, command, trouble)
            return
        fields = dict(word.split("=", 1) for word in text.split())
        good = fields.get("server") == server and seen_as in (None, fields.get("client"))
        story = f"{label} saw a request from {fields.get('client')}"
        if seen_as:
            story += f", the address of {place.node.name}: masqueraded" if good else f", expected {seen_as} (masquerade)"
        self.say(good, command, story)

    def _wire(self, family: int, nginx, apache) -> None:
        """The opening packet of a curl, as it passes node-1's eth0."""
        source, target = nginx.ip_of(family), apache.ip_of(family)
        outer = apache.node.ip_of(family)
        way, port, number = self._way(family, nginx.node, apache.node)
        expression = (f"udp dst port {port} and dst host {outer}" if port else f"ip proto 4 and dst host {outer}" if way == "ipip"
                      else f"tcp dst port 80 and dst host {target}")
        decode = "vxlan" if way == "vxlan" else None
        command = f"tulle-lab exec node-1 -- tcpdump -nn -i eth0{' -T vxlan' if decode else ''} '{expression}'"
        with self.lab.capture(nginx.node, "eth0", expression, decode=decode) as seen:
            self._curl(nginx, f"http://{address.url_host(target)}/")
            try:
                find = {"vxlan": self._find_vxlan, "udp": self._find_udp}.get(way, self._find_plain)
                self.say(True, command, find(seen, source, target, number))
            except LabError as error:
                self.say(False, command, str(error))

    def _way(self, family: int, one, other) -> tuple:
        """What shall be on the wire, the UDP port it goes to, the VNI."""
        if not self.lab.pools:
            return self.lab.backend, UDP_PORT.get(self.lab.backend), 1
        way = pools.on_the_wire(self.lab.pools, family, one.port.rack == other.port.rack)
        return way, POOLS_PORT if way == "vxlan" else None, POOLS_VNI

    @staticmethod
    def _find_vxlan(seen, source, target, number) -> str:
        return seen.wait_line("VXLAN, flags [I]", f"vni {number}", f"{source}.", f"> {target}.80")

    def _find_udp(self, seen, source, target, _) -> str:
        seen.wait_line("UDP")
        for line, frame in seen.packets:
            inner = describe_ip(udp_payload(frame), self.lab.outside)
            if f"{source}." in inner and f"> {target}.80" in inner:
                return f"{line} | {inner}"
        raise LabError("no datagram carries the pod's packet:\n" + "\n".join(seen.lines))

    @staticmethod
    def _find_plain(seen, source, target, _) -> str:
        """Of IPIP tcpdump shows the inner packet on the same line."""
        return seen.wait_line(f"{source}.", f"> {target}.80")

    def title(self, text: str) -> None:
        self.out(f"\n{text}")

    def say(self, good: bool, command: str, story: str) -> None:
        if not good:
            self.failed.append(command)
        indented = story.replace("\n", "\n      ").replace(" | ", "\n      ")
        self.out(f"  $ {command}\n    {TICK if good else CROSS} {indented}")


def run(out, progress, keep: bool = False, **options) -> bool:
    """Bring a lab up, walk, take it down.  Returns whether every step held; the last line says so."""
    started = time.monotonic()
    proc.need("curl", "nginx", "apache2", "tcpdump")
    if options["pools"] and options["pools"] not in pools.PRESETS:
        raise LabError(f"pools {options['pools']}: the demo knows what to expect of {', '.join(pools.PRESETS)}; for a manifest there is tulle-lab up")
    if options["backend"] == "alloc":
        raise LabError("backend alloc: it carries no packets, there is nothing to show")
    lab, trouble = Lab(progress=progress, held=not keep, **options), None
    failed = []
    try:
        lab.up()
        try:
            lab.nodes[0].serve(OUTSIDE_PORT)
            demo = Demo(lab, out)
            failed = demo.failed
            demo.walk()
            if failed:
                out("\nWhat the agents said:")
                for node in lab.nodes:
                    out("\n".join(node.log.splitlines()[-12:]))
        finally:
            if not keep:
                lab.down()
                progress("removed everything")
    except LabError as error:
        trouble = error
        out(f"\n  {CROSS} {error}")
    seconds = time.monotonic() - started
    if keep and trouble is None:
        out(f"\nThe lab is still there: tulle-lab status --lab {lab.name}; tulle-lab down --lab {lab.name}")
    good = not failed and trouble is None
    reason = "" if good else f": {len(failed)} step{'s' if len(failed) != 1 else ''} failed" if failed else ": the lab did not come up"
    out(f"\n{'PASS' if good else 'FAIL'} ({lab.traffic.removeprefix('backend ')}, {options['store']} store, IPv{options['family']}, {seconds:.1f} s){reason}"
        .replace("IPvdual", "IPv4 and IPv6"))
    return good
