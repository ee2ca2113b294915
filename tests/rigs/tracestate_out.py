"""The decision handed on, as a bridge in the middle would: tracestate and log attributes (spec/sampling.md §4).

The bridge hands nothing on; tests use this to put one stage of sampling behind another.
"""

from __future__ import annotations

from mapping.event import Decision
from mapping.sampling.tracestate import MAX_MEMBERS, MAX_VALUE_CHARACTERS, members_of, parse, sub_keys_of


def rewrite(text: str, decision: Decision) -> str:
    """The tracestate to forward with a kept span: byte for byte `text` when sampling changed nothing.

    Otherwise `ot` moves to the front with the new th and rv, and the rightmost foreign member goes when the
    list would exceed 32. After an inconsistent or disbelieved threshold no th is written: the redrawn
    randomness is ours alone.
    """
    state = parse(text)
    erased = decision.upstream in ("inconsistent", "implausible", "untrusted")
    if erased and state.th < 0 and not state.malformed:
        return text
    if not erased and not state.malformed and decision.upstream != "configured" and decision.th == decision.th_in:
        return text
    members = members_of(text) or []
    ours = [value for key, value in members if key == "ot"]
    fields = (sub_keys_of(ours[0]) if len(ours) == 1 else None) or {}
    fields.pop("th", None)
    if decision.upstream == "legacy":
        fields.pop("p", None)
        fields.pop("r", None)
    rv = fields.pop("rv", "")
    rv = decision.rv or (rv if state.rv >= 0 else "")
    head = {"th": decision.th} if decision.th and not erased else {}
    if rv:
        head["rv"] = rv
    value = _joined({**head, **fields})
    foreign = [f"{key}={value_}" if value_ is not None else key for key, value_ in members if key != "ot"]
    ot = [f"ot={value}"] if value else []
    return ",".join(ot + foreign[: MAX_MEMBERS - len(ot)])


def log_fields(threshold: str | None, decision: Decision) -> tuple[str | None, str | None]:
    """(sampling.threshold, sampling.randomness) to forward with a kept log record; None: leave it out."""
    if decision.upstream in ("inconsistent", "implausible", "untrusted") or not decision.th:
        return None, None
    unchanged = decision.th == decision.th_in and threshold is not None
    return threshold if unchanged else decision.th, decision.rv or None


def _joined(fields: dict[str, str]) -> str:
    parts = [f"{key}:{value}" for key, value in fields.items()]
    while len(joined := ";".join(parts)) > MAX_VALUE_CHARACTERS:
        parts.pop()  # th and rv come first and always fit
    return joined
