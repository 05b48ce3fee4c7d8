"""How much room a folder's disk has, and how little is too little."""

from __future__ import annotations

import shutil
from pathlib import Path

MEGABYTE = 1024 * 1024
LITTLE, TOO_LITTLE = 1024 * MEGABYTE, 200 * MEGABYTE
"""Bytes. Postgres begins a new 16 MB segment whenever it likes, and stops for want of one."""


def free(folder: Path) -> int:
    """Bytes that may still be written at `folder`, or where it would be made."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free
