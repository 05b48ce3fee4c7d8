"""What is installed once is whole, is made by one process at a time, and is found again without the network."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import cache, debian
from lab.asterisk import provision
from lab.errors import MissingTool


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BRIDGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _fill(part: Path) -> None:
    (part / "content").write_text("whole")


def test_a_folder_is_made_once_and_found_again(empty_cache: Path) -> None:
    made = []

    def make(part: Path) -> None:
        made.append(part)
        _fill(part)

    first = cache.made("thing", "recipe", make)
    second = cache.made("thing", "recipe", make)

    assert first == second == empty_cache / "thing"
    assert (first / "content").read_text() == "whole"
    assert len(made) == 1


def test_another_recipe_makes_it_anew(empty_cache: Path) -> None:
    first = cache.made("thing", "recipe", _fill)
    (first / "old").touch()

    second = cache.made("thing", "another recipe", _fill)

    assert (second / "content").exists()
    assert not (second / "old").exists()


def test_what_fails_half_way_leaves_nothing_that_looks_made(empty_cache: Path) -> None:
    def fail(part: Path) -> None:
        _fill(part)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.made("thing", "recipe", fail)

    assert not (empty_cache / "thing").exists()
    assert (cache.made("thing", "recipe", _fill) / "content").exists()


async def test_two_processes_that_want_the_same_make_it_once(empty_cache: Path) -> None:
    program = """
import sys
from pathlib import Path
from lab import cache
def make(part):
    with open(sys.argv[1], "a") as log:
        log.write("made ")
    print("making", flush=True)
    sys.stdin.readline()
print(cache.made("thing", "recipe", make, lambda line: print(line, flush=True)), flush=True)
"""
    log = empty_cache.parent / "log"

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program, str(log)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    # given one that is making it
    first = await start()
    assert first.stdout is not None
    assert await asyncio.wait_for(first.stdout.readline(), 10) == b"making\n"
    # when another wants it too
    second = await start()
    assert second.stdout is not None
    assert b"another process is installing it" in await asyncio.wait_for(second.stdout.readline(), 10)
    # then that one waits, and takes what the first one made
    await first.communicate(b"go on\n")
    said, _ = await second.communicate(b"")
    assert said.decode().strip() == str(empty_cache / "thing")
    assert log.read_text() == "made "


@pytest.mark.parametrize("version", [22, 16])
def test_an_installed_asterisk_needs_neither_apt_nor_time(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = provision(version)
    triplet = debian.triplet()

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(debian, "triplet", lambda: triplet)
    began = time.monotonic()
    again = provision(version)

    assert again == installed
    assert time.monotonic() - began < 0.1
    said = subprocess.run([again.binary, "-V"], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"Asterisk {version}.")


def test_a_machine_without_apt_is_told_so(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(empty_cache))

    with pytest.raises(MissingTool, match=r"apt-get was not found: the lab .* Debian"):
        debian.closure("thing", ["thing"], ["sid"], lambda part, final: None, lambda line: None)

    assert not (empty_cache / "thing").exists()


def test_a_version_that_the_lab_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="version is 18; the lab has Asterisk 22 and 16"):
        provision(18)


def test_packages_of_both_ages_are_unpacked_into_one_tree(tmp_path: Path) -> None:
    """Older packages ship /lib, newer ones /usr/lib: the links between them stay, and no script runs."""
    for name, folder in (("older", "lib"), ("newer", "usr/lib")):
        package = tmp_path / name
        (package / folder).mkdir(parents=True)
        (package / folder / name).write_text(name)
        (package / "usr" / "share" / "doc").mkdir(parents=True)
        (package / "DEBIAN").mkdir()
        (package / "DEBIAN" / "control").write_text(
            f"Package: {name}\nVersion: 1\nArchitecture: all\n"
            "Maintainer: the lab <lab@bridge.example>\nDescription: test\n"
        )
        script = package / "DEBIAN" / "postinst"
        script.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        script.chmod(0o755)
        subprocess.run(["dpkg-deb", "--build", "--root-owner-group", package], check=True, capture_output=True)
    root = tmp_path / "root"
    root.mkdir()

    debian.unpack(sorted(tmp_path.glob("*.deb")), root, cache.Progress("test", lambda line: None))

    assert (root / "lib").is_symlink()
    assert sorted(file.name for file in (root / "usr" / "lib").iterdir()) == ["newer", "older"]
    assert not (root / "usr" / "share" / "doc").exists()
    assert not (tmp_path / "ran").exists()
