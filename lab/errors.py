"""What can go wrong with the lab, in words that say what to do about it."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked."""


class MissingTool(LabError):
    """A program or a file of the operating system is not there."""


class NotFetched(LabError):
    """Packages could not be fetched: the network, the mirror, or no such package."""


class NotReady(LabError):
    """A part of the lab did not become ready in time."""


class CallProblem(LabError):
    """A phone did not get where the scenario needs it: the message says what it saw instead."""
