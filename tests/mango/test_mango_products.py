"""What an enterprise declares of Mango Office, and whose a product is and whose a call, kept true while it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from webhook_desk import (
    JULY,
    JULYS,
    JUNE,
    JUNES,
    JUNES_SECOND,
    configured,
    eventually,
    furnish,
)

from bridge.db.bus import Bus
from bridge.db.pool import Pool
from bridge.errors import BadInput
from bridge.mango.config import MangoConfig, Product, decode
from bridge.mango.people import People, employees
from bridge.mango.products import Products, assigned
from bridge.mango.users import Roster, User
from bridge.secrets import SEALED, Vault

VAULT = Vault(("a key of these tests",))


# --- configurations ---------------------------------------------------------------------------------------------------


def test_one_product_may_be_written_flat_and_several_listed() -> None:
    flat = decode({"enabled": True, "api_key": "k", "api_salt": "s", "api_id": 7, "default_operator": 150})
    listed = decode({"enabled": True, "products": [{"api_key": "k", "api_salt": "s", "api_id": "7"}]})

    assert flat.products == listed.products == (Product(api_key="k", api_salt="s", api_id="7"),)
    assert flat.default_operator == "150"
    assert [each.api_key for each in decode({"products": [{"api_key": "a", "api_salt": "1"}], "api_key": "b",
                                             "api_salt": "2"}).products] == ["b", "a"]  # fmt: skip


def test_it_is_off_unless_it_says_that_it_is_on() -> None:
    assert not decode({}).enabled
    assert decode({"enabled": True, "products": None}, timezone="Asia/Omsk", region="KZ") == MangoConfig(
        timezone="Asia/Omsk", region="KZ"
    )


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"products": {}}, "mango.products must be a list"),
        ({"products": ["k"]}, "mango.products[0] must be an object"),
        ({"products": [{"api_key": "k"}]}, "mango.products[0].api_salt is absent"),
        ({"products": [{"api_key": "", "api_salt": "s"}]}, "mango.products[0].api_key is absent"),
        ({"api_salt": "s"}, "mango.api_key is absent"),
        ({"products": [{"api_key": "k", "api_salt": "s"}] * 2}, "two have the same api_key"),
        ({"products": [{"api_key": ["k"], "api_salt": "s"}]}, "Expected `str`"),
        ({"enabled": "yes"}, "Expected `bool`"),
        ([], "mango must be an object"),
    ],
)
def test_a_wrong_configuration_is_refused_by_name_and_without_secrets(document: Any, place: str) -> None:
    with pytest.raises(BadInput) as refused:
        decode(document)

    assert place in refused.value.message


def test_secrets_are_not_in_what_logs_and_tracebacks_show() -> None:
    shown = repr(JUNES) + repr(MangoConfig(products=(JUNES,))) + str(list(JUNES.__rich_repr__()))

    assert JUNES.api_key not in shown
    assert JUNES.api_salt not in shown
    assert JUNES.name in shown


# --- whose a product is -----------------------------------------------------------------------------------------------

OURS = Product(api_key="the deployment's", api_salt="s")


def _owner(configs: Mapping[str, MangoConfig], enterprises: list[str], key: str = OURS.api_key) -> str | None:
    found = assigned(configs, {}, OURS, enterprises)
    return next((each.enterprise_number for each in found.values() if each.product.api_key == key), None)


@pytest.mark.parametrize(
    ("configs", "enterprises", "owner"),
    [
        ({}, ["1"], "1"),
        ({}, ["1", "2"], None),
        ({"1": MangoConfig()}, ["1", "2"], "1"),
        ({"1": MangoConfig(products=(JUNES,)), "2": MangoConfig()}, ["1", "2"], "2"),
        ({"1": MangoConfig(), "2": MangoConfig()}, ["1", "2"], None),
        ({"1": MangoConfig(products=(JUNES,))}, ["1", "2"], None),
        ({"1": MangoConfig(products=(OURS,)), "2": MangoConfig()}, ["1", "2"], "1"),
    ],
)
def test_the_deployments_product_is_nobodys_where_it_could_be_several(
    configs: dict[str, MangoConfig], enterprises: list[str], owner: str | None
) -> None:
    assert _owner(configs, enterprises) == owner


async def test_a_change_is_known_as_soon_as_it_is_notified(pool: Pool, database_url: str) -> None:
    await furnish(pool)
    products = Products(pool, VAULT, every=60.0)
    await products.refresh()
    bus = Bus(database_url)
    bus.subscribe("bridge_integrations", products.changed)
    running = [asyncio.create_task(bus.run()), asyncio.create_task(products.run())]
    try:
        await bus.connected.wait()
        assert [each.name for each in products.of(JUNE)] == [JUNES.name, JUNES_SECOND.name]

        await pool.execute("update enterprises set integrations_config = '{}' where number = $1", JUNE)

        async def gone() -> bool:
            return products.find(JUNES.api_key) is None

        await eventually(gone, 2)
        assert products.of(JUNE) == []
        assert products.enterprises() == [JULY]
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_sealed_products_are_opened_and_those_of_another_key_are_told_of(pool: Pool) -> None:
    await furnish(pool)
    for number, vault, product in ((JUNE, VAULT, JUNES), (JULY, Vault(("another key",)), JULYS)):
        sealed = vault.seal_integration("mango", configured(product)["mango"], enterprise=number)
        assert sealed["products"][0]["api_salt"].startswith(SEALED)
        await pool.execute(
            "update enterprises set integrations_config = $2 where number = $1", number, {"mango": sealed}
        )
    products = Products(pool, VAULT)
    await products.refresh()

    found = products.find(JUNES.api_key)
    assert found is not None
    assert (found.enterprise_number, found.product) == (JUNE, JUNES)
    assert products.find(JULYS.api_key) is None
    assert list(products.figures()["problems"]) == [JULY]


# --- whose a call is --------------------------------------------------------------------------------------------------


def test_only_operators_have_a_citys_calls_and_phones_of_nobody_are_kept() -> None:
    found = employees(
        [(("150", "151"), "Москва", "operator"), (("152",), "Москва", "administrator")],
        {"sip:a@x": "151", "sip:b@x": "152", "sip:c@x": "999"},
    )

    assert [(each.extensions, each.city, dict(each.addresses)) for each in found] == [
        (("150", "151"), "Москва", {"sip:a@x": "151"}),
        (("152",), "", {"sip:b@x": "152"}),
        (("999",), "", {"sip:c@x": "999"}),
    ]


class _Users:
    """Mango's list of employees, which is told when it is asked for."""

    def __init__(self, roster: Roster | None) -> None:
        self.roster = roster
        self.asked = 0
        self.may_answer = asyncio.Event()
        self._known: Roster | None = None

    def known(self, product: Product) -> Roster | None:
        return self._known

    async def of(self, product: Product) -> Roster | None:
        self.asked += 1
        await self.may_answer.wait()
        self._known = self.roster
        return self._known


ANNAS = Roster(users=(User(user_id=1, extension="150", addresses=("sip:anna@vpbx.example",)),))


async def test_a_phone_is_known_by_its_address_once_mango_told(pool: Pool) -> None:
    await furnish(pool)
    products = Products(pool, VAULT)
    await products.refresh()
    users = _Users(ANNAS)
    users.may_answer.set()
    people = People(pool, products, users)

    rules = await people.rules(JUNE)

    assert rules.operators.at("sip:anna@vpbx.example") == "150"
    await people.close()


async def test_a_mango_that_is_slow_to_tell_holds_up_nothing_for_long(pool: Pool) -> None:
    await furnish(pool)
    products = Products(pool, VAULT)
    await products.refresh()
    users = _Users(ANNAS)
    people = People(pool, products, users)
    try:
        async with asyncio.timeout(5):
            assert (await people.rules(JUNE)).operators.at("sip:anna@vpbx.example") is None
        users.may_answer.set()

        async def known() -> bool:
            return (await people.rules(JUNE)).operators.at("sip:anna@vpbx.example") == "150"

        await eventually(known, 5)
    finally:
        await people.close()


async def test_a_user_who_moves_is_known_after_the_notify(pool: Pool) -> None:
    await furnish(pool)
    people = People(pool, Products(pool, VAULT))
    line = "+74951230001"
    before = (await people.rules(JUNE)).operators.choose(None, None, line)

    await pool.execute("update users set city = 'Казань' where email = $1", f"150@{JUNE}.example")
    await pool.execute("update users set city = 'Москва' where email = $1", f"151@{JUNE}.example")
    assert (await people.rules(JUNE)).operators.choose(None, None, line) == before
    people.changed()

    after = (await people.rules(JUNE)).operators.choose(None, None, line)
    assert (before and before.extension, after and after.extension) == ("150", "151")
