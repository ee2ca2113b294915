"""What the spool counts. The service renders it; nothing here is read back by the spool."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class SpoolCounts:
    """Counters since start; all but the recovered ones only rise."""

    appended_requests: int = 0
    appended_bytes: int = 0  # on disk, headers included
    duplicates: int = 0  # appends answered without storing
    groups: int = 0  # commits, each with one fdatasync
    refused_full: int = 0  # appends that raised SpoolFull
    refused_failed: int = 0  # appends that raised SpoolFailed
    sync_errors: int = 0  # fdatasync or directory fsync that failed; each ended a segment
    write_errors: int = 0  # writes that failed or found the disk full; each ended a segment
    segments_created: int = 0
    segments_deleted: int = 0
    delete_errors: int = 0  # segments that could not be deleted; tried again at the next start
    read_requests: int = 0
    quarantined_requests: int = 0  # acknowledged requests that cannot be read; at least this many
    quarantined_regions: int = 0
    quarantined_bytes: int = 0
    unconfirmed_requests: int = 0  # incomplete requests of the last group before a crash: never acknowledged
    unconfirmed_bytes: int = 0
    recovered_requests: int = 0  # intact requests found in the unsealed tail at start
    forgotten_early: int = 0  # remembered requests dropped before remember_s because of remember_max_requests
    commit_errors: int = 0  # on_commit raised; the request is safe and is read again after a restart
