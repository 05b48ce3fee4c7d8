"""A Mango Office on this machine, as strict as the real one where the real one's behaviour is known."""

from lab.mango.delivery import Delivery, Knobs
from lab.mango.played import Played
from lab.mango.product import Employee, Faults, Group, Habits, Line, Product
from lab.mango.server import Emulator

__all__ = ["Delivery", "Employee", "Emulator", "Faults", "Group", "Habits", "Knobs", "Line", "Played", "Product"]
