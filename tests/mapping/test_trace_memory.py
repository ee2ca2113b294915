"""What is remembered of traces: laid aside until somebody asks, bounded, forgotten in time, and never mixed."""

from __future__ import annotations

from mapping.spans.trace_memory import NO_OWNER, TraceMemory

SECOND = 10**9


def ask(memory: TraceMemory, trace: bytes, now: int = 0, tenant: str = "") -> tuple[str, str]:
    (owner,) = memory.fill([trace], [NO_OWNER], now, tenant)
    return owner


def test_a_trace_lends_what_one_of_its_spans_named() -> None:
    memory = TraceMemory(60)
    assert memory.empty
    memory.learn([b"1", b"2", b"1"], ["ann", "bob", "ann"], ["acme", "", ""], 0, "")
    assert not memory.empty
    assert [ask(memory, trace) for trace in (b"1", b"2", b"3")] == [("ann", "acme"), ("bob", ""), NO_OWNER]
    assert memory.fill([b"1", b"2"], [("me", ""), ("", "mine")], 0, "") == [("me", "acme"), ("bob", "mine")]


def test_a_trace_that_names_two_lends_none_in_one_request_or_in_several() -> None:
    memory = TraceMemory(60)
    memory.learn([b"1", b"1"], ["ann", "bob"], ["acme", "acme"], 0, "")
    memory.learn([b"2"], ["ann"], [""], 0, "")
    memory.learn([b"2"], ["bob"], [""], 0, "")
    assert ask(memory, b"1") == ("", "acme")
    assert ask(memory, b"2") == NO_OWNER


def test_tenants_know_nothing_of_each_other() -> None:
    memory = TraceMemory(60)
    memory.learn([b"1"], ["ann"], [""], 0, "a")
    assert (ask(memory, b"1", tenant="a"), ask(memory, b"1", tenant="b"), ask(memory, b"1")) == (
        ("ann", ""),
        NO_OWNER,
        NO_OWNER,
    )


def test_a_trace_is_remembered_for_as_long_as_asked_for_from_when_it_was_first_seen() -> None:
    memory = TraceMemory(60)
    for second in (0, 30, 59):
        memory.learn([b"1"], ["ann"], [""], second * SECOND, "")
    assert ask(memory, b"1", 60 * SECOND) == ("ann", "")
    assert ask(memory, b"1", 61 * SECOND) == NO_OWNER
    memory.learn([b"1"], ["bob"], [""], 62 * SECOND, "")
    assert ask(memory, b"1", 63 * SECOND) == ("bob", "")


def test_what_is_remembered_is_bounded_asked_for_or_not() -> None:
    memory = TraceMemory(3600, limit=100)
    for number in range(1000):
        memory.learn([b"%d" % number], ["u"], [""], number, "")
    assert sum(len(aside[1]) for aside in memory._aside) <= 100
    known = [number for number in range(1000) if ask(memory, b"%d" % number, 1000) != NO_OWNER]
    assert known[-1] == 999
    assert 50 <= len(known) <= 100
    for number in range(1000):
        ask(memory, b"x")
        memory.learn([b"%d" % number], ["u"], [""], number, "")
    assert len(memory._young) + len(memory._old) <= 101


def test_long_ids_count_by_their_length() -> None:
    memory = TraceMemory(3600, most_characters=10_000)
    for number in range(100):
        memory.learn([b"%d" % number], ["u" * 1000], [f"c{number}"], number, "")
    assert sum(len(user) for _, _, users, _, _ in memory._aside for user in users) <= 10_000
    assert ask(memory, b"99", 100) == ("u" * 1000, "c99")
    for number in range(100):
        ask(memory, b"x")
        memory.learn([b"%d" % number], ["u" * 1000], [""], number, "")
        assert memory.of_one(b"log%d" % number, ("u" * 1000, ""), number, "", learns=True)
    held = [*memory._young.values(), *memory._old.values()]
    assert sum(len(user) + len(company) for _, user, company in held) <= 13_000
    assert ask(memory, b"99", 100) == ("u" * 1000, "")


def test_logs_of_calls_are_learned_and_other_logs_only_ask() -> None:
    memory = TraceMemory(60)
    assert memory.of_one(b"1", ("ann", ""), 0, "", learns=False) == ("ann", "")
    assert memory.of_one(b"1", NO_OWNER, 0, "", learns=True) == NO_OWNER
    assert memory.of_one(b"1", ("bob", ""), 0, "", learns=True) == ("bob", "")
    assert memory.of_one(b"1", NO_OWNER, 0, "", learns=False) == ("bob", "")
    assert ask(memory, b"1") == ("bob", "")
