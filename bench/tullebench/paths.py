# SPDX-License-Identifier: Apache-2.0
"""Pod to pod on two nodes: each backend, against bare (host to host over the same underlay) and against the same layout
made by hand with ip and bridge, which is what flanneld and its CNI plugin program. And each encapsulation below the same
routed pods without rules of any kind, as Calico lays them out: no encapsulation, the kernel's VXLAN and IPIP devices,
IPIP by the carrier, each of them with the guard in front as well.

Client and server are pinned to one CPU; layouts are interleaved in random order; best and median; ratios to bare."""
import json
import pathlib
import random
import statistics
import subprocess
import time

from tullelab.lab import Lab, build_directory

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


def vxlan_by_hand(lab):
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


def _tool(node, name, *words):
    node.run([str(pathlib.Path(build_directory()) / "tests/bpf" / name), "/sys/fs/bpf/bench", *map(str, words)])


def _peers(node):
    return [(peer, peer.subnets(peer.index)[0]) for peer in node.lab.nodes if peer is not node]


def _routes_into(node, device):
    node.run(["sh", "-ec", "\n".join(f"ip route replace {subnet} via {peer.ip} dev {device} onlink" for peer, subnet in _peers(node))])


def _kernel_ipip(lab):
    for node in lab.nodes:
        node.run(["sh", "-ec", f"ip link add tunl0 type ipip 2>/dev/null || :\nip link set tunl0 mtu {lab.mtu - 20} up\n"
                  f"ip addr add {node.subnets(node.index)[0].network_address}/32 dev tunl0"])
        _routes_into(node, "tunl0")


def _carrier_ipip(lab):
    for node in lab.nodes:
        own = node.subnets(node.index)[0]
        node.run(["sh", "-ec", "ip link add carrier0 type veth peer name carrier0p\n"
                  f"ip link set carrier0p arp off mtu {lab.mtu - 20} up\nip link set carrier0 arp off mtu {lab.mtu - 20} up\n"
                  f"ip addr add {own.network_address}/32 dev carrier0"])
        _tool(node, "carrier_tool", "apply", "carrier0", "eth0", "ipip", node.ip, "-", own, "-",
              *(f"{subnet}={peer.ip}" for peer, subnet in _peers(node)))
        _routes_into(node, "carrier0")


def _guard(lab):
    for node in lab.nodes:
        _tool(node, "guard_tool", "apply", "eth0", 8472, 1, "4i", "pool=10.244.0.0/16",
              *(word for peer, subnet in _peers(node) for word in (f"node={peer.ip}", f"source={subnet}={peer.ip}")))


def has_kernel_ipip():
    done = subprocess.run(["unshare", "-n", "ip", "link", "add", "probe0", "type", "ipip", "remote", "192.0.2.1"], capture_output=True)
    return done.returncode == 0


# Layouts of routed pods: bytes that the encapsulation takes, what lays it.
ROUTED = {"routed": (0, ()), "routed vxlan": (50, (vxlan_by_hand,)), "routed vxlan, guard": (50, (vxlan_by_hand, _guard)),
          "routed ipip kernel": (20, (_kernel_ipip,)), "routed ipip kernel, guard": (20, (_kernel_ipip, _guard)),
          "routed ipip carrier": (20, (_carrier_ipip,)), "routed ipip carrier, guard": (20, (_carrier_ipip, _guard))}


def routed_layouts(labs, names=tuple(ROUTED)):
    kernel_ipip = has_kernel_ipip()
    for name in names:
        overhead, steps = ROUTED[name]
        if _kernel_ipip in steps and not kernel_ipip:
            continue
        lab = Lab(nodes=2, plugin="ptp", ip_masq=False)
        labs.append(lab)
        lab.up()
        lab.underlay.mtu -= overhead  # what the plugin gives pods
        for node in lab.nodes:
            node.configure()
        lab.underlay.mtu += overhead
        for step in steps:
            step(lab)
        one, two = _pods(lab)
        yield Layout(name, one, two, two.ip)


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
            vxlan_by_hand(lab)
        one, two = _pods(lab)
        found.append(Layout(name, one, two, two.ip))
    found += routed_layouts(labs)
    nodes = ours["vxlan"].nodes
    found.append(Layout("bare", nodes[0], nodes[1], nodes[1].ip))
    return found


def interleaved(options, make) -> dict:
    """All layouts in random order, again and again; make puts the labs that it brings up into the list that it is given."""
    labs, samples = [], {}
    try:
        layouts = make(labs)
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


def measure(options) -> dict:
    return interleaved(options, _layouts)


def best_of(test, values):
    return max(values) if test == "stream" else min(values)


def rows(data):
    headings = ["layout"]
    for text in ("TCP_RR us", "TCP_CRR us", "UDP 64 B ns/packet", "stream Mbit/s"):
        headings += [text + " best (median)", "of bare"]
    samples = data["samples"]
    lines = []
    for name in ("bare", "host-gw", "by hand host-gw", "vxlan", "by hand vxlan", "udp", *ROUTED):
        if name not in samples:
            continue  # this kernel has no module ipip
        line = [name]
        for test in TESTS:
            values = samples[name][test]
            bare = best_of(test, samples["bare"][test])
            best = best_of(test, values)
            # a share of bare's speed: 1.00 is as fast as bare
            share = best / bare if test == "stream" else bare / best
            line += [f"{best:.1f} ({statistics.median(values):.1f})", f"{share:.2f}"]
        lines.append(line)
    return headings, lines
