"""Recordings in a folder: below it or nowhere, and whole."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from recordings_office import wave

from bridge.errors import RecordingFailed, RecordingNotYet
from bridge.recordings.files import below, open_file
from bridge.recordings.sound import sound, state

RECORDED = wave(40.0)  # more than is read at a time


@pytest.mark.parametrize(
    ("reference", "folder", "parts"),
    [
        ("/var/spool/asterisk/recording/2026/11/21/a-1.0.wav", "", ("2026", "11", "21", "a-1.0.wav")),
        ("/var/spool/asterisk/monitor/a.wav", "", ("a.wav",)),
        ("/var/spool/asterisk/monitor/../recording/a.wav", "", ("a.wav",)),
        ("/srv/monitor/pbx/recording/a.wav", "", ("a.wav",)),
        ("a.wav", "", ("a.wav",)),
        ("2026//11/./a.wav", "", ("2026", "11", "a.wav")),
        ("/mnt/pbx/2026/a.wav", "/mnt/pbx/", ("2026", "a.wav")),
        ("/mnt/pbx/monitor/a.wav", "/mnt/pbx", ("monitor", "a.wav")),
    ],
)
def test_where_a_recording_is_below_the_folder(reference: str, folder: str, parts: tuple[str, ...]) -> None:
    assert below(reference, folder) == parts


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "/",
        "/etc/passwd",
        "../a.wav",
        "x/../../a.wav",
        "/var/spool/asterisk/recording/../../../etc/passwd",
        "a\0.wav",
    ],
)
def test_names_that_lead_elsewhere_are_refused_for_good(reference: str) -> None:
    with pytest.raises(RecordingFailed) as refused:
        below(reference)
    assert refused.value.final


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a recording that was finished a while ago, and a secret beside it."""
    (tmp_path / "secret.wav").write_bytes(b"secret")
    folder = tmp_path / "monitor"
    (folder / "2026").mkdir(parents=True)
    finished(folder / "2026" / "a.wav", RECORDED)
    return folder


def finished(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    os.utime(path, (1_790_000_000, 1_790_000_000))


async def test_a_file_is_read_whole(folder: Path) -> None:
    async with open_file(folder, "/var/spool/asterisk/monitor/2026/a.wav") as stream:
        assert stream.size == len(RECORDED)
        assert b"".join([chunk async for chunk in stream.chunks]) == RECORDED


async def test_a_file_that_is_still_written_is_waited_for(folder: Path) -> None:
    (folder / "new.wav").write_bytes(RECORDED)
    with pytest.raises(RecordingNotYet) as not_yet:
        async with open_file(folder, "new.wav"):
            pass
    assert not_yet.value.retry_after


async def test_a_file_that_changes_while_it_is_read_is_no_recording(folder: Path) -> None:
    async with open_file(folder, "2026/a.wav") as stream:
        with (folder / "2026" / "a.wav").open("ab") as file:
            file.write(b"more")
        with pytest.raises(RecordingFailed, match="changed"):
            async for _ in stream.chunks:
                pass


@pytest.mark.parametrize("name", ["absent.wav", "absent/a.wav"])
async def test_a_file_that_is_not_there_may_come(folder: Path, name: str) -> None:
    with pytest.raises(RecordingNotYet, match="has no"):
        async with open_file(folder, name):
            pass


async def test_links_lead_nowhere(folder: Path) -> None:
    (folder / "link.wav").symlink_to(folder.parent / "secret.wav")
    (folder / "out").symlink_to(folder.parent)
    (folder / "inside.wav").symlink_to(folder / "2026" / "a.wav")
    for name in ("link.wav", "out/secret.wav", "inside.wav"):
        with pytest.raises(RecordingFailed):
            async with open_file(folder, name):
                pass


async def test_what_is_no_file_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.wav")
    (folder / "folder.wav").mkdir()
    for name in ("pipe.wav", "folder.wav", "2026/a.wav/b.wav"):
        async with asyncio.timeout(5):
            with pytest.raises(RecordingFailed):
                async with open_file(folder, name):
                    pass


async def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingFailed, match="elsewhere"):
        async with open_file(tmp_path / "elsewhere", "a.wav"):
            pass


async def test_descriptors_are_given_back(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in ("2026/a.wav", "absent/a.wav", "2026", "absent.wav"):
        for _ in range(20):
            try:
                async with open_file(folder, name):
                    pass
            except (RecordingFailed, RecordingNotYet):
                pass
    assert len(os.listdir("/proc/self/fd")) <= before + 3


# --- what is in them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "name", "extension", "content_type"),
    [
        (RECORDED[:64], "a.mp3", "wav", "audio/wav"),
        (b"ID3\x04" + bytes(60), "a", "mp3", "audio/mpeg"),
        (b"\xff\xfb\x90\x00" + bytes(60), "MToxMDA+/=", "mp3", "audio/mpeg"),
        (b"OggS" + bytes(60), "a", "ogg", "audio/ogg"),
        (b"\x00\x00\x00\x20ftypM4A " + bytes(50), "a", "m4a", "audio/mp4"),
        (bytes(64), "a.gsm", "gsm", "audio/x-gsm"),
        (bytes(64), "a.wav", "bin", "application/octet-stream"),
        (b"<html><script>" + bytes(50), "a.html", "bin", "application/octet-stream"),
        (b"", "", "bin", "application/octet-stream"),
    ],
)
def test_what_a_recording_is_says_its_content(head: bytes, name: str, extension: str, content_type: str) -> None:
    found = sound(head, name)
    assert (found.extension, found.content_type) == (extension, content_type)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (wave(1.0), "whole"),
        (wave(1.0) + b"LIST\x04\0\0\0INFO", "whole"),
        (wave(1.0, length=0), "growing"),
        (wave(1.0)[:-100], "growing"),
        (wave(0), "empty"),
        (wave(0)[:20], "empty"),
        (b"", "empty"),
        (b"\xff\xfb\x90\x00" + bytes(60), "whole"),
        (b"RIFF" + bytes(4) + b"WAVEnodata" + bytes(100), "whole"),
    ],
)
def test_whether_a_file_is_finished_says_its_header(content: bytes, found: str) -> None:
    assert state(content[:64], len(content)) == found
