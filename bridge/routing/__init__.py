"""Who should get a call. Pure: no I/O, no clock."""

from bridge.routing.decision import decide
from bridge.routing.display import display_name
from bridge.routing.legacy import customer_data, dialplan
from bridge.routing.model import Answer, Finding, LineSetting, Question, Reason, Responsible, Silence
from bridge.routing.reasons import Language, words

__all__ = [
    "Answer",
    "Finding",
    "Language",
    "LineSetting",
    "Question",
    "Reason",
    "Responsible",
    "Silence",
    "customer_data",
    "decide",
    "dialplan",
    "display_name",
    "words",
]
