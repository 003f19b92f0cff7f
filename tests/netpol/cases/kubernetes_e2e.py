# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end suite of Kubernetes asks of NetworkPolicy, told in our own words."""
import copy

from table import among, case, netpol, nine, pod, sequence, space, world

PORTS = ("TCP/80", "TCP/81", "UDP/80", "SCTP/80")
A = {"pod": "a"}
TO_A = "deny * -> x/a"


def tcp(*ports):
    return {"ports": [{"protocol": "TCP", "port": port} for port in ports]}


def e2e(title, policies, lines, flows=("TCP/80",)):
    return case(f"e2e: {title}", nine(), policies, lines, flows)


def to(*peers, **more):
    return {"to": list(peers), **more}


def fr(*peers, **more):
    return {"from": list(peers), **more}


def plain():
    not_x = {"namespaceSelector": among("ns", "NotIn", "x")}
    deny_ingress, deny_egress = netpol("x", "deny", ingress=[]), netpol("x", "deny", egress=[])
    allow_ingress, allow_egress = netpol("x", "allow", ingress=[{}]), netpol("x", "allow", egress=[{}])
    return [
        e2e("default deny of ingress", [deny_ingress], ["deny * -> x/*"]),
        e2e("default deny of both", [netpol("x", ingress=[], egress=[])], ["deny * -> x/*", "deny x/* -> *"]),
        e2e("pods of the server's namespace by label", [netpol("x", subject=A, ingress=[fr(pod(pod="b"))])],
            [TO_A, "allow x/b -> x/a"]),
        e2e("one target in a closed namespace", [
            netpol("x", "deny", ingress=[]),
            netpol("x", "allow", A, ingress=[fr({"podSelector": {}, "namespaceSelector": {}})])],
            ["deny * -> x/*", "allow * -> x/a"]),
        e2e("pods of all namespaces", [netpol("x", subject=A, ingress=[fr({"namespaceSelector": {}})])], []),
        e2e("one other namespace", [netpol("x", subject=A, ingress=[fr(space(ns="y"))])],
            ["deny x/* -> x/a", "deny z/* -> x/a"]),
        e2e("pods by expression", [netpol("x", subject=A, ingress=[fr({"podSelector": among("pod", "In", "b")})])],
            [TO_A, "allow x/b -> x/a"]),
        e2e("namespaces by expression", [netpol("x", subject=A, ingress=[fr({"namespaceSelector": among("ns", "In", "y")})])],
            [TO_A, "allow y/* -> x/a"]),
        e2e("pods or namespaces", [netpol("x", subject=A, ingress=[fr(not_x, pod(pod="b"))])], ["deny x/c -> x/a"]),
        e2e("pods and namespaces", [netpol("x", subject=A, ingress=[fr({**not_x, **pod(pod="b")})])],
            [TO_A, "allow [yz]/b -> x/a"]),
        e2e("several pods of several namespaces", [
            netpol("x", subject=A, ingress=[fr({**not_x, "podSelector": among("pod", "In", "b", "c")})])],
            ["deny x/* -> x/a", "deny */a -> x/a"]),
        e2e("any of two selectors", [netpol("x", subject=A, ingress=[fr(pod(pod="b"), pod(pod="c"))])],
            [TO_A, "allow x/[bc] -> x/a"]),
        e2e("one pod of one namespace", [netpol("x", subject=A, ingress=[fr({**space(ns="y"), **pod(pod="a")})])],
            [TO_A, "allow y/a -> x/a"]),
        e2e("an allow-all policy", [allow_ingress], [], PORTS),
        e2e("allow-all beside deny, ingress", [deny_ingress, allow_ingress], [], PORTS),
        e2e("allow-all beside deny, egress", [deny_egress, allow_egress], [], PORTS),
        e2e("pods of other namespaces are kept out", [netpol("x", ingress=[fr({"podSelector": {}})])],
            ["deny [yz]/* -> x/*"]),
        e2e("one pod may not send", [netpol("x", subject=A, egress=[])], ["deny x/a -> *"]),
        e2e("a namespace may not send", [netpol("x", egress=[])], ["deny x/* -> *"]),
        e2e("the namespace's own label", [
            netpol("x", subject=A, ingress=[fr(space(**{"kubernetes.io/metadata.name": "y"}))])], [TO_A, "allow y/* -> x/a"]),
        e2e("the namespace's own label by expression", [
            netpol("x", subject=A, ingress=[fr({"namespaceSelector": among("kubernetes.io/metadata.name", "NotIn", "x")})])],
            ["deny x/* -> x/a"]),
    ]


def ports():
    named = {"ports": [{"port": "serve-80-tcp"}]}
    return [
        e2e("a port of a namespace", [netpol("x", subject=A, ingress=[fr(space(ns="y"), **tcp(81))])],
            [TO_A, "allow y/* -> x/a TCP/81"], PORTS),
        e2e("stacked policies", [
            netpol("x", "one", A, ingress=[fr(space(ns="y"), **tcp(81))]),
            netpol("x", "two", A, ingress=[fr(space(ns="y"), **tcp(80))])],
            [TO_A, "allow y/* -> x/a TCP/80 TCP/81"], PORTS),
        e2e("a named port", [netpol("x", subject=A, ingress=[named])], [TO_A, "allow * -> x/a TCP/80"], PORTS),
        e2e("a named port for one namespace", [netpol("x", subject=A, ingress=[fr(space(ns="y"), **named)])],
            [TO_A, "allow y/* -> x/a TCP/80"], PORTS),
        e2e("a named port of others", [netpol("x", subject=A, egress=[named])],
            ["deny x/a -> *", "allow x/a -> * TCP/80"], PORTS),
        e2e("ingress and egress in one policy", [
            netpol("x", subject=A, ingress=[{"ports": [{"port": "serve-80-tcp"}]}],
                   egress=[{"ports": [{"port": 80, "protocol": "TCP"}]}])],
            ["deny * -> x/a", "allow * -> x/a TCP/80", "deny x/a -> *", "allow x/a -> * TCP/80"], PORTS),
        e2e("any port of one protocol", [netpol("x", subject=A, ingress=[{"ports": [{"protocol": "TCP"}]}])],
            [TO_A, "allow * -> x/a TCP/*"], PORTS),
        e2e("SCTP is not TCP", [netpol("x", ingress=[{"ports": [{"protocol": "SCTP", "port": 81}]}])],
            ["deny * -> x/*", "allow * -> x/* SCTP/81"], PORTS + ("SCTP/81",)),
        e2e("SCTP isolates", [netpol("x", subject=A, ingress=[{"ports": [{"protocol": "SCTP", "port": 80}]}])],
            [TO_A, "allow * -> x/a SCTP/80"], PORTS),
        e2e("UDP is not TCP", [netpol("x", ingress=[{"ports": [{"protocol": "UDP", "port": 81}]}])],
            ["deny * -> x/*", "allow * -> x/* UDP/81"], PORTS + ("UDP/81",)),
        e2e("a range of ports", [netpol("x", subject=A, ingress=[{"ports": [{"protocol": "TCP", "port": 80, "endPort": 81}]}])],
            [TO_A, "allow * -> x/a TCP/80 TCP/81"], PORTS + ("TCP/8080",)),
        e2e("a port without protocol is TCP's", [netpol("x", subject=A, ingress=[{"ports": [{"port": 80}]}])],
            [TO_A, "allow * -> x/a TCP/80"], PORTS),
        e2e("lists that are empty ask for nothing", [netpol("x", subject=A, ingress=[{"from": [], "ports": []}])], [], PORTS),
    ]


def both_sides():
    return [
        e2e("the sender's side denies what the receiver's allows", [
            netpol("x", "send", A, egress=[to({**space(ns="y"), **pod(pod="b")})]),
            netpol("y", "receive", A, ingress=[fr({**space(ns="x"), **pod(pod="a")})]),
            netpol("y", "receive-b", {"pod": "b"}, ingress=[fr({**space(ns="x"), **pod(pod="a")})])],
            ["deny x/a -> *", "deny * -> y/a", "deny * -> y/b", "allow x/a -> y/b"]),
        e2e("egress to one pod elsewhere", [netpol("x", subject=A, egress=[to({**space(ns="y"), **pod(pod="a")})])],
            ["deny x/a -> *", "allow x/a -> y/a"]),
        e2e("directions are apart", [
            netpol("x", "in", A, ingress=[fr(pod(pod="b"))]), netpol("x", "out", A, egress=[to(pod(pod="c"))])],
            [TO_A, "allow x/b -> x/a", "deny x/a -> *", "allow x/a -> x/c"]),
    ]


def blocks():
    def block(cidr, *holes):
        return {"ipBlock": {"cidr": cidr, **({"except": list(holes)} if holes else {})}}

    x, y, z_b = "10.244.1.0/24", "10.244.2.0/24", "10.244.3.32/32"
    outside = world({"x": ({}, {"a": A, "b": {}})}, (("out", ["198.51.100.7", "2001:db8::7"]), ("other", ["203.0.113.9"])), "46")
    return [
        e2e("egress to a block", [netpol("x", subject=A, egress=[to(block(z_b))])], ["deny x/a -> *", "allow x/a -> z/b"]),
        e2e("egress to a block but its hole", [netpol("x", subject=A, egress=[to(block("10.244.3.0/24", z_b))])],
            ["deny x/a -> *", "allow x/a -> z/*", "deny x/a -> z/b"]),
        e2e("what one policy excepts another allows", [
            netpol("x", "hole", A, egress=[to(block("10.244.3.0/24", z_b))]), netpol("x", "fill", A, egress=[to(block(z_b))])],
            ["deny x/a -> *", "allow x/a -> z/*"]),
        e2e("what one peer excepts another allows", [
            netpol("x", subject=A, ingress=[fr(block("10.244.0.0/16", x, y), block("10.244.2.16/28"))])],
            [TO_A, "allow z/* -> x/a", "allow y/a -> x/a"]),
        case("e2e: an outside block, both families", outside, [
            netpol("x", subject=A, ingress=[fr(block("198.51.100.0/24"), block("2001:db8::/64"))])],
            ["deny * -> x/a", "allow external:out -> x/a"]),
        case("e2e: nobody from outside is a pod", outside, [netpol("x", subject=A, ingress=[fr({"namespaceSelector": {}})])],
            ["deny external:* -> x/a"]),
    ]


def with_policies(state, *policies):
    return {**copy.deepcopy(state), "policies": list(policies)}


def put(policy):
    return {"op": "put-policy", "policy": policy}


def updates():
    base = nine()
    deny, allow = netpol("x", ingress=[]), netpol("x", ingress=[{}])
    only_y = netpol("x", ingress=[fr(space(team="y"))])
    labelled = with_policies(base, only_y)
    labelled["namespaces"][1]["labels"]["team"] = "y"
    label = {"op": "put-namespace", "name": "y", "labels": labelled["namespaces"][1]["labels"]}
    new_pods = netpol("x", subject=A, ingress=[fr(pod(new="yes"))])
    pods = with_policies(base, new_pods)
    pods["pods"][1]["labels"]["new"] = "yes"
    label_b = {"op": "label-pod", "namespace": "x", "name": "b", "labels": pods["pods"][1]["labels"]}
    target = netpol("x", subject={"target": "yes"}, ingress=[])
    targeted = with_policies(base, target)
    targeted["pods"][0]["labels"]["target"] = "yes"
    label_a = {"op": "label-pod", "namespace": "x", "name": "a", "labels": targeted["pods"][0]["labels"]}
    delete = {"op": "delete-policy", "namespace": "x", "name": "p"}
    flows, closed = ("TCP/80", "TCP/81"), ["deny * -> x/*"]
    return [
        sequence("e2e: a policy is changed", [
            ([], base, [], flows), ([put(allow)], with_policies(base, allow), [], flows),
            ([put(deny)], with_policies(base, deny), closed, flows)]),
        sequence("e2e: a policy is deleted", [
            ([], with_policies(base, deny), closed, flows), ([delete], base, [], flows)]),
        sequence("e2e: a namespace is labelled", [
            ([], with_policies(base, only_y), closed, flows), ([label], labelled, [*closed, "allow y/* -> x/*"], flows)]),
        sequence("e2e: a client is labelled", [
            ([], with_policies(base, new_pods), [TO_A], flows), ([label_b], pods, [TO_A, "allow x/b -> x/a"], flows)]),
        sequence("e2e: a server is labelled", [
            ([], with_policies(base, target), [], flows), ([label_a], targeted, [TO_A], flows)]),
    ]


def cases():
    return plain() + ports() + both_sides() + blocks() + updates()
