"""A sealed secret opens in its own place, with a key that is still known, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import SecretProblem
from bridge.secrets import INTEGRATIONS, SEALED, Vault, mask, masked, texts

PLACE = {"enterprise": "0367", "field": "retailcrm.api_key"}


@settings(max_examples=50, deadline=None)
@given(plain=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_what_is_sealed_opens_in_its_place(plain: str) -> None:
    vault = Vault(["k" * 32])
    sealed = vault.seal(plain, **PLACE)

    assert vault.is_sealed(sealed)
    assert len(plain) < 4 or plain not in sealed
    assert vault.open(sealed, **PLACE) == plain


@pytest.mark.parametrize("elsewhere", [{"enterprise": "0400"}, {"field": "retailcrm.client_id"}])
def test_a_secret_that_was_moved_does_not_open(elsewhere: dict[str, str]) -> None:
    vault = Vault(["k" * 32])

    with pytest.raises(SecretProblem, match="another place") as raised:
        vault.open(vault.seal("the secret", **PLACE), **PLACE | elsewhere)

    assert "the secret" not in str(raised.value)


def test_a_plain_value_works_until_it_is_sealed() -> None:
    vault = Vault(["k" * 32])

    assert vault.open("typed by hand", **PLACE) == "typed by hand"
    assert not vault.is_current("typed by hand")
    assert vault.open(vault.renew("typed by hand", **PLACE), **PLACE) == "typed by hand"


def test_nothing_is_no_secret() -> None:
    vault = Vault(["k" * 32])

    assert vault.seal("", **PLACE) == ""
    assert vault.is_current("")


def test_a_rotation_opens_what_was_and_renews_it() -> None:
    old, rotating, new = Vault(["old" * 12]), Vault(["new" * 12, "old" * 12]), Vault(["new" * 12])
    sealed = old.seal("the secret", **PLACE)

    assert rotating.open(sealed, **PLACE) == "the secret"
    assert not rotating.is_current(sealed)
    renewed = rotating.renew(sealed, **PLACE)
    assert new.open(renewed, **PLACE) == "the secret"
    assert rotating.renew(renewed, **PLACE) == renewed
    with pytest.raises(SecretProblem, match="BRIDGE_SECRET_KEY"):
        new.open(sealed, **PLACE)


@pytest.mark.parametrize("broken", [SEALED, SEALED + "x", SEALED + "é", SEALED + "gAAAAA=="])
def test_what_only_looks_sealed_is_refused(broken: str) -> None:
    vault = Vault(["k" * 32])

    with pytest.raises(SecretProblem):
        vault.open(broken, **PLACE)
    assert not vault.is_current(broken)


@pytest.mark.parametrize("keys", [[], [""], ["k" * 32, ""]])
def test_a_vault_needs_keys(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="key"):
        Vault(keys)


CONFIGS: dict[str, dict[str, Any]] = {
    "retailcrm": {"enabled": True, "domain": "https://june.retailcrm.ru", "api_key": "KEY-1", "client_id": "CLIENT-1"},
    "mango": {"products": [{"api_key": "KEY-1", "api_salt": "SALT-1", "api_id": "7"}, {"api_key": "KEY-2"}]},
    "amocrm": {"client_id": "public", "client_secret": "SECRET-1", "tokens": {"access_token": "ACCESS-1", "at": 1}},
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_secrets_of_a_configuration_are_sealed_and_the_rest_is_not(kind: str) -> None:
    vault, config = Vault(["k" * 32]), CONFIGS[kind]
    sealed = vault.seal_integration(kind, config, enterprise="0367")

    hidden = [text for path in INTEGRATIONS[kind] for text in texts(config, path)]
    assert hidden
    assert not any(secret in repr(sealed) for secret in hidden)
    assert vault.seal_integration(kind, sealed, enterprise="0367") == sealed
    assert vault.open_integration(kind, sealed, enterprise="0367") == config
    with pytest.raises(SecretProblem):
        vault.open_integration(kind, sealed, enterprise="0400")
    assert not any(secret in repr(masked(kind, config)) for secret in hidden)


@pytest.mark.parametrize("config", [None, [], "text", 7, {"api_key": 7}, {"products": "none"}, {"products": [None, 3]}])
def test_a_configuration_of_another_shape_is_left_as_it_is(config: Any) -> None:
    vault = Vault(["k" * 32])

    for kind in INTEGRATIONS:
        assert vault.seal_integration(kind, config, enterprise="0367") == config


def test_masks_tell_little() -> None:
    assert mask("") == ""
    assert mask("short") == "…"
    assert mask("0123456789abcdef1f4c") == "…1f4c"
    assert mask(Vault(["k" * 32]).seal("0123456789abcdef1f4c", **PLACE)) == "…"
