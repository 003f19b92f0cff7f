# SPDX-License-Identifier: Apache-2.0
"""Tables that people can read."""


def table(headings, rows) -> str:
    lines = [list(map(str, headings))] + [list(map(str, row)) for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)


def ratio(value, base) -> str:
    return f"{value / base:.2f}" if base else "-"
