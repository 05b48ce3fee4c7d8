"""How Mango Office and its customers know each other: every request, in both directions, carries

    sign = sha256(vpbx_api_key + json + vpbx_api_salt)

in hex (VPBX API, 2.4.3). It is not an HMAC. `json` is signed exactly as it travels: form-decoded, but not parsed, for
spaces, the order of keys and the spelling of escapes are part of it.
"""

from __future__ import annotations

import hashlib
import hmac


def sign(api_key: str, json: str | bytes, salt: str) -> str:
    """The signature of a request, 64 lower-case hex digits. Raises UnicodeEncodeError where `json` is no text."""
    return hashlib.sha256(api_key.encode() + _raw(json) + salt.encode()).hexdigest()


def verify(api_key: str, json: str | bytes, salt: str, presented: str) -> bool:
    """Whether `presented` is the signature of `json`, compared in constant time. Without a salt nothing is."""
    try:
        expected = sign(api_key, json, salt)
    except UnicodeEncodeError:
        return False
    found = presented.strip().lower().encode("utf-8", "surrogatepass")
    return hmac.compare_digest(expected.encode(), found) and bool(salt)


def _raw(json: str | bytes) -> bytes:
    """The bytes as they came: form decoders keep those that are no UTF-8 as lone surrogates (PEP 383)."""
    return json if isinstance(json, bytes) else json.encode("utf-8", "surrogateescape")
