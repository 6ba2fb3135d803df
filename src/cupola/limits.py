"""Every bound: one frozen struct, handed to whoever enforces it.

Defaults are the reference system's (spec: sync-protocol 12, values-and-ids 3). Each field can be
set by an option or environment variable of the same name; `docs/reference/limits.md` lists them
from here.
"""

import dataclasses

MiB = 2**20


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one deployment. Units are in the names."""

    # Values and documents
    value_size_bytes_max: int = 32 * MiB
    value_nesting_max: int = 64
    array_length_max: int = 8192
    object_fields_max: int = 1024
    field_name_bytes_max: int = 1024
    document_size_bytes_max: int = 1 * MiB
    document_nesting_max: int = 16

    # Tables and indexes
    tables_max: int = 10_000
    components_max: int = 1000
    indexes_per_table_max: int = 64
    fields_per_index_max: int = 16
    identifier_length_max: int = 64

    # Calls
    arguments_size_bytes_max: int = 16 * MiB
    result_size_bytes_max: int = 16 * MiB
    in_process_time_s: float = 0.05
    user_time_s: float = 1.0
    mutation_time_s: float = 60.0
    action_time_s: float = 600.0
    nested_calls_max: int = 8
    worker_memory_bytes_max: int = 512 * MiB
    log_lines_max: int = 256
    log_line_length_max: int = 32_768
    audit_log_bytes_max: int = 4 * MiB

    # Transactions
    documents_read_max: int = 32_000
    bytes_read_max: int = 16 * MiB
    ranges_read_max: int = 4096
    documents_written_max: int = 16_000
    bytes_written_max: int = 16 * MiB
    conflict_retries_max: int = 4
    conflicts_before_exclusive: int = 3
    exclusive_turn_s: float = 0.1
    transaction_age_s: float = 10.0

    # Scheduling
    functions_scheduled_max: int = 1000
    scheduled_arguments_bytes_max: int = 16 * MiB
    schedule_ahead_s_max: float = 5 * 366 * 86_400.0
    scheduled_mutations_running_max: int = 128
    scheduled_actions_running_max: int = 64
    scheduled_actions_waiting_max: int = 1000
    scheduled_retry_s: float = 0.5
    scheduled_retry_s_max: float = 7200.0
    scheduled_retention_s: float = 7 * 24 * 3600.0
    cron_jobs_max: int = 1000
    cron_runs_kept_max: int = 20

    # Files and HTTP actions
    file_size_bytes_max: int = 5120 * MiB
    concurrent_uploads_max: int = 256
    upload_stall_s: float = 60.0
    upload_url_age_s: float = 3600.0
    http_action_body_bytes_max: int = 20 * MiB

    # Text searches
    search_words_max: int = 16
    search_filters_max: int = 8
    search_results_max: int = 1024
    search_changes_max: int = 10_000

    # Vector searches
    vector_results_max: int = 256
    vector_conditions_max: int = 64
    vector_index_bytes_max: int = 1024 * MiB
    vector_searches_waiting_max: int = 1000
    vector_search_time_s: float = 10.0

    # The turn of the loop
    group_time_s: float = 0.005
    group_calls_max: int = 256
    group_bytes_max: int = 4 * MiB
    loop_stall_s: float = 10.0
    rerun_time_s: float = 0.010
    backfill_time_s: float = 0.005

    # Queues and sessions
    mutations_per_session_max: int = 1000
    actions_per_session_max: int = 1000
    queued_calls_max: int = 20_000
    transaction_workers_max: int = 2
    concurrent_actions_max: int = 1000
    queries_per_session_max: int = 20_000
    sessions_max: int = 100_000
    frame_size_bytes_max: int = 20 * MiB
    send_buffer_bytes_max: int = 1 * MiB
    stalled_session_s: float = 120.0
    chunk_size_bytes: int = 5_000_000
    ping_interval_s: float = 15.0
    client_silence_s: float = 120.0
    http_body_bytes_max: int = 16 * MiB + 2000
    package_install_s: float = 300.0
    push_size_bytes_max: int = 200_000_000
    push_idle_s: float = 300.0
    deployment_events_max: int = 10_000
    deployment_event_bytes_max: int = 64 * 1024
    analyzed_modules_kept_max: int = 8192
    http_batch_queries_max: int = 1000
    query_cache_bytes_max: int = 100 * MiB
    time_dependent_result_s: float = 17.0
    request_retention_s: float = 14 * 24 * 3600.0
    token_bytes_max: int = 16 * 1024
    tokens_remembered_max: int = 10_000
    key_set_bytes_max: int = 1 * MiB
    key_set_fetch_s: float = 10.0
    key_set_fresh_s: float = 3600.0
    key_set_stale_s: float = 24 * 3600.0
    key_set_refetch_s: float = 10.0
    metrics_functions_max: int = 256
    metrics_tables_max: int = 256
    checkpoint_start_bytes: int = 64 * MiB
    checkpoint_hold_bytes: int = 256 * MiB


DEFAULT_LIMITS = Limits()
