"""An enterprise's Mango Office configuration, secrets opened: what `integrations_config.mango` says, and its zone."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from bridge.errors import BadInput


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """One virtual PBX at Mango Office. `api_key` names it, `api_salt` signs; `api_id` is the older dialect's half of a
    password."""

    api_key: str
    api_salt: str
    api_id: str = ""

    @property
    def name(self) -> str:
        """What tells products apart where no secret may stand."""
        return product_name(self.api_key)

    def __repr__(self) -> str:
        """Without the secrets: a repr ends in logs."""
        return f"Product({self.name})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Tracebacks that show local variables ask this first."""
        return [("name", self.name)]


class MangoConfig(msgspec.Struct, frozen=True, kw_only=True):
    """`default_operator`: the extension whose calls are those that are nobody else's; "": nobody's.

    Without `products` the deployment's own product serves, where there is one."""

    enabled: bool = True
    products: tuple[Product, ...] = ()
    default_operator: str = ""
    timezone: str = "Europe/Moscow"
    region: str = "RU"


def product_name(api_key: str) -> str:
    """Half of the key's SHA-256: the key is a long random string, so this gives nothing away."""
    return hashlib.sha256(api_key.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def decode(document: Mapping[str, Any], **of_enterprise: str) -> MangoConfig:
    """`integrations_config.mango` as somebody wrote it, over what the enterprise gives (`timezone`, `region`).

    A single product may be written flat. Tolerant: unknown keys are left out, numbers pass for texts, null is as good
    as absent, and it is off unless it says that it is on. Raises BadInput naming the key; never a secret.
    """
    if not isinstance(document, Mapping):
        raise BadInput("mango must be an object", field="mango")
    listed = document.get("products")
    if listed is None:
        listed = []
    if not isinstance(listed, list):
        raise BadInput("mango.products must be a list", field="products")
    flat = {name: document[name] for name in _OF_PRODUCT if document.get(name) is not None}
    places = [("mango", flat)] if flat.get("api_key") or flat.get("api_salt") else []
    places += [(f"mango.products[{index}]", each) for index, each in enumerate(listed)]
    products = tuple(_product(place, each) for place, each in places)
    if len({product.api_key for product in products}) < len(products):
        raise BadInput("mango.products: two have the same api_key", field="products")
    rest = {name: _text(document[name]) for name in ("enabled", "default_operator") if document.get(name) is not None}
    try:
        return msgspec.convert({**of_enterprise, "enabled": False, **rest, "products": products}, MangoConfig)
    except msgspec.ValidationError as problem:
        raise BadInput(f"mango: {problem}") from problem


def _product(place: str, document: Any) -> Product:
    if not isinstance(document, Mapping):
        raise BadInput(f"{place} must be an object", field="products")
    given = {name: _text(document.get(name)) for name in _OF_PRODUCT if document.get(name) is not None}
    for name in ("api_key", "api_salt"):
        if given.get(name, "") == "":
            raise BadInput(f"{place}.{name} is absent; it must be a text", field=name)
    try:
        return msgspec.convert(given, Product)
    except msgspec.ValidationError as problem:
        raise BadInput(f"{place}: {problem}") from None


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


_OF_PRODUCT = ("api_key", "api_salt", "api_id")
