# SPDX-License-Identifier: Apache-2.0
"""ADD, CHECK and DEL of single pods."""
import ipaddress

import pytest

from node import Node, wait_until
from profiles import ALL


def addresses(result):
    """Of a result of any shape."""
    old = [result[key]["ip"] for key in ("ip4", "ip6") if key in result]
    return [ipaddress.ip_interface(text) for text in old + [ip["address"] for ip in result.get("ips", [])]]


def sandbox_interface(result):
    return next(i for i, item in enumerate(result["interfaces"]) if item.get("sandbox"))


def is_clean(node, before):
    return node.links() == before["links"] and node.routes() == before["routes"]


def snapshot(node):
    return {"links": node.links(), "routes": node.routes()}


@pytest.fixture
def clean(node, plugin):
    """The node is afterwards as it was: no link and no route more. One pod before, since a bridge is made once."""
    pod = node.add_netns()
    plugin.add(pod).ok()
    plugin.delete(pod).ok()
    node.remove_netns(pod)
    wait_until(lambda: not any(link.startswith(("tul", "veth")) for link in node.links()), "interfaces are gone")
    before = snapshot(node)
    yield
    wait_until(lambda: is_clean(node, before), f"the node is as before: {before} {snapshot(node)}")


def check_old_shape(result, pod_addresses):
    assert set(result) <= {"cniVersion", "ip4", "ip6", "dns"}
    for key, version in (("ip4", 4), ("ip6", 6)):
        assert ipaddress.ip_interface(result[key]["ip"]).version == version
        assert ipaddress.ip_address(result[key]["gateway"]).version == version
        for route in result[key].get("routes", []):
            assert set(route) <= {"dst", "gw"} and ipaddress.ip_network(route["dst"]).version == version
    assert {a.ip for a in addresses(result)} == pod_addresses


def check_list_shape(result, version, pod, pod_addresses):
    newest = version == "1.1.0"
    assert set(result) <= {"cniVersion", "interfaces", "ips", "routes", "dns"}
    for item in result["interfaces"]:
        assert set(item) <= {"name", "mac", "sandbox"} | ({"mtu", "socketPath", "pciID"} if newest else set())
    index = sandbox_interface(result)
    assert result["interfaces"][index]["sandbox"] == Node.path(pod)
    assert result["interfaces"][index]["name"] == "eth0"
    for ip in result["ips"]:
        address = ipaddress.ip_interface(ip["address"])
        assert ip["interface"] == index
        assert ipaddress.ip_address(ip["gateway"]).version == address.version
        assert ip.get("version") == (None if version >= "1.0.0" else str(address.version))
    for route in result.get("routes", []):
        ipaddress.ip_network(route["dst"])
        assert set(route) <= {"dst", "gw"} | ({"mtu", "advmss", "priority", "table", "scope"} if newest else set())
    assert {a.ip for a in addresses(result)} == pod_addresses


def kernel_addresses(node, pod, ifname="eth0"):
    info = node.ip("addr", "show", "dev", ifname, pod=pod)[0]["addr_info"]
    return {ipaddress.ip_address(a["local"]) for a in info if a["scope"] == "global"}


@pytest.mark.parametrize("version", ALL)
def test_add_result(plugin, profile, node, pod, clean, version):
    conf = plugin.conf(version)
    answer = plugin.add(pod, conf)
    if version not in profile.versions:
        assert answer.code == 1
        return
    result = answer.ok().json
    assert result["cniVersion"] == version
    found = kernel_addresses(node, pod)
    assert {a.version for a in found} == {4, 6}
    if version < "0.3.0":
        check_old_shape(result, found)
    else:
        check_list_shape(result, version, pod, found)
    plugin.delete(pod, conf).silent()


@pytest.mark.ours
@pytest.mark.parametrize("version", ALL[2:])
def test_add_result_exactly(plugin, node, pod, version):
    result = plugin.add(pod, plugin.conf(version, dns={"nameservers": ["10.96.0.10"]})).ok().json
    link = node.ip("link", "show", "dev", "eth0", pod=pod)[0]
    a4, a6 = sorted(kernel_addresses(node, pod), key=lambda a: a.version)
    mtu = {"mtu": 1450} if version == "1.1.0" else {}
    tag = (lambda n: {"version": n}) if version < "1.0.0" else (lambda n: {})
    gw4, gw6 = "169.254.1.1", "fe80::ecee:eeff:feee:eeee"
    host = result["interfaces"][0]["name"]
    assert host in node.links() and host.startswith("tul") and len(host) == 14
    assert result == {
        "cniVersion": version,
        "interfaces": [{"name": host, "mac": "ee:ee:ee:ee:ee:ee", **mtu},
                       {"name": "eth0", "mac": link["address"], "sandbox": Node.path(pod), **mtu}],
        "ips": [{"interface": 1, "address": f"{a4}/32", "gateway": gw4, **tag("4")},
                {"interface": 1, "address": f"{a6}/128", "gateway": gw6, **tag("6")}],
        "routes": [{"dst": "0.0.0.0/0", "gw": gw4}, {"dst": "::/0", "gw": gw6}],
        "dns": {"nameservers": ["10.96.0.10"]}}
    plugin.delete(pod).silent()


@pytest.mark.ours
@pytest.mark.parametrize("version", ALL)
def test_dns_when_there_is_none(plugin, pod, version):
    result = plugin.add(pod, plugin.conf(version)).ok().json
    assert result.get("dns") == (None if version >= "1.0.0" else {})
    plugin.delete(pod).silent()


def test_add_twice(plugin, node, attached):
    pod, result = attached
    before = kernel_addresses(node, pod)
    assert plugin.add(pod).code >= 1
    assert kernel_addresses(node, pod) == before
    plugin.check(pod, result).silent()


def test_add_where_the_interface_exists(plugin, node, pod, clean):
    node.run("ip", "-n", pod, "link", "add", "eth0", "type", "bridge")
    assert plugin.add(pod).code >= 1
    assert node.ip("link", "show", "dev", "eth0", pod=pod)
    plugin.delete(pod).ok()
    node.run("ip", "-n", pod, "link", "del", "eth0", check=False)


@pytest.mark.ours
def test_second_interface(plugin, node, attached):
    pod, _ = attached
    conf = plugin.conf(name="second")
    result = plugin.add(pod, conf, ifname="net1").ok().json
    assert {a.ip for a in addresses(result)} == kernel_addresses(node, pod, "net1")
    plugin.delete(pod, conf, ifname="net1").silent()
    assert kernel_addresses(node, pod)


@pytest.mark.parametrize("what", ["missing", "file", "directory"])
def test_add_into_what_is_no_namespace(plugin, directory, clean, what):
    path = {"missing": directory / "none", "file": directory / "file", "directory": directory}[what]
    (directory / "file").write_text("x")
    answer = plugin.call("ADD", None, {**plugin.variables("nopod"), "CNI_NETNS": str(path)})
    assert answer.code >= 1
    plugin.call("DEL", None, {**plugin.variables("nopod"), "CNI_NETNS": ""}).silent()


@pytest.mark.ours
def test_codes_for_what_is_no_namespace(plugin, node, directory):
    variables = plugin.variables("nopod")
    for path, code in ((directory / "none", 3), (directory, 4), ("/proc/self/status", 4), ("/proc/self/ns/mnt", 4),
                       ("/dev/null", 4), ("/proc/self/ns/net", 8)):
        answer = plugin.call("ADD", None, {**variables, "CNI_NETNS": str(path)})
        assert answer.code == code, path
        assert "CNI_NETNS" in answer.json["msg"]
    node.run("mkfifo", str(directory / "fifo"))
    assert plugin.call("ADD", None, {**variables, "CNI_NETNS": str(directory / "fifo")}).code == 4


@pytest.mark.parametrize("how", ["twice", "empty", "vanished", "no-prev", "other-conf"])
def test_delete(plugin, node, pod, clean, how):
    conf = plugin.conf("1.0.0")
    result = plugin.add(pod, conf).ok().json
    more = {}
    if how in ("empty", "vanished"):
        node.remove_netns(pod)
    if how == "empty":
        more = {"CNI_NETNS": ""}
    if how != "no-prev":
        conf["prevResult"] = result
    if how == "other-conf":
        conf["dns"] = {"nameservers": ["10.9.9.9"]}
    for _ in range(2):
        plugin.delete(pod, conf, **more).silent()


def test_delete_before_add(plugin, pod, clean):
    plugin.delete(pod).silent()


def test_address_is_free_afterwards(plugin, node, clean):
    """As many rounds as would use up a small block, if any were lost; the same id is used again."""
    for _ in range(3):
        pod = node.add_netns()
        plugin.add(pod, container="same").ok()
        plugin.delete(pod, container="same").silent()
        node.remove_netns(pod)


def test_check_right_after_add(plugin, profile, node, clean):
    for _ in range(profile.rounds):
        pod = node.add_netns()
        result = plugin.add(pod).ok().json
        plugin.check(pod, result).silent()
        plugin.delete(pod).silent()
        node.remove_netns(pod)


@pytest.mark.parametrize("version", ["0.4.0", "1.0.0", "1.1.0"])
def test_check_in_each_version(plugin, profile, pod, version):
    conf = plugin.conf(version)
    if version not in profile.versions:
        assert plugin.check(pod, {"cniVersion": version}, conf).code == 1
        return
    result = plugin.add(pod, conf).ok().json
    plugin.check(pod, result, conf).silent()
    plugin.delete(pod, conf).silent()


def test_check_without_prev_result(plugin, attached):
    pod, _ = attached
    assert plugin.call("CHECK", plugin.conf(), plugin.variables(pod)).code >= 1


def default_route(family):
    return ["ip", family, "-n", "{pod}", "route", "del", "default"]


@pytest.mark.parametrize("damage", [
    ["ip", "-n", "{pod}", "addr", "del", "{ip4}", "dev", "eth0"], ["ip", "-n", "{pod}", "addr", "del", "{ip6}", "dev", "eth0"],
    default_route("-4"), default_route("-6"), ["ip", "-n", "{pod}", "link", "del", "eth0"]],
    ids=["address-4", "address-6", "route-4", "route-6", "link"])
def test_check_after_damage(plugin, node, attached, damage):
    pod, result = attached
    texts = {f"ip{a.version}": str(a) for a in addresses(result)}
    node.run(*[word.format(pod=pod, **texts) for word in damage])
    assert plugin.check(pod, result).code >= 1


@pytest.mark.parametrize("change", [
    ["ip", "-n", "{pod}", "route", "add", "203.0.113.0/24", "dev", "eth0"],
    ["ip", "-n", "{pod}", "link", "set", "eth0", "mtu", "1300"],
    ["ip", "-n", "{pod}", "addr", "add", "10.200.0.1/32", "dev", "eth0"]], ids=["route", "mtu", "address"])
def test_check_tolerates(plugin, node, attached, change):
    pod, result = attached
    node.run(*[word.format(pod=pod) for word in change])
    plugin.check(pod, result).silent()


def forge_address(result):
    for ip in result["ips"]:
        ip["address"] = "10.97.3.77/32" if ":" not in ip["address"] else "fd00:97::77/128"


def forge_mac(result):
    result["interfaces"][sandbox_interface(result)]["mac"] = "02:00:00:00:00:01"


def forge_name(result):
    result["interfaces"][sandbox_interface(result)]["name"] = "eth7"


@pytest.mark.parametrize("forge", [forge_address, forge_mac, forge_name])
def test_check_with_forged_result(plugin, attached, forge):
    pod, result = attached
    forge(result)
    assert plugin.check(pod, result).code >= 1


@pytest.mark.ours
@pytest.mark.parametrize("version", ALL)
def test_chained(plugin, pod, version):
    """Called with a prevResult, what came before stays, unknown interfaces included, and ours follows."""
    older = version < "0.3.0"
    prev = {"cniVersion": version, "ip4": {"ip": "10.1.1.1/24", "routes": [{"dst": "10.1.0.0/16"}]}} if older else {
        "cniVersion": version, "interfaces": [{"name": "odd0", "mac": "02:00:00:00:00:09", "extra": 1}],
        "ips": [{"version": "4", "address": "10.1.1.1/24", "interface": 0}, {"address": "10.1.1.2/24", "interface": -1},
                {"address": "10.1.1.3/24", "interface": 9}, {"address": "10.1.1.4/24"}],
        "routes": [{"dst": "10.1.0.0/16"}], "dns": {"search": ["x"]}}
    result = plugin.add(pod, plugin.conf(version, prevResult=prev)).ok().json
    if older:
        assert result["ip4"]["ip"] == "10.1.1.1/24" and "ip6" in result
    else:
        names = [item["name"] for item in result["interfaces"]]
        assert names[0] == "odd0" and names[2] == "eth0" and result["interfaces"][0]["extra"] == 1
        assert [ip.get("interface") for ip in result["ips"]] == [0, None, None, None, 2, 2]
        assert result["routes"][0] == {"dst": "10.1.0.0/16"} and result["dns"] == {"search": ["x"]}
    plugin.delete(pod).silent()


@pytest.mark.ours
@pytest.mark.parametrize("prev", ["0.2.0", "0.4.0", "1.1.0"])
def test_check_with_result_of_another_shape(plugin, node, pod, prev):
    """cniVersions in the file: the call's version can differ from the result's after the runtime's upgrade."""
    result = plugin.add(pod, plugin.conf(prev)).ok().json
    plugin.check(pod, result, plugin.conf("1.0.0")).silent()
    plugin.delete(pod).silent()
