"""The envelope of Mango's API, in both directions: a form of `vpbx_api_key`, `sign` and `json` (VPBX API, 2.4).

    sign = sha256(vpbx_api_key + json + vpbx_api_salt)

Written from the documentation and not shared with the product: what both got wrong would go unseen.
"""

from __future__ import annotations

from hashlib import sha256

Form = dict[str, str]


def sign(key: str, json: str, salt: str) -> str:
    return sha256(f"{key}{json}{salt}".encode()).hexdigest()


def link_sign(key: str, timestamp: str, recording_id: str, salt: str) -> str:
    """Of a recording's link without authorisation (3.5.2): another order, and no json."""
    return sha256(f"{key}{timestamp}{recording_id}{salt}".encode()).hexdigest()


def sealed(key: str, salt: str, json: str) -> Form:
    return {"vpbx_api_key": key, "sign": sign(key, json, salt), "json": json}
