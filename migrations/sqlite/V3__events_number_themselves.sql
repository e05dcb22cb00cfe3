-- The next event follows the newest one that is there.
ALTER TABLE orchestrator DROP COLUMN next_event;
