-- Click-to-call and the reasons of routing.

-- How a PBX rings an extension and dials a number. {extension} is the extension, {digits} the number in digits, {e164} the same with +.
alter table pbxs
    add column endpoint text not null default 'PJSIP/{extension}'
        check (endpoint ~ '^[A-Za-z0-9]+/[^{},&|\s]*\{extension\}[^{},&|\s]*$'),
    add column outgoing text not null default '{digits}'
        check (outgoing ~ '^[0-9*#+w]*\{(digits|e164)\}$');

-- One row per request to call somebody, whoever asked. `channel_id` is ours: Asterisk takes it for the channel's Uniqueid,
-- and it is the call_id of the call the request became.
create table originate_requests (
    id                bigint generated always as identity primary key,
    enterprise_number text not null references enterprises (number) on update cascade on delete cascade,
    pbx_name          text not null,
    extension         text not null,
    phone             text not null,                       -- as dialled
    external_phone    text,
    source            text not null check (source in ('retailcrm', 'makecallexternal', 'api')),
    channel_id        text not null unique,
    -- null: under way. refused: the PBX would not; unavailable: it was not there; unreachable: the phone was not; unknown: nobody saw the end
    outcome           text check (outcome in ('answered', 'busy', 'no_answer', 'cancelled', 'failed', 'incomplete',
                                              'refused', 'unavailable', 'unreachable', 'unknown')),
    detail            text,
    created_at        timestamptz not null default clock_timestamp(),
    ended_at          timestamptz
);
create index originate_requests_under_way on originate_requests (created_at) where outcome is null;
create index originate_requests_recent on originate_requests (enterprise_number, id desc);

-- A repeated click is the same request: one row says which, and until when. Its lock is what two instances meet at.
create table originate_guards (
    enterprise_number text not null references enterprises (number) on update cascade on delete cascade,
    extension         text not null,
    phone             text not null,
    channel_id        text not null,
    until             timestamptz not null,
    primary key (enterprise_number, extension, phone)
);

-- Where routing sent a call, and why. The question often comes before the call's own row: the note waits here for it.
create table route_notes (
    enterprise_number text not null references enterprises (number) on update cascade on delete cascade,
    pbx_name          text not null,
    call_id           text not null,
    routed_to         text,
    route_reason      text not null,
    created_at        timestamptz not null default clock_timestamp(),
    primary key (enterprise_number, pbx_name, call_id)
);
create index route_notes_old on route_notes (created_at);

create function calls_take_route_note() returns trigger language plpgsql as $$
begin
    select n.routed_to, n.route_reason into new.routed_to, new.route_reason
      from route_notes n
     where (n.enterprise_number, n.pbx_name, n.call_id) = (new.enterprise_number, new.pbx_name, new.call_id);
    return new;
end $$;

-- on update too: the note may have been written while the call's first row was
create trigger calls_route_note before insert or update on calls
    for each row when (new.route_reason is null and new.direction = 'inbound')
    execute function calls_take_route_note();

-- Who may come in is known to every instance at once, as all other configuration is.
create trigger credentials_config after insert or update or delete on credentials
    for each row execute function bridge_config_changed();
