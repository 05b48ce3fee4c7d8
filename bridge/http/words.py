"""The words of the pages: written in English in the templates, in Russian here. "notice …" is a kind of delivery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Language = Literal["en", "ru"]
LANGUAGES: tuple[Language, ...] = ("en", "ru")

RUSSIAN = {
    # the frame
    "Live calls": "Звонки сейчас",
    "Sign in": "Войти",
    "Sign out": "Выйти",
    "Email": "Почта",
    "Password": "Пароль",
    "The email or the password is wrong": "Почта или пароль не подходят",
    "Too many attempts: try again in a few minutes": "Слишком много попыток: попробуйте через несколько минут",
    "Calls and CRMs, joined": "Звонки и CRM вместе",
    "connecting…": "подключение…",
    "live": "в эфире",
    "deployment": "все предприятия",
    # what is watched
    "No PBX is set up": "АТС не заведены",
    "works": "работает",
    "Recent calls": "Недавние звонки",
    "No calls yet. The first will appear here by itself.": "Звонков пока нет. Первый появится здесь сам.",
    "Deliveries to CRMs": "Доставка в CRM",
    "Nothing has been sent to a CRM yet.": "В CRM пока ничего не отправлялось.",
    "Send again": "Отправить снова",
    # columns
    "Time": "Время",
    "Client": "Клиент",
    "Line": "Линия",
    "Extensions": "Внутренние",
    "Status": "Состояние",
    "Waited": "Ожидание",
    "Talked": "Разговор",
    "CRM": "CRM",
    "What": "Что",
    "Attempts": "Попыток",
    "State": "Состояние",
    # calls
    "anonymous": "номер скрыт",
    "inbound": "входящий",
    "outbound": "исходящий",
    "internal": "внутренний",
    "ringing": "звонит",
    "talking": "разговор",
    "on hold": "на удержании",
    "answered": "отвечен",
    "missed": "пропущен",
    "busy": "занято",
    "no_answer": "не ответили",
    "cancelled": "отменён",
    "failed": "не удался",
    "incomplete": "запись неполная",
    "transferred": "переведён",
    "queue": "очередь",
    # recordings
    "Play the recording": "Прослушать запись",
    "recording waiting": "запись ещё не получена",
    "recording fetching": "запись загружается",
    "recording failed": "запись не получена",
    # deliveries
    "notice ringing": "карточка",
    "notice dialing": "набор",
    "notice hangup": "завершение",
    "notice record": "история",
    "pending": "ждёт",
    "sending": "отправляется",
    "delivered": "доставлено",
    "expired": "устарело",
    "skipped": "не нужно",
    "dead": "не доставлено",
}

ENGLISH = {
    "no_answer": "no answer",
    "recording waiting": "the recording is not here yet",
    "recording fetching": "the recording is being fetched",
    "recording failed": "the recording could not be fetched",
    "dead": "not delivered",
    "notice ringing": "pop-up",
    "notice dialing": "dialing",
    "notice hangup": "hang-up",
    "notice record": "history",
}
"""What is shown in English otherwise than it is called."""


def translator(language: Language) -> Callable[[str], str]:
    """What turns a word of the templates into the reader's. A word that is not in the catalogue stays as it is."""
    if language == "ru":
        return lambda text: RUSSIAN.get(text, text)
    return lambda text: ENGLISH.get(text, text)


def preferred(accept_language: str) -> Language:
    """The language that an Accept-Language header (RFC 9110 §12.5.4) asks for; English when it names none of ours."""
    ranked: list[tuple[float, Language]] = []
    for item in accept_language.split(",")[:20]:
        tag, _, parameters = item.strip().partition(";")
        weight = _weight(parameters.strip())
        ranked += [(weight, language) for language in LANGUAGES if tag.lower().split("-")[0] == language and weight > 0]
    return max(ranked, key=lambda pair: pair[0])[1] if ranked else "en"


def _weight(parameters: str) -> float:
    try:
        return float(parameters.removeprefix("q=")) if parameters else 1.0
    except ValueError:
        return 0.0
