# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for one lab, by the openssl command."""

import secrets
from pathlib import Path

from . import proc

VALID = ["-days", "2"]
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    def __init__(self, directory: Path):
        """The authority whose files lie in directory; made now where there are none."""
        self.dir = directory
        if not (directory / "ca.crt").exists():
            self._openssl("req", "-x509", *NEW_KEY, *VALID, "-subj", "/CN=tulle-lab CA", "-keyout", "ca.key", "-out", "ca.crt",
                          "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name: str, common_name: str, addresses=(), names=(), organization=None) -> None:
        """NAME.crt and NAME.key, good for server and client use, signed by ca.crt.  names: of DNS."""
        extensions = "extendedKeyUsage=serverAuth,clientAuth\n"
        others = [f"IP:{a}" for a in addresses] + [f"DNS:{n}" for n in names]
        if others:
            extensions += f"subjectAltName={','.join(others)}\n"
        (self.dir / f"{name}.ext").write_text(extensions)
        subject = (f"/O={organization}" if organization else "") + f"/CN={common_name}"
        self._openssl("req", *NEW_KEY, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self._openssl("x509", "-req", *VALID, "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                      "-set_serial", str(secrets.randbits(63)), "-extfile", f"{name}.ext", "-out", f"{name}.crt")

    def _openssl(self, *args: str) -> None:
        proc.run(["openssl", *args], where="openssl", cwd=self.dir)
