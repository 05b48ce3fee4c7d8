"""What commands do against the deployment's database: between the command line and the parts of the house."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bridge.crm import deadletters
from bridge.db.deployment import opened
from bridge.settings import Settings

Progress = Callable[[str], None]


async def dead_letters(settings: Settings, enterprise: str | None, limit: int, progress: Progress) -> list[str]:
    """A tab-separated line for each, the newest first."""
    async with opened(settings.database_url, settings.data_dir, progress) as pool, pool.acquire() as connection:
        letters = await deadletters.list_dead(connection, enterprise, limit=limit)
    return [
        "\t".join(
            (
                str(letter.id),
                (letter.done_at or letter.queued_at).isoformat(timespec="seconds"),
                letter.enterprise_number,
                letter.integration_type,
                letter.external_id,
                letter.kind,
                letter.phone or "-",
                f"{letter.attempts} attempts",
                " ".join((letter.reason or "").split()),
            )
        )
        for letter in letters
    ]


async def resend_dead_letters(
    settings: Settings, enterprise: str | None, ids: Sequence[int] | None, progress: Progress
) -> int:
    """How many were queued again."""
    async with opened(settings.database_url, settings.data_dir, progress) as pool, pool.acquire() as connection:
        return await deadletters.resend(connection, enterprise, ids)
