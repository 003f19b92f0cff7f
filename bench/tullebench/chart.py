# SPDX-License-Identifier: Apache-2.0
"""A bar chart as SVG, readable on light and on dark paper, without a library."""
from html import escape

LINE, BAR, LEFT, RIGHT, TOP, BOTTOM, WIDTH = 22, 14, 290, 60, 44, 30, 900
STEP = 20  # per cent between two lines of the grid


def bars(title: str, values, mark: float) -> str:
    """values: (label, number, colour), drawn from above; mark: a number that gets a line of its own."""
    most = max(mark, *(number for _, number, _ in values))
    scale = (WIDTH - LEFT - RIGHT) / most
    height = TOP + LINE * len(values) + BOTTOM
    foot = height - BOTTOM
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
             'font-family="sans-serif" font-size="12">', f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
             f'<text x="12" y="24" font-size="15" fill="#222222">{escape(title)}</text>']
    for at in range(0, int(most) + 1, STEP):
        x = LEFT + at * scale
        parts += [f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{foot}" stroke="#dddddd"/>',
                  f'<text x="{x:.1f}" y="{foot + 16}" text-anchor="middle" fill="#555555">{at}</text>']
    for i, (label, number, colour) in enumerate(values):
        y = TOP + i * LINE
        parts += [f'<text x="{LEFT - 8}" y="{y + 12}" text-anchor="end" fill="#222222">{escape(label)}</text>',
                  f'<rect x="{LEFT}" y="{y}" width="{number * scale:.1f}" height="{BAR}" fill="{colour}"/>',
                  f'<text x="{LEFT + number * scale + 5:.1f}" y="{y + 12}" fill="#222222">{number:.0f}</text>']
    x = LEFT + mark * scale
    parts += [f'<line x1="{x:.1f}" y1="{TOP - 6}" x2="{x:.1f}" y2="{foot}" stroke="#222222" stroke-dasharray="4 3"/>', "</svg>"]
    return "\n".join(parts) + "\n"
