"""The bucket for recordings: is it there, are its keys right, and does it keep what it is given. Lists one name; puts,
reads and removes one small object."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from bridge.check.finding import Finding
from bridge.errors import StoreProblem
from bridge.recorders import open_store
from bridge.settings import Settings

_CODE = re.compile(r"<Code>(\w{1,64})</Code>")
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_ABSENT = {"NoSuchBucket"}
_KEYS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied", "AuthorizationHeaderMalformed"}


async def bucket(settings: Settings, timeout: float) -> list[Finding]:
    """Nothing to say where recordings stay in the data directory."""
    name = settings.s3_bucket_name
    if not name:
        return []
    place, where = "S3", settings.s3_endpoint or "Amazon S3"
    try:
        async with asyncio.timeout(timeout * 2):
            async for _ in obstore.list(_store(settings, name, timeout), chunk_size=1):
                break
    except (BaseError, TimeoutError, OSError) as problem:
        code, status = (_found(pattern, str(problem)) for pattern in (_CODE, _STATUS))
        if code in _ABSENT:
            return [Finding("error", place, f"{where} has no bucket {name}.", "Make it, or correct S3_BUCKET_NAME.")]
        if code in _KEYS or status in ("401", "403"):
            said = f"{where} refused the keys: {code or status}."
            return [Finding("error", place, said, "Compare S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY and S3_REGION.")]
        if status:
            said = f"{where} answered {status} {code}".rstrip() + "."
            return [Finding("error", place, said, "Check S3_ENDPOINT and S3_REGION.")]
        return [Finding("error", place, f"{where} does not answer as S3 does.", "Check S3_ENDPOINT, and the network.")]
    try:
        async with asyncio.timeout(timeout * 2):
            await open_store(settings).examine()
    except (StoreProblem, TimeoutError) as problem:
        said = f"The bucket {name} at {where} can be listed, but not written, read and emptied"
        why = problem.message if isinstance(problem, StoreProblem) else "no answer in time"
        return [Finding("error", place, f"{said}: {why}", "Let its keys put, get and delete objects.")]
    return [Finding("ok", place, f"The bucket {name} at {where} can be written and read.")]


def _store(settings: Settings, name: str, timeout: float) -> S3Store:
    endpoint: dict[str, Any] = {"endpoint": settings.s3_endpoint} if settings.s3_endpoint else {}
    return S3Store(
        name,
        region=settings.s3_region or "us-east-1",
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
        virtual_hosted_style_request=False,
        client_options={
            "allow_http": (settings.s3_endpoint or "").startswith("http://"),
            "timeout": timedelta(seconds=timeout),
        },
        retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=timeout)},
        **endpoint,
    )


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""
