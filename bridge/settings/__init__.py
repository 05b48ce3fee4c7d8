"""Every setting of the service: its type, default and meaning in one struct; where values come from; what is refused.

A value comes from the environment (`BRIDGE_HTTP`), from a file the environment names (`BRIDGE_HTTP_FILE`, for secrets
mounted by an orchestrator) or from the TOML file named by `BRIDGE_CONFIG` (same keys), in this order; the names of the
source documents (`DATABASE_URL`, `JWT_SECRET`, …) are accepted where ours is absent. An empty value counts as absent.

`Settings.load` reads these files and nothing else. It reports every wrong setting at once, never a secret's value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from bridge.errors import SettingsError
from bridge.settings import sources, values
from bridge.settings.declaration import Address, about, declarations

__all__ = ["ALL_ROLES", "Address", "LogLevel", "Role", "Settings"]

Role = Literal["pbx", "http", "worker"]
LogLevel = Literal["debug", "info", "warning", "error"]
ALL_ROLES: tuple[Role, ...] = ("pbx", "http", "worker")
_HTTP_URL = "an http:// or https:// address"


class Settings(Struct, frozen=True, kw_only=True):
    """All settings, checked. Made by `Settings.load(os.environ)`."""

    database_url: Annotated[
        str | None,
        about(
            "Postgres 14 or newer. Absent: an embedded one in BRIDGE_DATA_DIR, whose address is in its postgres.url.",
            "postgresql://user:password@host:port/database",
            legacy="DATABASE_URL",
            secret=True,
            check=values.database_url,
        ),
    ] = None
    data_dir: Annotated[
        Path,
        about("Where the service keeps what it makes itself: the embedded database, the secret key.", "a directory"),
    ] = Path("~/.local/share/asterisk-bridge")
    http: Annotated[
        Address,
        about("Where the API and the pages listen. Put a TLS proxy before it.", "host:port", legacy="PORT"),
    ] = Address("127.0.0.1", 8000)
    agi: Annotated[Address, about("Where FastAGI listens for the dialplan's questions.", "host:port")] = Address(
        "127.0.0.1", 4573
    )
    public_url: Annotated[
        str | None,
        about(
            "How the outside world reaches us: links to recordings and the CRMs' callbacks begin with it.",
            _HTTP_URL,
            check=values.http_url,
        ),
    ] = None
    secret_key: Annotated[
        tuple[str, ...],
        about(
            "Signs sessions and encrypts stored secrets. To rotate, put the new key before the old one, with a comma. "
            "Absent: made once and kept in BRIDGE_DATA_DIR/secret.key.",
            f"keys of at least {values.SECRET_KEY_LENGTH} characters each, separated by commas, newest first",
            legacy="JWT_SECRET",
            secret=True,
            check=values.secret_key,
        ),
    ] = ()
    admin_email: Annotated[
        str | None,
        about(
            "The first deployment administrator, who sees every enterprise.", "an e-mail address", check=values.email
        ),
    ] = None
    admin_password: Annotated[
        str | None,
        about(
            "His password; used when he does not exist yet.",
            "text; at least 8 characters are wise",
            secret=True,
        ),
    ] = None
    roles: Annotated[
        tuple[Role, ...],
        about("What this process does; `serve --roles` overrides it.", "pbx, http, worker, separated by commas"),
    ] = ALL_ROLES
    crm_hosts: Annotated[
        tuple[str, ...],
        about(
            "Hosts that integrations may call besides the CRMs' own domains; http, ports and private addresses are "
            "allowed there (an on-premises CRM, an emulator). A name covers its sub-domains.",
            "host names or addresses without scheme and port, separated by commas",
            check=values.host,
        ),
    ] = ()
    cors_origins: Annotated[
        tuple[str, ...],
        about(
            "Browser pages of other origins that may call the API.",
            "origins such as https://crm.example.com, separated by commas",
            legacy="CORS_ORIGIN",
            check=values.origin,
        ),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...],
        about(
            "Addresses of reverse proxies whose X-Forwarded-For and X-Forwarded-Proto are believed.",
            "IP addresses or networks, separated by commas",
            check=values.network,
        ),
    ] = ("127.0.0.1", "::1")
    route_deadline_ms: Annotated[
        int,
        about("How long smart redirect may take before the documented fallback answers.", "milliseconds, 50 to 1500"),
        Meta(ge=50, le=1500),  # the dialplan itself waits 3 s, the conversation with it lasts 2 s at the most
    ] = 800
    log_level: Annotated[LogLevel, about("What is worth a line in the log.", "debug, info, warning, error")] = "info"
    log_dir: Annotated[
        Path | None, about("Also writes combined.log and error.log there (rotate them as you like).", "a directory")
    ] = None
    test_mode: Annotated[
        bool,
        about(
            "Calls are watched, and neither stored nor told to CRMs; lines in the log begin with [TEST MODE].",
            "true, false",
            name="TEST_MODE",
        ),
    ] = False

    mango_api_url: Annotated[
        str, about("Mango Office's API.", _HTTP_URL, name="MANGO_API_URL", group="Mango Office", check=values.http_url)
    ] = "https://app.mango-office.ru/vpbx"
    mango_api_key: Annotated[
        str | None,
        about(
            "Unique code of the Mango Office cloud exchange, where the enterprise's integration names none.",
            name="MANGO_API_KEY",
            legacy="MANGO_OFFICE_API_KEY",
            secret=True,
            group="Mango Office",
        ),
    ] = None
    mango_api_salt: Annotated[
        str | None,
        about(
            "Key that signs Mango Office's requests.",
            name="MANGO_API_SALT",
            legacy="MANGO_OFFICE_API_SALT",
            secret=True,
            group="Mango Office",
        ),
    ] = None
    mango_api_id: Annotated[
        str | None, about("Its id in the cloud exchange.", name="MANGO_API_ID", group="Mango Office")
    ] = None
    mango_webhook_url: Annotated[
        str,
        about(
            "Path under which Mango Office's older webhooks arrive.",
            "a path",
            name="MANGO_WEBHOOK_URL",
            group="Mango Office",
            check=values.path,
        ),
    ] = "/api/webhooks/mango"
    mango_addresses: Annotated[
        tuple[str, ...],
        about(
            "Networks that may post Mango Office's webhooks; absent: any, for every webhook is authenticated. Its own: "
            "81.88.80.132, 81.88.80.133, 81.88.82.36, 81.88.82.44, 81.88.82.45 (2025; the list changes). A proxy must "
            "be one of BRIDGE_TRUSTED_PROXIES.",
            "IP addresses or networks, separated by commas",
            group="Mango Office",
            check=values.network,
        ),
    ] = ()
    mango_journal_days: Annotated[
        int,
        about(
            "How long Mango Office's webhooks are kept after they were worked.", "days, 7 to 3650", group="Mango Office"
        ),
        Meta(ge=7, le=3650),
    ] = 90

    s3_bucket_name: Annotated[
        str | None,
        about("Bucket for recordings. Absent: a folder in BRIDGE_DATA_DIR.", name="S3_BUCKET_NAME", group="Recordings"),
    ] = None
    s3_region: Annotated[
        str | None, about("Region; for Selectel the pool, e.g. ru-1.", name="S3_REGION", group="Recordings")
    ] = None
    s3_endpoint: Annotated[
        str | None,
        about(
            "Address of the object storage; absent: Amazon's.",
            _HTTP_URL,
            name="S3_ENDPOINT",
            group="Recordings",
            check=values.http_url,
        ),
    ] = None
    s3_access_key_id: Annotated[
        str | None, about("Key id.", name="S3_ACCESS_KEY_ID", secret=True, group="Recordings")
    ] = None
    s3_secret_access_key: Annotated[
        str | None, about("Key.", name="S3_SECRET_ACCESS_KEY", secret=True, group="Recordings")
    ] = None

    amocrm_domain: Annotated[
        str | None,
        about(
            "amoCRM account of the enterprise that declares none.",
            "a host such as june.amocrm.ru",
            name="AMOCRM_DOMAIN",
            group="amoCRM",
            check=values.host,
        ),
    ] = None
    amocrm_client_id: Annotated[
        str | None, about("Id of the amoCRM integration.", name="AMOCRM_CLIENT_ID", group="amoCRM")
    ] = None
    amocrm_client_secret: Annotated[
        str | None, about("Its secret key.", name="AMOCRM_CLIENT_SECRET", secret=True, group="amoCRM")
    ] = None
    amocrm_redirect_uri: Annotated[
        str | None,
        about("Its redirect address.", _HTTP_URL, name="AMOCRM_REDIRECT_URI", group="amoCRM", check=values.http_url),
    ] = None
    amocrm_auth_code: Annotated[
        str | None,
        about(
            "One-time code of the first connection (20 minutes).", name="AMOCRM_AUTH_CODE", secret=True, group="amoCRM"
        ),
    ] = None

    realtime_service_url: Annotated[
        str | None,
        about(
            "Also posts call events there, as the older calls service did.",
            _HTTP_URL,
            name="REALTIME_SERVICE_URL",
            group="Realtime",
            check=values.http_url,
        ),
    ] = None
    webhook_token: Annotated[
        str | None, about("Token for these posts.", name="WEBHOOK_TOKEN", secret=True, group="Realtime")
    ] = None

    @classmethod
    def load(cls, env: Mapping[str, str], **overrides: Any) -> Settings:
        """Settings from `env` and the files it names. `overrides` are checked values by field (command line options).

        Raises SettingsError whose `details["problems"]` name every wrong key, what was found and what is allowed.
        """
        problems: list[str] = []
        declared = declarations(cls)
        file = sources.config_file(env, declared, problems)
        sources.misspelt(env, declared, problems)
        known: dict[str, Any] = {"data_dir": values.default_data_dir(env)}
        for setting in declared:
            name, raw = sources.find(setting, env, file, problems)
            if raw is None or setting.field in overrides:
                continue
            try:
                known[setting.field] = values.parse(setting, name, raw, env)
            except ValueError as wrong:
                problems.append(values.problem(setting, name, raw, str(wrong)))
        settings = cls(**{**known, **overrides})
        problems += _together(settings)
        if problems:
            raise SettingsError("\n".join(problems), problems=problems)
        return settings


def _together(settings: Settings) -> Iterator[str]:
    """What is wrong only with settings taken together."""
    if settings.admin_password and not settings.admin_email:
        yield "BRIDGE_ADMIN_EMAIL: is absent though BRIDGE_ADMIN_PASSWORD is set; allowed: both or none"
    if settings.admin_email and not settings.admin_password:
        yield "BRIDGE_ADMIN_PASSWORD: is absent though BRIDGE_ADMIN_EMAIL is set; allowed: both or none"
    if settings.s3_bucket_name and not (settings.s3_access_key_id and settings.s3_secret_access_key):
        yield "S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY: are needed when S3_BUCKET_NAME is set"
    if bool(settings.mango_api_key) != bool(settings.mango_api_salt):
        yield "MANGO_API_KEY, MANGO_API_SALT: one is set without the other; allowed: both or none"
    if settings.http == settings.agi and settings.http.port:
        yield f"BRIDGE_AGI: {settings.agi} is BRIDGE_HTTP's address too; allowed: another port"
