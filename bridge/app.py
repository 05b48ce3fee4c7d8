"""The composition root: the only module that knows all the others. Makes the parts, joins them, runs them, ends them.

The parts that a process has depend on its roles:

pbx      links to PBXs whose lease it holds, FastAGI
worker   deliveries to CRMs, recordings
http     the API, the pages, the callbacks

They start from the bottom up (database, what is known of enterprises, then whoever works with it) and end from the top
down: no new requests, then no new events, then what is known is written, then the database.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client import CollectorRegistry
from starlette.requests import Request
from starlette.routing import Route

from bridge.agi.metrics import publish_conversations
from bridge.agi.questions import RouteQuestion
from bridge.agi.server import AgiServer
from bridge.ami.pbx import PbxRow
from bridge.ami.supervisor import Supervisor
from bridge.calls.model import Rules
from bridge.cloud import CloudLedger
from bridge.crm.cache_figures import publish
from bridge.crm.configurations import Configurations
from bridge.crm.matrix import Matrix
from bridge.crm.metrics import DeliveryMetrics
from bridge.crm.outbox import Outbox
from bridge.crm.port import Integration
from bridge.crm.retailcrm.description import description
from bridge.crm.retailcrm.integration import RetailcrmIntegration
from bridge.crm.retailcrm.routes import RetailcrmRoutes
from bridge.crm.worker import Worker
from bridge.db import gaps
from bridge.db.bus import Bus
from bridge.db.integrations import IntegrationRows
from bridge.db.leases import Leases
from bridge.db.pool import LOST, Connection, Pool, open_pool
from bridge.db.sealer import Sealer
from bridge.db.server import DatabaseServer
from bridge.directory import Directory
from bridge.errors import BridgeError, SettingsError
from bridge.hosts import Hosts
from bridge.http.app import create_app
from bridge.http.auth.doors import bootstrap_admin
from bridge.http.auth.principal import Principal
from bridge.http.feed import BusFeed
from bridge.http.server import Server, listen
from bridge.http.services import HttpSettings, Library, Services
from bridge.integrations import DECODERS, ConfigurationLoader, deployment_product
from bridge.ledger import WRITE_WITHIN, CallLedger
from bridge.legacy import LegacyScripts
from bridge.lookups import Lookups
from bridge.mailbox import Ledger
from bridge.mango.callers import Callers
from bridge.mango.client import DOMAINS as MANGO_DOMAINS
from bridge.mango.client import Api, tls
from bridge.mango.commands import Commands
from bridge.mango.description import description as describe_webhooks
from bridge.mango.files import Files
from bridge.mango.journal import Journal
from bridge.mango.limits import Paces
from bridge.mango.metrics import WebhookMetrics, WorkMetrics
from bridge.mango.people import People
from bridge.mango.products import Products
from bridge.mango.reconcile import Reconciler
from bridge.mango.routes import MangoRoutes
from bridge.mango.users import Users
from bridge.mango.worker import Settings as CloudSettings
from bridge.mango.worker import Worker as CloudWorker
from bridge.observed import ObservedCalls
from bridge.originate import ClickMetrics, Clicks
from bridge.pbxs import PbxRows, PbxStates
from bridge.recorders import MangoFiles, PbxFiles, open_store
from bridge.recordings.journal import ADDRESS, ASTERISK, MANGO, Recordings
from bridge.recordings.links import Links
from bridge.recordings.metrics import RecordingMetrics
from bridge.recordings.pipeline import Pipeline
from bridge.recordings.port import Source
from bridge.recordings.retention import Retention
from bridge.recordings.store import Store
from bridge.recordings.web import Addresses, Web
from bridge.redirect import Redirects, RoutingMetrics
from bridge.secrets import Vault
from bridge.settings import Role, Settings
from bridge.settings.keys import secret_keys
from bridge.troubles import Troubles, Unwritten
from bridge.watch import Watched

log = structlog.get_logger(__name__)


async def serve(settings: Settings, roles: Sequence[Role]) -> None:
    """Runs until SIGTERM or SIGINT. Raises BridgeError for what keeps it from starting, and when a part of it fails."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with contextlib.AsyncExitStack() as stack:
        parts = Parts(stack)
        stop = parts.run(stopping.wait(), "stop")
        if not await _unless(stop, _open(settings, roles, parts)):
            return  # told to stop while it waited for its database
        log.info("serving", roles=list(roles), http=str(settings.http), agi=str(settings.agi))
        done, _ = await asyncio.wait(parts.tasks, return_when=asyncio.FIRST_COMPLETED)
        if stop not in done:
            failed = next(iter(done))
            log.error("part_failed", part=failed.get_name(), exc_info=failed.exception())
            raise BridgeError(f"{failed.get_name()} has failed, and the service cannot go on without it: see the log")
        log.info("stopping")


async def _unless(stop: asyncio.Task[Any], work: Coroutine[Any, Any, None]) -> bool:
    """Whether the work was done; it is given up when `stop` is first. Raises what it raises."""
    task = asyncio.create_task(work, name="start")
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if task.cancelled():
        return False
    task.result()
    return True


class Parts:
    """What runs. It ends in the reverse of the order in which it was begun."""

    def __init__(self, stack: contextlib.AsyncExitStack) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self.stack = stack

    def run(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Begins it; at the end it is cancelled, and its own ending awaited."""
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        self.stack.push_async_callback(_end, task)
        return task

    def at_end(self, ending: Callable[[], Awaitable[Any] | None]) -> None:
        async def end() -> None:
            if (unfinished := ending()) is not None:
                await unfinished

        self.stack.push_async_callback(end)


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})


async def _open(settings: Settings, roles: Sequence[Role], parts: Parts) -> None:
    server = DatabaseServer(settings.database_url, settings.data_dir)
    url = await parts.stack.enter_async_context(server.running())
    pool = await open_pool(url, largest=20)
    parts.at_end(pool.close)
    bus = Bus(url)
    known = await _know(settings, pool, bus, parts)
    parts.run(bus.run(), "bus")
    parts.run(server.keep(bus), "database server")
    commands = _Commands(known, url, parts, watch="pbx" in roles)
    if "pbx" in roles:
        await _answer_dialplans(known, commands, parts)
    if "worker" in roles:
        _deliver(known, parts)
        _work_cloud(known, commands, parts)
        _record(known, parts)
    if "http" in roles:
        await _answer_http(known, commands, parts)


# --- what every process knows ---------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Known:
    """Of the deployment: who is who, what is enabled, how to reach CRMs."""

    settings: Settings
    keys: tuple[str, ...]
    pool: Pool
    bus: Bus
    vault: Vault
    registry: CollectorRegistry
    sealer: Sealer
    directory: Directory
    matrix: Matrix
    configurations: Configurations
    hosts: Hosts
    crms: dict[str, Integration[Any]]
    outbox: Outbox
    lookups: Lookups
    products: Products
    mango: Mango
    recordings: Recordings
    store: Store


async def _know(settings: Settings, pool: Pool, bus: Bus, parts: Parts) -> Known:
    keys = secret_keys(settings)
    vault = Vault(keys)
    registry = CollectorRegistry()
    if settings.admin_email and settings.admin_password:
        await bootstrap_admin(pool, settings.admin_email, settings.admin_password)
    sealer = Sealer(pool, bus, vault)
    await sealer.seal_all()
    directory = Directory(pool)
    bus.subscribe("bridge_config", lambda _: directory.changed())
    bus.on_connect(directory.changed)
    await directory.refresh()
    matrix, configurations = await _integrations(pool, bus, vault, registry)
    products = Products(pool, vault, deployment_product(settings))
    bus.subscribe("bridge_integrations", products.changed)
    bus.on_connect(products.changed)
    await products.refresh()
    hosts = Hosts(settings.crm_hosts)
    retailcrm = RetailcrmIntegration(hosts)
    crms: dict[str, Integration[Any]] = {retailcrm.kind: retailcrm}
    lookups = Lookups(matrix, configurations, crms, registry)
    bus.subscribe("bridge_integrations", lookups.changed)
    parts.at_end(hosts.close)
    for integration in crms.values():
        parts.at_end(integration.close)
    parts.at_end(lookups.close)
    parts.at_end(configurations.close)
    parts.run(sealer.run(), "sealer")
    parts.run(directory.run(), "directory")
    parts.run(matrix.run(), "matrix")
    parts.run(products.run(), "products")
    return Known(
        settings=settings,
        keys=keys,
        pool=pool,
        bus=bus,
        vault=vault,
        registry=registry,
        sealer=sealer,
        directory=directory,
        matrix=matrix,
        configurations=configurations,
        hosts=hosts,
        crms=crms,
        outbox=Outbox(matrix.enabled, crms),
        lookups=lookups,
        products=products,
        mango=Mango(settings, hosts, products, pool, parts),
        recordings=Recordings(Links(keys, settings.public_url or f"http://{settings.http}")),
        store=open_store(settings),
    )


async def _integrations(
    pool: Pool, bus: Bus, vault: Vault, registry: CollectorRegistry
) -> tuple[Matrix, Configurations]:
    """What enterprises have enabled, and how it is configured, kept true by NOTIFY."""
    matrix = Matrix(IntegrationRows(pool), DECODERS)
    configurations = Configurations(ConfigurationLoader(pool, vault))
    # an integration's caches hear of a change before anybody asks them again: the matrix first
    bus.subscribe("bridge_integrations", matrix.changed)
    bus.subscribe("bridge_integrations", configurations.changed)
    bus.subscribe("bridge_config", configurations.config_changed)
    bus.on_connect(matrix.catch_up)
    bus.on_connect(configurations.catch_up)
    publish(registry, matrix.counted, configurations.counted)
    await matrix.refresh()
    return matrix, configurations


# --- PBXs -----------------------------------------------------------------------------------------------------------


class _Commands:
    """Links to PBXs and what is done over them; with `watch`, also the event streams of those this instance owns."""

    def __init__(self, known: Known, url: str, parts: Parts, *, watch: bool) -> None:
        self._known = known
        leases = Leases(url) if watch else None
        attach = self._attach(leases) if leases is not None else None
        self.supervisor = Supervisor(PbxRows(known.pool, known.vault), leases=leases, attach=attach)
        instance = leases.instance if leases is not None else ""
        self.states = PbxStates(self.supervisor, known.pool, instance)
        self.watched: dict[int, Watched] = {}
        cloud = known.mango.commands
        self.clicks = Clicks(known.directory, self.supervisor, known.pool, ClickMetrics(known.registry), cloud=cloud)
        self.redirects = Redirects(
            known.directory,
            known.lookups,
            self.supervisor,
            known.pool,
            RoutingMetrics(known.registry),
            cloud=cloud,
            deadline=known.settings.route_deadline_ms / 1000,
        )
        if leases is not None:
            parts.run(leases.run(), "leases")
        parts.run(self.supervisor.run(), "supervisor")
        known.bus.subscribe("bridge_config", lambda _: self.supervisor.refresh())
        known.bus.on_connect(self.supervisor.refresh)
        if watch:
            parts.run(self.states.publish(), "pbx states")
        parts.run(self.clicks.run(), "clicks")
        parts.at_end(self.redirects.close)
        parts.at_end(self.clicks.close)

    def figures(self) -> dict[str, Any]:
        """For /stats: what the mailboxes of the PBXs watched since the start have taken and refused."""
        return {str(key): watched.mailbox.figures() for key, watched in self.watched.items()}

    def unwritten(self) -> Iterator[Unwritten]:
        """PBXs of this instance whose calls the database does not take now."""
        for state in self.supervisor.states():
            watched = self.watched.get(state.id)
            if watched is not None and watched.mailbox.problem and state.state != "elsewhere":
                yield Unwritten(state.enterprise_number, state.name, watched.mailbox.problem)

    def _attach(self, leases: Leases) -> Callable[[PbxRow, int], Awaitable[Watched]]:
        known = self._known

        async def attach(pbx: PbxRow, epoch: int) -> Watched:
            async def owned(connection: Connection) -> bool:
                return await leases.owns(connection, pbx.id, epoch)

            async def keep_gap(began: float, ended: float | None, reason: str) -> None:
                try:
                    async with known.pool.acquire() as connection:
                        await gaps.keep(connection, pbx.id, began, ended, reason)
                except LOST as problem:
                    log.warning("gap_not_kept", pbx=pbx.name, problem=repr(problem))

            def recorded() -> bool:
                return known.directory.recorded(pbx.enterprise_number, pbx.name)

            ledger: Ledger = CallLedger(
                known.pool,
                known.outbox,
                pbx.enterprise_number,
                pbx.name,
                owned,
                known.recordings,
                recorded,
                region=pbx.rules.region,
            )
            if known.settings.test_mode:
                ledger = ObservedCalls(pbx.enterprise_number, pbx.name)
            watched = self.watched[pbx.id] = Watched(pbx, ledger, keep_gap, self.clicks.originate_failed)
            await watched.open()
            return watched

        return attach


async def _answer_dialplans(known: Known, commands: _Commands, parts: Parts) -> None:
    agi = AgiServer({"/route": RouteQuestion(commands.redirects, known.directory)})
    publish_conversations(known.registry, agi.counters)
    parts.at_end(agi.stop)
    address = known.settings.agi
    try:
        await agi.start(address.host, address.port)
    except OSError as problem:
        raise SettingsError(f"BRIDGE_AGI: {address} cannot be listened on: {problem.strerror}") from problem


# --- CRMs -----------------------------------------------------------------------------------------------------------


def _deliver(known: Known, parts: Parts) -> None:
    worker = Worker(known.pool, list(known.crms.values()), known.configurations, DeliveryMetrics(known.registry))
    known.bus.subscribe("bridge_deliveries", worker.wake)
    known.bus.on_connect(worker.wake)
    running = parts.run(worker.run(), "deliveries")

    async def finish() -> None:
        worker.stop()
        await asyncio.wait({running}, timeout=known.crms["retailcrm"].timeout + 1)

    parts.at_end(finish)


# --- the cloud exchange ---------------------------------------------------------------------------------------------


class Mango:
    """How Mango Office is asked and told."""

    def __init__(self, settings: Settings, hosts: Hosts, products: Products, pool: Pool, parts: Parts) -> None:
        paces = Paces(pool)
        self.api = Api(hosts, settings.mango_api_url, paces)
        self.users = Users(self.api)
        self.files = Files(self.api, products, hosts, pool, settings.mango_api_url)
        self.commands = Commands(self.api, products, self.users, paces, pool)
        self.reconciler = Reconciler(self.api, products, self.users, pool)
        parts.at_end(self.api.close)
        parts.at_end(self.users.close)
        parts.at_end(self.reconciler.close)
        parts.run(self.users.run(products.all), "employees")


def _work_cloud(known: Known, commands: _Commands, parts: Parts) -> None:
    """What webhooks said becomes calls, and callers who wait are routed; once an hour the history is asked, too."""
    people = People(known.pool, known.products, known.mango.users)
    callers = Callers(known.directory, commands.redirects, known.mango.commands)
    parts.at_end(callers.close)
    worker = CloudWorker(
        known.pool,
        CloudLedger(known.outbox, known.recordings),
        people,
        WorkMetrics(known.registry),
        CloudSettings(days=known.settings.mango_journal_days),
        commands=known.mango.commands,
        listener=callers.heard,
    )
    for channel in ("bridge_config", "bridge_integrations"):
        known.bus.subscribe(channel, people.changed)
    known.bus.subscribe("bridge_mango", worker.wake)
    known.bus.on_connect(people.changed)
    known.bus.on_connect(worker.wake)
    parts.at_end(people.close)
    parts.run(known.mango.reconciler.run(), "reconciliation")
    running = parts.run(worker.run(), "cloud calls")

    async def finish() -> None:
        worker.stop()
        await asyncio.wait({running}, timeout=WRITE_WITHIN)

    parts.at_end(finish)


def _take_webhooks(
    known: Known, public_url: str, reception: Callable[[Request], Awaitable[Principal | None]], parts: Parts
) -> tuple[Journal, list[Route]]:
    """Where webhooks are kept, and the paths at which they arrive."""
    settings = known.settings
    journal = Journal(known.pool)
    parts.run(journal.run(), "webhooks")
    routes = MangoRoutes(
        journal,
        known.products,
        reception,
        WebhookMetrics(known.registry),
        addresses=settings.mango_addresses,
        flat_path=settings.mango_webhook_url,
        public_url=public_url,
        api_url=settings.mango_api_url,
        default=deployment_product(settings),
    )
    return journal, routes.routes()


# --- recordings -----------------------------------------------------------------------------------------------------


def _record(known: Known, parts: Parts) -> None:
    metrics = RecordingMetrics(known.registry)
    sources: dict[str, Source] = {
        ASTERISK: PbxFiles(known.pool, known.vault),
        MANGO: MangoFiles(known.mango.files, Web(known.hosts, MANGO_DOMAINS, tls())),
        ADDRESS: Addresses(Web(known.hosts, MANGO_DOMAINS)),
    }
    pipeline = Pipeline(known.pool, known.store, sources, known.recordings, metrics)
    log.info("recordings_kept", where=known.store.where)
    parts.run(pipeline.run(), "recordings")
    parts.run(Retention(known.pool, known.store, known.recordings, metrics).run(), "retention")


# --- HTTP -----------------------------------------------------------------------------------------------------------


async def _answer_http(known: Known, commands: _Commands, parts: Parts) -> None:
    settings = known.settings
    public_url = settings.public_url or f"http://{settings.http}"
    scripts = LegacyScripts(
        known.pool,
        known.outbox,
        lambda number: _script_rules(known.directory, number),
        store=not settings.test_mode,
    )
    parts.at_end(scripts.close)

    async def reception(request: Request) -> Principal | None:
        principal: Principal | None = await app.state.desk.doors.principal(request)
        return principal

    journal, webhooks = _take_webhooks(known, public_url, reception, parts)
    services = Services(
        settings=HttpSettings(secret_keys=known.keys, public_url=public_url, cors_origins=settings.cors_origins),
        pool=known.pool,
        pbxs=commands.states,
        matrix=known.matrix,
        scripts=scripts,
        feed=BusFeed(known.bus),
        histories=known.mango.reconciler,
        library=Library(recordings=known.recordings, store=known.store),
        registry=known.registry,
        figures={
            "matrix": known.matrix.figures,
            "configurations": known.configurations.figures,
            "lookups": known.lookups.figures,
            "bus": known.bus.figures,
            "mailboxes": commands.figures,
            "sealer": known.sealer.figures,
            "mango": known.products.figures,
            "webhooks": journal.figures,
        },
        troubles=Troubles(
            secrets=lambda: known.sealer.problems,
            integrations=known.matrix.broken,
            unwritten=commands.unwritten,
            folder=settings.data_dir if settings.database_url is None else None,
        ),
    )

    crm_routes = RetailcrmRoutes(known.directory, known.lookups, commands.clicks, commands.redirects, reception)
    app = create_app(services, crm_routes.routes(), [description(), describe_webhooks()], busy=webhooks)
    try:
        listening = listen(settings.http.host, settings.http.port)
    except OSError as problem:
        raise SettingsError(f"BRIDGE_HTTP: {settings.http} cannot be listened on: {problem.strerror}") from problem
    server = Server(app, proxies=",".join(settings.trusted_proxies) or None)
    running = parts.run(server.serve([listening]), "http")

    async def finish() -> None:
        server.stop()
        await asyncio.wait({running})

    parts.at_end(finish)


def _script_rules(directory: Directory, enterprise_number: str) -> Rules:
    """How the numbers in an enterprise's script posts are read."""
    enterprise = directory.enterprise(enterprise_number)
    if enterprise is None:
        return Rules()
    patterns = [pbx.extensions for pbx in enterprise.pbxs]
    return Rules(
        region=enterprise.region, extensions="|".join(f"(?:{each})" for each in patterns) or Rules().extensions
    )
