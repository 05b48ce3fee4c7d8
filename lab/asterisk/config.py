"""The configuration of one Asterisk: the readable files under `etc/` with their `{{placeholders}}` filled."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.asterisk.provision import Installation
from lab.errors import LabError
from lab.loopback import Network

TEMPLATES = Path(__file__).parent / "etc"
DIALPLAN = Path(__file__).parents[2] / "dialplan"

EXTENSIONS = {"150": "Ivan Petrov", "151": "Anna Orlova", "152": "Oleg Smirnov"}
"""The phones that register, with the names they show. The password of extension N is `labN`."""

ABSENT = ("acl", "ccss", "pjproject", "queuerules", "udptl", "websocket_client")
"""Files whose absence Asterisk complains of, although it needs nothing in them."""

CROWD = tuple(str(number) for number in range(200, 250))

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def render(installation: Installation, network: Network, work: Path, run: Path, values: Mapping[str, str]) -> Path:
    """Writes the configuration under `work`/etc and returns the path of its asterisk.conf.

    `values` fill what the lab's user chooses; a placeholder that nothing fills is an error, not an empty string.
    """
    etc = work / "etc"
    etc.mkdir(parents=True, exist_ok=True)
    known = {
        "banner": "Written anew at every start.",
        "etc": str(etc),
        "work": str(work),
        "run": str(run),
        "modules": str(installation.modules),
        "data": str(installation.data),
        "version": str(installation.version),
        "dialplan": str(DIALPLAN),
        "address": network.asterisk,
        "provider": network.provider,
        "load": network.load,
        "answering": network.answering,
        "network": network.prefix,
        "phones": "\n".join(_phone(number, name) for number, name in EXTENSIONS.items()),
        "crowd": "\n".join(_fixed(number, network) for number in CROWD),
        **values,
    }
    for name, value in values.items():
        if re.search(r"[\r\n;]", value):
            raise LabError(f"{name} is {value!r}: a value in Asterisk's configuration has no line ends and no ';'")
    for template in sorted(TEMPLATES.glob("*.conf")):
        if template.stem.endswith("_22") and installation.version < 22:
            continue
        (etc / template.name).write_text(_filled(template, known))
    for stem in ABSENT:
        (etc / f"{stem}.conf").write_text("; nothing to set\n")
    return etc / "asterisk.conf"


def make_folders(work: Path, folders: Iterable[str] = ("lib", "cache", "log", "spool")) -> None:
    for folder in folders:
        (work / folder).mkdir(parents=True, exist_ok=True)
    for folder in ("monitor", "outgoing", "recording", "tmp", "system"):
        (work / "spool" / folder).mkdir(exist_ok=True)
    (work / "log" / "cdr-csv").mkdir(exist_ok=True)


def _filled(template: Path, known: Mapping[str, str]) -> str:
    def fill(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in known:
            raise LabError(f"{template.name}: nothing fills {{{{{name}}}}}")
        return known[name]

    return _PLACEHOLDER.sub(fill, template.read_text())


def _phone(number: str, name: str) -> str:
    return f"""[{number}](phone)
auth = {number}
aors = {number}
callerid = "{name}" <{number}>
[{number}](contacts)
[{number}](login)
username = {number}
password = lab{number}
"""


def _fixed(number: str, network: Network) -> str:
    return f"""[{number}](phone)
aors = {number}
callerid = {number} <{number}>
[{number}](contacts)
contact = sip:{number}@{network.phone(number)}:5060
"""
