"""The Mango Office emulator: commands, and what comes of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from mango_outside import CLIENT, Caller, Receiver

from lab.mango import Emulator, Faults, Habits, Product

# --- the API: commands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("results_after", [False, True])
async def test_callback_makes_two_legs_and_a_result(
    ask: Caller, mango: Emulator, product: Product, receiver: Receiver, results_after: bool
) -> None:
    product.faults = Faults(results_after=results_after)
    fields = {"command_id": "c-1", "from": {"extension": "170"}, "to_number": "+" + CLIENT}
    answer = await ask("commands/callback", fields)
    assert (answer.status_code, answer.json()) == (200, {"result": 1000})
    await receiver.until(lambda: receiver.told("events/summary") and receiver.told("result/callback"))
    assert receiver.told("result/callback") == [{"command_id": "c-1", "result": 1000}]
    order = [path for path, _ in receiver.posts]
    assert (order.index("/hook/result/callback") > order.index("/hook/events/call")) == results_after
    (summary,) = receiver.told("events/summary")
    assert (summary["call_direction"], summary["from"]["extension"], summary["to"]["number"]) == (2, "170", CLIENT)
    await product.until(lambda _: "c-1" in mango.switchboard(product).done)
    truth = mango.switchboard(product).done["c-1"]
    assert (truth.direction, truth.status, truth.answered_by) == ("outbound", "answered", "170")


@pytest.mark.parametrize(
    ("habits", "status", "reason"),
    [
        ({"employee": "no_answer"}, "cancelled", 1111),
        ({"client": "busy"}, "busy", 1121),
        ({"client": "rejects"}, "busy", 1124),
        ({"client": "no_answer"}, "no_answer", 1111),
    ],
)
async def test_callback_that_comes_to_nothing(
    ask: Caller, mango: Emulator, product: Product, receiver: Receiver, habits: Any, status: str, reason: int
) -> None:
    product.habits = Habits(ring=0.02, **habits)
    await ask("commands/callback", {"command_id": "c-1", "from": {"extension": "170"}, "to_number": CLIENT})
    await receiver.until(lambda: receiver.told("events/summary"))
    assert receiver.told("events/summary")[0]["disconnect_reason"] == reason
    await product.until(lambda _: "c-1" in mango.switchboard(product).done)
    assert mango.switchboard(product).done["c-1"].status == status


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"from": {"extension": "170"}, "to_number": CLIENT}, 3103),
        ({"command_id": "1", "from": {}, "to_number": CLIENT}, 3103),
        ({"command_id": "1", "from": "170", "to_number": CLIENT}, 3104),
        ({"command_id": "1", "from": {"extension": "170"}, "to_number": "call me"}, 3104),
    ],
)
async def test_wrong_callback(ask: Caller, product: Product, fields: dict[str, Any], code: int) -> None:
    assert (await ask("commands/callback", fields)).json()["code"] == code
    assert product.commands == []


async def test_callback_of_nobody_fails_later_and_costs(ask: Caller, receiver: Receiver) -> None:
    fields = {"command_id": "c-1", "from": {"extension": "555"}, "to_number": CLIENT}
    assert (await ask("commands/callback", fields)).json() == {"result": 1000}
    await receiver.until(lambda: receiver.told("result/callback"))
    assert receiver.told("result/callback") == [{"command_id": "c-1", "result": 3100}]
    assert (await ask("account/balance", sign="wrong")).status_code == 401


async def leg_up(receiver: Receiver, state: str, extension: str | None = None) -> str:
    """The call_id of the leg that reached this state."""

    def found() -> str | None:
        return next(
            (
                body["call_id"]
                for body in receiver.told("events/call")
                if body["call_state"] == state and (extension is None or body["to"].get("extension") == extension)
            ),
            None,
        )

    await receiver.until(found)
    call_id = found()
    assert call_id is not None
    return call_id


async def test_route_sends_a_client_in_the_menu_on(
    ask: Caller, mango: Emulator, product: Product, receiver: Receiver
) -> None:
    call = asyncio.create_task(mango.switchboard(product).menu(CLIENT))
    call_id = await leg_up(receiver, "Appeared")
    await ask("commands/route", {"command_id": "r-1", "call_id": call_id, "to_number": "171"})
    truth = await call
    assert (truth.status, truth.answered_by, truth.extensions) == ("answered", "171", ("171",))
    await receiver.until(lambda: receiver.told("result/route") and receiver.told("events/summary"))
    assert receiver.told("result/route") == [{"command_id": "r-1", "result": 1000}]
    rang = next(body for body in receiver.told("events/call") if body["to"].get("extension") == "171")
    assert (rang["command_id"], rang["from"]["taken_from_call_id"]) == ("r-1", call_id)


async def test_route_while_a_phone_rings_makes_another_ring(
    ask: Caller, mango: Emulator, product: Product, receiver: Receiver
) -> None:
    product.habits = Habits(ring=1.0, talk=0.1)
    call = asyncio.create_task(mango.switchboard(product).direct(CLIENT, to="170"))
    call_id = await leg_up(receiver, "Appeared", "170")
    await ask("commands/route", {"command_id": "r-1", "call_id": call_id, "to_number": "171"})
    truth = await call
    assert (truth.answered_by, truth.extensions) == ("171", ("170", "171"))


async def test_route_comes_too_late_once_somebody_has_answered(
    ask: Caller, mango: Emulator, product: Product, receiver: Receiver
) -> None:
    product.habits = Habits(ring=0.02, talk=1.0)
    call = asyncio.create_task(mango.switchboard(product).direct(CLIENT, to="170"))
    call_id = await leg_up(receiver, "Connected", "170")
    await ask("commands/route", {"command_id": "r-1", "call_id": call_id, "to_number": "171"})
    await receiver.until(lambda: receiver.told("result/route"))
    assert receiver.told("result/route")[0]["result"] == 4100
    assert (await call).answered_by == "170"


async def test_client_without_patience_leaves_the_menu(mango: Emulator, product: Product, receiver: Receiver) -> None:
    product.habits = Habits(patience=0.05)
    truth = await mango.switchboard(product).menu(CLIENT)
    assert (truth.status, truth.extensions) == ("missed", ())
    assert receiver.told("events/summary")[0]["disconnect_reason"] == 1170


@pytest.mark.parametrize(("method", "kind"), [("blind", "blind"), ("hold", "attended")])
async def test_transfer(
    ask: Caller, mango: Emulator, product: Product, receiver: Receiver, method: str, kind: str
) -> None:
    product.habits = Habits(ring=0.05, talk=0.5)
    call = asyncio.create_task(mango.switchboard(product).direct(CLIENT, to="170"))
    call_id = await leg_up(receiver, "Connected", "170")
    fields = {"command_id": "t-1", "call_id": call_id, "method": method, "to_number": "172", "initiator": "170"}
    await ask("commands/transfer", fields)
    truth = await call
    assert (truth.answered_by, truth.transfers) == ("172", ((kind, "170", "172"),))
    connected = [body for body in receiver.told("events/call") if body["to"].get("extension") == "172"]
    assert connected[-1]["call_state"] == "Disconnected"
    assert connected[-1]["from"]["number"] == CLIENT


async def test_hangup_ends_the_call_and_finds_it_over_the_second_time(
    ask: Caller, mango: Emulator, product: Product, receiver: Receiver
) -> None:
    product.habits = Habits(ring=0.05, talk=5.0)
    call = asyncio.create_task(mango.switchboard(product).direct(CLIENT, to="170"))
    call_id = await leg_up(receiver, "Connected", "170")
    await ask("commands/call/hangup", {"command_id": "h-1", "call_id": call_id})
    assert (await call).talk_seconds < 4
    await ask("commands/call/hangup", {"command_id": "h-2", "call_id": call_id})
    await receiver.until(lambda: len(receiver.told("result/call/hangup")) == 2)
    results = {body["command_id"]: body["result"] for body in receiver.told("result/call/hangup")}
    assert results == {"h-1": 1000, "h-2": 4101}
    assert receiver.told("events/summary")[0]["disconnect_reason"] == 1181


async def test_recording_is_begun_once(ask: Caller, mango: Emulator, product: Product, receiver: Receiver) -> None:
    product.habits = Habits(ring=0.05, talk=0.6)
    call = asyncio.create_task(mango.switchboard(product).direct(CLIENT, to="170"))
    call_id = await leg_up(receiver, "Connected", "170")
    fields = {"command_id": "s-1", "call_id": call_id, "call_party_number": "170"}
    await ask("commands/recording/start", fields)
    await receiver.until(lambda: receiver.told("events/recording"))
    await ask("commands/recording/start", {**fields, "command_id": "s-2"})
    await call
    results = {body["command_id"]: body["result"] for body in receiver.told("result/recording/start")}
    assert results == {"s-1": 1000, "s-2": 4102}
    assert receiver.told("events/recording")[0]["command_id"] == "s-1"
    assert len(product.files) == 1


async def test_results_may_get_lost(ask: Caller, product: Product, receiver: Receiver) -> None:
    product.faults = Faults(results_lost=True)
    await ask("commands/callback", {"command_id": "c-1", "from": {"extension": "170"}, "to_number": CLIENT})
    await receiver.until(lambda: receiver.told("events/summary"))
    assert receiver.told("result/callback") == []
