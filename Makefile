# SPDX-License-Identifier: Apache-2.0
# A thin door in front of Meson and pytest. "make help" lists what there is.

BUILD  := build
PYTHON := /usr/bin/python3
PYTEST := $(PYTHON) -m pytest -p no:cacheprovider

.PHONY: all help demo check check-kubernetes check-unit check-system check-sanitize bench fuzz soak image deb install clean packages

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)
	@ln -sfn src/cni/tulle $(BUILD)/tulle

$(BUILD)/build.ninja: | packages
	@meson setup $(WERROR) $(BUILD) >$(BUILD).log 2>&1 || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log

packages:
	@scripts/packages build

help:
	@echo "make          build build/tulled, build/tullectl, build/tulle"
	@echo "make demo     two nodes, two pods, one curl (BACKEND=vxlan|host-gw|udp, FAMILY=4|6|dual)"
	@echo "make check    the tests: unit, kernel, sanitizers, fuzz smoke, system"
	@echo "make check-kubernetes   the tests on real Kubernetes, which it builds the first time"
	@echo "make bench    side-by-side measurements (JSON and a table)"
	@echo "make fuzz     fuzz every parser for TIME seconds each (default 60)"
	@echo "make soak     the full counts that make check runs one per cent of"
	@echo "make image    build/image/tulle-ARCH.tar, the container image (ARCH=amd64|arm64, TAG=localhost/tulle:dev)"
	@echo "make deb      build/tulle_VERSION_ARCH.deb, for nodes outside Kubernetes"
	@echo "make install  into DESTDIR, by meson"

BACKEND ?= vxlan
FAMILY  ?= 4

demo:
	@scripts/packages build demo
	@$(MAKE) --no-print-directory all
	@lab/tulle-lab demo --backend $(BACKEND) --family $(FAMILY)

check:
	@scripts/packages build check qemu
	@$(MAKE) --no-print-directory all WERROR=--werror
	@scripts/check

check-kubernetes:
	@scripts/packages build package kubernetes
	@$(MAKE) --no-print-directory all
	@scripts/kubernetes
	@scripts/check --kubernetes

bench:
	@scripts/packages build bench
	@$(MAKE) --no-print-directory all
	@bench/run

TIME ?= 60
fuzz:
	@scripts/packages build check
	@scripts/fuzz $(TIME)

soak:
	@scripts/packages build check qemu kubernetes
	@$(MAKE) --no-print-directory all
	@scripts/kubernetes
	@scripts/check --soak; here=$$?; scripts/check --kubernetes --soak && exit $$here

ARCH ?= $(shell dpkg --print-architecture)
TAG  ?= localhost/tulle:dev

image:
	@scripts/packages build package
	@deploy/image/build --arch $(ARCH) --tag $(TAG)

deb:
	@scripts/packages build package
	@deploy/debian/build

install: all
	@meson install -C $(BUILD)

clean:
	@rm -rf $(BUILD) $(BUILD)-*
