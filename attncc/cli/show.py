"""`attncc show`: the sets of a pattern, and their picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from attncc.cli import options, output

Png = Annotated[Path | None, typer.Option(metavar="FILE", help="Save a picture of each subset and of their union.")]


def show(
    pattern: options.PatternName,
    param: options.Parameters = None,
    seq_len: options.SeqLen = 64,
    png: Png = None,
    as_json: options.AsJson = False,
) -> None:
    """Show which keys each query sees: the sets in mathematical notation, and a picture.

    Example: attncc show strided -p l=8 --png strided.png
    """
    from attncc._util.storage import check_file
    from attncc.ir.notation import connectivity
    from attncc.planner.notes import notes
    from attncc.planner.shape import Shape
    from attncc.visualization import connectivity_png as pictures
    from attncc.visualization.connectivity import grid
    from attncc.visualization.connectivity_text import draw

    check_file(png, "--png")
    chosen = options.pattern_from(pattern, param)
    sets = [connectivity(subset, m) for m, subset in enumerate(chosen.subsets, start=1)]
    if png is not None:
        pictures.save(chosen, seq_len, png)
    noted = notes(chosen.predicate, Shape.of(seq_len))
    if as_json:
        described = {"pattern": repr(chosen), "key": chosen.key, "sets": sets, "notes": list(noted)}
        output.show_json({**described, "png": png and str(png)})
        return
    cells = grid(chosen, seq_len, most=64)
    scale = "" if cells.side == 1 else f", one cell {cells.side} x {cells.side} positions, dim where partly connected"
    caption = f"{seq_len} queries (down) x {seq_len} keys (right){scale}"
    saved = [] if png is None else [f"saved {png}"]
    output.show(
        Text(repr(chosen), style="bold"),
        *sets,
        "",
        draw(cells),
        Text(caption, style="dim"),
        *(f"note: {note}" for note in noted),
        *saved,
    )
