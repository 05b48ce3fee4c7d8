"""Prints .env.example: `python -m bridge.settings > .env.example`."""

import sys

from bridge.settings import Settings
from bridge.settings.declaration import declarations
from bridge.settings.example import example

sys.stdout.write(example(declarations(Settings)))
