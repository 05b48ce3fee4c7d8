"""A RetailCRM on this machine, as strict as the real one where the real one's behaviour is known."""

from lab.retailcrm.account import SCOPES, Account, Customer, Faults, ReceivedCall, ReceivedEvent, Request, User
from lab.retailcrm.server import Emulator

__all__ = ["SCOPES", "Account", "Customer", "Emulator", "Faults", "ReceivedCall", "ReceivedEvent", "Request", "User"]
