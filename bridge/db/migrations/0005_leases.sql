-- Which instance watches which PBX. Exactly one does, by a lease that it renews; times are the database's own clock.

create table pbx_watchers (
    instance text primary key,
    seen_at  timestamptz not null
);

create table pbx_leases (
    pbx_id     bigint primary key references pbxs (id) on delete cascade,
    owner      text,                                -- null: free
    epoch      bigint not null,                     -- raised at each change of owner: what an older one writes is refused by it
    expires_at timestamptz,                         -- null: free
    watched_at timestamptz,                         -- when its owner last had a working link to the PBX; a gap begins there
    check ((owner is null) = (expires_at is null))
);
create index pbx_leases_owner on pbx_leases (owner);
