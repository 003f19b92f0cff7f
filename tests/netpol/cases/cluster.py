# SPDX-License-Identifier: Apache-2.0
"""ClusterNetworkPolicy: what its conformance suite asks, told with four namespaces of our own. north is the subject, west is
whom rules are about; each namespace has two pods."""
from table import case, netpol, world

TCP, UDP, SCTP = "TCP", "UDP", "SCTP"
PORTS = {TCP: (80, 8080), UDP: (80, 81), SCTP: (81, 8080)}  # the port that a rule names, and another
FLOWS = tuple(f"{protocol}/{port}" for protocol in PORTS for port in PORTS[protocol])
TIERS = ("Admin", "Baseline")
WORDS = {"Accept": "allow", "Deny": "deny"}


def compass(**more):
    spaces = {name: ({"side": name, "half": half}, {"p0": {"app": "p0"}, "p1": {"app": "p1"}})
              for name, half in (("north", "upper"), ("south", "lower"), ("east", "upper"), ("west", "lower"))}
    return world(spaces, **more)


def of(side):
    return {"namespaces": {"matchLabels": {"side": side}}}


def pods(side, app):
    return {"pods": {"namespaceSelector": {"matchLabels": {"side": side}}, "podSelector": {"matchLabels": {"app": app}}}}


def rule(action, *peers, protocols=(), key="from"):
    return {"action": action, key: list(peers), **({"protocols": list(protocols)} if protocols else {})}


def egress(action, *peers, protocols=()):
    return rule(action, *peers, protocols=protocols, key="to")


def at(protocol, port):
    return {protocol.lower(): {"destinationPort": {"number": port}}}


def policy(tier, name="p", priority=10, subject=None, **spec):
    return {"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy", "metadata": {"name": name},
            "spec": {"tier": tier, "priority": priority, "subject": subject or of("north"), **spec}}


def between(way):
    """From or to west, as north sees it."""
    return "west/* -> north/*" if way == "ingress" else "north/* -> west/*"


# -- each action, by protocol and port, in the order of rules --


def first_wins(tier, way, protocol, action):
    """Two rules contradict each other: the first one counts. Pass goes on to the Baseline, which denies."""
    make = rule if way == "ingress" else egress
    every = [{protocol.lower(): {}}]
    opposite = "Deny" if action in ("Accept", "Pass") else "Accept"
    found = [policy(tier, **{way: [make(action, of("west"), protocols=every), make(opposite, of("west"), protocols=every)]})]
    lines = [f"deny {between(way)} {protocol}/*"] if action == "Deny" else []
    if action == "Pass":  # the other protocols do not come to the Baseline's rule either way
        found.append(policy("Baseline", "base", **{way: [make("Deny", of("west"), protocols=[at(protocol, PORTS[protocol][0])])]}))
        lines = [f"deny {between(way)} {protocol}/{PORTS[protocol][0]}"]
    return case(f"cluster: {tier} {way} {protocol}, {action} comes first", compass(), found, lines, FLOWS)


def one_port(tier, way, protocol, action):
    """The rule is about one port, the one behind it about all of the protocol."""
    make = rule if way == "ingress" else egress
    port, other = PORTS[protocol]
    opposite = "Deny" if action in ("Accept", "Pass") else "Accept"
    found = [policy(tier, **{way: [make(action, of("west"), protocols=[at(protocol, port)]),
                                   make(opposite, of("west"), protocols=[{protocol.lower(): {}}])]})]
    denied = port if action == "Deny" else other
    return case(f"cluster: {tier} {way} {protocol}, {action} one port", compass(), found,
                [f"deny {between(way)} {protocol}/{denied}"], FLOWS)


def by_protocol():
    found = []
    for tier in TIERS:
        for way in ("ingress", "egress"):
            for protocol in PORTS:
                for action in ("Accept", "Deny", "Pass")[:3 if tier == "Admin" else 2]:
                    found += [first_wins(tier, way, protocol, action), one_port(tier, way, protocol, action)]
    return found


# -- both directions in one policy --


def gress(tier, action, ports):
    """ports: only the named ones of each protocol; what is left of north and west is denied."""
    said = [at(protocol, PORTS[protocol][0]) for protocol in PORTS] if ports else []
    last = "Deny" if action in ("Accept", "Pass") else "Accept"
    found = [policy(tier, ingress=[rule(action, of("west"), protocols=said), rule(last, of("west"))],
                    egress=[egress(action, of("west"), protocols=said), egress(last, of("west"))])]
    named = " ".join(f"{protocol}/{PORTS[protocol][0]}" for protocol in PORTS)
    if action == "Deny":
        lines = [f"deny {between(way)} {named if ports else ''}" for way in ("ingress", "egress")]
    elif ports:
        lines = [line for way in ("ingress", "egress") for line in (f"deny {between(way)}", f"allow {between(way)} {named}")]
    else:
        lines = []
    return case(f"cluster: {tier} both ways, {action}{' some ports' if ports else ''}", compass(), found, lines, FLOWS)


def both_ways():
    return [gress(tier, action, ports) for tier in TIERS for action in ("Accept", "Deny", "Pass")[:3 if tier == "Admin" else 2]
            for ports in (False, True)]


# -- order, tenancy, tiers among others --


def order():
    deny = {"ingress": [rule("Deny", of("west"))], "egress": [egress("Deny", of("west"))]}
    accept = {"ingress": [rule("Accept", of("west"))], "egress": [egress("Accept", of("west"))]}
    pass_on = {"ingress": [rule("Pass", of("west"))], "egress": [egress("Pass", of("west"))]}
    closed = [f"deny {between('ingress')}", f"deny {between('egress')}"]
    isolate = netpol("north", ingress=[], egress=[])
    return [
        case("cluster: the smaller priority comes first", compass(), [
            policy("Admin", "late", 20, **deny), policy("Admin", "early", 10, **accept)], []),
        case("cluster: the smaller priority denies", compass(), [
            policy("Admin", "early", 0, **deny), policy("Admin", "late", 1000, **accept)], closed),
        case("cluster: Pass skips the tier", compass(), [
            policy("Admin", "early", 1, **pass_on), policy("Admin", "late", 2, **deny)], []),
        case("cluster: Pass reaches the Baseline", compass(), [
            policy("Admin", "early", 1, **pass_on), policy("Admin", "late", 2, **accept), policy("Baseline", "base", **deny)],
            closed),
        case("cluster: Admin comes before NetworkPolicy", compass(), [policy("Admin", **accept), isolate],
             ["deny * -> north/*", "deny north/* -> *", "allow west/* -> north/*", "allow north/* -> west/*"]),
        case("cluster: Admin denies what NetworkPolicy allows", compass(), [
            policy("Admin", **deny), netpol("north", ingress=[{}], egress=[{}])], closed),
        case("cluster: Pass leaves it to NetworkPolicy", compass(), [policy("Admin", **pass_on), isolate],
             ["deny * -> north/*", "deny north/* -> *"]),
        case("cluster: NetworkPolicy comes before the Baseline", compass(), [
            policy("Baseline", **deny), netpol("north", ingress=[{}], egress=[{}])], []),
        case("cluster: the Baseline cannot open what NetworkPolicy closed", compass(), [
            policy("Baseline", **accept), isolate], ["deny * -> north/*", "deny north/* -> *"]),
        case("cluster: the Baseline counts where no NetworkPolicy applies", compass(), [
            policy("Baseline", **deny), netpol("north", subject={"app": "p0"}, ingress=[{}], egress=[{}])],
            ["deny west/* -> north/p1", "deny north/p1 -> west/*"]),
        case("cluster: no rule means no isolation", compass(), [
            policy("Admin", ingress=[rule("Accept", of("west"))]), policy("Baseline", "base", ingress=[rule("Accept", of("east"))])], []),
    ]


def subjects():
    every = {"namespaces": {}}
    inner = [rule("Accept", of("north")), rule("Deny", every)]
    expression = {"namespaces": {"matchExpressions": [{"key": "side", "operator": "NotIn", "values": ["north", "west"]}]}}
    return [
        case("cluster: a tenant keeps to itself", compass(), [
            policy("Admin", ingress=inner, egress=[egress("Accept", of("north")), egress("Deny", every)])],
            ["deny * -> north/*", "deny north/* -> *", "allow north/* -> north/*"]),
        case("cluster: pods as subject and peer", compass(), [
            policy("Admin", subject=pods("north", "p0"), ingress=[rule("Deny", pods("west", "p1"))])], ["deny west/p1 -> north/p0"]),
        case("cluster: every namespace is subject", compass(), [
            policy("Admin", subject=every, ingress=[rule("Deny", of("west"))])], ["deny west/* -> */*"]),
        case("cluster: namespaces by expression", compass(), [policy("Admin", ingress=[rule("Deny", expression)])],
             ["deny south/* -> north/*", "deny east/* -> north/*"]),
        case("cluster: a namespace by its name", compass(), [
            policy("Admin", ingress=[rule("Deny", {"namespaces": {"matchLabels": {"kubernetes.io/metadata.name": "east"}}})])],
            ["deny east/* -> north/*"]),
        case("cluster: nobody from outside is in a namespace", compass(externals=(("out", ["198.51.100.7"]),)), [
            policy("Admin", ingress=[rule("Deny", every)], egress=[egress("Deny", every)])],
            ["deny */* -> north/*", "deny north/* -> */*", "allow external:out -> north/*", "allow north/* -> external:out"]),
    ]


# -- networks and named ports --


def networks():
    outside = (("out", ["198.51.100.7", "2001:db8::7"]), ("other", ["203.0.113.9", "2001:db8:1::9"]))
    found = []
    for tier in TIERS:
        found += [
            case(f"cluster: {tier} denies networks", compass(), [
                policy(tier, egress=[egress("Deny", {"networks": ["10.244.4.0/24"]})])], ["deny north/* -> west/*"]),
            case(f"cluster: {tier} accepts one address of a network", compass(), [
                policy(tier, egress=[egress("Accept", {"networks": ["10.244.4.16/32"]}), egress("Deny", {"networks": ["10.244.4.0/24"]})])],
                ["deny north/* -> west/*", "allow north/* -> west/p0"]),
            case(f"cluster: {tier} closes the outside, both families", compass(externals=outside, families="46"), [
                policy(tier, egress=[egress("Accept", {"networks": ["198.51.100.0/24", "2001:db8::/64"]}),
                                     egress("Deny", {"networks": ["198.51.0.0/16", "203.0.113.0/24", "2001:db8::/32"]})])],
                ["deny north/* -> external:other"]),
            case(f"cluster: {tier} networks with ports", compass(externals=outside), [
                policy(tier, egress=[egress("Deny", {"networks": ["0.0.0.0/0"]}, protocols=[
                    {"tcp": {"destinationPort": {"range": {"start": 81, "end": 8080}}}}])])],
                ["deny north/* -> * TCP/81 TCP/8080"], ("TCP/80", "TCP/81", "TCP/8080", "UDP/81")),
        ]
    return found


def named_ports():
    names = {("TCP", 80): "web", ("UDP", 80): "web", ("TCP", 81): "admin"}
    flows, web = ("TCP/80", "TCP/81", "UDP/80", "SCTP/80"), [{"destinationNamedPort": "web"}]
    found = []
    for tier in TIERS:
        found += [
            case(f"cluster: {tier} ingress by the name of a port", compass(names=names), [
                policy(tier, ingress=[rule("Accept", of("west"), protocols=web), rule("Deny", of("west"))])],
                ["deny west/* -> north/*", "allow west/* -> north/* TCP/80 UDP/80"], flows),
            case(f"cluster: {tier} egress by the name of a port", compass(names=names), [
                policy(tier, egress=[egress("Accept", of("west"), protocols=web), egress("Deny", of("west"))])],
                ["deny north/* -> west/*", "allow north/* -> west/* TCP/80 UDP/80"], flows),
        ]
    return found


def cases():
    return by_protocol() + both_ways() + order() + subjects() + networks() + named_ports()
