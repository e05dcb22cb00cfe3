-- The newest record of the journal beside this file whose changes the tables have, and the number that its records
-- carry, so that a journal of another database is not taken for this one's.
ALTER TABLE orchestrator ADD COLUMN applied INTEGER NOT NULL DEFAULT 0;
ALTER TABLE orchestrator ADD COLUMN journal INTEGER NOT NULL DEFAULT 0;
UPDATE orchestrator SET journal = random();
