"""The tables that reports of the source documents' owners read, and the plans of the queries that every page makes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bridge.db import call_lists
from bridge.db.call_lists import CallFilter
from bridge.db.pool import Pool
from bridge.db.scope import Scope

DOCUMENTED = {
    "enterprises": "number name secret integrations_config",
    "users": "id first_name last_name email city",
    "user_internal_phones": "user_id phone_number enterprise_number",
    "integration_logs": "enterprise_number integration_type event_type request_data response_data status error_message"
    " created_at",
    "phones": "number rk city enterprise_number",
    "mango": "call_id status from_number to_number record_url",
    "companies": "id name_companies inn status_companies phone_numbers",
    "calls": "id caller_number receiver_number status accepted_at answered_at ended_at duration notes assigned_user_id"
    " answered_by_user_id caller_company_id customer_name company email call_purpose priority is_on_hold tags"
    " follow_up_date outcome recording_url transfer_count channel_id started_at",
}


@pytest.mark.parametrize("table", DOCUMENTED)
async def test_a_documented_table_has_its_columns(pool: Pool, table: str) -> None:
    rows = await pool.fetch("select column_name from information_schema.columns where table_name = $1", table)

    assert set(DOCUMENTED[table].split()) <= {row["column_name"] for row in rows}


@pytest.mark.parametrize(
    ("table", "column", "word", "message"),
    [
        ("users", "role", "king", "users_role_check"),
        ("integration_logs", "status", "maybe", "integration_logs_status_check"),
        ("calls", "status", "ringing", "calls_status_check"),
    ],
)
async def test_words_out_of_the_vocabulary_are_refused(
    pool: Pool, table: str, column: str, word: str, message: str
) -> None:
    found = await pool.fetchval("select pg_get_constraintdef(oid) from pg_constraint where conname = $1", message)

    assert column in found
    assert f"'{word}'" not in found


@pytest.fixture
async def busy(pool: Pool) -> Pool:
    """Two enterprises with 20 000 calls each."""
    await pool.execute("insert into enterprises (number) values ('0367'), ('0400')")
    await pool.execute(
        """
        insert into calls (enterprise_number, pbx_name, call_id, direction, client_number, started_at, state)
        select e, 'office', n::text, 'inbound', '+7916' || lpad((n % 5000)::text, 7, '0'),
               now() - make_interval(secs => n), case when n < 20 then '{}'::bytea end
        from unnest(array['0367', '0400']) e, generate_series(1, 20000) n
        """
    )
    await pool.execute("analyze calls")
    return pool


class Explaining:
    """A connection that asks for the plan of a query instead of its rows."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.plans: list[dict[str, Any]] = []

    async def fetch(self, query: str, *values: Any) -> list[Any]:
        told = await self._pool.fetchval("explain (analyze, format json) " + query, *values)
        self.plans.append((json.loads(told) if isinstance(told, str) else told)[0]["Plan"])
        return []

    fetchval = fetch
    fetchrow = fetch


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


async def test_a_page_of_recent_calls_reads_that_page_only(busy: Pool) -> None:
    asked: Any = Explaining(busy)
    await call_lists.listed(asked, Scope("0367"), CallFilter(), page=1, limit=50)

    page = nodes(asked.plans[-1])
    assert [node["Index Name"] for node in page if node.get("Relation Name") == "calls"] == ["calls_recent"]
    assert not [node for node in page if node["Node Type"] == "Sort"]
    assert all(node["Actual Rows"] <= 50 for node in page if node.get("Relation Name") == "calls")


async def test_the_live_calls_of_a_pbx_are_found_by_their_index(busy: Pool) -> None:
    from bridge.db import calls

    asked: Any = Explaining(busy)
    await calls.live_states(asked, "0367", "office")

    scans = [node for node in nodes(asked.plans[0]) if "Index Name" in node]
    assert [node["Index Name"] for node in scans] == ["calls_live"]
