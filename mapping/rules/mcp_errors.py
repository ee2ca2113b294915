"""error_type of an MCP call that failed: a tool that says no and a tool that is not there are no faults of the server.

A JSON-RPC error has a code, or its text has; a tool that fails answers with an error of its own (`isError`), which
OpenTelemetry's conventions call `tool_error`.
"""

from __future__ import annotations

import re
from typing import Final

from mapping.rules import taxonomy

# JSON-RPC 2.0 and the codes of the MCP specification and its SDKs.
_BY_CODE: Final = {
    "-32700": taxonomy.VALIDATION,  # cannot be parsed
    "-32600": taxonomy.VALIDATION,  # no request
    "-32601": taxonomy.NOT_FOUND,  # no such method
    "-32602": taxonomy.VALIDATION,  # wrong parameters; also a tool that is not there
    "-32603": taxonomy.SERVER,
    "-32000": taxonomy.NETWORK,  # the SDKs': connection closed
    "-32001": taxonomy.TIMEOUT,  # the SDKs': no answer in time
    "-32002": taxonomy.NOT_FOUND,  # no such resource
    "-32042": taxonomy.CLIENT_ERROR,  # the caller has to visit an address first
    "-32800": taxonomy.CANCELLED,
}
_CODE: Final = re.compile(r"-32\d{3}(?!\d)", re.ASCII).search
_UNKNOWN: Final = re.compile(
    r"(?:unknown|no such|missing|unregistered) (?:tool|prompt|resource)"
    r"|(?:tool|prompt|resource)\b[^\n]{0,200}? (?:not found|not available|does not exist|not exist|is disabled)",
    re.IGNORECASE,
).search
# What tools, resources and prompts raise to say no, by the last word of the class.
_SAID_NO: Final = frozenset(("toolerror", "tool_error", "resourceerror", "prompterror", "toolexecutionerror"))
_OTHERS: Final = {
    "notfounderror": taxonomy.NOT_FOUND,
    "disablederror": taxonomy.NOT_FOUND,
    "toolnotfounderror": taxonomy.NOT_FOUND,
    "unknowntoolerror": taxonomy.NOT_FOUND,
    "validationerror": taxonomy.VALIDATION,
    "invalidparams": taxonomy.VALIDATION,
    "methodnotfound": taxonomy.NOT_FOUND,
}
_LONGEST: Final = 512  # characters of a message that are looked at


def error_type(names: tuple[str, ...], messages: tuple[str, ...]) -> str:
    """The bucket, "" where nothing of MCP tells. names: codes, error.type, class of the exception."""
    texts = [message[:_LONGEST] for message in messages]
    unknown = any(map(_UNKNOWN, texts))
    for text in (*(name[:_LONGEST] for name in names), *texts):
        code = _CODE(text)
        if code is not None:
            found = _BY_CODE.get(code[0], taxonomy.SERVER)
            return taxonomy.NOT_FOUND if unknown and found == taxonomy.VALIDATION else found
    last = [name.rpartition(".")[2].lower() for name in names]
    for name in last:
        if name in _OTHERS:
            return _OTHERS[name]
    if any(name in _SAID_NO for name in last):
        return taxonomy.NOT_FOUND if unknown else taxonomy.CLIENT_ERROR
    return taxonomy.NOT_FOUND if unknown else ""
