# SPDX-License-Identifier: Apache-2.0
"""The layouts that the express path is measured against, made by hand on two nodes with one wire between them: nothing but redirects in eBPF
(bench/minimal.bpf.c); Flannel's bridge with plain routes and with its VXLAN device; Calico's routed pods with plain routes, VXLAN and IPIP.
The last two bare, and with the rules that flanneld and Felix (one policy for each end) write by iptables (reference/flannel.md 5.1; calico.md
5.5, 6, 7.12). MTUs are those that their agents would choose."""
import json
import shutil

from tullelab import address, proc
from tullelab.lab import Lab
from tullelab.underlay import Underlay

from . import paths, tools

PODS = str(address.PODS4)
VXLAN, IPIP = "vxlan.calico", "tunl0"
PINS = "/sys/fs/bpf/minimal"


class Wire(Underlay):
    """The two nodes' interfaces are the ends of one veth: no switch between them that costs all rows the same and so makes them alike."""

    def attach(self, ports: dict) -> None:
        nodes = {cable: end for cable, end in ports.items() if end[2].rack is not None}
        super().attach({cable: end for cable, end in ports.items() if cable not in nodes})
        (one, name, first), (two, _, second) = nodes.values()
        _ip([f"link add {name} mtu {self.mtu} address {address.mac(first)} netns {one} type veth peer name {name} mtu {self.mtu} "
             f"address {address.mac(second)} netns {two}"], self.path)
        for netns, _, port in nodes.values():
            _ip(["link set lo up", f"link set {name} up", *(f"address add {own} dev {name}" for own in port.addresses),
                 *(f"route add default via {gateway} dev {name}" for gateway in port.gateways)], f"/run/netns/{netns}")


def _ip(lines, netns) -> None:
    proc.run(["nsenter", f"--net={netns}", "ip", "-batch", "-"], where=netns, input="\n".join(lines) + "\n")


class WireLab(Lab):
    """Two nodes on a wire."""

    def _prepare(self, name: str, options: dict) -> None:
        super()._prepare(name, options)
        self.underlay = Wire(name, "flat", options["family"], options["mtu"])


def _up(labs, plugin, overhead=0) -> tuple:
    """A lab with pods of one of Debian's plugins, their MTU smaller by the overhead; returns it and a pod on each node."""
    lab = WireLab(nodes=2, plugin=plugin, ip_masq=False)
    labs.append(lab)
    lab.up()
    lab.underlay.mtu -= overhead  # what the plugin gives pods
    for node in lab.nodes:
        node.configure()
    lab.underlay.mtu += overhead
    return lab, *(node.pod_add(f"bench-{node.index}") for node in lab.nodes)


def _links(place) -> dict:
    return {link["ifname"]: link for link in json.loads(place.run(["ip", "-j", "link", "show"]).stdout)}


def host_side(pod) -> str:
    """The host's end of a routed pod's veth."""
    return json.loads(pod.node.run(["ip", "-j", "route", "get", pod.ip]).stdout)[0]["dev"]


def _hex(*numbers) -> list:
    return ["hex", *(f"{byte:02x}" for number in numbers for byte in number)]


def _way(node, destination, ifindex, to, source):
    octets = bytes(map(int, destination.split(".")))
    value = (ifindex.to_bytes(4, "little"), bytes.fromhex(to.replace(":", "")), bytes.fromhex(source.replace(":", "")))
    node.run(["bpftool", "map", "update", "pinned", f"{PINS}/maps/ways", "key", *_hex(octets), "value", *_hex(*value)])


def _minimal(labs):
    lab, *pods = _up(labs, "ptp")
    binary = tools.build_minimal()
    uplinks = {pod.node.name: _links(pod.node)["eth0"] for pod in pods}
    for pod, far in (pods, pods[::-1]):
        node, own = pod.node, host_side(pod)
        links, uplink = _links(node), uplinks[node.name]
        node.run(["bpftool", "prog", "loadall", binary, PINS, "type", "classifier", "pinmaps", f"{PINS}/maps"])
        _way(node, far.ip, uplink["ifindex"], uplinks[far.node.name]["address"], uplink["address"])
        _way(node, pod.ip, links[own]["ifindex"], _links(pod)[pod.record["ifname"]]["address"], links[own]["address"])
        for device, program in ((own, "from_pod"), ("eth0", "from_net")):
            node.run(["tc", "qdisc", "add", "dev", device, "clsact"])
            node.run(["tc", "filter", "add", "dev", device, "ingress", "bpf", "direct-action", "pinned", f"{PINS}/{program}"])
    return pods


def _restore(node, text):
    node.run(["iptables-restore", "--noflush"], input=text)


def _flannel_rules(lab):
    for node in lab.nodes:
        own, = node.subnets(node.index)
        masq, forward = ('-m comment --comment "flanneld %s" -j' % word for word in ("masq", "forward"))
        _restore(node, f"""*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING {masq} FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 {masq} RETURN
-A FLANNEL-POSTRTG -s {own} -d {PODS} {masq} RETURN
-A FLANNEL-POSTRTG -s {PODS} -d {own} {masq} RETURN
-A FLANNEL-POSTRTG ! -s {PODS} -d {own} {masq} RETURN
-A FLANNEL-POSTRTG -s {PODS} ! -d 224.0.0.0/4 {masq} MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s {PODS} -d {PODS} {masq} MASQUERADE --random-fully
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FORWARD {forward} FLANNEL-FWD
-A FLANNEL-FWD -s {PODS} {forward} ACCEPT
-A FLANNEL-FWD -d {PODS} {forward} ACCEPT
COMMIT
""")


def _flannel(labs, vxlan, rules):
    lab, *pods = _up(labs, "bridge", 50 if vxlan else 0)
    if vxlan:
        paths.vxlan_by_hand(lab)
    if rules:
        _flannel_rules(lab)
    return pods


def _peer(node):
    other, = (other for other in node.lab.nodes if other is not node)
    return other, *other.subnets(other.index)


def _calico_routes(node, peer, block):
    return [f"ip route replace {block} via {peer.ip} dev eth0 onlink"]


def _calico_vxlan(node, peer, block):
    own, = node.subnets(node.index)
    macs = {one.name: f"66:00:00:00:00:{one.index:02x}" for one in (node, peer)}
    return [f"ip link add {VXLAN} address {macs[node.name]} mtu {node.lab.mtu - 50} type vxlan id 4096 local {node.ip} dev eth0 dstport 4789 nolearning",
            f"ip addr add {own.network_address}/32 dev {VXLAN}", f"ip link set {VXLAN} up",
            f"ip neigh replace {block.network_address} lladdr {macs[peer.name]} dev {VXLAN} nud permanent",
            f"bridge fdb replace {macs[peer.name]} dev {VXLAN} dst {peer.ip} self permanent",
            f"ip route replace {block} via {block.network_address} dev {VXLAN} onlink"]


def _calico_ipip(node, peer, block):
    own, = node.subnets(node.index)
    return [f"ip link add {IPIP} type ipip 2>/dev/null || :", f"ip link set {IPIP} mtu {node.lab.mtu - 20} up",
            f"ip addr add {own.network_address}/32 dev {IPIP}", f"ip route replace {block} via {peer.ip} dev {IPIP} onlink"]


CALICO = {"routes": (0, _calico_routes), "vxlan": (50, _calico_vxlan), "ipip": (20, _calico_ipip)}
# What the rules say of the encapsulation: INPUT, OUTPUT, raw, nat.
TUNNEL = {
    "routes": ("", "", "", ""),
    "vxlan": ("-A cali-INPUT -p udp -m udp --dport 4789 -m set --match-set cali40all-vxlan-net src -m addrtype --dst-type LOCAL -j ACCEPT\n"
              "-A cali-INPUT -p udp -m udp --dport 4789 -m addrtype --dst-type LOCAL -j DROP\n",
              "-A cali-OUTPUT -p udp -m udp --dport 4789 -m addrtype --src-type LOCAL -m set --match-set cali40all-vxlan-net dst -j ACCEPT\n",
              "-A {chain} -p udp -m udp --dport 4789 -j NOTRACK\n",
              f"-A cali-POSTROUTING -o {VXLAN} -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE --random-fully\n"),
    "ipip": ("-A cali-INPUT -p ipencap -m set --match-set cali40all-hosts-net src -m addrtype --dst-type LOCAL -j ACCEPT\n-A cali-INPUT -p ipencap -j DROP\n",
             "-A cali-OUTPUT -p ipencap -m set --match-set cali40all-hosts-net dst -m addrtype --src-type LOCAL -j ACCEPT\n", "",
             f"-A cali-POSTROUTING -o {IPIP} -m addrtype ! --src-type LOCAL --limit-iface-out -m addrtype --src-type LOCAL -j MASQUERADE --random-fully\n"),
}


def _calico_sets(node, peers) -> None:
    hosts = [host.ip for host in node.lab.nodes]
    sets = {"cali40all-hosts-net": hosts, "cali40all-vxlan-net": hosts, "cali40all-ipam-pools": [PODS], "cali40masq-ipam-pools": [PODS],
            "cali40s:peers": [f"{ip}/32" for ip in peers]}
    lines = [f"create {name} hash:net family inet maxelem 1048576\n" + "".join(f"add {name} {member}\n" for member in members) for name, members in sets.items()]
    node.run(["ipset", "restore"], input="".join(lines))


def _endpoint_chain(name, policy, profile) -> str:
    return (f"-A {name} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A {name} -m conntrack --ctstate INVALID -j DROP\n"
            f"-A {name} -j MARK --set-xmark 0x0/0x30000\n"
            + ("" if "-tw-" in name else f"-A {name} -p udp -m udp --dport 4789 -j DROP\n-A {name} -p ipencap -j DROP\n")
            + f"-A {name} -j MARK --set-xmark 0x0/0x20000\n-A {name} -m mark --mark 0x0/0x20000 -j {policy}\n"
            f"-A {name} -m mark --mark 0x10000/0x10000 -j RETURN\n-A {name} -m mark --mark 0x0/0x20000 -j DROP\n"
            f"-A {name} -j {profile}\n-A {name} -m mark --mark 0x10000/0x10000 -j RETURN\n-A {name} -j DROP\n")


def _policy_chain(name, direction) -> str:
    return "".join(f"-A {name} -p {protocol} -m set --match-set cali40s:peers {direction} -m multiport --dports {paths.PORT}:{paths.PORT + 1} "
                   f"-j MARK --set-xmark 0x10000/0x10000\n-A {name} -m mark --mark 0x10000/0x10000 -j RETURN\n" for protocol in ("tcp", "udp"))


def _calico_rules(pod, tunnel) -> None:
    """As Felix lays them out, with the pod's interface under the name that its plugin gave it."""
    device = host_side(pod)
    each, to, leaves, enters = f"{device[:4]}+", *TUNNEL[tunnel][:2], TUNNEL[tunnel][3]
    untracked = {chain: TUNNEL[tunnel][2].format(chain=chain) for chain in ("cali-PREROUTING", "cali-OUTPUT")}
    tw, fw, pi, po = f"cali-tw-{device}", f"cali-fw-{device}", "cali-pi-bench", "cali-po-bench"

    def table(name, chains, rules):
        return f"*{name}\n" + "".join(f":{chain} - [0:0]\n" for chain in chains) + rules + "COMMIT\n"
    _restore(pod.node, table("raw", ("cali-PREROUTING", "cali-OUTPUT", "cali-rpf-skip", "cali-from-host-endpoint", "cali-to-host-endpoint"), f"""-I PREROUTING -j cali-PREROUTING
-I OUTPUT -j cali-OUTPUT
{untracked["cali-PREROUTING"]}-A cali-PREROUTING -j MARK --set-xmark 0x0/0xf0000
-A cali-PREROUTING -i {each} -j MARK --set-xmark 0x40000/0x40000
-A cali-PREROUTING -m mark --mark 0x40000/0x40000 -j cali-rpf-skip
-A cali-PREROUTING -m mark --mark 0x40000/0x40000 -m rpfilter --validmark --invert -j DROP
-A cali-PREROUTING -m mark --mark 0x0/0x40000 -j cali-from-host-endpoint
-A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT
{untracked["cali-OUTPUT"]}-A cali-OUTPUT -j MARK --set-xmark 0x0/0xf0000
-A cali-OUTPUT -j cali-to-host-endpoint
-A cali-OUTPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
""") + table("mangle", ("cali-PREROUTING", "cali-POSTROUTING", "cali-from-host-endpoint", "cali-to-host-endpoint"), """-I PREROUTING -j cali-PREROUTING
-I POSTROUTING -j cali-POSTROUTING
-A cali-PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-PREROUTING -j cali-from-host-endpoint
-A cali-PREROUTING -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-POSTROUTING -m mark --mark 0x10000/0x10000 -j RETURN
-A cali-POSTROUTING -j MARK --set-xmark 0x0/0xf0000
-A cali-POSTROUTING -m conntrack --ctstate DNAT -j cali-to-host-endpoint
-A cali-POSTROUTING -m mark --mark 0x10000/0x10000 -j RETURN
""") + table("nat", ("cali-PREROUTING", "cali-OUTPUT", "cali-POSTROUTING", "cali-fip-dnat", "cali-fip-snat", "cali-nat-outgoing"), f"""-I PREROUTING -j cali-PREROUTING
-I OUTPUT -j cali-OUTPUT
-A POSTROUTING -j cali-POSTROUTING
-A cali-PREROUTING -j cali-fip-dnat
-A cali-OUTPUT -j cali-fip-dnat
-A cali-POSTROUTING -j cali-fip-snat
-A cali-POSTROUTING -j cali-nat-outgoing
{enters}-A cali-nat-outgoing -m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst -j MASQUERADE --random-fully
""") + table("filter", ("cali-FORWARD", "cali-INPUT", "cali-OUTPUT", "cali-wl-to-host", "cali-from-hep-forward", "cali-to-hep-forward", "cali-cidr-block",
                        "cali-from-host-endpoint", "cali-to-host-endpoint", "cali-from-wl-dispatch", "cali-to-wl-dispatch", tw, fw, pi, po, "cali-pri-kns", "cali-pro-kns"), f"""-I FORWARD -j cali-FORWARD
-I INPUT -j cali-INPUT
-I OUTPUT -j cali-OUTPUT
-A FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -j MARK --set-xmark 0x10000/0x10000
-A cali-FORWARD -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -m mark --mark 0x0/0x10000 -j cali-from-hep-forward
-A cali-FORWARD -i {each} -j cali-from-wl-dispatch
-A cali-FORWARD -o {each} -j cali-to-wl-dispatch
-A cali-FORWARD -j cali-to-hep-forward
-A cali-FORWARD -j cali-cidr-block
{to}-A cali-INPUT -i {each} -g cali-wl-to-host
-A cali-INPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-INPUT -j MARK --set-xmark 0x0/0xf0000
-A cali-INPUT -j cali-from-host-endpoint
-A cali-INPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-wl-to-host -j cali-from-wl-dispatch
-A cali-wl-to-host -j ACCEPT
-A cali-OUTPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-OUTPUT -o {each} -j RETURN
{leaves}-A cali-OUTPUT -j MARK --set-xmark 0x0/0xf0000
-A cali-OUTPUT -m conntrack ! --ctstate DNAT -j cali-to-host-endpoint
-A cali-OUTPUT -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-from-wl-dispatch -i {device} -g {fw}
-A cali-from-wl-dispatch -j DROP
-A cali-to-wl-dispatch -o {device} -g {tw}
-A cali-to-wl-dispatch -j DROP
{_endpoint_chain(tw, pi, "cali-pri-kns")}{_endpoint_chain(fw, po, "cali-pro-kns")}{_policy_chain(pi, "src")}{_policy_chain(po, "dst")}"""
                         + "".join(f"-A {chain} -j MARK --set-xmark 0x10000/0x10000\n-A {chain} -m mark --mark 0x10000/0x10000 -j RETURN\n"
                                   for chain in ("cali-pri-kns", "cali-pro-kns"))))


def _calico(labs, tunnel, rules):
    overhead, steps = CALICO[tunnel]
    lab, *pods = _up(labs, "ptp", overhead)
    for node in lab.nodes:
        node.run(["sh", "-ec", "\n".join(steps(node, *_peer(node)))])
    if rules:
        for pod in pods:
            _calico_sets(pod.node, [one.ip for one in pods])
            _calico_rules(pod, tunnel)
    return pods


ROWS = {"minimal": _minimal, "Flannel's routes (host-gw)": lambda labs: _flannel(labs, False, False),
        "Flannel's VXLAN": lambda labs: _flannel(labs, True, False), "Flannel's VXLAN, rules": lambda labs: _flannel(labs, True, True),
        **{f"Calico's {word}{', rules' if rules else ''}": lambda labs, tunnel=tunnel, rules=rules: _calico(labs, tunnel, rules)
           for tunnel, word in (("routes", "routes"), ("vxlan", "VXLAN"), ("ipip", "IPIP")) for rules in (False, True)}}


def why_not(name: str):
    """Why this machine cannot have that row; None if it can."""
    if "IPIP" in name and not paths.has_kernel_ipip():
        return "this kernel has no module ipip"
    missing = [tool for tool in ("iptables-restore", "ipset") if not shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin")]
    if "rules" in name and missing:
        return f"{' and '.join(missing)} not installed"
    if name == "minimal" and not shutil.which("clang"):
        return "clang is not installed"
    return None
