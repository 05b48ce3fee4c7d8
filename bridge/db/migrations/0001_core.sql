-- Enterprises and what they own. The names are those of the source documents, so that their owners' reports keep working.

create table enterprises (
    id                  bigint generated always as identity primary key,
    number              text not null unique check (number ~ '^[0-9A-Za-z_-]{1,32}$'),
    name                text not null default '',
    secret              text not null default '',          -- sealed; credential of makecallexternal and the scripts' Token
    region              text not null default 'RU' check (region ~ '^[A-Z]{2}$'),
    timezone            text not null default 'Europe/Moscow',
    fallback            text not null default 'continue',  -- extension, queue:NAME or continue
    active              boolean not null default true,
    integrations_config jsonb not null default '{}' check (jsonb_typeof(integrations_config) = 'object'),
    config_version      bigint not null default 1,         -- raised by the trigger below
    created_at          timestamptz not null default now(),
    updated_at          timestamptz not null default now()
);

create table pbxs (
    id                     bigint generated always as identity primary key,
    enterprise_number      text not null references enterprises (number) on update cascade on delete cascade,
    name                   text not null check (name ~ '^[0-9A-Za-z_.-]{1,64}$'),
    ami_host               text not null,
    ami_port               integer not null default 5038 check (ami_port between 1 and 65535),
    ami_username           text not null,
    ami_secret             text not null default '',       -- sealed
    ami_tls                boolean not null default false,
    ari_url                text,
    ari_username           text,
    ari_password           text,                           -- sealed
    extensions             text not null default '^\d{2,5}$',
    trunks                 text[] not null default '{}',
    click_to_call_contexts text[] not null default '{}',
    dialplan               text not null default '',       -- template of getcustomerdata's DialPlan
    token                  text not null default '',       -- sealed; what the PBX's FastAGI hook presents
    created_at             timestamptz not null default now(),
    updated_at             timestamptz not null default now(),
    unique (enterprise_number, name)
);

create table users (
    id                bigint generated always as identity primary key,
    enterprise_number text references enterprises (number) on update cascade on delete cascade,  -- null: the deployment's
    email             text not null,
    first_name        text not null default '',
    last_name         text not null default '',
    patronymic        text not null default '',
    role              text not null default 'operator' check (role in ('operator', 'administrator', 'service')),
    city              text not null default '',
    password_hash     text,
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now()
);
create unique index users_email on users (lower(email));
create index users_enterprise on users (enterprise_number);

create table user_internal_phones (
    id                bigint generated always as identity primary key,
    user_id           bigint references users (id) on delete set null,
    enterprise_number text not null references enterprises (number) on update cascade on delete cascade,
    phone_number      text not null,
    unique (enterprise_number, phone_number)
);
create index user_internal_phones_user on user_internal_phones (user_id);

-- Lines: the numbers the outside world dials. A row without an enterprise belongs to the only one there is.
create table phones (
    id                bigint generated always as identity primary key,
    number            text not null,
    rk                text not null default '',
    city              text not null default '',
    enterprise_number text references enterprises (number) on update cascade on delete cascade,
    smart_redirect    text not null default 'off' check (smart_redirect in ('off', 'name', 'route'))
);
create unique index phones_number on phones (coalesce(enterprise_number, ''), number);  -- "nulls not distinct" needs 15

create table companies (
    id                bigint generated always as identity primary key,
    enterprise_number text not null references enterprises (number) on update cascade on delete cascade,
    name_companies    text not null,
    inn               text not null default '',
    status_companies  text not null default 'active',
    phone_numbers     jsonb not null default '[]',
    created_at        timestamptz not null default now()
);

create table calls (
    id                  bigint generated always as identity primary key,
    enterprise_number   text not null references enterprises (number) on update cascade on delete cascade,
    pbx_name            text not null,
    call_id             text not null,
    direction           text not null check (direction in ('inbound', 'outbound', 'internal')),
    result              text not null default 'active'
                        check (result in ('active', 'answered', 'missed', 'busy', 'no_answer', 'cancelled', 'failed', 'incomplete')),
    status              text not null default 'incoming'   -- the source documents' vocabulary
                        check (status in ('incoming', 'accepted', 'rejected', 'missed', 'completed')),
    client_number       text,
    client_name         text,
    line                text,
    caller_number       text,
    receiver_number     text,
    channel_id          text,
    extensions          text[] not null default '{}',
    answered_by         text,
    answered_first      text,
    started_at          timestamptz,
    accepted_at         timestamptz,
    answered_at         timestamptz,
    ended_at            timestamptz,
    wait_seconds        integer,
    talk_seconds        integer,
    duration            integer,
    ended_by            text check (ended_by in ('client', 'extension', 'system')),
    transfers           jsonb not null default '[]',
    transfer_count      integer not null default 0,
    holds               integer not null default 0,
    is_on_hold          boolean not null default false,
    queue               text,
    recording           text,
    recording_url       text,
    routed_to           text,
    route_reason        text,
    assigned_user_id    bigint references users (id) on delete set null,
    answered_by_user_id bigint references users (id) on delete set null,
    caller_company_id   bigint references companies (id) on delete set null,
    customer_name       text,
    company             text,
    email               text,
    notes               text,
    call_purpose        text,
    priority            text,
    follow_up_date      timestamptz,
    outcome             text,
    tags                text[] not null default '{}',
    state               bytea,                             -- the live machine's memory of the call; null once it is over
    legs                jsonb not null default '[]',
    created_at          timestamptz not null default now(),
    updated_at          timestamptz not null default now(),
    unique (enterprise_number, pbx_name, call_id)
);
create index calls_recent on calls (enterprise_number, (coalesce(started_at, created_at)) desc, id desc);
create index calls_client on calls (enterprise_number, client_number, id desc);
create index calls_live on calls (enterprise_number, pbx_name) where state is not null;

create table call_timeline (
    id      bigint generated always as identity primary key,
    call_pk bigint not null references calls (id) on delete cascade,
    at      timestamptz,
    change  text not null,
    details jsonb not null default '{}'
);
create index call_timeline_call on call_timeline (call_pk, id);

create table mango (
    id                bigint generated always as identity primary key,
    enterprise_number text references enterprises (number) on update cascade on delete cascade,
    call_id           text not null,
    entry_id          text,
    from_number       text,
    to_number         text,
    direction         text,
    status            text not null,
    duration          integer,
    record_url        text,
    line_number       text,
    location          text,
    disconnect_reason text,
    raw               jsonb not null default '{}',
    created_at        timestamptz not null default now(),
    updated_at        timestamptz not null default now()
);

create table integration_logs (
    id                bigint generated always as identity primary key,
    enterprise_number text not null,
    integration_type  text not null,
    event_type        text not null,
    request_data      jsonb,
    response_data     jsonb,
    status            text not null check (status in ('success', 'error')),
    error_message     text,
    created_at        timestamptz not null default now()
);
create index integration_logs_recent on integration_logs (enterprise_number, created_at desc);

-- A time during which nobody watched a PBX. It is shown as a gap; nothing is guessed about it.
create table pbx_gaps (
    id         bigint generated always as identity primary key,
    pbx_id     bigint not null references pbxs (id) on delete cascade,
    began_at   timestamptz not null,
    ended_at   timestamptz,
    reason     text not null
);

-- Digests (sha256) of the credentials that open one enterprise's doors, kept beside the sealed originals so that a
-- presented credential is found without opening any: the comparison is an index look-up of a digest.
create table credentials (
    kind              text not null check (kind in ('enterprise', 'retailcrm', 'pbx', 'amocrm', 'mango')),
    digest            bytea not null,
    enterprise_number text not null references enterprises (number) on update cascade on delete cascade,
    subject           text not null default '',            -- the PBX's name where kind is pbx
    primary key (kind, digest)
);
create unique index credentials_subject on credentials (enterprise_number, kind, subject);

-- NOTIFY: whoever changes a configuration, psql included, every instance hears of it.
-- Channel bridge_integrations: {"enterprise_number", "integration_type", "version"}; channel bridge_config: {"table", "enterprise_number"}.

create function bridge_integrations_changed() returns trigger language plpgsql as $$
declare
    kind text;
begin
    if tg_op = 'DELETE' then
        perform pg_notify('bridge_integrations', json_build_object(
            'enterprise_number', old.number, 'integration_type', '*', 'version', old.config_version + 1)::text);
        return null;
    end if;
    for kind in
        select k from (
            select jsonb_object_keys(new.integrations_config) as k
            union
            select jsonb_object_keys(case when tg_op = 'UPDATE' then old.integrations_config else '{}'::jsonb end)
        ) keys
        where tg_op = 'INSERT'
           or new.active is distinct from old.active
           or new.integrations_config -> k is distinct from old.integrations_config -> k
    loop
        perform pg_notify('bridge_integrations', json_build_object(
            'enterprise_number', new.number, 'integration_type', kind, 'version', new.config_version)::text);
    end loop;
    return null;
end $$;

create function bridge_raise_version() returns trigger language plpgsql as $$
begin
    if new.integrations_config is distinct from old.integrations_config or new.active is distinct from old.active then
        new.config_version := old.config_version + 1;
    end if;
    new.updated_at := now();
    return new;
end $$;

create trigger enterprises_version before update on enterprises
    for each row execute function bridge_raise_version();
create trigger enterprises_integrations after insert or update or delete on enterprises
    for each row execute function bridge_integrations_changed();

create function bridge_config_changed() returns trigger language plpgsql as $$
declare
    row record := case when tg_op = 'DELETE' then old else new end;
    number text := case when tg_table_name = 'enterprises' then to_jsonb(row) ->> 'number' else to_jsonb(row) ->> 'enterprise_number' end;
begin
    perform pg_notify('bridge_config', json_build_object('table', tg_table_name, 'enterprise_number', number)::text);
    return null;
end $$;

create trigger enterprises_config after insert or update or delete on enterprises
    for each row execute function bridge_config_changed();
create trigger pbxs_config after insert or update or delete on pbxs
    for each row execute function bridge_config_changed();
create trigger users_config after insert or update or delete on users
    for each row execute function bridge_config_changed();
create trigger user_internal_phones_config after insert or update or delete on user_internal_phones
    for each row execute function bridge_config_changed();
create trigger phones_config after insert or update or delete on phones
    for each row execute function bridge_config_changed();
