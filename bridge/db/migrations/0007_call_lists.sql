-- What is read with every page that opens and every scrape must not grow with the history of calls.
create index calls_active on calls (enterprise_number) where result = 'active';
create index calls_newest on calls ((coalesce(started_at, created_at)) desc, id desc);
