"""Who gets a call: each rule of the decision, and what can never happen whatever the CRM says."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.calls.extensions import belongs
from bridge.routing import Answer, Finding, Question, Reason, Responsible, Silence, decide, words
from bridge.routing.model import LineSetting

RULE = r"^1\d\d$"
ANNA = Responsible(user_id="19", code="151", customer="Roe Ann", manager="Anna")


def asked(*findings: Finding, **changes: object) -> Question:
    facts: dict[str, object] = {"caller": "+79161234567", "rules": (RULE,), "fallback": "150", "findings": findings}
    return Question(**{**facts, **changes})  # type: ignore[arg-type]


def crm(said: Responsible | Silence, **extensions: str | None) -> Finding:
    return Finding(
        crm="retailcrm", said=said, extensions={user.removeprefix("u"): to for user, to in extensions.items()}
    )


def test_our_own_mapping_comes_before_the_crms_code():
    answer = decide(asked(crm(ANNA, u19="152")))
    assert answer == Answer(extension="152", name="Roe Ann", reason="mapped")


@pytest.mark.parametrize("mapping", [{}, {"u18": "152"}, {"u19": None}, {"u19": ""}])
def test_without_a_mapping_the_crms_code_counts(mapping: dict[str, str | None]):
    assert decide(asked(crm(ANNA, **mapping))) == Answer(extension="151", name="Roe Ann", reason="manager_code")


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (asked(crm(ANNA), caller=None), "anonymous"),
        (asked(), "no_crm"),
        (asked(crm(Silence("unknown"))), "unknown_caller"),
        (asked(crm(Responsible())), "unknown_caller"),
        (asked(crm(Responsible(customer="Roe Ann"))), "no_manager"),
        (asked(crm(Responsible(user_id="19", customer="Roe Ann"))), "no_extension"),
        (asked(crm(ANNA, u19="0231")), "foreign_extension"),
        (asked(crm(ANNA), unavailable=frozenset({"151"})), "unavailable"),
        (asked(crm(Silence("failed"))), "crm_failed"),
        (asked(crm(Silence("deadline"))), "crm_deadline"),
        (asked(crm(Silence("open"))), "crm_open"),
        (asked(crm(Silence("busy"))), "crm_busy"),
    ],
)
def test_whatever_else_happens_the_documented_fallback_gets_the_call(question: Question, reason: Reason):
    answer = decide(question)
    assert (answer.extension, answer.queue, answer.reason, answer.fallback) == ("150", None, reason, True)


@pytest.mark.parametrize(
    ("fallback", "extension", "queue"),
    [
        ("150", "150", None),
        ("queue:sales", None, "sales"),
        ("continue", None, None),
        ("999", None, None),  # not an extension of this PBX: better no answer than one that rings nowhere
        ("queue:a,b", None, None),
        ("", None, None),
    ],
)
def test_the_fallback_is_an_extension_a_queue_or_nothing(fallback: str, extension: str | None, queue: str | None):
    answer = decide(asked(crm(Silence("failed")), fallback=fallback))
    assert (answer.extension, answer.queue) == (extension, queue)
    assert answer.fallback == (fallback in ("150", "queue:sales"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("off", Answer(reason="line_off")),
        ("name", Answer(name="Roe Ann", reason="line_name")),
        ("route", Answer(extension="151", name="Roe Ann", reason="manager_code")),
    ],
)
def test_a_line_says_how_much_it_wants(line: LineSetting, expected: Answer):
    assert decide(asked(crm(ANNA), line=line)) == expected


def test_a_line_that_shows_names_has_no_fallback_either():
    assert decide(asked(crm(Silence("failed")), line="name")) == Answer(reason="line_name")


def test_the_first_crm_that_leads_to_a_phone_decides():
    known = crm(Responsible(customer="Roe Ann"))
    answer = decide(asked(crm(Silence("failed")), known, crm(Responsible(user_id="7", code="152", customer="Ann R."))))
    assert answer == Answer(extension="152", name="Roe Ann", reason="manager_code")


def test_of_several_refusals_the_most_telling_is_kept():
    assert decide(asked(crm(Silence("unknown")), crm(Silence("deadline")))).reason == "crm_deadline"


@pytest.mark.parametrize(
    ("extension", "mine"),
    [("150", True), ("1500", False), ("150\n", False), ("15a", False), ("", False), ("١٥٠", False), ("1٥0", False)],
)
def test_an_extension_belongs_where_the_pbxs_rule_takes_all_of_it(extension: str, mine: bool):
    assert belongs(extension, [RULE, "("]) is mine


@pytest.mark.parametrize(
    "extension", ["150&PJSIP/trunk", "150@trunk", "150,30", "150/x", "1" * 33, "${SHELL(x)}", "15 0"]
)
def test_even_the_widest_rule_lets_through_one_phone_only(extension: str):
    assert not belongs(extension, [".*"])


said = st.one_of(
    st.builds(Silence, st.sampled_from(["unknown", "failed", "deadline", "open", "busy"])),
    st.builds(
        Responsible,
        user_id=st.none() | st.sampled_from(["19", "18", "7"]),
        code=st.none() | st.text(max_size=5) | st.from_regex(r"[012]\d\d", fullmatch=True),
        customer=st.text(max_size=100),
    ),
)
extensions = st.dictionaries(
    st.sampled_from(["19", "18"]), st.none() | st.text(max_size=5) | st.from_regex(r"[012]\d\d", fullmatch=True)
)


@given(
    st.builds(
        Question,
        caller=st.none() | st.just("+79161234567"),
        line=st.sampled_from(["off", "name", "route"]),
        fallback=st.sampled_from(["150", "999", "continue", "queue:sales"]) | st.text(max_size=10),
        rules=st.just((RULE,)),
        findings=st.lists(st.builds(Finding, crm=st.just("c"), said=said, extensions=extensions), max_size=3).map(
            tuple
        ),
        unavailable=st.sets(st.sampled_from(["150", "151"])).map(frozenset),
    )
)
def test_whatever_is_said_only_an_extension_of_the_house_is_answered(question: Question):
    answer = decide(question)
    assert answer.extension is None or re.fullmatch(r"1[0-9][0-9]", answer.extension)
    if answer.extension is not None and not answer.fallback:
        # it is the owner's, from one of the answers: never somebody else's
        assert answer.extension in {
            finding.extensions.get(finding.said.user_id or "") or finding.said.code
            for finding in question.findings
            if isinstance(finding.said, Responsible)
        }
    assert not (answer.extension and answer.queue)
    assert words(answer) != words(answer, "ru")


def test_the_reason_in_words_names_the_fallback():
    answer = decide(asked(crm(Silence("deadline"))))
    assert words(answer) == "the CRM did not answer in time; fallback: 150"
    assert words(answer, "ru") == "CRM не ответила вовремя; запасной вариант: 150"
    queue = decide(asked(crm(Silence("deadline")), fallback="queue:sales"))
    assert words(queue, "ru") == "CRM не ответила вовремя; запасной вариант: очередь sales"
