"""Vega, Vega-Lite and Vega-Embed as one script, for pages that open offline."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    folder = Path(home) if home else Path.home() / ".cache"
    return folder / "fedsiege" / f"vega-{version('vl-convert-python')}.js"


@lru_cache(maxsize=1)
def javascript() -> str:
    """Return the script, which vl-convert carries; it never comes from the network.

    Bundling takes seconds, so the result is kept in the user's cache folder, where that can be written.

    Raises
    ------
    RuntimeError
        If the script could end the element that holds it.
    """
    import vl_convert

    kept: Path | None = None
    try:
        kept = _cache()
        if kept.is_file():
            return kept.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, RuntimeError, PackageNotFoundError):
        pass
    text = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    if "</script" in text.lower() or "<!--" in text:
        raise RuntimeError("the JavaScript bundle of vl-convert cannot stand inside a page")
    if kept is not None:
        draft = kept.with_suffix(f".{os.getpid()}.tmp")
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            draft.write_text(text, encoding="utf-8")
            draft.replace(kept)
        except OSError:
            pass
    return text
