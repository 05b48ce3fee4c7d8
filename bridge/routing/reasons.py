"""The reasons of routing in words, as an operator or an administrator reads them."""

from __future__ import annotations

from typing import Literal

from bridge.routing.model import Answer, Reason

Language = Literal["ru", "en"]

_WORDS: dict[Reason, tuple[str, str]] = {
    "mapped": (
        "the extension assigned to the caller's manager",
        "номер, назначенный менеджеру клиента",
    ),
    "manager_code": (
        "the extension the CRM keeps for the caller's manager",
        "номер менеджера клиента, записанный в CRM",
    ),
    "line_off": ("smart redirect is off for this line", "умная переадресация на этой линии выключена"),
    "line_name": ("this line shows the caller's name only", "на этой линии показывается только имя клиента"),
    "anonymous": ("the caller hides the number", "номер клиента скрыт"),
    "no_crm": ("no CRM is enabled for this enterprise", "у предприятия не включена ни одна CRM"),
    "unknown_caller": ("the CRM does not know this caller", "CRM не знает этого клиента"),
    "no_manager": ("nobody is responsible for this caller", "у клиента нет ответственного"),
    "no_extension": ("the caller's manager has no extension", "у менеджера клиента нет внутреннего номера"),
    "foreign_extension": (
        "the manager's extension is not one of this PBX",
        "номер менеджера не принадлежит этой АТС",
    ),
    "unavailable": ("the manager's phone is not reachable", "телефон менеджера недоступен"),
    "crm_failed": ("the CRM could not be asked", "CRM не ответила: ошибка"),
    "crm_deadline": ("the CRM did not answer in time", "CRM не ответила вовремя"),
    "crm_open": ("the CRM has been failing and is being spared", "CRM недавно отказывала, запрос к ней отложен"),
    "crm_busy": ("too many questions to the CRM at once", "слишком много одновременных запросов к CRM"),
    "unknown_enterprise": ("this enterprise is not served here", "предприятие здесь не обслуживается"),
}


def words(answer: Answer, language: Language = "en") -> str:
    """Why, and where the call goes because of it: "the CRM did not answer in time; fallback 150"."""
    english, russian = _WORDS[answer.reason]
    reason = english if language == "en" else russian
    if not answer.fallback:
        return reason
    target = answer.extension or f"queue {answer.queue}"
    if language == "ru":
        target = answer.extension or f"очередь {answer.queue}"
        return f"{reason}; запасной вариант: {target}"
    return f"{reason}; fallback: {target}"
