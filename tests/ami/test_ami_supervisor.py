"""Links follow the tables and the leases at run time; what did not change is not touched."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any

import msgspec
import pytest
from scripted_ami import QUICK, Heard, ScriptedAmi, until

from bridge.ami.manager import Timing
from bridge.ami.pbx import PbxRow
from bridge.ami.supervisor import Supervisor
from bridge.calls.model import Rules
from bridge.errors import ActionFailed, NotFound, PbxUnavailable


class Lease(msgspec.Struct, frozen=True):
    epoch: int = 1
    watched_until: float | None = None


class Owned:
    """Leases as a test gives them."""

    def __init__(self) -> None:
        self.held: Mapping[int, Lease] = {}
        self.watched: Callable[[], Collection[int]] = tuple
        self.left: Callable[[Collection[int]], Awaitable[None]]
        self.pokes = 0
        self._tell: Callable[[], None] = lambda: None

    def on_change(self, callback: Callable[[], None]) -> None:
        self._tell = callback

    def poke(self) -> None:
        self.pokes += 1

    def give(self, **leases: Lease) -> None:
        self.held = {int(key.removeprefix("pbx")): lease for key, lease in leases.items()}
        self._tell()


class Ear(Heard):
    """A listener that keeps what it was told."""

    def __init__(self, row: PbxRow, epoch: int) -> None:
        super().__init__()
        self.row, self.epoch = row, epoch
        self.closed = False
        self.may_close = asyncio.Event()
        self.may_close.set()

    def on_gap(self, began: float, ended: float | None, reason: str) -> None:
        self.told.append(("gap", (began, ended, reason)))

    def on_row(self, pbx: PbxRow) -> None:
        self.row = pbx
        self.told.append(("row", pbx.rules))

    async def close(self) -> None:
        await self.may_close.wait()
        self.closed = True

    @property
    def gaps(self) -> list[tuple[float, float | None, str]]:
        return [what for kind, what in self.told if kind == "gap"]


class House:
    """A supervisor, its tables, its leases, and the listeners it made."""

    def __init__(self, **options: Any) -> None:
        self.rows: list[PbxRow] = []
        self.leases = Owned()
        self.ears: list[Ear] = []
        self.broken = False
        self.supervisor = Supervisor(self.load, leases=self.leases, attach=self.attach, timing=QUICK, **options)

    async def load(self) -> list[PbxRow]:
        if self.broken:
            raise OSError("the database is away")
        return list(self.rows)

    async def attach(self, row: PbxRow, epoch: int) -> Ear:
        if row.name == "unattachable":
            raise RuntimeError("no memory of its calls")
        self.ears.append(Ear(row, epoch))
        return self.ears[-1]

    def has(self, *rows: PbxRow) -> None:
        self.rows = list(rows)
        self.supervisor.refresh()

    def up(self) -> set[str]:
        return {state.name for state in self.supervisor.states() if state.state == "up"}


@pytest.fixture
async def house() -> AsyncIterator[House]:
    made = House()
    task = asyncio.create_task(made.supervisor.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert all(ear.closed for ear in made.ears)


def row(pbx: ScriptedAmi, number: int = 1, **fields: Any) -> PbxRow:
    given = {"enterprise_number": "0367", "name": f"pbx{number}", "host": "127.0.0.1", "username": "bridge", **fields}
    return PbxRow(**{"id": number, "port": pbx.port, "secret": "s3cret", **given})


async def test_only_owned_pbxs_are_listened_to(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease())
    house.has(row(pbx, 1), row(pbx, 2))
    await until(lambda: house.up() == {"pbx1"})
    assert [(state.name, state.state) for state in house.supervisor.states()] == [("pbx1", "up"), ("pbx2", "elsewhere")]
    assert set(house.leases.watched()) == {1}
    assert len(pbx.sessions) == 1
    assert house.leases.pokes == 2  # a PBX is there to be had; the one that is had is watched from now on


async def test_a_pbx_added_changed_and_removed_leaves_the_others_alone(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease(), pbx2=Lease())
    house.has(row(pbx, 1))
    await until(lambda: house.up() == {"pbx1"})
    first = house.supervisor.manager_for("0367", "pbx1")
    house.has(row(pbx, 1), row(pbx, 2))
    await until(lambda: house.up() == {"pbx1", "pbx2"})
    async with ScriptedAmi() as other:
        house.has(row(pbx, 1), row(other, 2))
        await until(lambda: other.sessions and house.up() == {"pbx1", "pbx2"})
        house.has(row(pbx, 1))
        await until(lambda: house.ears[1].closed)
    assert house.up() == {"pbx1"}
    assert house.supervisor.manager_for("0367", "pbx1") is first
    assert first.counters.connects == 1
    assert len(house.ears) == 2  # a change of address keeps the listener: its calls go on
    assert [kind for kind, _ in house.ears[1].told if kind != "frame"] == ["up", "gap", "down", "row", "gap", "up"]


async def test_a_change_of_rules_reaches_the_listener_and_not_the_link(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease())
    house.has(row(pbx))
    await until(lambda: house.up() == {"pbx1"})
    house.has(row(pbx, rules=Rules(extensions=r"^2\d\d$")))
    await until(lambda: house.ears[0].count("row") == 1)
    assert house.ears[0].row.rules.extensions == r"^2\d\d$"
    assert len(pbx.sessions) == 1


async def test_a_wrong_password_set_right_in_the_tables_is_tried_at_once(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease())
    house.has(row(pbx, secret="wrong"))
    await until(lambda: [state.state for state in house.supervisor.states()] == ["auth_failed"])
    house.has(row(pbx))
    await until(lambda: house.up() == {"pbx1"})


async def test_a_renamed_pbx_is_another_one(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease())
    house.has(row(pbx))
    await until(lambda: house.up() == {"pbx1"})
    house.has(row(pbx, name="office"))
    await until(lambda: house.up() == {"office"})
    assert [ear.closed for ear in house.ears] == [True, False]


async def test_a_lost_lease_ends_listening_in_that_moment(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease())
    house.has(row(pbx))
    await until(lambda: house.up() == {"pbx1"})
    told = len(house.ears[0].told)
    pbx.session.event("Hangup", "Uniqueid: 1.1")  # under way when the lease is lost
    house.leases.give()
    await until(lambda: house.ears[0].closed)
    assert len(house.ears[0].told) == told


async def test_a_pbx_is_left_when_its_listener_has_written_what_it_heard(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease())
    house.has(row(pbx))
    await until(lambda: house.up() == {"pbx1"})
    house.ears[0].may_close.clear()
    house.leases.give()
    left = asyncio.create_task(house.leases.left([1]))
    await until(lambda: 1 in house.supervisor._leaving)
    assert not left.done()
    house.ears[0].may_close.set()
    await left
    assert house.ears[0].closed
    await house.leases.left([1, 2])  # nothing to wait for


async def test_a_lease_that_came_back_with_a_new_epoch_is_a_new_watch(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease(epoch=1))
    house.has(row(pbx))
    await until(lambda: house.up() == {"pbx1"})
    house.leases.give(pbx1=Lease(epoch=3))
    await until(lambda: len(house.ears) == 2 and house.up() == {"pbx1"})
    assert [(ear.epoch, ear.closed) for ear in house.ears] == [(1, True), (3, False)]


async def test_what_nobody_watched_is_a_gap_before_the_channels_come(house: House, pbx) -> None:
    earlier = time.time() - 100
    house.leases.give(pbx1=Lease(watched_until=earlier))
    house.has(row(pbx))
    await until(lambda: house.up() == {"pbx1"})
    assert [kind for kind, _ in house.ears[0].told if kind != "frame"] == ["gap", "up"]
    ((began, ended, _),) = house.ears[0].gaps
    assert began == earlier
    assert ended is not None
    assert abs(ended - time.time()) < 10


async def test_a_lost_link_is_a_gap_from_its_last_word_until_it_is_back(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease())
    house.has(row(pbx))
    await until(lambda: house.up() == {"pbx1"})
    pbx.session.drop()
    ear = house.ears[0]
    await until(lambda: ear.count("up") == 2)
    assert [kind for kind, _ in ear.told if kind != "frame"] == ["up", "gap", "down", "gap", "up"]
    (began, still, reason), (again, ended, _) = ear.gaps
    assert still is None
    assert began == again
    assert ended is not None
    assert ended >= began
    assert "lost" in reason


async def test_one_pbx_that_cannot_be_attached_does_not_keep_the_others_away(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease(), pbx2=Lease())
    house.has(row(pbx, 1, name="unattachable"), row(pbx, 2))
    await until(lambda: house.up() == {"pbx2"})
    house.has(row(pbx, 1, name="mended"), row(pbx, 2))
    await until(lambda: house.up() == {"pbx2", "mended"})


async def test_while_the_tables_cannot_be_read_the_links_stay(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease())
    house.has(row(pbx))
    await until(lambda: house.up() == {"pbx1"})
    house.broken = True
    house.supervisor.refresh()
    pbx.session.event("Hangup", "Uniqueid: 1.1")
    await until(lambda: "Hangup" in house.ears[0].names)
    assert house.up() == {"pbx1"}
    house.broken = False
    house.has(row(pbx), row(pbx, 2))
    house.leases.give(pbx1=Lease(), pbx2=Lease())
    await until(lambda: house.up() == {"pbx1", "pbx2"})


async def test_a_pbx_owned_elsewhere_is_commanded_over_a_link_without_events(house: House, pbx) -> None:
    pbx.answers["Redirect"] = lambda session, action: session.respond(action, "Success", "Message: Redirect successful")
    house.has(row(pbx))
    await until(lambda: house.supervisor.states())
    manager = house.supervisor.manager_for("0367", "pbx1")
    reply = await manager.send({"Action": "Redirect", "Channel": "PJSIP/trunk-1", "Exten": "151", "Context": "x"})
    assert reply.message == "Redirect successful"
    assert house.supervisor.manager_for("0367") is manager  # kept
    assert [login["Events"] for login in pbx.named("Login")] == ["off"]
    assert house.ears == []


async def test_a_command_link_goes_when_the_pbx_becomes_ours_or_is_removed(house: House, pbx) -> None:
    house.has(row(pbx, 1), row(pbx, 2))
    await until(lambda: len(house.supervisor.states()) == 2)
    links = [house.supervisor.manager_for("0367", name) for name in ("pbx1", "pbx2")]
    await until(lambda: all(link.state == "up" for link in links))
    house.leases.give(pbx1=Lease())
    house.has(row(pbx, 1))
    await until(lambda: all(link.state == "closed" for link in links))
    assert house.supervisor.manager_for("0367", "pbx1") not in links


async def test_a_command_link_long_unused_is_closed(pbx) -> None:
    house = House(period=0.02, unused=0.05)
    task = asyncio.create_task(house.supervisor.run())
    house.has(row(pbx))
    await until(lambda: house.supervisor.states())
    manager = house.supervisor.manager_for("0367")
    await until(lambda: manager.state == "closed")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_command_to_a_pbx_that_refuses_us_is_refused_in_words(house: House, pbx) -> None:
    house.has(row(pbx, secret="wrong"))
    await until(lambda: house.supervisor.states())
    with pytest.raises(PbxUnavailable, match="refused the login"):
        await house.supervisor.manager_for("0367").send({"Action": "Ping"})


async def test_of_several_pbxs_the_one_with_the_extension_is_taken_and_never_another_enterprises(
    house: House, pbx
) -> None:
    house.has(
        row(pbx, 1, rules=Rules(extensions=r"^1\d\d$")),
        row(pbx, 2, rules=Rules(extensions=r"^2\d\d$")),
        row(pbx, 3, rules=Rules(extensions="[")),
        row(pbx, 4, enterprise_number="9999", rules=Rules(extensions=r"^3\d\d$")),
    )
    await until(lambda: len(house.supervisor.states()) == 4)
    find = house.supervisor.pbx_for
    assert find("0367", extension="150").name == "pbx1"
    assert find("0367", extension="250").name == "pbx2"
    for wrong in ({"extension": "350"}, {"name": "pbx4"}):
        with pytest.raises(NotFound, match="0367"):
            find("0367", **wrong)
    with pytest.raises(NotFound):
        find("nobody")


async def test_of_two_that_have_the_extension_the_one_that_is_up_is_taken(house: House, pbx) -> None:
    house.leases.give(pbx1=Lease(), pbx2=Lease())
    house.has(row(pbx, 1, secret="wrong"), row(pbx, 2))
    await until(lambda: house.up() == {"pbx2"})
    assert house.supervisor.pbx_for("0367", extension="150").name == "pbx2"


async def test_two_hundred_pbxs_in_one_process(house: House, pbx) -> None:
    house.leases.give(**{f"pbx{n}": Lease() for n in range(1, 201)})
    house.has(*(row(pbx, n) for n in range(1, 201)))
    await until(lambda: len(house.up()) == 200, deadline=20)
    for session in pbx.sessions:
        session.event("Hangup", "Uniqueid: 1.1")
    await until(lambda: all(ear.names[-1:] == ["Hangup"] for ear in house.ears))
    assert len(house.ears) == len(pbx.sessions) == 200


async def test_an_instance_without_leases_commands_and_does_not_listen(pbx) -> None:
    async def load() -> list[PbxRow]:
        return [row(pbx)]

    supervisor = Supervisor(load, timing=Timing())
    task = asyncio.create_task(supervisor.run())
    await until(lambda: supervisor.states())
    with pytest.raises(ActionFailed):
        await supervisor.manager_for("0367").send({"Action": "Nonsense"})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(ValueError, match="together"):
        Supervisor(load, leases=Owned())
