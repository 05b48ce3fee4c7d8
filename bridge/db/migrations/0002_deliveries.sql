-- What CRMs are owed. Every CRM account has a queue of pgmq (see bridge/db/queues.py) that says whose turn it is; the journal below
-- says what it is, what has become of it, and stays when the queue has forgotten.

-- One row per enterprise and CRM: rate (GCRA) and circuit breaker, shared by every instance and visible to people.
create table crm_accounts (
    id                bigint generated always as identity primary key,
    enterprise_number text not null references enterprises (number) on update cascade on delete cascade,
    integration_type  text not null check (integration_type ~ '^[a-z][a-z0-9_]{0,31}$'),
    queue             text not null generated always as ('crm_' || id::text) stored,
    rate_per_second   double precision check (rate_per_second > 0),   -- null: what the CRM is known to allow
    tat               double precision not null default 0,            -- GCRA's theoretical arrival time, seconds since the epoch
    failures          integer not null default 0,                     -- in a row; a success forgets them
    open_until        double precision,                               -- the breaker: nothing is sent before; null: closed
    probe_until       double precision,                               -- half open: one caller tries alone until then
    last_error        text,
    created_at        timestamptz not null default now(),
    unique (enterprise_number, integration_type)
);

create function crm_account_queue() returns trigger language plpgsql as $$
begin
    if tg_op = 'INSERT' then
        perform pgmq.create(new.queue);
    else
        perform pgmq.drop_queue(old.queue);
    end if;
    return null;
end $$;

create trigger crm_accounts_queue after insert or delete on crm_accounts
    for each row execute function crm_account_queue();

create table deliveries (
    id                bigint generated always as identity primary key,
    account_id        bigint not null references crm_accounts (id) on delete cascade,
    enterprise_number text not null references enterprises (number) on update cascade on delete cascade,
    integration_type  text not null,
    call_pk           bigint references calls (id) on delete set null,
    external_id       text not null,                       -- the call as the CRM knows it: PBX name:call_id
    kind              text not null check (kind in ('ringing', 'dialing', 'hangup', 'record')),
    sequence          integer not null default 1,          -- of its kind within the call; of a merged one, the last
    extensions        text[] not null default '{}',
    call              jsonb not null,                      -- the call when it was noticed
    state             text not null default 'pending'
                      check (state in ('pending', 'sending', 'delivered', 'expired', 'skipped', 'dead')),
    attempts          integer not null default 0,
    reason            text,                                -- why it is not delivered, or what the CRM remarked
    queued_at         timestamptz not null default clock_timestamp(),  -- horizon and expiry count from here; a resend starts anew
    due_at            timestamptz not null default clock_timestamp(),
    done_at           timestamptz,
    created_at        timestamptz not null default clock_timestamp(),
    unique (account_id, external_id, kind, sequence)
);
create index deliveries_of_call on deliveries (account_id, external_id, id);
create index deliveries_owed on deliveries (account_id, due_at) where state in ('pending', 'sending');
create index deliveries_dead on deliveries (enterprise_number, id) where state = 'dead';
create index deliveries_recent on deliveries (enterprise_number, id desc);
create index deliveries_call_pk on deliveries (call_pk);
