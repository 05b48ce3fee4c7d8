"""What a request that came as a webhook is: genuine or not, of use or not, and what of it is kept. Pure.

Two dialects. Mango's own is a form of `vpbx_api_key`, `sign` and `json`, posted under our address with its own path
appended (VPBX API, 2.4). The flat one is a JSON object that carries `vpbx_api_id` and `vpbx_api_key` like a password.

Credentials are never kept: of a form the `json` field and its sign are, of the flat dialect all but its key.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import unquote_to_bytes

import msgspec

from bridge.errors import BadInput, BridgeError, Unauthorized
from bridge.mango.config import product_name
from bridge.mango.decode import FLAT, STATISTICS, decode, subject
from bridge.mango.events import MangoEvent
from bridge.mango.journal import Dialect, State, Webhook
from bridge.mango.products import Owned
from bridge.mango.signature import verify
from bridge.mango.values import identifier

LONGEST_PATH = 200
LARGEST_STRANGER = 8 * 1024
"""Bytes that are kept of what nobody has signed."""

_MOST_FIELDS = 16
_HIDDEN = "***"
# Of what cannot be parsed: whatever follows the name of the key.
_KEY = re.compile(rb"""(vpbx_api_key\W{0,8})[^\s"',}&]+""", re.IGNORECASE)

Find = Callable[[str], Owned | None]
Outcome = Literal["taken", "ignored", "malformed", "refused", "check"]


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """`problem`: what the sender is answered with, once `webhook` is kept. `stranger`: nobody knows who sent it."""

    outcome: Outcome
    kind: str
    webhook: Webhook
    problem: BridgeError | None = None
    stranger: bool = False


def signed(body: bytes, path: str, remote: str, find: Find) -> Judged:
    """A request in Mango's own dialect. `path`: what was appended to our address."""
    path = path.strip("/")[:LONGEST_PATH]
    about = signed_subject(path)
    try:
        form = fields(body)
    except BadInput as problem:
        return _stranger("malformed", about, "signed", path, _hidden(body), remote, problem)
    document, api_key = form.get("json"), form.get("vpbx_api_key", b"").decode("utf-8", "replace")
    if not document and "sign" not in form:
        if body.lstrip().startswith((b"{", b"[")):
            return _stranger("refused", about, "signed", path, body, remote, Unauthorized("sign: missing"))
        # the cabinet's button "check connection" sends no json
        return _stranger("check", about, "signed", path, b"", remote, None)
    document = document or b""
    owned = find(api_key)
    presented = form.get("sign", b"").decode("utf-8", "replace")
    genuine = owned is not None and verify(owned.product.api_key, document, owned.product.api_salt, presented)
    if owned is None or not genuine:
        what = "vpbx_api_key: not known" if owned is None else "sign: wrong, or made with another salt"
        judged = _stranger("refused", about, "signed", path, document, remote, Unauthorized(what))
        return _of(judged, product_name(api_key) if api_key else None, owned)
    return _taken("signed", path, document, owned, remote, presented[:64])


def flat(body: bytes, remote: str, find: Find) -> Judged:
    """A request in the flat JSON dialect."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        document = None
    if not isinstance(document, dict):
        problem = BadInput("The body must be a JSON object", field="body", allowed="object")
        return _stranger("malformed", FLAT, "flat", FLAT, _hidden(body), remote, problem)
    api_key, api_id = _credential(document, "vpbx_api_key"), _credential(document, "vpbx_api_id")
    owned = find(api_key)
    kept = msgspec.json.encode(_without(document, api_key))
    # compared in any case, and with something: the time it takes tells nothing
    expected = owned.product.api_id if owned is not None else ""
    same = hmac.compare_digest(expected.encode(), api_id.encode("utf-8", "replace"))
    if owned is None or not same or not expected:
        what = Unauthorized("vpbx_api_id, vpbx_api_key: not known, or not of one product")
        judged = _stranger("refused", FLAT, "flat", FLAT, kept, remote, what)
        return _of(judged, product_name(api_key) if api_key else None, owned)
    return _taken("flat", FLAT, kept, owned, remote, None)


def event_of(dialect: str, path: str, body: bytes, received_at: float | None = None) -> MangoEvent:
    """The event in a webhook that was kept. Raises BadInput where it is no JSON object."""
    return decode(signed_subject(path) if dialect == "signed" else dialect, body, received_at)


def signed_subject(path: str) -> str:
    """What Mango's own webhook is about. The house's own words for other things are nobody else's to use."""
    about = subject(path)
    return "" if about in (FLAT, STATISTICS) else about


def fields(body: bytes) -> dict[str, bytes]:
    """A form's fields, decoded to the very bytes that were signed. Raises BadInput: too many, or a name twice."""
    found: dict[str, bytes] = {}
    pairs = body.split(b"&", _MOST_FIELDS)
    for pair in pairs:
        name, equals, value = pair.replace(b"+", b" ").partition(b"=")
        if not equals:
            continue
        key = unquote_to_bytes(name).decode("utf-8", "replace")
        if key in found:
            raise BadInput(f"{key[:40]}: given more than once", field=key[:40])
        found[key] = unquote_to_bytes(value)
    if len(pairs) > _MOST_FIELDS:
        raise BadInput(f"The form has more than {_MOST_FIELDS} fields", field="body")
    return found


def _taken(dialect: Dialect, path: str, document: bytes, owned: Owned, remote: str, sign: str | None) -> Judged:
    """Genuine; it may still be of no use. What exactly it says is read by whoever works on it."""
    about = FLAT if dialect == "flat" else signed_subject(path)
    state: State = "new"
    entry_id = reason = problem = None
    outcome: Outcome = "taken"
    try:
        said = msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as wrong:
        said, problem = None, BadInput(f"json: it is not JSON: {wrong}", field="json")
    if not isinstance(said, dict):
        problem = problem or BadInput("json: it must be an object", field="json", found=type(said).__name__)
        outcome = state = "malformed"
        reason = problem.message
    else:
        entry_id = _entry_of(dialect, said)
        if not owned.enabled:
            reason = "the integration is switched off"
        elif entry_id is None and "result" not in said:
            reason = "it names no call"
        if reason is not None:
            outcome = state = "ignored"
    webhook = Webhook(
        enterprise_number=owned.enterprise_number,
        product=owned.product.name,
        dialect=dialect,
        path=path,
        body=document,
        sign=sign,
        remote=remote,
        entry_id=entry_id,
        state=state,
        reason=reason,
    )
    return Judged(outcome=outcome, kind=about, webhook=webhook, problem=problem)


def _entry_of(dialect: Dialect, said: Mapping[str, Any]) -> str | None:
    found = identifier(said.get("entry_id"))
    return identifier(said.get("call_id")) if found is None and dialect == "flat" else found


def _stranger(
    outcome: Outcome, kind: str, dialect: Dialect, path: str, body: bytes, remote: str, problem: BridgeError | None
) -> Judged:
    state: dict[str, Any] = {"malformed": "malformed", "refused": "refused", "check": "ignored"}
    webhook = Webhook(
        enterprise_number=None,
        product=None,
        dialect=dialect,
        path=path,
        body=body[:LARGEST_STRANGER],
        remote=remote,
        state=state[outcome],
        reason=problem.message if problem is not None else "a check of the connection",
    )
    return Judged(outcome=outcome, kind=kind, webhook=webhook, problem=problem, stranger=True)


def _of(judged: Judged, product: str | None, owned: Owned | None) -> Judged:
    """The enterprise whose product was named may see who tried."""
    number = owned.enterprise_number if owned is not None else None
    webhook = msgspec.structs.replace(judged.webhook, product=product, enterprise_number=number)
    return msgspec.structs.replace(judged, webhook=webhook)


def _credential(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)


def _hidden(body: bytes) -> bytes:
    return _KEY.sub(rb"\1***", body[:LARGEST_STRANGER])


def _without(document: dict[str, Any], api_key: str) -> dict[str, Any]:
    """The document without its key, wherever at its top it stands."""
    hidden = {name: _HIDDEN if api_key and value == api_key else value for name, value in document.items()}
    return {**hidden, "vpbx_api_key": _HIDDEN} if "vpbx_api_key" in document else hidden
