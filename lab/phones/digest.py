"""Digest authentication of a SIP client (RFC 3261 §22, RFC 2617): MD5, with and without qop. Pure."""

from __future__ import annotations

import hashlib
import re

from lab.phones.message import Response


def authorization(challenge: Response, method: str, uri: str, user: str, password: str, cnonce: str) -> tuple[str, str]:
    """The header that answers a 401 or 407: its name and value. Raises ValueError when it holds no challenge."""
    asked, answered = (
        ("WWW-Authenticate", "Authorization")
        if challenge.status == 401
        else ("Proxy-Authenticate", "Proxy-Authorization")
    )
    pairs = re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', challenge.get(asked))
    given = {name.lower(): quoted or bare for name, quoted, bare in pairs}
    if not {"realm", "nonce"} <= given.keys():
        raise ValueError(f"{challenge.status} without a challenge")
    secret = _md5(f"{user}:{given['realm']}:{password}")
    what = _md5(f"{method}:{uri}")
    parts = [f'username="{user}"', f'realm="{given["realm"]}"', f'nonce="{given["nonce"]}"', f'uri="{uri}"']
    if "qop" in given:
        count = "00000001"
        response = _md5(f"{secret}:{given['nonce']}:{count}:{cnonce}:auth:{what}")
        parts += ["qop=auth", f"nc={count}", f'cnonce="{cnonce}"']
    else:
        response = _md5(f"{secret}:{given['nonce']}:{what}")
    parts += [f'response="{response}"', "algorithm=MD5"]
    if "opaque" in given:
        parts.append(f'opaque="{given["opaque"]}"')
    return answered, "Digest " + ", ".join(parts)


def _md5(text: str) -> str:
    return hashlib.md5(text.encode()).hexdigest()
