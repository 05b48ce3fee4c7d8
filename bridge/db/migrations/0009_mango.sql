-- Mango Office. What it says is kept as it came, before it is answered; a call is whatever all that was kept of it (its entry_id) adds
-- up to, however often and in whatever order it was said.

create table mango_webhooks (
    id                bigint generated always as identity primary key,
    enterprise_number text references enterprises (number) on update cascade on delete cascade,  -- null: nobody knows whose
    product           text,                                -- half of the SHA-256 of its vpbx_api_key
    dialect           text not null check (dialect in ('signed', 'flat', 'statistics')),
    path              text not null,                       -- what was appended to our address: events/call
    entry_id          text,
    body              bytea not null,                      -- the JSON as it came, without the sender's credentials
    sign              text,
    remote            text not null default '',
    state             text not null check (state in ('new', 'worked', 'ignored', 'malformed', 'refused', 'failed')),
    reason            text,
    received_at       timestamptz not null default now(),
    worked_at         timestamptz
);
create index mango_webhooks_new on mango_webhooks (id) where state = 'new';
create index mango_webhooks_entry on mango_webhooks (enterprise_number, entry_id) where entry_id is not null;
create index mango_webhooks_recent on mango_webhooks (enterprise_number, id desc);
create index mango_webhooks_age on mango_webhooks using brin (received_at);  -- rows lie in the order in which they came

-- What was last told of a call, to tell the difference next time.
create table mango_calls (
    enterprise_number text not null references enterprises (number) on update cascade on delete cascade,
    entry_id          text not null,
    call_pk           bigint references calls (id) on delete set null,
    told              bytea,                               -- the call, as msgpack; null: nothing makes one yet
    due_at            timestamptz,                         -- when to look at it again though nothing more was heard
    swept             boolean not null default false,      -- what was kept of it is gone: nothing can be added
    updated_at        timestamptz not null default now(),
    primary key (enterprise_number, entry_id)
);
create index mango_calls_due on mango_calls (due_at) where due_at is not null;
create index mango_calls_call on mango_calls (call_pk);

create unique index mango_call on mango (enterprise_number, call_id);

alter table calls add column reconciled boolean not null default false;  -- no webhook told of it: it is from the exchange's history
