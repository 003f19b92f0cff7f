# SPDX-License-Identifier: Apache-2.0
"""The measurements behind bench/run, one part a module: measure(options) gives data, rows(data) a table of it."""
