"""The settings of the embedded PostgreSQL: durable, small in memory, on loopback alone."""

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # No socket file: its path could grow too long, and every client has a URL.
    "unix_socket_directories": "",
    "max_connections": "100",
    # Small memory: one market on one machine.
    "shared_buffers": "64MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "32MB",
    "huge_pages": "off",
    "jit": "off",
    "io_method": "sync",
    "max_worker_processes": "2",
    "max_logical_replication_workers": "0",
    "max_parallel_workers_per_gather": "0",
    "autovacuum_max_workers": "1",
    "autovacuum_worker_slots": "1",
    # What a killed server leaves lies in its folder, not in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    # No replica and no archive: the smallest write-ahead log.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "256MB",
    "checkpoint_timeout": "10min",
    "log_checkpoints": "off",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
}
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_FLEETING = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

ACCESS = "host all all 127.0.0.1/32 scram-sha-256\n"


def configuration(*, durable: bool) -> str:
    """The text of postgresql.conf. durable: what is acknowledged survives kill -9 and a power cut."""
    settings = {**_SETTINGS, **(_DURABLE if durable else _FLEETING)}
    return "# Written by Gridbay at every start; changes made here are lost.\n" + "".join(
        f"{name} = '{value}'\n" for name, value in settings.items()
    )
