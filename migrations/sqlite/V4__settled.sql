-- Whether a host for these tasks may still be in the making: then nobody who works on them is sent home.
ALTER TABLE groups ADD COLUMN settled INTEGER NOT NULL DEFAULT 1;
