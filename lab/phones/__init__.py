"""Scripted SIP phones: real signalling and real sound over UDP, done exactly as told."""

from lab.phones.call import Call
from lab.phones.incoming import Incoming
from lab.phones.outgoing import Outgoing
from lab.phones.phone import Expected, Phone, Policy
from lab.phones.policy import answers, refuses, rings

__all__ = ["Call", "Expected", "Incoming", "Outgoing", "Phone", "Policy", "answers", "refuses", "rings"]
