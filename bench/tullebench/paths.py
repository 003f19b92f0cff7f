# SPDX-License-Identifier: Apache-2.0
"""Pod to pod on two nodes: each backend, against bare (host to host over the same underlay) and against the same layout
made by hand with ip and bridge, which is what flanneld and its CNI plugin program.

Client and server are pinned to one CPU; layouts are interleaved in random order; best and median; ratios to bare."""
import json
import random
import statistics
import time

from tullelab.lab import Lab

from . import tools

TESTS = ("rr", "crr", "udp", "stream")
VALUE = {"rr": "p50_us", "crr": "p50_us", "udp": "ns_per_packet", "stream": "mbit_per_s"}
PORT = 5599
MILLISECONDS = 400


class Layout:
    """Where a client runs and a server answers."""

    def __init__(self, name, client, server, address):
        self.name, self.client, self.address = name, client, address
        self.server = server.spawn([tools.path("netbench"), "serve", address, PORT])
        self.server.wait_line("ready")

    def run(self, test):
        done = self.client.run([tools.path("netbench"), test, self.address, PORT, MILLISECONDS], timeout=30)
        return json.loads(done.stdout)[VALUE[test]]


def _pods(lab):
    return [node.pod_add(f"bench-{node.index}") for node in lab.nodes]


def _vxlan_by_hand(lab):
    """flannel.1 with neighbours, FDB and routes, in place of the plain routes (reference/flannel.md 4.1)."""
    macs = {node.index: f"02:00:00:00:00:{node.index:02x}" for node in lab.nodes}
    for node in lab.nodes:
        own = node.subnets(node.index)[0].network_address
        lines = [f"ip link add flannel.1 address {macs[node.index]} mtu {lab.mtu - 50} type vxlan id 1 local {node.ip} "
                 "dev eth0 dstport 8472 nolearning", f"ip addr add {own}/32 dev flannel.1", "ip link set flannel.1 up"]
        for peer in lab.nodes:
            if peer is node:
                continue
            subnet = peer.subnets(peer.index)[0]
            lines += [f"ip neigh replace {subnet.network_address} lladdr {macs[peer.index]} dev flannel.1 nud permanent",
                      f"bridge fdb replace {macs[peer.index]} dev flannel.1 dst {peer.ip} self permanent",
                      f"ip route replace {subnet} via {subnet.network_address} dev flannel.1 onlink"]
        node.run(["sh", "-ec", "\n".join(lines)])


def _layouts(labs):
    ours = {backend: Lab(nodes=2, backend=backend) for backend in ("vxlan", "host-gw", "udp")}
    by_hand = {"by hand host-gw": Lab(nodes=2, plugin="bridge"), "by hand vxlan": Lab(nodes=2, plugin="bridge")}
    found = []
    for name, lab in {**ours, **by_hand}.items():
        labs.append(lab)
        lab.up()
        if name == "by hand vxlan":
            lab.underlay.mtu -= 50  # what the bridge plugin gives pods
            for node in lab.nodes:
                node.configure()
            lab.underlay.mtu += 50
            _vxlan_by_hand(lab)
        one, two = _pods(lab)
        found.append(Layout(name, one, two, two.ip))
    nodes = ours["vxlan"].nodes
    found.append(Layout("bare", nodes[0], nodes[1], nodes[1].ip))
    return found


def measure(options) -> dict:
    labs = []
    samples = {}
    try:
        layouts = _layouts(labs)
        for layout in layouts:
            layout.run("rr")  # neighbours, caches
        began = time.monotonic()
        for _ in range(options.repeat):
            for test in TESTS:
                random.shuffle(layouts)
                for layout in layouts:
                    samples.setdefault(layout.name, {}).setdefault(test, []).append(layout.run(test))
        seconds = time.monotonic() - began
    finally:
        for lab in labs:
            lab.down()
    return {"repeat": options.repeat, "seconds": round(seconds, 1), "samples": samples}


def _best(test, values):
    return max(values) if test == "stream" else min(values)


def rows(data):
    headings = ["layout"]
    for text in ("TCP_RR us", "TCP_CRR us", "UDP 64 B ns/packet", "stream Mbit/s"):
        headings += [text + " best (median)", "of bare"]
    samples = data["samples"]
    lines = []
    for name in ("bare", "host-gw", "by hand host-gw", "vxlan", "by hand vxlan", "udp"):
        line = [name]
        for test in TESTS:
            values = samples[name][test]
            bare = _best(test, samples["bare"][test])
            best = _best(test, values)
            # a share of bare's speed: 1.00 is as fast as bare
            share = best / bare if test == "stream" else bare / best
            line += [f"{best:.1f} ({statistics.median(values):.1f})", f"{share:.2f}"]
        lines.append(line)
    return headings, lines
