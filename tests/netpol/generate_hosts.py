# SPDX-License-Identifier: Apache-2.0
"""The part of generate.py that makes HostEndpoints, automatic ones, and policies for what nodes exchange with others: on top of
Calico's worlds. A host endpoint has one address of a family at most (README.md says why)."""
import generate_calico

API = generate_calico.API


def host(maker, name):
    rng, node = maker.rng, maker.rng.choice(maker.world["nodes"])
    spec = {"node": node["name"]}
    shape = rng.random()
    if shape < 0.65:
        spec["interfaceName"] = rng.choice(("eth0", "*"))
    if shape > 0.45:
        spec["expectedIPs"] = node["ips"]
    if maker.chance(0.6):
        spec["profiles"] = ["projectcalico-default-allow"]
    if maker.chance(0.4):
        spec["ports"] = [{"name": rng.choice(maker.names), "protocol": rng.choice(("TCP", "UDP")), "port": rng.choice(maker.ports)}]
    return {"apiVersion": API, "kind": "HostEndpoint", "metadata": {"name": name, "labels": labels(maker)}, "spec": spec}


def labels(maker):
    return {"role": "host", **{key: maker.rng.choice(values) for key, values in maker.pod_labels.items() if maker.chance(0.4)}}


def controllers(maker):
    said = {"autoCreate": maker.rng.choice(("Enabled", "Enabled", "Disabled"))}
    if maker.chance(0.3):
        said["createDefaultHostEndpoint"] = maker.rng.choice(("Enabled", "Disabled"))
    if maker.chance(0.4):
        said["templates"] = [{"generateName": "made", "interfaceCIDRs": maker.nets(), "labels": {"made": "yes"},
                              **({"nodeSelector": maker.expression(maker.pod_labels, 1)} if maker.chance(0.5) else {})}]
    return {"apiVersion": API, "kind": "KubeControllersConfiguration", "metadata": {"name": "default"},
            "spec": {"controllers": {"node": {"hostEndpoint": said}}}}


def policy(maker, name):
    made = maker.policy(name)
    made["kind"], made["metadata"] = "GlobalNetworkPolicy", {"name": name}
    spec = made["spec"]
    for key in ("namespaceSelector", "serviceAccountSelector"):
        spec.pop(key, None)
    spec["selector"] = maker.rng.choice(("role == 'host'", "has(made)", "has(projectcalico.org/created-by)", maker.pods()))
    shape = maker.rng.random()
    if shape < 0.2:
        spec.update(preDNAT=True, applyOnForward=True, types=["Ingress"])
        spec.pop("egress", None)
    elif shape < 0.4:
        spec.update(doNotTrack=True, applyOnForward=True)
    elif shape < 0.65:
        spec["applyOnForward"] = True
    for key, own in (("ingress", "destination"), ("egress", "source")):
        for rule in spec.get(key, ()):
            if maker.chance(0.8):
                settle(rule, own)
    return made


def settle(rule, own):
    """What asks for the own side denies so often that little else would be tried."""
    said = rule.pop(own, {})
    kept = {key: [port for port in value if isinstance(port, int) or port[0].isdigit()] for key, value in said.items()
            if key in ("ports", "notPorts")}
    kept = {key: value for key, value in kept.items() if value}
    if kept:
        rule[own] = kept


def fill(rng, world, *words):
    generate_calico.fill(rng, world, *words)
    maker = generate_calico.Maker(rng, world, *words)
    for node in world["nodes"]:
        node["labels"] = labels(maker)
    objects = [host(maker, f"h{i}") for i in range(rng.randint(0 if maker.chance(0.4) else 1, 3))]
    if maker.chance(0.4):
        objects.append(controllers(maker))
    objects += [policy(maker, f"host{i}") for i in range(rng.randint(1, 4))]
    world["policies"] += objects
    rng.shuffle(world["policies"])
