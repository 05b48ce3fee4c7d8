"""Recordings of calls: fetched from wherever a PBX keeps them, stored in the owner's storage, played by link.

journal   what is owed and what became of it (table `recordings`); the link of a recording is known at once
port      what a source of recordings is, and how it says no
pipeline  the worker: source → store, verified, at its own pace
store     S3 or a folder
"""
