"""A process that uses the embedded Postgres of a directory: says the address, stays until its input ends.

python embedded_user.py DATA_DIR [fast]
"""

from __future__ import annotations

import sys
from pathlib import Path

from bridge.db.embedded import EmbeddedPostgres
from bridge.errors import DatabaseProblem

with_fast = "fast" in sys.argv[2:]
server = EmbeddedPostgres(Path(sys.argv[1]), fast=with_fast, progress=lambda text: sys.stderr.write(text + "\n"))
try:
    sys.stdout.write(server.start() + "\n")
except DatabaseProblem as problem:
    sys.stdout.write(f"problem: {problem}\n")
sys.stdout.flush()
sys.stdin.read()
