# SPDX-License-Identifier: Apache-2.0
"""The Debian package: how it is made, what is in it, and (with TULLE_SOAK=1) a fresh Debian 12 that installs and purges it."""
import re
import subprocess

import pytest
from conftest import ROOT

VERSION = re.search(r"version: '([^']+)'", (ROOT / "meson.build").read_text())[1]


@pytest.fixture(scope="module")
def deb(architecture):
    done = subprocess.run([ROOT / "deploy" / "debian" / "build"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    path = ROOT / "build" / f"tulle_{VERSION}_{architecture}.deb"
    assert path.name in done.stdout
    return path


@pytest.fixture(scope="module")
def unpacked(deb, tmp_path_factory):
    target = tmp_path_factory.mktemp("deb")
    subprocess.run(["dpkg-deb", "--raw-extract", deb, target], check=True)
    return target


def test_versions_agree(deb):
    changelog = (ROOT / "deploy/debian/changelog").read_text()
    assert changelog.startswith(f"tulle ({VERSION}) ")
    chart = (ROOT / "deploy/helm/tulle/Chart.yaml").read_text()
    assert f"\nversion: {VERSION}\n" in chart and f"\nappVersion: {VERSION}\n" in chart
    assert subprocess.run(["dpkg-deb", "--field", deb, "Version"], capture_output=True, text=True).stdout.strip() == VERSION


def test_content(unpacked):
    for path in ("usr/sbin/tulled", "usr/bin/tullectl", "usr/libexec/tulle/tulle", "lib/systemd/system/tulled.service",
                 "lib/systemd/system/tulle-bird.service",
                 "usr/share/man/man8/tulled.8.gz", "usr/share/man/man8/tullectl.8.gz", "usr/share/man/man8/tulle.8.gz",
                 "usr/share/doc/tulle/copyright", "usr/share/doc/tulle/examples/tulled.yaml", "usr/share/doc/tulle/install.md.gz"):
        assert (unpacked / path).is_file(), path
    assert not (unpacked / "opt").exists() and not list((unpacked / "etc/tulle").iterdir())
    assert subprocess.run([unpacked / "usr/sbin/tulled", "--version"], capture_output=True, text=True).stdout == f"tulled {VERSION}\n"


def test_the_example_is_understood(unpacked):
    """The agent reads it, and gets as far as what this test takes from it: capabilities."""
    example = ROOT / "deploy" / "systemd" / "tulled.yaml"
    done = subprocess.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", unpacked / "usr/sbin/tulled", "--config", example],
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "CAP_NET_ADMIN" in done.stderr and "store directory" in done.stderr, done.stderr


def test_lintian_is_content(deb):
    done = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", deb], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout


def test_the_unit(unpacked, tmp_path):
    """systemd reads it without a complaint, once the program is where the unit says."""
    unit = (unpacked / "lib/systemd/system/tulled.service").read_text()
    assert "ConditionPathExists=/etc/tulle/tulled.yaml" in unit and "Type=notify" in unit and "Restart=always" in unit
    local = tmp_path / "tulled.service"
    local.write_text(unit.replace("/usr/sbin/tulled", str(unpacked / "usr/sbin/tulled")).replace("Documentation=man:tulled(8)\n", ""))
    done = subprocess.run(["systemd-analyze", "verify", local], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and local.name not in done.stderr, done.stderr


def test_scripts(unpacked):
    for name in ("postinst", "prerm", "postrm"):
        script = unpacked / "DEBIAN" / name
        assert subprocess.run(["sh", "-n", script]).returncode == 0
    assert "deb-systemd-invoke" in (unpacked / "DEBIAN/postinst").read_text()


# Inside the fresh tree; every line must succeed.
INSTALL = r"""
set -ex
export DEBIAN_FRONTEND=noninteractive
apt-get install -qy --no-install-recommends /tmp/tulle.deb
test "$(tulled --version)" = "tulled VERSION"
test "$(tullectl --version)" = "tullectl VERSION"
echo '{"cniVersion": "1.0.0"}' | CNI_COMMAND=VERSION /usr/libexec/tulle/tulle | grep -q 1.1.0
for page in tulled tullectl tulle; do test -s /usr/share/man/man8/$page.8.gz; done
test -L /etc/systemd/system/multi-user.target.wants/tulled.service
mkdir -p /var/lib/tulle/spool && touch /var/lib/tulle/journal
apt-get remove -qy tulle
test -e /var/lib/tulle/journal
test ! -e /usr/sbin/tulled
apt-get purge -qy tulle
test ! -e /var/lib/tulle && test ! -e /etc/tulle
test -z "$(find / -xdev -path /proc -prune -o -name '*tulle*' -not -path '/tmp/*' -not -path '/var/log/*' -print)"
"""


@pytest.mark.soak
def test_in_a_fresh_debian(deb, tmp_path):
    script = tmp_path / "install"
    script.write_text(INSTALL.replace("VERSION", VERSION))
    done = subprocess.run(
        ["mmdebstrap", "--variant=apt", "--format=null",
         "--dpkgopt=path-include=/usr/share/man/*", f"--customize-hook=copy-in {script} /tmp", f"--customize-hook=upload {deb} /tmp/tulle.deb",
         "--customize-hook=chroot \"$1\" sh /tmp/install", "bookworm", "-"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
