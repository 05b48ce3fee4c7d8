"""What is on the other side: every PBX (AMI, ARI) and every CRM."""

from __future__ import annotations

import asyncio

import httpx

from bridge.ami import doctor
from bridge.ami.manager import Timing
from bridge.ami.pbx import PbxRow
from bridge.ari.client import Ari
from bridge.calls.model import Rules
from bridge.check.finding import Finding
from bridge.configuration import Enterprise, Pbx
from bridge.crm.retailcrm.client import Client
from bridge.crm.retailcrm.hosts import judge
from bridge.errors import AriError, BadInput, CrmRefused, CrmUnavailable
from bridge.hosts import Hosts, Transport
from bridge.secrets import SEALED

_SEALED = "A secret was sealed with a key that is not in BRIDGE_SECRET_KEY."
_UNSEAL = "Add that key after the newest, or apply the secret again."
_VISIT = 6  # time-outs that an examination of a PBX, which asks some ten things, may take


async def pbx(enterprise: Enterprise, pbx: Pbx, timeout: float) -> list[Finding]:
    place = f"PBX {enterprise.number}/{pbx.name}"
    if any(secret.startswith(SEALED) for secret in (pbx.ami_secret, pbx.ari_password or "", pbx.token)):
        return [Finding("error", place, _SEALED, _UNSEAL)]
    ami, ari = await asyncio.gather(_ami(enterprise, pbx, place, timeout), _ari(pbx, place, timeout))
    return ami + ari


async def _ami(enterprise: Enterprise, pbx: Pbx, place: str, timeout: float) -> list[Finding]:
    row = PbxRow(
        id=0,
        enterprise_number=enterprise.number,
        name=pbx.name,
        host=pbx.ami_host,
        port=pbx.ami_port,
        username=pbx.ami_username,
        secret=pbx.ami_secret,
        tls=pbx.ami_tls,
        rules=Rules(
            region=enterprise.region,
            extensions=pbx.extensions,
            trunks=tuple(pbx.trunks),
            click_to_call_contexts=tuple(pbx.click_to_call_contexts),
        ),
    )
    timing = Timing(connect=timeout, login=timeout, snapshot=timeout, action=timeout)
    try:
        async with asyncio.timeout(timeout * _VISIT):
            found = await doctor.examine(row, timing=timing)
    except TimeoutError:
        return [Finding("error", f"{place}: AMI", "It does not answer in time.", "See what keeps the PBX busy.")]
    hook = f"context {doctor.HOOK}"
    routed = any(line.smart_redirect != "off" for line in enterprise.line.values())
    return [
        # a hook that no line needs is a hint; one that lines are set to use, and that is not there, is a fault
        Finding(
            "error" if each.subject == hook and each.level == "warning" and routed else each.level,
            f"{place}: {each.subject}",
            each.problem,
            each.advice,
        )
        for each in found
    ]


async def _ari(pbx: Pbx, place: str, timeout: float) -> list[Finding]:
    if not pbx.ari_url:
        return []
    place = f"{place}: ARI"
    try:
        ari = await Ari.open(pbx.ari_url, pbx.ari_username or "", pbx.ari_password or "", timeout=timeout)
        try:
            return [Finding("ok", place, f"Asterisk {(await ari.info()).version} answers.")]
        finally:
            await ari.close()
    except BadInput as problem:
        return [Finding("error", place, problem.message, "Correct it in the apply file.")]
    except AriError as problem:
        if problem.http_status == 401:
            advice = "Compare the user in ari.conf with what the bridge has."
        elif problem.http_status == 404:
            advice = "Set enabled = yes in ari.conf, and mind the path: it ends with /ari."
        else:
            advice = "Check enabled, bindaddr and bindport in http.conf, and that no firewall is between."
        return [Finding("error", place, problem.message, advice)]


async def retailcrm(enterprise: Enterprise, hosts: Hosts, timeout: float) -> list[Finding]:
    place = f"RetailCRM {enterprise.number}"
    config = enterprise.integrations["retailcrm"]
    if not config.get("enabled"):
        return [Finding("ok", place, "It is switched off.")]
    key = str(config.get("api_key") or "")
    if key.startswith(SEALED):
        return [Finding("error", place, _SEALED, _UNSEAL)]
    try:
        address = judge(hosts, str(config.get("domain") or ""))
        inner = httpx.AsyncHTTPTransport(trust_env=False)
        client = Client(address.url, key, Transport(hosts, address, inner))
    except BadInput as problem:
        return [Finding("error", place, problem.message, "Correct it in the apply file.")]
    try:
        credentials = await client.credentials(timeout)
    except CrmUnavailable as problem:
        advice = "Check the domain, and that this machine reaches it. Deliveries wait for 72 hours meanwhile."
        return [Finding("error", place, problem.message, advice)]
    except CrmRefused as problem:
        return [Finding("error", place, problem.message, "Check the domain and the API key.")]
    finally:
        await client.close()
    if credentials.missing:
        said = f"The API key lacks {', '.join(sorted(credentials.missing))}."
        return [Finding("error", place, said, "Give the key these rights in RetailCRM's settings of API keys.")]
    return [Finding("ok", place, f"{address.host} accepts the key, and it has the rights that are needed.")]
