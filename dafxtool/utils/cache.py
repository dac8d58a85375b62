"""Remember results in the user's cache folder, safely for several processes at once.

An entry is a small JSON file. It is written under a temporary name and renamed, so a reader never
sees a part of it. An entry that is damaged, or that belongs to another key, counts as missing. A
folder that cannot be written is no error: the result is then computed again the next time.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

VARIABLE = "DAFXTOOL_CACHE"  # environment variable that names another folder


def cache_folder() -> Path:
    """Return the folder of remembered results: $DAFXTOOL_CACHE, else the user's of the system."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE]).absolute()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        # The XDG specification: a relative path is invalid and has to be ignored.
        base = base if os.path.isabs(base) else str(Path.home() / ".cache")
    return Path(base) / "dafxtool"


def read_entry(kind: str, key: Mapping[str, Any]) -> Any:
    """Return what `write_entry` stored for a key; None if there is nothing or it is damaged."""
    try:
        saved = json.loads(_path_of(kind, key).read_text("utf-8"))
        content = saved["content"]
        intact = saved["key"] == dict(key) and saved["sha256"] == _checksum(content)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, RecursionError):
        return None  # RuntimeError: there is no home folder
    return content if intact else None


def write_entry(kind: str, key: Mapping[str, Any], content: Any) -> None:
    """Store JSON content for a key, in the place of older content.

    kind  of the entry, which is a folder in cache_folder()
    """
    with suppress(OSError, RuntimeError):
        path = _path_of(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        entry = {"key": dict(key), "sha256": _checksum(content), "content": content}
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(entry, file)
            os.replace(temporary, path)
        except OSError:
            os.unlink(temporary)
            raise


def _path_of(kind: str, key: Mapping[str, Any]) -> Path:
    return cache_folder() / kind / f"{_checksum(dict(key))}.json"


def _checksum(content: Any) -> str:
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
