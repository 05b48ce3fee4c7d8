-- What is asked of Mango Office: how fast, which commands, what its history was compared with.

-- How fast each product is asked, and whether it must be left alone. `product` is the name made of its key.
create table mango_paces (
    product    text primary key,
    pace       jsonb not null default '{}',
    refusal    text,                                       -- what it said when it last refused a request, for people
    refused_at timestamptz
);

-- Commands. Mango answers twice: whether it takes the command, at once; what became of it, by a webhook.
create table mango_commands (
    id                bigint generated always as identity primary key,
    enterprise_number text not null references enterprises (number) on update cascade on delete cascade,
    product           text not null,
    command_id        text not null unique,                -- ours
    kind              text not null check (kind in ('callback', 'route', 'transfer', 'hangup')),
    entry_id          text,                                -- the call; a callback's becomes known by its events
    leg               text,                                -- its call_id at Mango
    request           jsonb not null,
    reason            text,                                -- why, of a route that nobody asked for
    state             text not null default 'sending' check (state in ('sending', 'accepted', 'done', 'refused', 'unknown')),
    result            integer,                             -- Mango's code
    detail            text,
    created_at        timestamptz not null default clock_timestamp(),
    ended_at          timestamptz
);
create index mango_commands_recent on mango_commands (enterprise_number, id desc);
-- A waiting call is routed by us once, whichever instance hears of it first.
create unique index mango_commands_routed on mango_commands (enterprise_number, entry_id) where kind = 'route' and reason is not null;

-- How far each product's history has been compared with what was heard. One instance at a time does it.
create table mango_reconciliations (
    enterprise_number text not null references enterprises (number) on update cascade on delete cascade,
    product           text not null,
    reached           timestamptz,                         -- calls that began before are known, whole
    held_until        timestamptz not null default '-infinity',
    began_at          timestamptz,
    ended_at          timestamptz,
    calls             integer not null default 0,          -- of the last comparison: in the history
    told              integer not null default 0,          -- of which the history told something new
    problem           text,
    primary key (enterprise_number, product)
);
