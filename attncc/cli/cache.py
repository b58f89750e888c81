"""`attncc cache`: tuned configurations and other cached files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attncc.cli import cache_folders, entries, options, output
from attncc.cli.progress import progress
from attncc.errors import ConfigError, check_known
from attncc.planner.directions import BY_SHORT_NAME

if TYPE_CHECKING:
    from attncc.configs.misses import Miss
    from attncc.configs.store import Store
    from attncc.runtime.explain import Explanation

app = typer.Typer(
    no_args_is_help=True,
    help="Tuned configurations and compiled kernels: list, export, import, verify, prune, clear.",
)


@app.callback()
def cache() -> None:
    """Tuned configurations and compiled kernels."""


app.command("path")(cache_folders.show_path)
app.command()(cache_folders.clear)


@app.command("list")
def list_entries(as_json: options.AsJson = False) -> None:
    """List the tuned configurations in the cache.

    Example: attncc cache list --json
    """
    store = _store()
    listed = sorted(store.entries(), key=lambda entry: (entry.pattern, entry.key.direction, entry.made))
    if as_json:
        output.show_json({"path": str(store.root), "entries": [entries.row(entry) for entry in listed]})
    else:
        output.show(entries.listing(listed, f"{store.root}: {len(listed)} entries"))


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="KEY|PATTERN", help="A key's beginning; with --seq-len, a pattern.")],
    param: options.Parameters = None,
    score: options.ScoreName = None,
    score_param: options.ScoreParameters = None,
    seq_len: Annotated[int | None, typer.Option("--seq-len", "-n", help="Number of queries of a pattern.")] = None,
    kv_len: options.KvLen = None,
    heads: options.Heads = 8,
    kv_heads: options.KvHeads = None,
    head_dim: options.HeadDim = 64,
    value_dim: options.ValueDim = None,
    batch: options.Batch = 1,
    dtype: options.Dtype = "fp32",
    backend: options.BackendName = None,
    target: Annotated[str | None, typer.Option(help="The target, if it isn't this machine.")] = None,
    direction: options.Direction = "both",
    why_miss: Annotated[
        bool, typer.Option(help="Say how the nearest tuned configurations differ from this call.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show tuned configurations by the beginning of their key; with --seq-len, the one that attention() uses.

    Example: attncc cache show strided -p l=128 --seq-len 16384 --why-miss
    """
    store = _store()
    if seq_len is None:
        _show_entries(store, what, as_json)
        return
    from attncc.runtime.explain import explain_config

    check_known("direction", direction, BY_SHORT_NAME)
    explained = explain_config(
        options.pattern_from(what, param),
        seq_len,
        kv_len,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_dim=value_dim,
        batch=batch,
        dtype=dtype,
        score=options.score_from(score, score_param, heads),
        backend=backend,
        target=target,
        direction=BY_SHORT_NAME[direction],
    )
    _show_explained(explained, why_miss, as_json)


@app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write.")],
    target: Annotated[str | None, typer.Option(help="Only the entries of this target.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Write the tuned configurations to one file, for `attncc cache import` on another machine.

    Example: attncc cache export tuned.json --target h100
    """
    from attncc.configs import bundle

    exported = [entry for entry in _store().entries() if target in (None, entry.key.target)]
    bundle.save(exported, file)
    if as_json:
        output.show_json({"file": str(file), "entries": len(exported)})
    else:
        output.show(f"{len(exported)} entries written to {file}")


@app.command("import")
def import_bundle(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file of `attncc cache export`.")],
    to: Annotated[Path | None, typer.Option(metavar="DIR", help="Another folder, such as a plugin's configs.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Add the tuned configurations of a file to the cache or to a folder; exits with 1 if one is refused.

    Example: attncc cache import tuned.json
    """
    from attncc.configs import bundle
    from attncc.configs.store import Store

    store = _store() if to is None else Store(to)
    imported = bundle.load(file, store, progress)
    if as_json:
        counts = {"written": len(imported.written), "kept": len(imported.kept), "refused": list(imported.refused)}
        output.show_json({"path": str(store.root), **counts})
    else:
        why = "see the warnings, or measured ones are there"
        kept = f", {len(imported.kept)} not written ({why})" if imported.kept else ""
        output.show(f"{len(imported.written)} entries written to {store.root}{kept}", *imported.refused)
    if imported.refused:
        raise typer.Exit(1)


@app.command()
def verify(as_json: options.AsJson = False) -> None:
    """Read every tuned configuration in the cache; list damaged files, and exit with 1 if there are any.

    Example: attncc cache verify
    """
    from attncc.configs.maintenance import damaged

    store = _store()
    damages = list(damaged(store))
    count = sum(1 for _ in store.files())
    if as_json:
        rows = [{"file": str(each.path), "reason": each.reason} for each in damages]
        output.show_json({"path": str(store.root), "files": count, "damaged": rows})
    else:
        output.show(f"{count} files, {len(damages)} damaged", *(f"{each.path}: {each.reason}" for each in damages))
    if damages:
        raise typer.Exit(1)


@app.command()
def prune(
    everything: Annotated[bool, typer.Option("--all", help="Remove all tuned configurations.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Remove configurations of other versions of attncc, of packages or of a target's facts, and damaged files.

    Unfinished files of killed processes are removed from all caches.

    Example: attncc cache prune --dry-run
    """
    from attncc.configs.maintenance import outdated, removable

    store = _store()
    folders = store.environments() if everything else outdated(store)
    files = [path for path in removable(store) if path.parent.parent not in folders]
    if not dry_run:
        try:
            for folder in folders:
                store.remove_environment(folder.name)
            for file in files:
                file.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(
                f"{error.filename} can't be removed: {error.strerror}.",
                rule="Pruning removes files of this user's cache.",
                fix="Make the folder writable, or add --dry-run.",
            ) from error
    if as_json:
        output.show_json(
            {"environments": [str(f) for f in folders], "files": [str(f) for f in files], "dry_run": dry_run}
        )
    else:
        done = "would be removed" if dry_run else "removed"
        output.show(
            f"{len(folders)} environments and {len(files)} damaged or unfinished files {done}",
            *map(str, [*folders, *files]),
        )


def _store() -> Store:
    """Return this user's store; raises ConfigError if it can't be read, or if others can write to it."""
    from attncc._util.storage import check_cache
    from attncc.configs.store import user_store

    check_cache()
    store = user_store()
    store.check_readable()
    return store


def _show_entries(store: Store, beginning: str, as_json: bool) -> None:
    matching = [entry for entry in store.entries() if entry.key.digest.startswith(beginning)]
    if not matching:
        raise ConfigError(
            f"No entry's key begins with {beginning!r}.",
            rule="Keys are listed by `attncc cache list`.",
            fix="Give --seq-len to look a pattern up.",
        )
    if as_json:
        output.show_json({"entries": [{"digest": entry.key.digest, **entry.describe()} for entry in matching]})
    else:
        output.show(*(part for entry in matching for part in (entries.facts(entry), "")))


def _show_explained(explained: Explanation, why_miss: bool, as_json: bool) -> None:
    misses = {each.key.direction: each.why_miss() if why_miss else [] for each in explained.directions}
    if as_json:
        described = {name: [miss.describe() for miss in near] for name, near in misses.items()}
        output.show_json(explained.describe() | ({"why_miss": described} if why_miss else {}))
        return
    output.show(str(explained))
    if why_miss:
        for name, near in misses.items():
            output.show("", f"{name}: {_said(near)}", *(f"  {miss}." for miss in near))


def _said(near: list[Miss]) -> str:
    return (
        "the nearest entries, and how they differ." if near else "no configuration is kept anywhere; run `attncc tune`."
    )
