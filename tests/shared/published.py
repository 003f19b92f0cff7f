# SPDX-License-Identifier: Apache-2.0
"""Manifests as their authors publish them: they must work as they are."""

EXAMPLE = """\
apiVersion: projectcalico.org/v3
kind: IPPool
metadata:
  name: default-ipv4-ippool
spec:
  cidr: 10.244.0.0/16
  ipipMode: Never
  natOutgoing: true
  nodeSelector: all()
"""
