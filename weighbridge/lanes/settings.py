"""How many lanes there are, and what a lane may take."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST: Final = 64  # processes; more than the cores of machines that one bridge is put on


class LanesSettings(BaseModel):
    """Processes that map and deliver, each for its own part of the spool. `lanes: 1` is short for `count: 1`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: Annotated[int, Field(ge=0, le=MOST)] | Literal["auto"] = Field(
        0,
        description=(
            "0: the receiver's process maps and delivers, too. 1: a process of its own does, so that no record can "
            "hold up an acknowledgement. More: each request goes to one of them, by its trace; what must see all "
            "requests of a trace is refused then, by name. auto: one less than there are cores, at least one, and one "
            "where more would be refused."
        ),
    )
    memory_bytes: int = Field(
        2 << 30,
        ge=256 << 20,
        description="Memory of one lane. One that takes more is ended, and begins again where it was.",
    )

    @model_validator(mode="before")
    @classmethod
    def _short(cls, values: Any) -> Any:
        return {"count": values} if isinstance(values, int | str) else values


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
