-- Signed-in browsers. The cookie holds a random id; only its digest is here, so that a copy of this table opens nothing.
-- `password_mark` is a digest of the password's hash at sign-in: a changed password ends every session.
create table sessions (
    digest        bytea primary key,
    user_id       bigint not null references users (id) on delete cascade,
    password_mark bytea not null,
    created_at    timestamptz not null default now(),
    seen_at       timestamptz not null default now()
);
create index sessions_user on sessions (user_id);
create index sessions_seen on sessions (seen_at);
