"""`attncc show`: the sets of a pattern, their picture, and a page to look into both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from attncc.cli import options, output
from attncc.errors import ConfigError

if TYPE_CHECKING:
    from attncc.frontend.patterns import Pattern

SeqLen = Annotated[
    int | None,
    typer.Option("--seq-len", "-n", help="Number of queries and keys, in place of one that shows the structure."),
]
Png = Annotated[Path | None, typer.Option(metavar="FILE", help="Save a picture of each subset and of their union.")]
Html = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Save a page: connectivity, tiles by layout, costs, owners by rank.")
]
#: Positions of a page at least, where plans are told apart, and tiles a side of those that are shorter.
PAGE, TILES = 4096, 32


def show(
    pattern: options.PatternName,
    param: options.Parameters = None,
    seq_len: SeqLen = None,
    png: Png = None,
    html: Html = None,
    topology: options.MaybeTopology = None,
    as_json: options.AsJson = False,
) -> None:
    """Show which keys each query sees: the sets in mathematical notation, and a picture.

    Tables, lists and numbers that the pattern needs and that -p doesn't give are drawn, and the output says which.
    With --html: a page that needs no other file, to zoom into the picture and to compare the planner's alternatives.
    With --topology, too, it shows how devices would share the sequence, by simulation.

    Example: attncc show strided -p l=8 --png strided.png --html strided.html
    """
    from attncc._util.storage import check_file
    from attncc.ir.notation import connectivity
    from attncc.planner.notes import notes
    from attncc.planner.shape import Shape
    from attncc.visualization import connectivity_png as pictures
    from attncc.visualization.connectivity import grid
    from attncc.visualization.connectivity_text import draw
    from attncc.visualization.lengths import SHORTEST, shown_length

    check_file(png, "--png")
    check_file(html, "--html")
    if topology is not None and html is None:
        raise ConfigError(
            f"--topology {topology} without --html.", rule="Owners are on the page.", fix="Add --html FILE."
        )
    chosen, example = options.example_from(pattern, param, seq_len, SHORTEST if html is None else PAGE)
    length = shown_length(chosen) if seq_len is None else seq_len
    sets = [connectivity(subset, m) for m, subset in enumerate(chosen.subsets, start=1)]
    if png is not None:
        pictures.save(chosen, length, png)
    if html is not None:
        _save_page(chosen, seq_len, html, topology)
    noted = notes(chosen.predicate, Shape.of(length))
    if as_json:
        described = {"pattern": repr(chosen), "key": chosen.key, "seq_len": length, "sets": sets, "notes": list(noted)}
        described |= {"example": example}
        output.show_json({**described, "png": png and str(png), "html": html and str(html)})
        return
    cells = grid(chosen, length, most=64)
    scale = "" if cells.side == 1 else f", one cell {cells.side} x {cells.side} positions, dim where partly connected"
    caption = f"{length:,} queries (down) x {length:,} keys (right){scale}"
    saved = [f"saved {path}" for path in (png, html) if path is not None]
    output.show(
        Text(repr(chosen), style="bold"),
        *sets,
        "",
        draw(cells),
        Text(caption, style="dim"),
        *(f"note: {note}" for note in noted),
        *([] if example is None else [example]),
        *saved,
    )


def _save_page(pattern: Pattern, seq_len: int | None, path: Path, topology: str | None) -> None:
    """Write the page, of a length at which plans differ if none is given, in tiles that show them."""
    from attncc.cli.progress import progress
    from attncc.planner.search import plan
    from attncc.visualization import page
    from attncc.visualization.lengths import shown_length

    with progress() as on_step:
        length = shown_length(pattern, PAGE) if seq_len is None else seq_len
        on_step("planning")
        side = 1 << (max(length // TILES, 1).bit_length() - 1)
        made = plan(pattern, length, tile=(min(side, 128), min(side, 128)))
        on_step("drawing the page" if topology is None else f"drawing the page, and sharing the sequence on {topology}")
        page.save(made, path, topology)
