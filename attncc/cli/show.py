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
    typer.Option("--seq-len", "-n", help="Number of queries, in place of one that shows the structure."),
]
KvLen = Annotated[int | None, typer.Option(help="Number of keys, in place of as many as show the structure.")]
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
    kv_len: KvLen = None,
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
    from attncc.visualization import connectivity_png as pictures
    from attncc.visualization.connectivity import grid
    from attncc.visualization.connectivity_text import draw
    from attncc.visualization.lengths import SHORTEST, shown_shape

    check_file(png, "--png")
    check_file(html, "--html")
    if topology is not None and html is None:
        raise ConfigError(
            f"--topology {topology} without --html.", rule="Owners are on the page.", fix="Add --html FILE."
        )
    chosen, example = options.example_from(pattern, param, seq_len, SHORTEST if html is None else PAGE)
    shape = shown_shape(chosen, seq_len, kv_len)
    sets = [connectivity(subset, m) for m, subset in enumerate(chosen.subsets, start=1)]
    if png is not None:
        pictures.save(chosen, shape, png)
    if html is not None:
        _save_page(chosen, seq_len, kv_len, html, topology)
    noted = notes(chosen.predicate, shape)
    if as_json:
        described = {"pattern": repr(chosen), "key": chosen.key, "seq_len": shape.q_len, "kv_len": shape.kv_len}
        described |= {"sets": sets, "notes": list(noted), "example": example}
        output.show_json({**described, "png": png and str(png), "html": html and str(html)})
        return
    cells = grid(chosen, shape, most=64)
    scale = "" if cells.side == 1 else f", one cell {cells.side} x {cells.side} positions, dim where partly connected"
    caption = f"{shape.q_len:,} queries (down) x {shape.kv_len:,} keys (right){scale}"
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


def _save_page(pattern: Pattern, seq_len: int | None, kv_len: int | None, path: Path, topology: str | None) -> None:
    """Write the page, of a length at which plans differ if none is given, in tiles that show them."""
    from attncc.cli.progress import progress
    from attncc.planner.search import plan
    from attncc.visualization import page
    from attncc.visualization.lengths import shown_shape

    with progress() as on_step:
        shape = shown_shape(pattern, seq_len, kv_len, PAGE)
        on_step("planning")
        tile = _side(shape.q_len), _side(shape.kv_len)
        made = plan(pattern, shape.q_len, shape.kv_len, q_offset=shape.q_offset, tile=tile)
        on_step("drawing the page" if topology is None else f"drawing the page, and sharing the sequence on {topology}")
        page.save(made, path, topology)


def _side(length: int) -> int:
    """Return the side of the tiles that show a length: a power of two, at most 128."""
    return min(1 << (max(length // TILES, 1).bit_length() - 1), 128)
