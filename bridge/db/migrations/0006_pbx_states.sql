-- How each PBX's link stands, written by whoever watches it: an instance that only answers over HTTP shows it too.
alter table pbx_leases
    add column state   text not null default '',
    add column problem text not null default '',
    add column version text not null default '';   -- of the Manager Interface
