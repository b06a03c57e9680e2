"""What each kind of row says of a job: one bounded statement a kind, found by an index.

A statement gives for each event: at, what, by (who wrote it), ids, detail. :job is the job's id.
"""
# ruff: noqa: S608 - put together from constants

EVENTS_MAX = 300
"""Of each kind; a job that has more is cut there, and said to be."""

SEQUENCE = (
    "job submitted",
    "money held",
    "answer kept for its key",
    "attempt placed",
    "lease granted",
    "window begins",
    "attempt started",
    "job started",
    "log stored",
    "output declared",
    "attempt to be stopped",
    "attempt ended",
    "lease released",
    "job ended",
    "readings received",
    "end of lease heard",
    "window noticed over",
    "usage line written",
    "window settled",
    "hold settled",
    "lease settled",
    "epoch closed",
    "payout opened",
)
"""Which of two events of one instant follows from the other: one transaction writes many rows with one time."""

_ATTEMPTS = "(SELECT id FROM attempts WHERE job_id = :job)"
_LEASES = "(SELECT lease_id FROM metered_leases WHERE job_id = :job)"
_LINES = "usage_lines WHERE job_id = :job"

STATEMENTS: dict[str, str] = {
    "submission": """
        SELECT created_at AS at, 'job submitted' AS what, 'portal' AS by,
            jsonb_build_object('job', id, 'organization', organization_id, 'request', trace) AS ids,
            jsonb_build_object('name', name, 'unit', unit, 'quantity_milli', quantity_milli,
                'price_limit_microusd_per_unit_hour', price_limit_microusd_per_unit_hour,
                'max_duration_seconds', max_duration_seconds, 'simulated', simulated) AS detail
        FROM jobs WHERE id = :job
    """,
    "idempotency": """
        SELECT kept.created_at AS at, 'answer kept for its key' AS what, 'portal' AS by,
            jsonb_build_object('organization', kept.owner) AS ids,
            jsonb_build_object('route', kept.route, 'status', kept.status) AS detail
        FROM idempotency_keys AS kept JOIN jobs ON jobs.id = :job AND kept.created_at = jobs.created_at
            AND kept.owner = jobs.organization_id AND kept.answer ->> 'job_id' = jobs.id
    """,
    "job": """
        SELECT at, what, 'scheduler' AS by, jsonb_build_object('job', id) AS ids,
            jsonb_build_object('state', state, 'reason', reason, 'detail', detail, 'exit_code', exit_code,
                'version', version) AS detail
        FROM jobs, LATERAL (VALUES (started_at, 'job started'), (ended_at, 'job ended')) AS event (at, what)
        WHERE id = :job AND at IS NOT NULL
    """,
    "waiting": """
        SELECT NULL::timestamptz AS at, 'job waits' AS what, 'scheduler.place' AS by,
            jsonb_build_object('job', id) AS ids,
            jsonb_build_object('reason', reason, 'detail', detail, 'funded_seconds', funded_seconds) AS detail
        FROM jobs WHERE id = :job AND state = 'queued'
    """,
    "attempts": """
        SELECT at, what, by,
            jsonb_build_object('attempt', attempts.id, 'node', node_id, 'provider', provider_id) AS ids,
            jsonb_build_object('number', number) || more AS detail
        FROM attempts, LATERAL (VALUES
            (placed_at, 'attempt placed', 'scheduler.place', jsonb_build_object('price_microusd_per_unit_hour',
                price_microusd_per_unit_hour)),
            (started_at, 'attempt started', 'agent', '{}'),
            (stop_at, 'attempt to be stopped', 'scheduler', jsonb_build_object('reason', stop_reason)),
            (ended_at, 'attempt ended', CASE state WHEN 'lost' THEN 'scheduler.sweep' ELSE 'agent' END,
                jsonb_build_object('state', state, 'reason', reason, 'detail', detail, 'exit_code', exit_code,
                    'log_bytes', log_end))
            ) AS event (at, what, by, more)
        WHERE job_id = :job AND at IS NOT NULL
    """,
    "leases": f"""
        SELECT at, what, by, jsonb_build_object('lease', leases.id, 'attempt', attempt_id, 'node', node_id) AS ids,
            more || jsonb_build_object('gpus', (SELECT coalesce(jsonb_agg(gpus.uuid ORDER BY gpus.index), '[]')
                FROM lease_gpus JOIN gpus ON gpus.id = lease_gpus.gpu_id WHERE lease_gpus.lease_id = leases.id))
                AS detail
        FROM leases, LATERAL (VALUES
            (granted_at, 'lease granted', 'scheduler.place', jsonb_build_object('cpu_milli', cpu_milli,
                'memory_bytes', memory_bytes, 'quantity_milli', quantity_milli, 'held_until', held_until)),
            (released_at, 'lease released', 'scheduler', '{{}}')) AS event (at, what, by, more)
        WHERE attempt_id IN {_ATTEMPTS} AND at IS NOT NULL
    """,
    "holds": """
        SELECT at, what, by, jsonb_build_object('hold', id, 'organization', organization_id) AS ids,
            jsonb_build_object('attempt', attempt_number, 'window', window_number) || more AS detail
        FROM holds, LATERAL (VALUES
            (created_at, 'money held', CASE WHEN window_number > 0 THEN 'billing.fund_windows'
                WHEN attempt_number > 1 THEN 'billing.fund_requeued' ELSE 'portal' END,
                jsonb_build_object('seconds', seconds, 'amount_microusd', amount_microusd)),
            (settled_at, 'hold settled', 'billing.capture',
                jsonb_build_object('captured_microusd', captured_microusd,
                    'released_microusd', amount_microusd - captured_microusd))) AS event (at, what, by, more)
        WHERE job_id = :job AND at IS NOT NULL
    """,
    "windows": f"""
        SELECT at, what, 'billing' AS by, jsonb_build_object('window', id, 'lease', lease_id, 'hold', hold_id) AS ids,
            jsonb_build_object('number', number) || more AS detail
        FROM windows, LATERAL (VALUES
            (from_at, 'window begins', jsonb_build_object('until_at', until_at)),
            (noticed_over_at, 'window noticed over', '{{}}'),
            (settled_at, 'window settled', '{{}}')) AS event (at, what, more)
        WHERE lease_id IN {_LEASES} AND at IS NOT NULL
    """,
    "metering": """
        SELECT at, what, 'billing' AS by, jsonb_build_object('lease', lease_id, 'attempt', attempt_id) AS ids,
            jsonb_build_object('metered_ms', metered_ms, 'charged_microusd', charged_microusd) AS detail
        FROM metered_leases, LATERAL (VALUES
            (funding_refused_at, 'further money refused'), (ended_noticed_at, 'end of lease heard'),
            (settled_at, 'lease settled')) AS event (at, what)
        WHERE job_id = :job AND at IS NOT NULL
    """,
    "readings": f"""
        SELECT max(readings.received_at) AS at, 'readings received' AS what, 'agent' AS by,
            jsonb_build_object('stream', streams.stream_id, 'lease', streams.lease_id, 'node', streams.node_id) AS ids,
            jsonb_build_object('first', min(sequence), 'last', max(sequence), 'stored', count(*),
                'durable_through', durable_sequence, 'run_ms', max(run_ms), 'durable_run_ms', durable_run_ms,
                'first_received_at', min(readings.received_at), 'finished_at', finished_at) AS detail
        FROM reading_streams AS streams JOIN readings ON readings.stream_id = streams.stream_id
        WHERE streams.lease_id IN {_LEASES}
        GROUP BY streams.stream_id
    """,
    "logs": f"""
        SELECT stored_at AS at, 'log stored' AS what, 'agent' AS by, jsonb_build_object('attempt', attempt_id) AS ids,
            jsonb_build_object('offset', start_offset, 'bytes', size_bytes) AS detail
        FROM log_segments WHERE attempt_id IN {_ATTEMPTS}
    """,
    "outputs": f"""
        SELECT declared_at AS at, 'output declared' AS what, 'agent' AS by,
            jsonb_build_object('attempt', attempt_id) AS ids,
            jsonb_build_object('path', path, 'bytes', size_bytes, 'sha256', sha256, 'complete', complete) AS detail
        FROM output_files WHERE attempt_id IN {_ATTEMPTS}
    """,
    "messages": """
        SELECT created_at AS at, 'message ' || kind AS what, 'outbox' AS by,
            jsonb_build_object('message', id::text, 'request', body ->> 'trace') AS ids,
            body - 'trace' - 'job_id' - 'organization_id' AS detail
        FROM outbox_messages WHERE body ->> 'job_id' = :job
    """,
    "deliveries": """
        SELECT coalesce(done_at, parked_at) AS at,
            CASE WHEN done_at IS NOT NULL THEN 'message delivered' WHEN parked_at IS NOT NULL THEN 'delivery parked'
                ELSE 'delivery due' END AS what,
            subscriber AS by, jsonb_build_object('message', message_id::text) AS ids,
            jsonb_build_object('kind', kind, 'failed', attempts, 'due_at', due_at, 'error', error) AS detail
        FROM outbox_deliveries JOIN outbox_messages ON outbox_messages.id = outbox_deliveries.message_id
        WHERE body ->> 'job_id' = :job
    """,
    "lines": f"""
        SELECT captured_at AS at, 'usage line written' AS what, 'billing.capture' AS by,
            jsonb_build_object('line', id, 'window', window_id, 'lease', lease_id, 'provider', provider_id) AS ids,
            jsonb_build_object('from_ms', from_ms, 'to_ms', to_ms, 'amount_microusd', amount_microusd,
                'provider_microusd', provider_microusd, 'fee_microusd', fee_microusd,
                'rounding_microusd', rounding_microusd, 'epoch', epoch) AS detail
        FROM {_LINES}
    """,
    "transfers": f"""
        SELECT created_at AS at, 'transfer posted' AS what, 'billing' AS by,
            jsonb_build_object('transfer', transfers.id) AS ids,
            jsonb_build_object('key', key, 'entries', (SELECT jsonb_object_agg(account_id, amount_microusd)
                FROM entries WHERE transfer_id = transfers.id)) AS detail
        FROM transfers WHERE key IN (
            SELECT kind || id FROM holds, unnest(ARRAY['hold:', 'trim:', 'release:']) AS kind WHERE job_id = :job
            UNION ALL SELECT 'capture:' || id FROM windows WHERE lease_id IN {_LEASES}
        )
    """,
    "epochs": f"""
        SELECT closed_at AS at, 'epoch closed' AS what, 'billing.close_epoch' AS by,
            jsonb_build_object('epoch', number::text) AS ids,
            jsonb_build_object('root', root, 'lines', line_count, 'total_microusd', total_microusd) AS detail
        FROM epochs WHERE number IN (SELECT epoch FROM {_LINES})
    """,
    "payouts": f"""
        SELECT at, what, 'billing.settle' AS by, jsonb_build_object('payout', id, 'provider', provider_id,
                'batch', batch_id, 'epoch', epoch::text) AS ids,
            jsonb_build_object('amount_microusd', amount_microusd, 'detail', detail) AS detail
        FROM payouts, LATERAL (VALUES (created_at, 'payout opened'), (ended_at, 'payout ' || state)) AS event (at, what)
        WHERE at IS NOT NULL AND (provider_id, epoch) IN (SELECT provider_id, epoch FROM {_LINES})
    """,
    "chain": f"""
        SELECT signed_at AS at, kind || ' signed' AS what, 'billing.settle' AS by,
            jsonb_build_object('batch', batch_id, 'signature', signature) AS ids,
            jsonb_build_object('outcome', outcome, 'detail', detail, 'done_at', done_at) AS detail
        FROM settlement_signings AS signings JOIN settlement_batches AS batches ON batches.id = signings.batch_id
        WHERE batches.epoch IN (SELECT epoch FROM {_LINES}) OR batches.id IN (
            SELECT batch_id FROM payouts WHERE (provider_id, epoch) IN (SELECT provider_id, epoch FROM {_LINES}))
    """,
}
