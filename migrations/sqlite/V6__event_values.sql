-- Events are lists of their values, in the order at (milliseconds since the Unix epoch), kind, task_id, alias, number,
-- attempt, host, runner_id, detail: their names were more than half of the table.
UPDATE events SET events = (
    SELECT json_group_array(json_array(
        CAST(round((julianday(event.value ->> 'at') - 2440587.5) * 86400000) AS INTEGER),
        event.value ->> 'kind', event.value ->> 'task_id', event.value ->> 'alias', event.value ->> 'number',
        event.value ->> 'attempt', event.value ->> 'host', event.value ->> 'runner_id', event.value ->> 'detail'
    ) ORDER BY event.key)
    FROM json_each(events.events) AS event
);
