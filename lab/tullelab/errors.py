# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, in words for the person at the terminal."""

import shlex


class LabError(Exception):
    """A failure that the user can act upon; the text is the whole story."""


class UsageError(Exception):
    """Wrong words on the command line: exit status 2."""


class CommandError(LabError):
    """A command ended with a status that was not wanted."""

    def __init__(self, where: str, argv, status, stdout: str, stderr: str):
        self.argv, self.status, self.stdout, self.stderr = list(argv), status, stdout or "", stderr or ""
        text = f"{where}: `{shlex.join(self.argv)}` ended with {status}"
        for name, value in (("stdout", self.stdout), ("stderr", self.stderr)):
            if value.strip():
                text += f"\n{name}: {value.strip()[-2000:]}"
        super().__init__(text)


class CniError(LabError):
    """A CNI plugin refused; `code`, `msg` and `details` are its own."""

    def __init__(self, plugin: str, command: str, error: dict):
        self.plugin, self.command = plugin, command
        self.code = error.get("code")
        self.msg = error.get("msg", "")
        self.details = error.get("details", "")
        text = f"CNI plugin {plugin}: {command} failed with code {self.code}: {self.msg}"
        super().__init__(text + (f" ({self.details})" if self.details else ""))
