# SPDX-License-Identifier: Apache-2.0
"""A client of the container runtime interface: what kubelet asks containerd, in a few lines.

    client = cri.Client(socket, messages)          # messages = cri.messages(directory): protoc's work on cri.proto
    sandbox = client.run_sandbox("web", host_ports=[(8080, 80)])
    client.status(sandbox).network.ip
"""

import subprocess
import sys
import uuid
from pathlib import Path

import grpc

PROTO = Path(__file__).with_name("cri.proto")


def messages(directory: Path):
    """The message classes of cri.proto, generated into directory."""
    subprocess.run(["protoc", f"--proto_path={PROTO.parent}", f"--python_out={directory}", PROTO.name], check=True)
    sys.path.insert(0, str(directory))
    try:
        import cri_pb2
    finally:
        sys.path.remove(str(directory))
    return cri_pb2


class Client:
    """Calls raise grpc.RpcError with the runtime's own words."""

    def __init__(self, socket: str, made, image: str, cgroup_parent: str):
        self.pb, self.image, self.cgroup_parent = made, image, cgroup_parent
        self.channel = grpc.insecure_channel(f"unix:{socket}")
        self.configs = {}  # sandbox id -> the config it was made with

    def close(self) -> None:
        self.channel.close()

    def call(self, method: str, deadline: float = 30, **fields):
        request, response = (getattr(self.pb, method + kind) for kind in ("Request", "Response"))
        ask = self.channel.unary_unary(f"/runtime.v1.RuntimeService/{method}", request_serializer=request.SerializeToString,
                                       response_deserializer=response.FromString)
        return ask(request(**fields), timeout=deadline)

    def conditions(self) -> dict:
        """RuntimeReady and NetworkReady, as kubelet sees them."""
        return {one.type: one.status for one in self.call("Status").status.conditions}

    def run_sandbox(self, name: str, host_ports=(), annotations=None) -> str:
        """A pod's sandbox; host_ports: pairs of host port and container port (TCP).  Returns its id."""
        ports = [self.pb.PortMapping(host_port=host, container_port=inner) for host, inner in host_ports]
        config = self.pb.PodSandboxConfig(
            metadata=self.pb.PodSandboxMetadata(name=name, uid=str(uuid.uuid4()), namespace="default"), hostname=name,
            log_directory="/run/pod-logs", port_mappings=ports, annotations=annotations or {},
            linux=self.pb.LinuxPodSandboxConfig(cgroup_parent=self.cgroup_parent))
        sandbox = self.call("RunPodSandbox", config=config).pod_sandbox_id
        self.configs[sandbox] = config
        return sandbox

    def status(self, sandbox: str):
        return self.call("PodSandboxStatus", pod_sandbox_id=sandbox).status

    def ip(self, sandbox: str) -> str:
        return self.status(sandbox).network.ip

    def sandboxes(self) -> list:
        return list(self.call("ListPodSandbox").items)

    def run_container(self, sandbox: str, command, name: str = "main") -> str:
        """A container of our image in the sandbox, started.  Returns its id."""
        config = self.pb.ContainerConfig(metadata=self.pb.ContainerMetadata(name=name), image=self.pb.ImageSpec(image=self.image),
                                         command=list(command), log_path=f"{sandbox}-{name}.log")
        container = self.call("CreateContainer", pod_sandbox_id=sandbox, config=config,
                              sandbox_config=self.configs[sandbox]).container_id
        self.call("StartContainer", container_id=container)
        return container

    def execute(self, container: str, command, timeout: int = 10):
        """The command inside: exit code, standard output, standard error."""
        done = self.call("ExecSync", timeout + 5, container_id=container, cmd=list(command), timeout=timeout)
        return done.exit_code, done.stdout.decode(), done.stderr.decode()

    def stop(self, sandbox: str) -> None:
        self.call("StopPodSandbox", pod_sandbox_id=sandbox)

    def remove(self, sandbox: str) -> None:
        self.call("RemovePodSandbox", pod_sandbox_id=sandbox)
        self.configs.pop(sandbox, None)
