"""What the pool's connections do to text and JSON, and what its failures say."""

from __future__ import annotations

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.db.pool import Pool, clean, connect, open_pool, without_password
from bridge.errors import DatabaseProblem

anything = st.text(st.characters() | st.just("\0") | st.characters(categories=["Cs"]), max_size=30)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=anything, names=st.lists(anything, max_size=4), value=json_values)
async def test_no_text_and_no_json_breaks_a_write(pool: Pool, text: str, names: list[str], value: object) -> None:
    row = await pool.fetchrow("select $1::text as text, $2::text[] as names, $3::jsonb as value", text, names, value)

    assert row["text"] == clean(text)
    assert row["names"] == [clean(name) for name in names]
    assert "\0" not in repr(row["value"])


async def test_what_postgres_refuses_is_marked_and_not_left_out(pool: Pool) -> None:
    assert await pool.fetchval("select $1::text", "15\x000\ud800") == "15\ufffd0\ufffd"
    assert await pool.fetchval("select $1::jsonb", {"a\0": ["\x00", "\udfff"]}) == {"a\ufffd": ["\ufffd", "\ufffd"]}


async def test_the_text_of_an_escape_survives(pool: Pool) -> None:
    assert await pool.fetchval("select $1::jsonb", {"a": "\\u0000"}) == {"a": "\\u0000"}


async def test_many_rows_are_cleaned_too(pool: Pool) -> None:
    async with pool.acquire() as connection:
        await connection.execute("create temporary table notes (text text, tags text[], value jsonb)")
        await connection.executemany("insert into notes values ($1, $2, $3)", [("a\0", ["b\0"], {"c": "\0"})])
        row = await connection.fetchrow("select * from notes")

    assert tuple(row) == ("a\ufffd", ["b\ufffd"], {"c": "\ufffd"})


async def test_an_absent_database_is_named_without_the_password(postgres_url: str) -> None:
    url = postgres_url.replace("bridge@", "bridge:s3cret@").replace("/bridge?", "/elsewhere?")

    with pytest.raises(DatabaseProblem, match="no such database") as raised:
        await open_pool(url)

    assert "elsewhere" in str(raised.value)
    assert "s3cret" not in str(raised.value)


async def test_nobody_at_the_address(unused_port: int) -> None:
    with pytest.raises(DatabaseProblem, match=r"No connection to the database at postgresql://bridge@127\.0\.0\.1"):
        await connect(f"postgresql://bridge:s3cret@127.0.0.1:{unused_port}/bridge")


async def test_something_that_is_no_address() -> None:
    with pytest.raises(DatabaseProblem, match="BRIDGE_DATABASE_URL"):
        await connect("mysql://bridge@127.0.0.1/bridge")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@db.example:5433/calls?sslmode=require&password=q", "postgresql://u@db.example:5433/calls"),
        ("postgresql:///bridge?host=/run/x", "postgresql:///bridge"),
        ("postgresql://u:p@[bad/calls", "the address given"),
    ],
)
def test_addresses_are_shown_without_secrets(url: str, shown: str) -> None:
    assert without_password(url) == shown


async def test_a_connection_the_server_has_said_goodbye_to_is_lost(database_url: str) -> None:
    """Though its stream has not ended yet: then asyncpg speaks of an error of its own."""
    connection = await connect(database_url)
    goodbye = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
    connection._protocol.data_received(b"E" + (len(goodbye) + 4).to_bytes(4, "big") + goodbye)

    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await connection.fetchval("select 1")

    assert connection.is_closed()
