# SPDX-License-Identifier: Apache-2.0
"""HostEndpoints (calico.md 2.10, 7.5, 7.6, 7.10): what a node exchanges with others, itself and for its pods. node1 has shop/web and
bank/web, node2 shop/db and bank/ops."""
from calico import OUTSIDE, allow, everywhere, local, made, meta, rule, tier, town
from table import case, netpol

FLOWS = ("TCP/80", "TCP/22", "UDP/53")
HOST = "role == 'host'"
SAFE_IN = "allow * -> node:node1 TCP/22"
SAFE_OUT = "allow node:node1 -> * UDP/53"
CLOSED = ["deny * -> node:node1", SAFE_IN, "deny node:node1 -> *", SAFE_OUT]


def host(name="h", node="node1", interface="eth0", ips=(), profiles=(), **more):
    spec = {"node": node, **({"interfaceName": interface} if interface else {}), **({"expectedIPs": list(ips)} if ips else {}),
            **({"profiles": list(profiles)} if profiles else {}), **more}
    return made("HostEndpoint", meta(name, role="host", on=node), spec)


OPEN = {"profiles": ["projectcalico-default-allow"]}


def one(title, objects, lines, flows=FLOWS, families="4"):
    return case(f"hosts: {title}", town(families), objects, lines, flows, nodes=True)


def profiles():
    return [
        one("without a policy all is closed but failsafe ports", [host()], CLOSED),
        one("the same for all interfaces", [host(interface="*")], CLOSED),
        one("by address", [host(interface=None, ips=["172.30.0.11"])], CLOSED),
        one("a profile that allows", [host(**OPEN)], []),
        one("a profile that nobody knows", [host(profiles=["mine", "projectcalico-default-allow"])], CLOSED),
        one("the first by name", [host("a"), host("b", **OPEN)], CLOSED),
        one("all interfaces last", [host("a", interface="*"), host("b", **OPEN)], []),
        one("both families", [host(interface="*")], CLOSED, families="46"),
    ]


def ordinary():
    friend = {"nets": ["198.51.100.0/24"]}
    return [
        one("ingress", [host(**OPEN), everywhere(selector=HOST, ingress=[allow(friend)])],
            ["deny * -> node:node1", "allow external:out -> node:node1", SAFE_IN]),
        one("egress", [host(**OPEN), everywhere(selector=HOST, egress=[rule("Allow", destination=friend)])],
            ["deny node:node1 -> *", "allow node:node1 -> external:out", SAFE_OUT]),
        one("ports of the host", [host(**OPEN, ips=["172.30.0.11"], ports=[{"name": "web", "protocol": "TCP", "port": 80}]), everywhere(
            selector=HOST, ingress=[rule("Allow", protocol="TCP", destination={"ports": ["web"]})])],
            ["deny * -> node:node1", "allow * -> node:node1 TCP/80", SAFE_IN]),
        one("a tier passes on to a profile", [host(**OPEN), tier("t", 1), everywhere(selector=HOST, tier="t", ingress=[rule("Pass")])], []),
        one("a tier passes on to no profile", [host(), tier("t", 1), everywhere(
            selector=HOST, tier="t", ingress=[rule("Pass")], egress=[rule("Pass")])], CLOSED),
        one("its own address", [host(**OPEN, ips=["172.30.0.11"]), everywhere(
            selector=HOST, ingress=[rule("Allow", destination={"nets": ["172.30.0.11/32"]})])], []),
        one("which of its addresses cannot be told", [host(**OPEN), everywhere(
            selector=HOST, ingress=[rule("Allow", destination={"nets": ["172.30.0.11/32"]})])], ["deny * -> node:node1", SAFE_IN]),
        one("Kubernetes' policies are not about hosts", [host(**OPEN), netpol("shop", ingress=[]), netpol("bank", egress=[])],
            ["deny * -> shop/*", "deny bank/* -> *"]),
        one("nor are those of a namespace", [host(**OPEN), local(selector="all()", ingress=[])], ["deny * -> shop/*"]),
        one("nor global ones of namespaces", [host(**OPEN), everywhere(selector="", namespaceSelector="all()", ingress=[])],
            ["deny * -> shop/*", "deny * -> bank/*"]),
        one("but those of all()", [host(**OPEN), everywhere(selector="all()", ingress=[])],
            ["deny * -> shop/*", "deny * -> bank/*", "deny * -> node:node1", SAFE_IN]),
    ]


def peers():
    two = [host("h1", "node1", ips=["172.30.0.11"], **OPEN), host("h2", "node2", ips=["172.30.0.12", "fd00:172:30::12"], **OPEN)]
    return [
        one("as peers of a host", [*two, everywhere(selector="on == 'node1'", ingress=[allow({"selector": HOST})])],
            ["deny * -> node:node1", "allow node:node2 -> node:node1", SAFE_IN]),
        one("as peers of a pod", [*two, everywhere(selector="app == 'web'", ingress=[allow({"selector": "on == 'node2'"})])],
            ["deny * -> */web", "allow node:node2 -> */web"]),
        one("global() are hosts, too", [*two, local(selector="app == 'web'", ingress=[
            allow({"namespaceSelector": "global()", "selector": HOST})])], ["deny * -> shop/web", "allow node:node2 -> shop/web"]),
        one("not of any namespace", [*two, everywhere(selector="app == 'web'", ingress=[allow({"namespaceSelector": "all()"})])],
            ["deny node:node2 -> */web", "deny external:* -> */web"]),
    ]


def controllers(autoCreate="Enabled", **more):
    return made("KubeControllersConfiguration", meta("default"), {"controllers": {"node": {"hostEndpoint": {"autoCreate": autoCreate, **more}}}})


def automatic():
    """Both nodes have one by themselves; node1 is labelled as the first."""
    deny = everywhere(selector="first == 'yes'", ingress=[])
    inner = {"generateName": "in", "interfaceCIDRs": ["172.30.0.11/32"], "labels": {"role": "host"}}

    def one(title, objects, lines):
        state = town("4")
        state["nodes"][0]["labels"] = {"first": "yes"}
        return case(f"hosts: {title}", state, objects, lines, FLOWS, nodes=True)

    closed = ["deny * -> node:node1", SAFE_IN]
    return [
        one("automatic ones change nothing by themselves", [controllers()], []),
        one("automatic ones have their node's labels", [controllers(), deny], closed),
        one("and one more", [controllers(), everywhere(selector="has(projectcalico.org/created-by)", ingress=[])],
            [*closed, "deny * -> node:node2", "allow * -> node:node2 TCP/22"]),
        one("none unless they are wanted", [controllers("Disabled"), deny], []),
        one("an object of the name counts instead", [controllers(), host("node1-auto-hep", interface="*", **OPEN), deny], []),
        one("another object comes first", [controllers(), host("z", **OPEN), deny], []),
        one("as peers", [controllers(), everywhere(selector="app == 'db'", ingress=[allow({"selector": "first == 'yes'"})])],
            ["deny * -> shop/db", "allow node:node1 -> shop/db"]),
        one("by templates", [controllers(createDefaultHostEndpoint="Disabled", templates=[inner]), everywhere(selector=HOST, ingress=[])], closed),
        one("by templates for some nodes", [controllers(templates=[{**inner, "nodeSelector": "!has(first)"}]),
                                            everywhere(selector=HOST, ingress=[])], []),
    ]


def forwarded():
    """node1's pods are shop/web and bank/web; what crosses node1's interface comes from or goes to elsewhere."""
    friend, port80 = {"nets": ["198.51.100.0/24"]}, {"ports": [80]}
    far = ("external:*", "shop/db", "bank/ops")
    node = [f"deny {other} -> */web" for other in (*far, "node:node2")]
    return [
        one("without applyOnForward nothing", [host(**OPEN), everywhere(selector=HOST, ingress=[])], ["deny * -> node:node1", SAFE_IN]),
        one("forwarded ingress", [host(**OPEN), everywhere(selector=HOST, applyOnForward=True, ingress=[allow(friend)])],
            [*node, "allow external:out -> */web", "deny * -> node:node1", "allow external:out -> node:node1", SAFE_IN]),
        one("by port, and no failsafe", [host(**OPEN), everywhere(selector=HOST, applyOnForward=True, ingress=[
            rule("Allow", protocol="TCP", destination=port80)])],
            [*node, *(f"allow {other} -> */web TCP/80" for other in (*far, "node:node2")), "deny * -> node:node1",
             "allow * -> node:node1 TCP/80", SAFE_IN]),
        one("forwarded egress", [host(**OPEN), everywhere(selector=HOST, applyOnForward=True, egress=[rule("Allow", destination=friend)])],
            [*(f"deny */web -> {other}" for other in (*far, "node:node2")), "allow */web -> external:out", "deny node:node1 -> *",
             "allow node:node1 -> external:out", SAFE_OUT]),
        one("a Pass out of the last tier", [host(), tier("t", 1), everywhere(
            selector=HOST, tier="t", applyOnForward=True, ingress=[rule("Pass")])], CLOSED),
        one("whose addresses cannot be told", [host(**OPEN), everywhere(
            selector=HOST, applyOnForward=True, ingress=[rule("Allow", destination={"nets": ["10.0.0.0/8"]})])],
            [*node, "deny * -> node:node1", SAFE_IN]),
    ]


def early():
    enemy, early = {"nets": ["198.51.100.0/24"]}, {"applyOnForward": True, "preDNAT": True}
    raw = {"applyOnForward": True, "doNotTrack": True}
    return [
        one("preDNAT denies, and leaves the rest", [host(**OPEN), everywhere(selector=HOST, **early, ingress=[rule("Deny", enemy)])],
            ["deny external:out -> */web", "deny external:out -> node:node1", SAFE_IN,
             "allow external:out -> */web TCP/22"]),
        one("preDNAT allows what is the node's", [host(), everywhere(selector=HOST, **early, ingress=[allow(enemy)])],
            [*CLOSED, "allow external:out -> node:node1"]),
        one("what preDNAT allows is judged again if forwarded", [host(**OPEN), everywhere(selector=HOST, **early, ingress=[allow(enemy)]),
            everywhere("later", selector=HOST, applyOnForward=True, ingress=[])],
            [f"deny {other} -> */web" for other in ("external:*", "shop/db", "bank/ops", "node:node2")] +
            ["deny * -> node:node1", "allow external:out -> node:node1", SAFE_IN]),
        one("doNotTrack decides for all", [host(), everywhere(selector=HOST, **raw, ingress=[allow(enemy)], egress=[
            rule("Allow", destination=enemy)])], [*CLOSED, "allow external:out -> node:node1", "allow node:node1 -> external:out"]),
        one("doNotTrack denies", [host(**OPEN), everywhere(selector=HOST, **raw, ingress=[rule("Deny", enemy)])],
            ["deny external:out -> */web", "deny external:out -> node:node1", SAFE_IN, "allow external:out -> */web TCP/22"]),
        one("doNotTrack is not for all interfaces", [host(interface="*", **OPEN), everywhere(
            selector=HOST, **raw, ingress=[rule("Deny", enemy)])], []),
        one("neither is about pods", [everywhere(selector="", **early, ingress=[rule("Deny")]),
                                      everywhere("raw", selector="", **raw, ingress=[rule("Deny")])], []),
    ]


def cases():
    assert OUTSIDE[0][1][0].startswith("198.51.100.")
    return [*profiles(), *ordinary(), *peers(), *automatic(), *forwarded(), *early()]
