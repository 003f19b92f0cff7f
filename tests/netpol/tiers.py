# SPDX-License-Identifier: Apache-2.0
"""Policies of every kind together: Calico's order of tiers, and in a tier of policies (reference: calico.md 7.5). What a
kind means is said by evaluator.py, calico_policy.py and cluster_policy.py."""
import math

import calico_policy
import cluster_policy
import evaluator
import host
import world as w

BUILT_IN = {"default": (1000000.0, "Deny"), "kube-admin": (1000.0, "Pass"), "kube-baseline": (10000000.0, "Pass")}


class KubernetesPolicy:
    """A NetworkPolicy where there are others: of order 1000 in tier default, and it only allows."""
    tier, order = "default", 1000.0

    def __init__(self, world, raw):
        self.world, self.raw = world, raw
        self.key = f"{raw['metadata']['name']}/{raw['metadata']['namespace']}/KubernetesNetworkPolicy"

    def selects(self, direction, pod):
        return evaluator.selects(self.raw, direction, pod)

    def decide(self, direction, pod, flow):
        return "allow" if evaluator.allows(self.world, self.raw, direction, flow) else None


def group(raw):
    return raw["apiVersion"].split("/")[0]


def policies(world):
    found = []
    for raw in world.objects:
        if raw["kind"] == "NetworkPolicy" and group(raw) == "networking.k8s.io":
            found.append(KubernetesPolicy(world, raw))
        elif raw["kind"] in ("NetworkPolicy", "GlobalNetworkPolicy"):
            found.append(calico_policy.CalicoPolicy(world, raw))
        elif raw["kind"] == "ClusterNetworkPolicy":
            found.append(cluster_policy.ClusterPolicy(world, raw))
    return sorted(found, key=lambda policy: (policy.order, policy.key))


def tier_order(world, names):
    """Names of tiers in their order, with what their end means."""
    known = dict(BUILT_IN)
    for raw in world.objects:
        if raw["kind"] == "Tier" and raw["metadata"]["name"] not in BUILT_IN:
            spec = raw.get("spec") or {}
            order = spec.get("order")
            known[raw["metadata"]["name"]] = (math.inf if order is None else float(order), spec.get("defaultAction"))
    ranked = sorted(names, key=lambda name: (name not in known, known.get(name, (0,))[0], name))
    return [(name, known.get(name, (0, "Deny"))[1] == "Pass") for name in ranked]


def side(ranked, mine, direction, pod, flow):
    for tier, default_pass in ranked:
        own = [policy for policy in mine if policy.tier == tier and policy.selects(direction, pod)]
        answer = None
        for policy in own:
            answer = policy.decide(direction, pod, flow)
            if answer:
                break
        if answer in ("allow", "deny"):
            return answer == "allow"
        if own and answer is None and not default_pass:
            return False
    return True


def evaluate(raw, probes):
    """Answers in the order of the probes."""
    world = w.World(raw)
    world.extend()
    mine = policies(world)
    ranked = tier_order(world, {policy.tier for policy in mine})
    of_pods = [policy for policy in mine if host.is_about(policy, "local")]
    answers = [w.judge(world, probe, lambda *args: side(ranked, of_pods, *args)) for probe in probes]
    for probe, found in zip(probes, answers, strict=True):
        for direction in ("egress", "ingress"):
            if not host.passes(world, ranked, mine, probe, direction):
                found[direction] = found["expected"] = "deny"
    return answers
