-- When the hosts of a run end, where that was moved; seconds since the Unix epoch.
ALTER TABLE runs ADD COLUMN deadline INTEGER;
