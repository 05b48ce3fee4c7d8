"""An enterprise's CRM address cannot be turned against our own network."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from bridge.crm.retailcrm.client import Client
from bridge.crm.retailcrm.hosts import judge
from bridge.errors import BadInput, CrmRefused, CrmUnavailable, HostForbidden, HostUnknown
from bridge.hosts import Address, Hosts, Transport, is_public


@pytest.fixture
async def hosts() -> AsyncIterator[Hosts]:
    hosts = Hosts(["127.0.0.1", ".crm.example.test", "localhost"])
    yield hosts
    hosts.close()


def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Let DNS give these answers, one after another, the last for ever; returns the names that were asked for."""
    asked: list[str] = []
    left = list(answers)

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        answer = left.pop(0) if len(left) > 1 else left[0]
        if not answer:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in answer]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@pytest.mark.parametrize(
    ("domain", "url"),
    [
        ("https://june.retailcrm.ru", "https://june.retailcrm.ru"),
        ("https://June.RetailCRM.ru/", "https://june.retailcrm.ru"),
        ("https://june.retailcrm.ru:443", "https://june.retailcrm.ru"),
        ("https://june.simla.com", "https://june.simla.com"),
        ("http://127.0.0.1:8090", "http://127.0.0.1:8090"),
        ("http://a.crm.example.test:8090/", "http://a.crm.example.test:8090"),
        ("https://crm.example.test", "https://crm.example.test"),
    ],
)
def test_addresses_that_are_allowed(hosts: Hosts, domain: str, url: str) -> None:
    assert judge(hosts, domain).url == url


@pytest.mark.parametrize(
    ("domain", "allowed"),
    [
        ("http://june.retailcrm.ru", "https"),
        ("ftp://june.retailcrm.ru", "https"),
        ("june.retailcrm.ru", "an address like"),
        ("", "an address like"),
        ("https://june.retailcrm.ru:8443", "no port"),
        ("https://june.retailcrm.ru/admin", "nothing but"),
        ("https://june.retailcrm.ru?x=1", "nothing but"),
        ("https://june.retailcrm.ru#x", "nothing but"),
        ("https://user:pw@june.retailcrm.ru", "nothing but"),
        ("https://retailcrm.ru", "NAME.ecomlogic.com"),
        ("https://a.b.retailcrm.ru", "NAME."),
        ("https://evil.test", "NAME."),
        ("https://june.retailcrm.ru.evil.test", "NAME."),
        ("https://evilretailcrm.ru", "NAME."),
        ("https://10.0.0.1", "NAME."),
        ("https://[::1]", "NAME."),
        ("https://169.254.169.254", "NAME."),
        ("https://0x7f000001", "NAME."),
        ("http://127.0.0.1.evil.test", "https"),
        ("http://xcrm.example.test", "https"),
        ("https://юни.retailcrm.ru", "an address like"),
        ("https://june.retailcrm.ru\r\nX: y", "an address like"),
        ("https://june.retailcrm.ru:99999", "an address like"),
        ("https://june_.retailcrm.ru", "an address like"),
    ],
)
def test_addresses_that_are_not(hosts: Hosts, domain: str, allowed: str) -> None:
    with pytest.raises(BadInput) as refused:
        judge(hosts, domain)
    assert refused.value.details["field"] == "domain"
    assert allowed in str(refused.value.details["allowed"])


@pytest.mark.parametrize("ip", ["8.8.8.8", "2001:4860:4860::8888"])
def test_public_addresses(ip: str) -> None:
    assert is_public(ip)


@pytest.mark.parametrize(
    "ip",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1",
        "64:ff9b::a00:1", "2002:7f00:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe",
    ],
)  # fmt: skip
def test_addresses_of_our_own_network_however_wrapped(ip: str) -> None:
    assert not is_public(ip)


async def test_a_name_that_leads_inside_is_refused(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, ["8.8.8.8", "10.0.0.1"])
    with pytest.raises(HostForbidden, match=r"10\.0\.0\.1, which is not a public one"):
        await hosts.resolve(judge(hosts, "https://june.retailcrm.ru"))


async def test_a_trusted_name_may_lead_inside(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, ["10.0.0.1"])
    assert await hosts.resolve(judge(hosts, "http://a.crm.example.test")) == "10.0.0.1"


async def test_a_name_without_an_address_may_have_one_later(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    names(monkeypatch, [], ["8.8.8.8"])
    address = judge(hosts, "https://june.retailcrm.ru")
    with pytest.raises(HostUnknown, match=r"june\.retailcrm\.ru has no address"):
        await hosts.resolve(address)
    assert await hosts.resolve(address) == "8.8.8.8"


async def test_many_askers_ask_once(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = names(monkeypatch, ["8.8.8.8"])
    address = judge(hosts, "https://june.retailcrm.ru")
    assert set(await asyncio.gather(*(hosts.resolve(address) for _ in range(20)))) == {"8.8.8.8"}
    assert asked == ["june.retailcrm.ru"]
    hosts.forget(address)
    await hosts.resolve(address)
    assert len(asked) == 2


async def test_an_asker_who_gives_up_does_not_take_the_answer_from_the_others(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, ["8.8.8.8"])
    address = judge(hosts, "https://june.retailcrm.ru")
    first, second = asyncio.create_task(hosts.resolve(address)), asyncio.create_task(hosts.resolve(address))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "8.8.8.8"


class Recorder(httpx.AsyncBaseTransport):
    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(200, json={"success": True})


async def test_the_connection_goes_to_the_address_that_was_judged(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a name server that says something else when it is asked again
    names(monkeypatch, ["8.8.8.8"], ["10.0.0.1"])
    inner = Recorder()
    transport = Transport(hosts, judge(hosts, "https://june.retailcrm.ru"), inner)
    async with httpx.AsyncClient(transport=transport, base_url="https://june.retailcrm.ru") as client:
        await client.get("/api/credentials")
    [sent] = inner.requests
    # then the connection is to the judged address, under the account's name
    assert sent.url.host == "8.8.8.8"
    assert sent.headers["host"] == "june.retailcrm.ru"
    assert sent.extensions["sni_hostname"] == "june.retailcrm.ru"


def certificate_for(name: str, folder: Path) -> Path:
    """A self-signed certificate and its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(
            subject, subject, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return file


@pytest.mark.parametrize(("holder", "believed"), [("june.crm.example.test", True), ("evil.example.test", False)])
async def test_the_certificate_must_be_the_accounts_though_an_address_is_called(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, holder: str, believed: bool
) -> None:
    # given a server on an address of DNS, with a certificate we would trust if it is for the right name
    file = certificate_for(holder, tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(file)
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving)
    names(monkeypatch, ["127.0.0.1"])
    port = server.sockets[0].getsockname()[1]
    address = judge(hosts, f"https://june.crm.example.test:{port}")
    inner = httpx.AsyncHTTPTransport(verify=ssl.create_default_context(cafile=str(file)))
    async with httpx.AsyncClient(transport=Transport(hosts, address, inner), base_url=address.url) as client:
        if believed:
            assert (await client.get("/")).status_code == 200
            assert f"Host: june.crm.example.test:{port}".encode() in heard[0]
        else:
            with pytest.raises(httpx.ConnectError, match="Hostname mismatch"):
                await client.get("/")
            assert heard == []
    server.close()
    await server.wait_closed()


async def test_a_client_of_one_account_calls_no_other(hosts: Hosts) -> None:
    inner = Recorder()
    address = Address(scheme="https", host="june.retailcrm.ru", port=443, trusted=False)
    async with httpx.AsyncClient(transport=Transport(hosts, address, inner)) as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("https://evil.test/")
    assert inner.requests == []


async def test_whoever_asks_a_crm_hears_that_its_name_leads_nowhere(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    names(monkeypatch, [], ["10.0.0.1"])
    address = judge(hosts, "https://june.retailcrm.ru")
    client = Client(address.url, "key", Transport(hosts, address, Recorder()))
    with pytest.raises(CrmUnavailable, match="has no address"):
        await client.credentials(1.0)
    with pytest.raises(CrmRefused, match="not a public one"):
        await client.credentials(1.0)
    await client.close()
