"""What every figure shares: colours, the SIMULATED mark, captions, and how a figure becomes a PNG.

Figures are built without pyplot, so nothing global is touched and no display is needed. Colours are Okabe and Ito's
and stay apart under all common colour-vision deficiencies; nothing is said by colour alone.
"""

import os
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
)
INK, FAINT = "#1A1A1A", "#6B6B6B"
DPI = 150

# Score 0 is clear glass, score 1 a strong magenta: no cube, box or table has that hue, and the frame shows through.
# Scores far below any decision stay nearly clear, so that they do not veil the whole frame.
HEAT = LinearSegmentedColormap.from_list(
    "score", [(at, (0.85, 0.0, 0.65, alpha)) for at, alpha in ((0.0, 0.0), (0.25, 0.06), (0.5, 0.32), (1.0, 0.68))]
)


def new_figure(width_in: float, height_in: float) -> Figure:
    """A white figure of that size in inches with its own raster canvas."""
    figure = Figure(figsize=(width_in, height_in), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def mark_simulated(figure: Figure, top: float = 0.985) -> None:
    """Stamp SIMULATED in the top right corner, at that height (0 bottom, 1 top)."""
    box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": INK, "linewidth": 1.2}
    figure.text(0.97, top, "SIMULATED", ha="right", va="top", fontsize=10, weight="bold", color=INK, bbox=box)


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG under its final name in one step; returns the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    figure.savefig(unfinished, format="png", dpi=DPI, metadata={"Software": None})
    os.replace(unfinished, path)
    return path
