# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for one lab, by the openssl command."""

from pathlib import Path

from . import proc

VALID = ["-days", "2"]
NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


class Authority:
    def __init__(self, directory: Path):
        self.dir = directory
        self._openssl("req", "-x509", *NEW_KEY, *VALID, "-subj", "/CN=tulle-lab CA", "-keyout", "ca.key", "-out", "ca.crt",
                      "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def issue(self, name: str, common_name: str, addresses=()) -> None:
        """NAME.crt and NAME.key, good for server and client use, signed by ca.crt."""
        extensions = "extendedKeyUsage=serverAuth,clientAuth\n"
        if addresses:
            extensions += "subjectAltName=" + ",".join(f"IP:{a}" for a in addresses) + "\n"
        (self.dir / f"{name}.ext").write_text(extensions)
        self._openssl("req", *NEW_KEY, "-subj", f"/CN={common_name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self._openssl("x509", "-req", *VALID, "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                      "-extfile", f"{name}.ext", "-out", f"{name}.crt")

    def _openssl(self, *args: str) -> None:
        proc.run(["openssl", *args], where="openssl", cwd=self.dir)
