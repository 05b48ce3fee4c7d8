"""What /health says, and to whom: a status to everybody, reasons to those they concern."""

from __future__ import annotations

import httpx
import pytest
from http_office import URL, Exchanges, Office, People
from starlette.applications import Starlette

from bridge.http.services import PbxState, Services, Trouble

REFUSED = "Asterisk refused the login of 'bridge': the secret is wrong"


@pytest.fixture
def trouble(services: Services) -> None:
    """A PBX of each enterprise is down, and a secret of one cannot be opened."""
    assert isinstance(services.pbxs, Exchanges)
    services.pbxs.now += [
        PbxState(enterprise_number="0367", name="second", state="auth_failed", problem=REFUSED),
        PbxState(enterprise_number="0400", name="annex", state="connecting"),
    ]
    services.troubles = lambda: [
        Trouble(text="amocrm.client_secret of enterprise 0400 was sealed with another key", enterprise_number="0400"),
        Trouble(text="The disk of /data has 12 MB free"),
    ]


async def test_all_is_well(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")

    said = answer.json()
    assert answer.status_code == 200
    assert (said["success"], said["status"], said["data"]["status"]) == (True, "ok", "ok")
    assert said["data"]["reasons"] == []
    assert said["data"]["pbx_count"] == {"total": 2, "up": 2}


@pytest.mark.usefixtures("trouble")
async def test_what_is_wrong_is_said_in_plain_words_on_this_machine(client: httpx.AsyncClient) -> None:
    answer = await client.get("/health")

    said = answer.json()
    assert answer.status_code == 200
    assert (said["status"], said["data"]["status"]) == ("degraded", "degraded")
    assert said["data"]["reasons"] == [
        f"PBX second of enterprise 0367: {REFUSED}",
        "PBX annex of enterprise 0400: connecting",
        "amocrm.client_secret of enterprise 0400 was sealed with another key",
        "The disk of /data has 12 MB free",
    ]


@pytest.mark.usefixtures("trouble")
@pytest.mark.parametrize(
    ("address", "headers"),
    [
        ("203.0.113.9", {}),
        ("2001:db8::9", {}),
        ("127.0.0.1", {"X-Forwarded-For": "203.0.113.9"}),
        ("127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}),
        ("127.0.0.1", {"Forwarded": "for=203.0.113.9"}),
        ("127.0.0.1", {"X-Real-IP": "203.0.113.9"}),
        ("203.0.113.9", {"Authorization": "Bearer made.up.token"}),
        ("unix:", {}),
    ],
)
async def test_a_stranger_from_outside_is_told_numbers_only(
    app: Starlette, office: Office, address: str, headers: dict[str, str]
) -> None:
    transport = httpx.ASGITransport(app, client=(address, 40000))
    async with httpx.AsyncClient(transport=transport, base_url=URL) as stranger:
        answer = await stranger.get("/health", headers=headers)

    said = answer.json()
    assert (answer.status_code, said["status"]) == (200, "degraded")
    assert said["data"]["reasons"] == ["2 of 4 PBXs: not up", "2 other problems"]
    assert said["data"]["pbxs"] == []
    assert said["data"]["pbx_count"] == {"total": 4, "up": 2}
    for secret in ("0367", "second", "bridge'", "refused", "amocrm", "/data"):
        assert secret not in answer.text


@pytest.mark.usefixtures("trouble")
async def test_whoever_is_signed_in_reads_what_concerns_them(sign_in: People) -> None:
    outside = {"X-Forwarded-For": "203.0.113.9"}
    olga, root = await sign_in("olga"), await sign_in("root")

    hers = (await olga.get("/health", headers=outside)).json()["data"]
    everything = (await root.get("/health", headers=outside)).json()["data"]

    assert hers["reasons"] == [f"PBX second of enterprise 0367: {REFUSED}"]
    assert {pbx["enterprise_number"] for pbx in hers["pbxs"]} == {"0367"}
    assert len(everything["reasons"]) == 4
    assert len(everything["pbxs"]) == 4
