"""Where RetailCRM has its accounts."""

from __future__ import annotations

from bridge.hosts import Address, Hosts

DOMAINS = (
    "ecomlogic.com",
    "retailcrm.es",
    "retailcrm.pro",
    "retailcrm.ru",
    "simla.com",
    "simla.io",
    "simlachat.com",
    "simlachat.ru",
)
"""Parent domains of RetailCRM's accounts. Those of installations on premises belong in BRIDGE_CRM_HOSTS."""


def judge(hosts: Hosts, domain: str) -> Address:
    """The address in an integration's `domain`. Raises BadInput naming what is wrong with it."""
    return hosts.judge(domain, DOMAINS, example="https://june.retailcrm.ru")
