# SPDX-License-Identifier: Apache-2.0
"""A node that runs real Calico, as far as its neighbours, its kernel and the store can tell (reference/calico.md 2.15, 3.7,
4.4, 5.4, 5.5, 7.12): its plugin as a script, devices, routes, rules, sets, and the objects of IPAM."""
import base64
import hashlib
import ipaddress
import json

CONF = {"cniVersion": "0.3.1", "name": "k8s-pod-network", "plugins": [
    {"type": "calico", "datastore_type": "kubernetes", "nodename": "node-2", "mtu": 0, "log_level": "info",
     "ipam": {"type": "calico-ipam"}, "policy": {"type": "k8s"}, "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"}},
    {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}}]}
# The recipe of 4.4. Which addresses calico-ipam gave, the test says in a file.
PLUGIN = r"""#!/bin/sh
set -eu
cat >/dev/null
[ "$CNI_COMMAND" = VERSION ] && { echo '{"cniVersion":"0.3.1","supportedVersions":["0.3.0","0.3.1","1.0.0"]}'; exit; }
ns=${CNI_ARGS#*K8S_POD_NAMESPACE=}; ns=${ns%%;*}
pod=${CNI_ARGS#*K8S_POD_NAME=}; pod=${pod%%;*}
host=cali$(printf %s "$ns.$pod" | sha1sum | cut -c1-11)
in="nsenter --net=$CNI_NETNS"
if [ "$CNI_COMMAND" = DEL ]; then
	$in ip link del "$CNI_IFNAME" 2>/dev/null || true
	exit
fi
read -r v4 v6 </run/calico-ipam-gives
$in ip link add "$CNI_IFNAME" mtu 1450 type veth peer name "$host" mtu 1450 address ee:ee:ee:ee:ee:ee netns $$
echo 0 >"/proc/sys/net/ipv6/conf/$host/disable_ipv6"
echo 0 >"/proc/sys/net/ipv6/conf/$host/accept_dad"
ip link set "$host" up
$in sh -c "echo 0 >/proc/sys/net/ipv6/conf/$CNI_IFNAME/accept_dad"
$in ip link set "$CNI_IFNAME" up
echo 1 >"/proc/sys/net/ipv4/conf/$host/route_localnet"
echo 0 >"/proc/sys/net/ipv4/neigh/$host/proxy_delay"
echo 1 >"/proc/sys/net/ipv4/conf/$host/proxy_arp"
$in ip addr add "$v4/32" dev "$CNI_IFNAME"
$in ip route add 169.254.1.1 dev "$CNI_IFNAME" scope link
$in ip route add default via 169.254.1.1 dev "$CNI_IFNAME"
ip route add "$v4" dev "$host" scope link
ips="{\"version\":\"4\",\"address\":\"$v4/32\"}"
if [ "$v6" != - ]; then
	echo 1 >"/proc/sys/net/ipv6/conf/$host/proxy_ndp"
	$in ip addr add "$v6/128" dev "$CNI_IFNAME" nodad
	$in ip route add default via fe80::ecee:eeff:feee:eeee dev "$CNI_IFNAME"
	ip route add "$v6" dev "$host"
	ips="$ips,{\"version\":\"6\",\"address\":\"$v6/128\"}"
fi
echo "{\"cniVersion\":\"0.3.1\",\"interfaces\":[{\"name\":\"$host\"}],\"ips\":[$ips]}"
"""
# Felix' chains with what matters: unknown interfaces are dropped, a policy looks into a set, pods are masqueraded.
FILTER = """*filter
:cali-FORWARD - [0:0]
:cali-INPUT - [0:0]
:cali-from-wl-dispatch - [0:0]
:cali-to-wl-dispatch - [0:0]
{chains}
-I FORWARD -m comment --comment "cali:wUHhoiAYhphO9Mso" -j cali-FORWARD
-I INPUT -m comment --comment "cali:Cz_u1IQiXIMmKD4c" -j cali-INPUT
-A FORWARD -m comment --comment "cali:S93hcgKJrXEqnTfs" -m comment --comment "Policy explicitly accepted packet." -m mark --mark 0x10000/0x10000 -j ACCEPT
-A FORWARD -m comment --comment "cali:mp77cMpurHhyjLrM" -j MARK --set-xmark 0x10000/0x10000
-A cali-FORWARD -i cali+ -m comment --comment "cali:8ZoYfO5HKXWbB3pk" -j cali-from-wl-dispatch
-A cali-FORWARD -o cali+ -m comment --comment "cali:jdEuaPBe14V2hutn" -j cali-to-wl-dispatch
{rules}
-A cali-from-wl-dispatch -m comment --comment "cali:zTj6P0TIgYvgz-md" -m comment --comment "Unknown interface" -j DROP
-A cali-to-wl-dispatch -m comment --comment "cali:7KNphB1nNHw80nIO" -m comment --comment "Unknown interface" -j DROP
COMMIT
"""
NAT = """*nat
:cali-POSTROUTING - [0:0]
:cali-nat-outgoing - [0:0]
-A POSTROUTING -m comment --comment "cali:O3lYWMrLQYEMJtB5" -j cali-POSTROUTING
-A cali-POSTROUTING -m comment --comment "cali:Z-c7XtVd2Bq7s_hA" -j cali-nat-outgoing
-A cali-nat-outgoing -m comment --comment "cali:flqWnvo8yq4ULQLa" -m set --match-set {set}masq-ipam-pools src -m set ! --match-set {set}all-ipam-pools dst -j MASQUERADE --random-fully
COMMIT
"""


def host_ifname(pod, namespace="default") -> str:
    return "cali" + hashlib.sha1(f"{namespace}.{pod}".encode()).hexdigest()[:11]


def vxlan_mac(node, version=4) -> str:
    digest = hashlib.sha1((node + ("-v6" if version == 6 else "")).encode()).digest()
    return ":".join(f"{byte:02x}" for byte in b"\x66" + digest[:5])


class Directory:
    """Objects of the directory store."""

    def __init__(self, lab):
        self.path = lab.store.path

    def _path(self, plural, name):
        return self.path / "objects" / plural / f"{name}.json"

    def _put(self, plural, name, kind, spec, version="projectcalico.org/v3", **metadata):
        path = self._path(plural, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{name}.new")
        new.write_text(json.dumps({"apiVersion": version, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}))
        new.rename(path)

    @staticmethod
    def _dashed(block):
        return str(block).replace(".", "-").replace(":", "-").replace("/", "-")

    def get_block(self, block):
        return json.loads(self._path("ipamblocks", self._dashed(block)).read_text())["spec"]

    def put_block(self, block, spec):
        self._put("ipamblocks", self._dashed(block), "IPAMBlock", spec)

    def put_affinity(self, block, node, labels):
        self._put("blockaffinities", f"{node}-{self._dashed(block)}", "BlockAffinity",
                  {"state": "confirmed", "node": node, "type": "host", "cidr": str(block), "deleted": False}, labels=labels)

    def put_handle(self, handle, blocks):
        self._put("ipamhandles", handle.lower(), "IPAMHandle", {"handleID": handle, "block": blocks, "deleted": False})

    def delete_handle(self, handle):
        self._path("ipamhandles", handle.lower()).unlink()

    def handles(self) -> set:
        return {path.stem for path in (self.path / "objects/ipamhandles").glob("*.json")}

    def get_node(self, name) -> dict:
        return json.loads(self._path("nodes", name).read_text())["metadata"]["annotations"]

    def put_node(self, name, annotations):
        self._put("nodes", name, "Node", {}, "v1", annotations=annotations, labels={"kubernetes.io/hostname": name})

    def node_blocks(self, node) -> list:
        found = [json.loads(path.read_text())["spec"] for path in (self.path / "objects/ipamblocks").glob("*.json")]
        return [ipaddress.ip_network(spec["cidr"]) for spec in found if spec.get("affinity") == f"host:{node}"]


class Etcd:
    """The same by Calico's keys (reference/calico.md 1.5)."""
    RESOURCES = "/calico/resources/v3/projectcalico.org"
    SPEC = {"IPv4Address": ("bgp", "ipv4Address"), "IPv4IPIPTunnelAddr": ("bgp", "ipv4IPIPTunnelAddr"), "IPv4VXLANTunnelAddr": ("ipv4VXLANTunnelAddr",)}

    def __init__(self, lab):
        self.ctl = lab.store.ctl

    def _put(self, key, value):
        self.ctl("put", key, json.dumps(value))

    def _get(self, key):
        return json.loads(self.ctl("get", "--print-value-only", key).stdout)

    @staticmethod
    def _block(block):
        return f"/calico/ipam/v2/assignment/ipv{block.version}/block/{str(block).replace('/', '-')}"

    def get_block(self, block):
        return self._get(self._block(block))

    def put_block(self, block, spec):
        spec = dict(spec)
        if "affinityClaimTime" in spec:
            spec["affinity_claim_time"] = spec.pop("affinityClaimTime")
        self._put(self._block(block), spec)

    def put_affinity(self, block, node, labels):
        self._put(f"/calico/ipam/v2/host/{node}/ipv{block.version}/block/{str(block).replace('/', '-')}", {"state": "confirmed", "deleted": False})

    def put_handle(self, handle, blocks):
        self._put(f"/calico/ipam/v2/handle/{handle}", {"handleID": handle, "block": blocks, "deleted": False})

    def delete_handle(self, handle):
        self.ctl("del", f"/calico/ipam/v2/handle/{handle}")

    def handles(self) -> set:
        lines = self.ctl("get", "--prefix", "--keys-only", "/calico/ipam/v2/handle/").stdout.split()
        return {line.rpartition("/")[2] for line in lines}

    def get_node(self, name) -> dict:
        spec = self._get(f"{self.RESOURCES}/nodes/{name}")["spec"]
        found = {}
        for key, path in self.SPEC.items():
            value = spec
            for step in path:
                value = (value or {}).get(step)
            if value:
                found[f"projectcalico.org/{key}"] = value
        return found

    def put_node(self, name, annotations):
        spec = {}
        for key, value in annotations.items():
            *above, last = self.SPEC[key.rpartition("/")[2]]
            at = spec
            for step in above:
                at = at.setdefault(step, {})
            at[last] = value
        self._put(f"{self.RESOURCES}/nodes/{name}", {"apiVersion": "projectcalico.org/v3", "kind": "Node", "metadata": {"name": name}, "spec": spec})

    def node_blocks(self, node) -> list:
        lines = self.ctl("get", "--prefix", "--keys-only", f"/calico/ipam/v2/host/{node}/").stdout.split()
        return [ipaddress.ip_network("/".join(line.rpartition("/")[2].rsplit("-", 1))) for line in lines if "/block/" in line]


class RealCalico:
    """Calico on one node of a lab; blocks: one of each family that pods have. mode: "vxlan", "ipip" or "none"."""

    def __init__(self, lab, node, blocks, mode):
        self.lab, self.node, self.mode = lab, node, mode
        self.blocks = [ipaddress.ip_network(block) for block in blocks]
        self.objects = Etcd(lab) if hasattr(lab.store, "ctl") else Directory(lab)
        self.given = {}  # handle → (ordinal, attributes)
        self.sequence = 1754042400000000005
        self.pods = []

    def address(self, ordinal) -> list:
        return [str(block[ordinal]) for block in self.blocks]

    # --- IPAM ---

    def give(self, ordinal, handle, version=None, **attributes):
        """Of every block, or of that of one family."""
        blocks = [block for block in self.blocks if version in (None, block.version)]
        self.given[handle] = (ordinal, {"node": self.node.name, **attributes}, blocks)
        self.objects.put_handle(handle, {str(block): 1 for block in blocks})
        for block in blocks:
            self.write_block(block)

    def write_block(self, block):
        handles = [handle for handle in self.given if block in self.given[handle][2]]
        allocations = [None] * 64
        for index, handle in enumerate(handles):
            allocations[self.given[handle][0]] = index
        self.sequence += 1
        self.objects.put_block(block, {
            "cidr": str(block), "affinity": f"host:{self.node.name}", "affinityClaimTime": "2026-08-01T10:00:00Z", "allocations": allocations,
            "unallocated": [n for n in range(64) if allocations[n] is None],
            "attributes": [{"handle_id": handle, "secondary": self.given[handle][1]} for handle in handles],
            "sequenceNumber": self.sequence, "sequenceNumberForAllocation": {str(n): 1754042400000000000 + n for n in range(64) if allocations[n] is not None},
            "strictAffinity": False, "deleted": False})

    def claim(self):
        hashed = hashlib.sha3_256(self.node.name.encode()).digest()
        for block in self.blocks:
            self.objects.put_affinity(block, self.node.name, {
                "projectcalico.org/hostname-hash": base64.b32encode(hashed).decode().rstrip("="),
                "projectcalico.org/affinity-type": "host", "projectcalico.org/ip-version": str(block.version)})
            self.write_block(block)

    def allocations(self, block) -> dict:
        """Address → handle, as the store shows them now."""
        spec = self.objects.get_block(block)
        return {str(block[n]): spec["attributes"][index].get("handle_id") for n, index in enumerate(spec["allocations"]) if index is not None}

    def release_by_handle(self, handle):
        """As calico-ipam on DEL."""
        for block in self.blocks:
            spec = self.objects.get_block(block)
            for n, index in enumerate(spec["allocations"]):
                if index is not None and spec["attributes"][index].get("handle_id") == handle:
                    spec["allocations"][n] = None
                    spec["unallocated"].append(n)
                    spec["sequenceNumberForAllocation"].pop(str(n), None)
            spec["sequenceNumber"] += 1
            self.objects.put_block(block, spec)
        self.objects.delete_handle(handle)

    def assign(self, handle, **attributes) -> int:
        """As calico-ipam on ADD: the first free ordinal of the first block, and the same of the others."""
        specs = {block: self.objects.get_block(block) for block in self.blocks}
        ordinal = next(n for n in specs[self.blocks[0]]["unallocated"] if all(n in spec["unallocated"] for spec in specs.values()))
        for block, spec in specs.items():
            spec["unallocated"].remove(ordinal)
            spec["attributes"].append({"handle_id": handle, "secondary": {"node": self.node.name, **attributes}})
            spec["allocations"][ordinal] = len(spec["attributes"]) - 1
            spec["sequenceNumberForAllocation"][str(ordinal)] = spec["sequenceNumber"]
            spec["sequenceNumber"] += 1
            self.objects.put_block(block, spec)
        self.objects.put_handle(handle, {str(block): 1 for block in self.blocks})
        return ordinal

    # --- the node ---

    def begin(self):
        node, annotations = self.node, {}
        for port in node.port.addresses:
            annotations[f"projectcalico.org/IPv{port.version}Address"] = str(port)
        self.claim()
        if self.mode == "vxlan":
            for block in self.blocks:
                annotations[f"projectcalico.org/IPv{block.version}VXLANTunnelAddr"] = str(block[0])
                name, kind = ("vxlan", "vxlan") if block.version == 4 else ("vxlan-v6", "vxlanV6")
                self.give(0, f"{name}-tunnel-addr-{node.name}", block.version, type=f"{kind}TunnelAddress")
        if self.mode == "ipip":
            annotations["projectcalico.org/IPv4IPIPTunnelAddr"] = str(self.blocks[0][0])
            self.give(0, f"ipip-tunnel-addr-{node.name}", type="ipipTunnelAddress")
        self.objects.put_node(node.name, annotations)
        node.write("/etc/cni/net.d/10-calico.conflist", json.dumps(CONF))
        node.run(["sh", "-ec", "mkdir -p /run/bin /var/lib/calico; echo node-2 >/var/lib/calico/nodename; rm -f /etc/cni/net.d/*tulle*"])
        node.write("/run/bin/calico", PLUGIN, 0o755)
        node.runtime.path.insert(0, "/run/bin")
        node.run(["sh", "-ec", "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"])
        for block in self.blocks:
            self._devices(block)

    def _devices(self, block):
        v = block.version
        lines = [f"ip -{v} route add blackhole {block} proto 80"]
        if self.mode == "vxlan":
            device = "vxlan.calico" if v == 4 else "vxlan-v6.calico"
            width, mtu = (32, 1450) if v == 4 else (128, 1430)
            lines += [f"ip link add {device} address {vxlan_mac(self.node.name, v)} mtu {mtu} type vxlan id 4096 local {self.node.ip_of(v)} dev eth0 dstport 4789 nolearning",
                      f"ip addr add {block[0]}/{width} dev {device}", f"ip link set {device} up"]
        self.node.run(["sh", "-ec", "\n".join(lines)])

    def peer(self, other):
        """Routes to another node, as its objects tell."""
        annotations = self.objects.get_node(other.name)
        lines = []
        for block in self.objects.node_blocks(other.name):
            v, gone = block.version, "10.244.77.0/26" if block.version == 4 else "fd00:10:244::7700/122"
            if self.mode == "vxlan":
                device, tunnel = "vxlan.calico" if v == 4 else "vxlan-v6.calico", annotations[f"projectcalico.org/IPv{v}VXLANTunnelAddr"]
                mac = vxlan_mac(other.name, v)
                lines += [f"ip neigh replace {tunnel} lladdr {mac} dev {device} nud permanent",
                          f"bridge fdb replace {mac} dev {device} dst {other.ip_of(v)} self permanent",
                          f"ip -{v} route replace {block} via {tunnel} dev {device} onlink proto 80",
                          f"ip -{v} route replace {gone} via {tunnel} dev {device} onlink proto 80"]
            elif self.mode == "none":
                lines += [f"ip -{v} route replace {block} via {other.ip_of(v)} dev eth0 onlink proto 80",
                          f"ip -{v} route replace {gone} via {other.ip_of(v)} dev eth0 onlink proto 80"]
        self.node.run(["sh", "-ec", "\n".join(lines)])

    def pod(self, name):
        """calico-ipam gives the next address, the plugin attaches, Felix programs."""
        ordinal = 1 + len(self.pods)
        self.node.write("/run/calico-ipam-gives", f"{(self.address(ordinal) + ['-'])[0]} {(self.address(ordinal) + ['-'])[1]}\n")
        pod = self.node.pod_add(name)
        self.give(ordinal, f"k8s-pod-network.{pod.record['container_id']}", namespace="default", pod=name, timestamp="2026-08-01 10:00:01.2 +0000 UTC")
        # Felix' own copy of the route
        self.node.run(["ip", "route", "add", pod.ip, "dev", host_ifname(name), "proto", "80", "metric", "1024", "scope", "link"])
        self.pods.append(pod)
        return pod

    def pod_again(self, name):
        """The same after Tulle: whatever address the store says is free."""
        ordinal = self.assign(f"k8s-pod-network.{name}", namespace="default", pod=name)
        self.node.write("/run/calico-ipam-gives", f"{(self.address(ordinal) + ['-'])[0]} {(self.address(ordinal) + ['-'])[1]}\n")
        pod = self.node.pod_add(name)
        for block in self.blocks:  # the container's id is known now only
            spec = self.objects.get_block(block)
            for attribute in spec["attributes"]:
                if attribute.get("handle_id") == f"k8s-pod-network.{name}":
                    attribute["handle_id"] = f"k8s-pod-network.{pod.record['container_id']}"
            self.objects.put_block(block, spec)
        self.objects.delete_handle(f"k8s-pod-network.{name}")
        self.objects.put_handle(f"k8s-pod-network.{pod.record['container_id']}", {str(block): 1 for block in self.blocks})
        return pod

    def felix_again(self, pods, other):
        """Felix is back: its own routes to pods and to another node's blocks."""
        lines = []
        for pod in pods:
            for ip in pod.ips:
                lines.append(f"ip {'-6 ' if ':' in ip else ''}route replace {ip} dev {host_ifname(pod.name)} proto 80 metric 1024")
        if self.mode == "ipip":
            lines += [f"ip route replace {block} via {other.ip} dev tunl0 onlink proto 80" for block in self.objects.node_blocks(other.name)]
        self.node.run(["sh", "-ec", "\n".join(lines)])
        self.peer(other)

    def rules(self):
        """By both iptables, and nftables' own table beside them: Felix leaves what the mode before it had."""
        node, known = self.node, [host_ifname(pod.name) for pod in self.pods]
        for digit, version in (("4", "inet"), ("6", "inet6")):
            for name in ("masq-ipam-pools", "all-ipam-pools", "s:TmXh4gJpd8cCx5AHvUQrMq"):
                node.run(["ipset", "create", f"cali{digit}0{name}"[:31], "hash:net", "family", version, "maxelem", "1048576"])
        chains = "\n".join(f":cali-fw-{name} - [0:0]\n:cali-tw-{name} - [0:0]" for name in known)
        rules = "\n".join(f"-A cali-from-wl-dispatch -i {name} -g cali-fw-{name}\n-A cali-to-wl-dispatch -o {name} -g cali-tw-{name}\n"
                          f"-A cali-fw-{name} -j MARK --set-xmark 0x10000/0x10000\n-A cali-tw-{name} -j MARK --set-xmark 0x10000/0x10000" for name in known)
        for word, digit in (("iptables", "4"), ("ip6tables", "6")):
            for kind in ("nft", "legacy"):
                done = node.run([f"{word}-{kind}-restore", "--noflush"], input=FILTER.format(chains=chains, rules=rules) + NAT.format(set=f"cali{digit}0"))
                assert done.returncode == 0
        node.run(["nft", "-f", "-"], input="table ip calico {\nchain filter-FORWARD {\ntype filter hook forward priority 0;\n}\n}\n"
                 "table ip6 calico {\nchain filter-FORWARD {\ntype filter hook forward priority 0;\n}\n}\ntable arp calico-arp {\n}\n")

    def traces(self) -> list:
        """What is left of rules and sets."""
        found = []
        for words in (["iptables-nft-save"], ["ip6tables-nft-save"], ["iptables-legacy-save"], ["ip6tables-legacy-save"], ["ipset", "list", "-n"],
                      ["nft", "list", "tables"]):
            found += [line for line in self.node.run(words).stdout.splitlines() if "cali" in line]
        return found
