# SPDX-License-Identifier: Apache-2.0
"""Objects that the lab puts into a cluster: image pull policy, cluster DNS, the rights of an agent that runs on the host."""

from .kube_control import CLUSTER_DOMAIN, service_address
from .kube_images import COREDNS
from .kube_node import AGENT_USER

COREFILE = f""".:53 {{
  errors
  health
  ready
  kubernetes {CLUSTER_DOMAIN} in-addr.arpa ip6.arpa {{
    pods insecure
    fallthrough in-addr.arpa ip6.arpa
  }}
  cache 5
  loadbalance
}}
"""


def pull_policy() -> list:
    """`kubectl run --image=nginx` asks for nginx:latest, which kubelets would look for in a registry every time.  With this every pod
    takes the image that its node has."""
    def containers(kind: str) -> str:
        each = f'object.spec.{kind}.map(c, Object.spec.{kind}{{name: c.name, imagePullPolicy: "IfNotPresent"}})'
        return f"Object{{spec: Object.spec{{{kind}: {each}}}}}"

    def mutation(expression: str) -> dict:
        return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}
    policy = {"apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicy",
              "metadata": {"name": "tulle-lab-images"},
              "spec": {"failurePolicy": "Ignore", "reinvocationPolicy": "Never",
                       "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                                                               "resources": ["pods"]}]},
                       "mutations": [mutation(containers("containers")),
                                     mutation("has(object.spec.initContainers) ? " + containers("initContainers") + " : Object{}")]}}
    binding = {"apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicyBinding",
               "metadata": {"name": "tulle-lab-images"}, "spec": {"policyName": "tulle-lab-images"}}
    return [policy, binding]


def probe_pod() -> dict:
    """What a dry run asks, to see whether the policy is in force."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tulle-lab-probe"},
            "spec": {"containers": [{"name": "probe", "image": "probe:latest"}]}}


def agent_rights() -> list:
    """For tulled as a process of the host; deploy/tulle.yaml has what a DaemonSet needs."""
    calico = ["projectcalico.org", "crd.projectcalico.org"]
    rules = [{"apiGroups": ["", "apps", "discovery.k8s.io", "networking.k8s.io", "policy.networking.k8s.io", *calico],
              "resources": ["*"], "verbs": ["get", "list", "watch"]},
             {"apiGroups": [""], "resources": ["nodes", "nodes/status", "pods/status"], "verbs": ["patch", "update"]},
             {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]},
             {"apiGroups": ["", "events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch", "update"]},
             {"apiGroups": calico, "resources": ["*"], "verbs": ["create", "update", "patch", "delete"]}]
    return [{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": AGENT_USER}, "rules": rules},
            _bound(AGENT_USER, {"kind": "User", "name": AGENT_USER, "apiGroup": "rbac.authorization.k8s.io"})]


def dns(family: str) -> list:
    """CoreDNS as clusters have it, one replica."""
    system = {"namespace": "kube-system"}
    labels = {"k8s-app": "kube-dns"}
    rules = [{"apiGroups": [""], "resources": ["services", "pods", "namespaces"], "verbs": ["list", "watch"]},
             {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}]
    ports = [("dns", "UDP"), ("dns-tcp", "TCP")]
    container = {"name": "coredns", "image": COREDNS, "imagePullPolicy": "IfNotPresent", "args": ["/coredns", "-conf", "/etc/coredns/Corefile"],
                 "ports": [{"name": name, "containerPort": 53, "protocol": protocol} for name, protocol in ports],
                 "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
                 "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "failureThreshold": 5},
                 "resources": {"requests": {"cpu": "50m", "memory": "40Mi"}},
                 "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}]}
    pod = {"serviceAccountName": "coredns", "priorityClassName": "system-cluster-critical", "dnsPolicy": "Default", "containers": [container],
           "terminationGracePeriodSeconds": 1, "volumes": [{"name": "config", "configMap": {"name": "coredns"}}]}
    service = {"clusterIP": service_address(family, 10), "selector": labels, "ipFamilyPolicy": "PreferDualStack",
               "ports": [{"name": name, "port": 53, "protocol": protocol} for name, protocol in ports]}
    return [{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "coredns", **system}},
            {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:coredns"}, "rules": rules},
            _bound("system:coredns", {"kind": "ServiceAccount", "name": "coredns", **system}),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "coredns", **system}, "data": {"Corefile": COREFILE}},
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "coredns", "labels": labels, **system},
             "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}}},
            {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "labels": labels, **system}, "spec": service}]


def _bound(role: str, subject: dict) -> dict:
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": role},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}, "subjects": [subject]}
