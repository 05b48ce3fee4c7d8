"""Mango Office: does it know our products? Each is asked one harmless question, its balance.

One, for Mango forgives one wrong question in two minutes: a wrong key that is asked with twice is answered for two
minutes as if everything were wrong. So the running service's penalty is heeded, and a refusal is told to it.
"""

from __future__ import annotations

import msgspec

from bridge.check.finding import Finding
from bridge.configuration import Enterprise
from bridge.db.pool import Pool
from bridge.errors import BadInput, BridgeError, MangoPaused, MangoRefused
from bridge.hosts import Hosts
from bridge.mango.client import Api
from bridge.mango.config import Product, decode
from bridge.mango.limits import Paces
from bridge.secrets import SEALED
from bridge.settings import Settings


async def mango(
    enterprise: Enterprise, settings: Settings, default: Product | None, hosts: Hosts, pool: Pool, timeout: float
) -> list[Finding]:
    """`default`: the deployment's own product, for an enterprise that names none."""
    place = f"Mango {enterprise.number}"
    config = enterprise.integrations["mango"]
    if not config.get("enabled"):
        return [Finding("ok", place, "It is switched off.")]
    if SEALED in msgspec.json.encode(config).decode():
        said = "A secret was sealed with a key that is not in BRIDGE_SECRET_KEY."
        return [Finding("error", place, said, "Add that key after the newest, or apply the secret again.")]
    try:
        products = decode(config).products or ((default,) if default is not None else ())
        api = Api(hosts, settings.mango_api_url, Paces(pool))
    except BadInput as problem:
        return [Finding("error", place, problem.message, "Correct it in the apply file.")]
    if not products:
        advice = "Name its api_key and api_salt in the apply file."
        return [Finding("error", place, "It is switched on and has no product.", advice)]
    try:
        return [await _product(api, product, f"{place}/{product.name[:8]}", timeout) for product in products]
    finally:
        await api.close()


async def _product(api: Api, product: Product, place: str, timeout: float) -> Finding:
    try:
        await api.ask(product, "balance", "account/balance", {}, timeout=timeout, patience=timeout)
    except MangoPaused as problem:
        return Finding("warning", place, problem.message, "Correct what it refused, wait, and check again.")
    except MangoRefused as problem:
        advice = "Compare api_key and api_salt with the cabinet. Wait for two minutes before the next check."
        return Finding("error", place, problem.message, advice)
    except BridgeError as problem:
        advice = "Check MANGO_API_URL, and that this machine reaches it by TLS 1.2."
        return Finding("error", place, problem.message, advice)
    return Finding("ok", place, "Mango Office accepts key and salt.")
