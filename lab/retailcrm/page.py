"""A plain page of what an account was told, for whoever watches the lab. Renews itself every two seconds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from html import escape
from zoneinfo import ZoneInfo

from lab.retailcrm.account import Account

_RU = {
    "Calls": "Звонки",
    "Pop-ups": "Всплывающие карточки",
    "Requests": "Запросы",
    "Date": "Дата",
    "Direction": "Направление",
    "Phone": "Телефон",
    "Extension": "Добавочный",
    "Result": "Результат",
    "Talk, s": "Разговор, с",
    "Wait, s": "Ожидание, с",
    "Call": "Звонок",
    "Recording": "Запись",
    "Time": "Время",
    "Type": "Тип",
    "Extensions": "Добавочные",
    "Status": "Статус",
    "Line": "Линия",
    "Request": "Запрос",
    "Answer": "Ответ",
    "Manager": "Менеджер",
    "listen": "слушать",
    "Make the call": "Позвонить",
    "nothing yet": "пока ничего",
    "Account": "Аккаунт",
    "uploaded again": "загружено повторно",
}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#1c2430}table{border-collapse:collapse;margin:0 0 2rem}"
    "th,td{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid #dde3ea}"
    "th{color:#5b6775;font-weight:500}"
    "h1{font-size:1.4rem}h2{font-size:1.05rem}.none{color:#8b96a3}form{margin:0 0 2rem}"
)
SHOWN = 30


class _Words:
    def __init__(self, accept_language: str) -> None:
        self.russian = accept_language.lower().lstrip().startswith("ru")

    def __call__(self, text: str) -> str:
        return escape(_RU.get(text, text) if self.russian else text)


def overview(accounts: Iterable[Account], accept_language: str = "") -> str:
    words = _Words(accept_language)
    rows = [
        [f'<a href="{escape(account.url)}/">{escape(account.name)}</a>', len(account.calls), len(account.events)]
        for account in accounts
    ]
    body = "<h1>RetailCRM</h1>" + _table(words, ["Account", "Calls", "Pop-ups"], rows)
    return _document(words, "RetailCRM", body)


def account(account: Account, accept_language: str = "") -> str:
    words = _Words(accept_language)
    body = f"<h1>{escape(account.name)}.retailcrm</h1>{_click_form(account, words)}"
    body += f"<h2>{words('Calls')}: {len(account.calls)}"
    body += f" · {words('uploaded again')}: {len(account.duplicates)}</h2>" if account.duplicates else "</h2>"
    body += _table(
        words,
        ["Date", "Direction", "Phone", "Extension", "Result", "Talk, s", "Wait, s", "Line", "Call", "Recording"],
        [
            [
                escape(call.date),
                escape(call.type),
                escape(call.phone),
                escape(call.code or ""),
                escape(call.result),
                call.duration if call.duration is not None else "",
                call.duration_waiting if call.duration_waiting is not None else "",
                escape(call.external_phone or ""),
                escape(call.external_id or ""),
                f'<a href="{escape(call.record_url)}">{words("listen")}</a>' if call.record_url else "",
            ]
            for call in reversed(account.calls[-SHOWN:])
        ],
    )
    body += f"<h2>{words('Pop-ups')}: {len(account.events)}</h2>"
    body += _table(
        words,
        ["Time", "Type", "Phone", "Extensions", "Status", "Line", "Call"],
        [
            [
                _clock(account, event.received_at),
                escape(event.type),
                escape(event.phone),
                escape(", ".join(event.codes)),
                escape(event.hangup_status or ""),
                escape(event.external_phone or ""),
                escape(event.call_external_id or ""),
            ]
            for event in reversed(account.events[-SHOWN:])
        ],
    )
    body += f"<h2>{words('Requests')}: {len(account.requests)}</h2>"
    body += _table(
        words,
        ["Time", "Request", "Answer"],
        [
            [_clock(account, request.at), escape(f"{request.method} {request.path}"), request.status or "—"]
            for request in list(account.requests)[-SHOWN:][::-1]
        ],
    )
    return _document(words, account.name, body)


def _click_form(account: Account, words: _Words) -> str:
    codes = account.codes()
    if not any(module.active for module in account.modules.values()) or not codes:
        return ""
    options = "".join(
        f'<option value="{user.id}">{escape(f"{user.first_name} {user.last_name} ({code})")}</option>'
        for code, user_id in codes.items()
        if (user := account.user(user_id))
    )
    said = f" {escape(account.clicked)}" if account.clicked else ""
    return (
        f'<form method="post" action="/click"><label>{words("Manager")} <select name="user">{options}</select></label> '
        f'<label>{words("Phone")} <input name="phone" required></label> '
        f"<button>{words('Make the call')}</button>{said}</form>"
    )


def _clock(account: Account, at: float) -> str:
    return datetime.fromtimestamp(at, ZoneInfo(account.timezone)).strftime("%H:%M:%S.%f")[:-3]


def _table(words: _Words, head: list[str], rows: list[list[object]]) -> str:
    """Cells are HTML already."""
    if not rows:
        return f'<p class="none">{words("nothing yet")}</p>'
    headings = "".join(f"<th>{words(title)}</th>" for title in head)
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{headings}</tr></thead><tbody>{lines}</tbody></table>"


def _document(words: _Words, title: str, body: str) -> str:
    """The page renews itself, unless somebody is typing in it."""
    renew = "setInterval(()=>{if(document.activeElement.tagName!=='INPUT')location.reload()},2000)"
    return (
        f'<!DOCTYPE html><html lang="{"ru" if words.russian else "en"}"><head><meta charset="utf-8">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{body}<script>{renew}</script></body></html>"
    )
