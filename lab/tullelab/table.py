# SPDX-License-Identifier: Apache-2.0
"""Columns for people."""


def text(heads, rows) -> str:
    """Left-aligned columns, two spaces apart, no trailing blanks; empty cells show as '-'."""
    cells = [list(heads)] + [[str(c) if c not in (None, "") else "-" for c in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells)
