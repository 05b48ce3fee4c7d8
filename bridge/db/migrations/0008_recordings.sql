-- Recordings of calls: where each comes from, what has become of it, where it is kept. A call may have several (a cloud exchange makes
-- one per stretch); a recording may be heard of before its call, so the two are joined by the call's own key.

create table recordings (
    id                bigint generated always as identity primary key,
    enterprise_number text references enterprises (number) on update cascade on delete set null,  -- null: gone; its files go next
    pbx_name          text not null,
    call_id           text not null,
    source            text not null check (source ~ '^[a-z][a-z0-9_]{0,31}$'),
    part              text not null,                       -- which of the call's recordings of this source
    reference         text not null,                       -- what its source knows it by: a file's name, an id, an address
    link_id           text not null unique,                -- another one revokes every link that was given out
    state             text not null default 'waiting'
                      check (state in ('waiting', 'fetching', 'stored', 'absent', 'failed', 'expired')),
    reason            text,                                -- why it is not stored
    attempts          integer not null default 0,
    due_at            timestamptz,                         -- waiting: next attempt; null: the call goes on; fetching: others may take it over
    owed_at           timestamptz,                         -- when it was first due: patience counts from here; a retry starts anew
    key               text,                                -- in the store
    size              bigint,                              -- bytes
    sha256            bytea,
    content_type      text,
    stored_at         timestamptz,
    created_at        timestamptz not null default now(),
    unique (enterprise_number, pbx_name, call_id, source, part)
);
create index recordings_due on recordings (due_at) where state in ('waiting', 'fetching');
create index recordings_failed on recordings (enterprise_number, id) where state = 'failed';
create index recordings_kept on recordings (enterprise_number, created_at) where state = 'stored';

alter table enterprises add column recordings_days integer not null default 0 check (recordings_days between 0 and 36500);  -- 0: for ever
alter table pbxs add column recordings text not null default '';  -- folder of this host in which the PBX's recordings are; '': through ARI
