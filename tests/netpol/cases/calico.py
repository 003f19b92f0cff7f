# SPDX-License-Identifier: Apache-2.0
"""Calico's ordered and tiered policy (calico.md 2.8, 7.3, 7.5): what a rule's fields ask, and who comes first."""
from table import case, netpol, world

API = "projectcalico.org/v3"
OUTSIDE = (("out", ["198.51.100.7", "2001:db8::7"]), ("other", ["203.0.113.9", "2001:db8:1::9"]))
PORTS = ("TCP/80", "TCP/81", "UDP/80")
IN_A = "deny * -> shop/web"


def town(families="4", externals=OUTSIDE, accounts=None):
    """Two namespaces; shop/web is whom most policies are about."""
    externals = tuple((name, [ip for ip in ips if ("6" if ":" in ip else "4") in families]) for name, ips in externals)
    return world({"shop": ({"team": "red"}, {"web": {"app": "web"}, "db": {"app": "db", "hot": "yes"}}),
                  "bank": ({"team": "blue"}, {"web": {"app": "web"}, "ops": {"app": "ops", "hot": "yes"}})},
                 externals, families, {("TCP", 80): "http", ("UDP", 80): "http", ("TCP", 81): "admin"}, accounts)


def meta(name, namespace=None, **labels):
    return {"name": name, **({"namespace": namespace} if namespace else {}), **({"labels": labels} if labels else {})}


def made(kind, metadata, spec):
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def types(spec):
    return spec.pop("types", None) or [key.capitalize() for key in ("ingress", "egress") if key in spec]


def local(name="p", namespace="shop", selector="app == 'web'", **spec):
    return made("NetworkPolicy", meta(name, namespace), {"types": types(spec), "selector": selector, **spec})


def everywhere(name="g", selector="app == 'web'", **spec):
    return made("GlobalNetworkPolicy", meta(name), {"types": types(spec), "selector": selector, **spec})


def tier(name, order=None, action=None):
    return made("Tier", meta(name), {**({} if order is None else {"order": order}), **({"defaultAction": action} if action else {})})


def rule(action, source=None, destination=None, **more):
    return {"action": action, **({"source": source} if source else {}), **({"destination": destination} if destination else {}), **more}


def allow(source=None, **more):
    return rule("Allow", source, **more)


def one(title, policies, lines, flows=("TCP/80",), state=None):
    return case(f"calico: {title}", state or town(), policies, lines, flows)


# -- who comes first --


def order():
    deny, everyone = [rule("Deny")], [allow()]
    return [
        one("the smaller order comes first", [local("late", order=20, ingress=deny), local("early", order=-1.5, ingress=everyone)], []),
        one("the smaller order denies", [local("late", order=20, ingress=everyone), local("early", order=10, ingress=deny)], [IN_A]),
        one("no order is last", [local("a", ingress=everyone), local("z", order=1e9, ingress=deny)], [IN_A]),
        one("among equals the name counts", [local("b", order=1, ingress=everyone), local("a", order=1, ingress=deny)], [IN_A]),
        one("rules count from top to bottom", [local(ingress=[allow({"selector": "hot == 'yes'"}), rule("Deny"), allow()])],
            [IN_A, "allow shop/db -> shop/web"]),
        one("what no rule decides the tier denies", [local(ingress=[allow({"selector": "app == 'db'"})])],
            [IN_A, "allow shop/db -> shop/web"]),
        one("the next policy is asked when no rule matches", [
            local("a", order=1, ingress=[rule("Deny", {"selector": "app == 'db'"})]), local("b", order=2, ingress=everyone)],
            ["deny shop/db -> shop/web"]),
        one("no rules deny", [local(ingress=[], types=["Ingress"])], [IN_A]),
        one("types say what is isolated", [local(types=["Egress"], ingress=deny, egress=[allow()])], []),
        one("types that are not said: egress rules alone", [local(types=["Egress"], egress=[rule("Deny")])], ["deny shop/web -> *"]),
        one("Log says nothing about passing", [local(ingress=[rule("Log"), allow({"selector": "app == 'db'"}), rule("Log")])],
            [IN_A, "allow shop/db -> shop/web"]),
        one("staged policies count for nothing", [
            {**local("s", ingress=deny), "kind": "StagedNetworkPolicy"}, {**everywhere("s", ingress=deny), "kind": "StagedGlobalNetworkPolicy"}],
            []),
        one("Kubernetes' policies have order 1000: before", [
            netpol("shop", subject={"app": "web"}, ingress=[]), local("c", order=999, ingress=everyone)], []),
        one("Kubernetes' policies have order 1000: after", [
            netpol("shop", subject={"app": "web"}, ingress=[{}]), local("c", order=1001, ingress=deny)], []),
        one("Kubernetes' policies do not end the tier", [
            netpol("shop", subject={"app": "web"}, ingress=[{"from": [{"podSelector": {}}]}]), local("c", order=1001, ingress=everyone)],
            []),
    ]


def tiers():
    deny, everyone, go_on = [rule("Deny")], [allow()], [rule("Pass")]
    early, late = tier("early", 1), tier("late", 2000000)
    return [
        one("the first tier decides", [early, local("a", tier="early", ingress=everyone), local("b", ingress=deny)], []),
        one("Pass goes to the next tier", [early, local("a", tier="early", ingress=go_on), local("b", ingress=deny)], [IN_A]),
        one("Pass skips the rest of its tier", [
            early, local("a", tier="early", order=1, ingress=go_on), local("z", tier="early", order=2, ingress=deny)], []),
        one("Pass out of the last tier is open", [local(ingress=go_on)], []),
        one("the end of a tier denies", [early, local("a", tier="early", ingress=[allow({"selector": "app == 'db'"})]),
                                          local("b", ingress=everyone)], [IN_A, "allow shop/db -> shop/web"]),
        one("the end of a tier passes where it says so", [
            tier("early", 1, "Pass"), local("a", tier="early", ingress=[rule("Deny", {"selector": "app == 'db'"})]),
            local("b", ingress=everyone)], ["deny shop/db -> shop/web"]),
        one("a tier without policy for the pod is passed over", [
            early, local("a", tier="early", selector="app == 'nobody'", ingress=deny), local("b", ingress=everyone)], []),
        one("a tier without policy for the direction is passed over", [
            early, local("a", tier="early", egress=everyone), local("b", ingress=everyone)], []),
        one("later tiers come later", [late, local("a", tier="late", ingress=deny), local("b", ingress=everyone)], []),
        one("tiers that nobody made come last", [
            tier("last"), local("a", tier="aaa", ingress=deny), local("b", tier="last", ingress=everyone)], []),
        one("tiers that nobody made are enforced", [local("a", tier="aaa", ingress=deny)], [IN_A]),
        one("tiers without order come after those with", [
            tier("aaa"), tier("zzz", 5), local("a", tier="aaa", ingress=deny), local("b", tier="zzz", ingress=everyone)], []),
        one("three tiers", [
            early, late, everywhere("a", tier="early", ingress=[rule("Deny", {"nets": ["203.0.113.0/24"]}), *go_on]),
            local("b", ingress=[allow({"selector": "hot == 'yes'"}), rule("Pass", {"nets": ["0.0.0.0/0"]})]),
            everywhere("c", tier="late", ingress=[allow({"nets": ["198.51.100.0/24"]})])],
            ["deny * -> */web", "allow bank/* -> bank/web", "allow shop/* -> bank/web", "deny * -> bank/web",
             "allow external:out -> */web", "allow shop/db -> shop/web"]),
        one("both sides are judged", [
            local("a", ingress=[allow({"selector": "app == 'db'"})]), local("b", selector="app == 'db'", egress=deny)],
            [IN_A, "deny shop/db -> *"]),
    ]


# -- what a rule asks --


def addresses():
    return [
        one("nets", [local(ingress=[allow({"nets": ["198.51.100.0/24", "10.244.2.16/32"]})])],
            [IN_A, "allow external:out -> shop/web", "allow bank/web -> shop/web"]),
        one("notNets", [local(ingress=[allow({"notNets": ["198.51.0.0/16"]})])], ["deny external:out -> shop/web"]),
        one("nets without notNets", [local(ingress=[allow({"nets": ["10.244.0.0/16"], "notNets": ["10.244.2.0/28", "10.244.2.16/28"]})])],
            [IN_A, "allow shop/* -> shop/web", "allow bank/ops -> shop/web"]),
        one("nets of egress", [local(egress=[rule("Deny", destination={"nets": ["203.0.113.9/32"]}), rule("Allow")])],
            ["deny shop/web -> external:other"]),
        one("nets and selector", [local(ingress=[allow({"nets": ["10.244.1.0/24"], "selector": "hot == 'yes'"})])],
            [IN_A, "allow shop/db -> shop/web"]),
        one("the subject's own address", [local(ingress=[rule("Allow", destination={"nets": ["10.244.1.0/24"]})])], []),
        one("not the subject's own address", [local(ingress=[rule("Allow", destination={"notNets": ["10.244.1.0/24"]})])], [IN_A]),
        one("ipVersion", [local(ingress=[rule("Deny", ipVersion=4, source={"nets": ["198.51.100.0/24", "2001:db8::/64"]}), allow()])],
            ["deny external:out -> shop/web"], state=town("4")),
        one("ipVersion of the other family", [local(ingress=[rule("Deny", ipVersion=4), allow()])], [], state=town("6")),
        one("nets of both families", [local(ingress=[allow({"nets": ["198.51.100.7/32", "2001:db8::/64"]})])],
            [IN_A, "allow external:out -> shop/web"], state=town("46")),
    ]


def selectors():
    return [
        one("a selector is about the policy's namespace", [local(ingress=[allow({"selector": "has(app)"})])],
            ["deny bank/* -> shop/web", "deny external:* -> shop/web"]),
        one("a global policy's selector is about all", [everywhere(selector="app == 'db'", ingress=[allow({"selector": "app == 'web'"})])],
            ["deny * -> shop/db", "allow */web -> shop/db"]),
        one("namespaceSelector", [local(ingress=[allow({"namespaceSelector": "team == 'blue'"})])],
            [IN_A, "allow bank/* -> shop/web"]),
        one("namespaceSelector of all", [local(ingress=[allow({"namespaceSelector": "all()", "selector": "hot == 'yes'"})])],
            [IN_A, "allow */db -> shop/web", "allow */ops -> shop/web"]),
        one("namespaces by name", [local(ingress=[allow({"namespaceSelector": "kubernetes.io/metadata.name == 'bank'"})])],
            [IN_A, "allow bank/* -> shop/web"]),
        one("notSelector in a namespace", [local(ingress=[allow({"notSelector": "app == 'db'"})])],
            [IN_A]),
        one("notSelector of a global policy", [everywhere(selector="app == 'db'", ingress=[allow({"notSelector": "hot == 'yes'"})])],
            ["deny bank/ops -> shop/db"]),
        one("selector without notSelector", [
            everywhere(selector="app == 'db'", ingress=[allow({"selector": "has(app)", "notSelector": "app == 'ops'"})])],
            ["deny * -> shop/db", "allow */web -> shop/db"]),
        one("a policy for everything of its namespace", [local(selector="", ingress=[allow({"selector": "all()"})])],
            ["deny * -> shop/*", "allow shop/* -> shop/*"]),
        one("a global policy for namespaces", [
            everywhere(selector="", namespaceSelector="team == 'red'", ingress=[allow({"nets": ["198.51.100.7/32"]})])],
            ["deny * -> shop/*", "allow external:out -> shop/*"]),
        one("expressions", [everywhere(selector="app starts with 'w' && !(projectcalico.org/namespace != 'shop')",
                                       ingress=[allow({"selector": "app in {'ops', 'x'} || app ends with 'b' && app contains 'd'"})])],
            [IN_A, "allow bank/ops -> shop/web", "allow shop/db -> shop/web"]),
    ]


def accounts():
    who = {("bank", "web"): "teller", ("shop", "db"): "keeper", ("shop", "web"): "keeper"}
    objects = [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("teller", "bank", trust="high")},
               {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("keeper", "shop", trust="low")}]
    state = town(accounts=who)
    return [
        one("service accounts by name", [*objects, local(ingress=[allow({"serviceAccounts": {"names": ["keeper", "teller"]}})])],
            [IN_A, "allow shop/db -> shop/web"], state=state),
        one("service accounts by label", [*objects, everywhere(
            selector="app == 'db'", ingress=[allow({"serviceAccounts": {"selector": "trust == 'high'"}})])],
            ["deny * -> shop/db", "allow bank/web -> shop/db"], state=state),
        one("serviceAccountSelector", [*objects, everywhere(
            selector="", serviceAccountSelector="trust == 'low'", ingress=[rule("Deny", {"nets": ["198.51.100.0/24"]}), allow()])],
            ["deny external:out -> shop/*"], state=state),
    ]


def sets():
    near = made("NetworkSet", meta("near", "shop", role="friend"), {"nets": ["198.51.100.0/24", "2001:db8::/64"]})
    far = made("GlobalNetworkSet", meta("far", role="friend"), {"nets": ["203.0.113.9/32"]})
    whole = made("GlobalNetworkSet", meta("whole", role="friend"), {"nets": ["10.244.0.0/16"]})
    slices = [{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
               "metadata": meta("ops-1", "bank", **{"kubernetes.io/service-name": "ops"}),
               "endpoints": [{"addresses": ["10.244.2.32"]}, {"addresses": ["198.51.100.7"]}],
               "ports": [{"name": "", "protocol": "TCP", "port": 81}]}]
    service = {"services": {"name": "ops", "namespace": "bank"}}
    return [
        one("a NetworkSet is of its namespace", [near, far, local(ingress=[allow({"selector": "role == 'friend'"})])],
            [IN_A, "allow external:out -> shop/web"]),
        one("a global policy sees all sets", [near, far, everywhere(
            selector="app == 'db'", ingress=[allow({"selector": "role == 'friend'"})])],
            ["deny * -> shop/db", "allow external:* -> shop/db"]),
        one("global() are the global sets", [near, far, local(ingress=[allow({"namespaceSelector": "global()", "selector": "role == 'friend'"})])],
            [IN_A, "allow external:other -> shop/web"]),
        one("a set of an empty namespaceSelector is none", [near, far, local(ingress=[
            allow({"namespaceSelector": "all()", "selector": "role == 'friend'"})])], [IN_A, "allow external:out -> shop/web"]),
        one("notSelector with sets", [near, far, everywhere(
            selector="app == 'db'", ingress=[allow({"notSelector": "role == 'friend'"})])], ["deny external:* -> shop/db"]),
        one("who is in a set has no names of ports there, at the far side", [whole, everywhere(egress=[
            rule("Deny", destination={"selector": "role == 'friend'", "ports": ["http"]}, protocol="TCP"), rule("Allow")])], [], PORTS),
        one("nor at the own side", [whole, everywhere(ingress=[
            rule("Allow", destination={"selector": "role == 'friend'", "notPorts": ["http"]}, protocol="TCP")])],
            ["deny * -> */web", "allow * -> */web TCP/80 TCP/81"], PORTS),
        one("a Service as destination", [*slices, local(egress=[rule("Allow", destination=service)])],
            ["deny shop/web -> *"] + ["allow shop/web -> bank/ops TCP/81", "allow shop/web -> external:out TCP/81"],
            PORTS),
        one("a Service as source", [*slices, local(ingress=[allow(service)])],
            [IN_A, "allow bank/ops -> shop/web", "allow external:out -> shop/web"], PORTS),
    ]


def protocols():
    ping = ("ICMP/8", "ICMP/0", "TCP/80")
    ping6 = ("ICMPv6/128", "ICMPv6/129", "TCP/80")
    return [
        one("ports", [local(ingress=[rule("Allow", protocol="TCP", destination={"ports": [80, "8080:8081"]})])],
            [IN_A, "allow * -> shop/web TCP/80 TCP/8080"], PORTS + ("TCP/8080",)),
        one("named ports", [local(ingress=[rule("Allow", protocol="TCP", destination={"ports": ["http", "nobody"]})])],
            [IN_A, "allow * -> shop/web TCP/80"], PORTS),
        one("notPorts", [local(ingress=[rule("Allow", protocol="TCP", destination={"notPorts": ["81:90"]})])],
            [IN_A, "allow * -> shop/web TCP/80"], PORTS),
        one("named notPorts", [local(ingress=[rule("Allow", protocol="TCP", destination={"notPorts": ["admin"]})])],
            [IN_A, "allow * -> shop/web TCP/80"], PORTS),
        one("source ports", [local(ingress=[rule("Allow", {"ports": [40000]}, protocol="UDP"), rule("Allow", {"ports": ["1:1023"]}, protocol="TCP")])],
            [IN_A, "allow * -> shop/web UDP/80"], PORTS),
        one("source notPorts", [local(ingress=[rule("Allow", {"notPorts": ["39999:40001"]}, protocol="TCP"), rule("Allow", {"notPorts": [1]}, protocol="UDP")])],
            [IN_A, "allow * -> shop/web UDP/80"], PORTS),
        one("egress by the receiver's name of a port", [local(egress=[rule("Allow", destination={"ports": ["admin"]}, protocol="TCP")])],
            ["deny shop/web -> *", "allow shop/web -> */* TCP/81"], PORTS),
        one("notProtocol", [local(ingress=[rule("Allow", notProtocol="TCP")])],
            [IN_A, "allow * -> shop/web UDP/80 47"], PORTS + ("47",)),
        one("a protocol's number", [local(ingress=[rule("Allow", protocol=47), rule("Allow", protocol=17)])],
            [IN_A, "allow * -> shop/web 47 UDP/80"], PORTS + ("47",)),
        one("ICMP of any type", [local(ingress=[rule("Allow", protocol="ICMP")])], [IN_A, "allow * -> shop/web ICMP/*"], ping),
        one("ICMP by type", [local(ingress=[rule("Allow", protocol="ICMP", icmp={"type": 8})])],
            [IN_A, "allow * -> shop/web ICMP/8"], ping),
        one("ICMP by type and code", [local(ingress=[rule("Allow", protocol="ICMP", icmp={"type": 8, "code": 1}),
                                                     rule("Allow", protocol="ICMP", icmp={"type": 0, "code": 0})])],
            [IN_A, "allow * -> shop/web ICMP/0"], ping),
        one("notICMP", [local(ingress=[rule("Allow", protocol="ICMP", notICMP={"type": 8})])],
            [IN_A, "allow * -> shop/web ICMP/0"], ping),
        one("ICMPv6", [local(ingress=[rule("Allow", protocol="ICMPv6", ipVersion=6, icmp={"type": 128}), rule("Allow", protocol="ICMP")])],
            [IN_A, "allow * -> shop/web ICMPv6/128"], ping6, town("6")),
        one("ICMP is not allowed by rules about ports", [local(ingress=[rule("Allow", protocol="TCP")])],
            [IN_A, "allow * -> shop/web TCP/80"], ping),
    ]


def cases():
    return order() + tiers() + addresses() + selectors() + accounts() + sets() + protocols()
