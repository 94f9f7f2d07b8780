"""Whether a picture can be drawn, asked before what it shows is made, which may take an hour."""

from __future__ import annotations

from pathlib import Path


def check_picture(path: Path) -> None:
    """Raises ValueError for a kind of picture that there is not, ImportError, saying what to install, without
    matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'glowplug[plots]'") from error
    kinds = FigureCanvasAgg.filetypes
    if path.suffix.removeprefix(".").lower() not in kinds:
        raise ValueError(f"a picture's name ends in one of {', '.join(sorted(kinds))}")
