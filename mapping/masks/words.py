"""Which names name secrets, judged by their words: `db_password`, `userPassword`, `HTTP_X_API_KEY`, `new-password2`.

The last words of a name decide, after words that only qualify them (`password_confirmation`, `token_value`). So
`token_count`, `secret_santa`, `password_policy` and `cookie_policy` are none, and neither is a name whose last words
only look alike (`max_tokens`, `next_page_token`, `primary_key`, `shipping`). Words are told apart by `-`, `_`, blanks,
camelCase and digits; where nothing stands between them the endings of one long word count (`httpxapikey`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from mapping.rules.names import words_of


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


# The last word of a name that names a secret.
_NOUNS: Final = _set("""
    password passwords passwd passphrase passcode pwd pw secret secrets credential credentials authorization
    cookie cookies token jwt apikey apikeys otp totp pin cvv cvc csc ssn connectionstring passkey passwort kennwort
    contrasena senha
    """)
# The last two words: what of a `key`, a `code` or `tokens` is secret only by the word before.
_SECRET_KEYS: Final = _set("""
    api access secret private signing signature encryption decryption master shared account storage auth authentication
    subscription session hmac aes rsa ssh gpg pgp ssl tls webhook app application functions function admin license
    service crypto vault deploy write ingest ingestion instrumentation
    """)
_SECRET_CODES: Final = _set(
    "auth authorization verification security otp mfa recovery backup sms cvv cvc confirmation reset totp"
)
_SECRET_TOKENS: Final = _set("access refresh api auth id session bearer csrf security oauth")
_PASS_OF: Final = _set("""
    db database mysql postgres postgresql pg redis mongo mongodb smtp mail email imap user admin root ftp sftp ldap http
    proxy rabbitmq amqp login auth basic account server ssh wifi keystore truststore key cert my sql oracle mssql
    """)
_PAIRS: Final = frozenset(
    (
        *(("connection", "string"), ("conn", "string"), ("conn", "str"), ("card", "number"), ("credit", "card")),
        *(("social", "number"), ("oauth", "verifier"), ("code", "verifier")),
    )
)
# Words behind a secret that leave it one.
_QUALIFIERS: Final = _set("""
    confirm confirmation confirmed again repeat repeated verify retype old new current previous next hash hashed digest
    value values text plain plaintext raw base64 b64 encrypted enc string str data header headers content pem
    """)
# What a `token` or a `cookie` is no secret of: places in lists, grammars, limits of models.
_HARMLESS_TOKENS: Final = _set("""
    page next previous prev continuation continue sync cursor skip stop eos bos pad mask unk first last per max min
    unexpected cancellation lock fencing syntax lexer num number count total pagination change watch scroll invalid
    missing expected special start end
    """)
_ASKING: Final = _set("has is needs requires require must should can use uses no show allow enable disable")
# Endings of words that run together, and the words that they may not be then.
_ENDINGS: Final = (
    *("password", "passwd", "passphrase", "passcode", "secret", "credential", "credentials", "authorization", "cookie"),
    *("token", "jwt", "connectionstring", "cardnumber", "creditcard", "passwort", "kennwort"),
    *(f"{word}key" for word in sorted(_SECRET_KEYS)),
    *(f"{word}code" for word in sorted(_SECRET_CODES)),
)
_RUN_ON_QUALIFIERS: Final = (
    "confirmation",
    "confirm",
    "again",
    "repeat",
    "hash",
    "value",
    "header",
    "string",
    "pem",
    "new",
    "old",
)
_HARMLESS_ENDINGS: Final = (
    *("preauthorization", "reauthorization", "deauthorization"),
    *(f"{word}token" for word in ("page", "next", "continuation", "sync", "cursor", "skip", "pagination", "scroll")),
)

# What proxies, gateways and CGI put before the name of a header, in any order and number.
_PROXY_WORDS: Final = _set("""
    http https request req response res resp rsp reply downstream upstream origin original orig sent received recv
    header headers hdr forwarded proxy env environ cgi redirect client server grpc rpc metadata raw last trailer
    """)
_RUN_ON_PROXY_WORDS: Final = tuple(sorted((word for word in _PROXY_WORDS if len(word) > 2), key=len, reverse=True))
_MAX_PROXY_WORDS: Final = 6  # `redirect_redirect_http_…` is the longest seen


def header_names_in(name: str) -> list[str]:
    """The names of headers that a name may be a copy of, folded: `http_x_partner`, `sentHttpXPartner` of `x-partner`.

    A header of one word counts only behind words of proxies, one of several words behind anything.
    """
    words = words_of(name)
    found = ["".join(words)] if len(words) > 1 else []
    proxied = True
    for at in range(1, len(words)):
        proxied = proxied and words[at - 1] in _PROXY_WORDS
        if proxied or len(words) - at > 1:
            found.append("".join(words[at:]))
    word = "".join(words)
    for _ in range(_MAX_PROXY_WORDS):
        before = next((before for before in _RUN_ON_PROXY_WORDS if word.startswith(before)), "")
        if not before:
            break
        word = word.removeprefix(before)
        found.append(word)
    return found


def names_a_secret(name: str) -> bool:
    """True for a name (the last part of a path) under which nobody expects anything that may be seen."""
    words = words_of(name)
    return bool(words) and words[0] not in _ASKING and _tells(words)


# What a key below the name of a secret may tell without telling it: `token.count`, `k8s.secret.name`.
_FACTS: Final = _set("""
    count counts name alias id type length len size limit kind arn version ttl expires expiry expiration exp iat at in
    policy status source enabled required present valid error errors max min total usage used created updated provider
    strategy
    method algorithm alg index format scope scopes position line column expired missing issuer duration age ms seconds
    """)


def tells_a_fact(name: str) -> bool:
    """True for a name that says something about a thing, not the thing."""
    words = words_of(name)
    return bool(words) and words[-1] in _FACTS


def _tells(words: list[str]) -> bool:
    while len(words) > 1 and (words[-1].isdigit() or words[-1] in _QUALIFIERS):
        if tuple(words[-2:]) in _PAIRS:
            return True
        words = words[:-1]
    last = words[-1]
    before = words[-2] if len(words) > 1 else ""
    if before in _ASKING:
        return False
    if last in ("token", "cookie"):
        return before not in _HARMLESS_TOKENS and not (last == "token" and words[0] in _HARMLESS_TOKENS)
    if last in _NOUNS:
        return True
    if last in ("key", "keys"):
        return before in _SECRET_KEYS
    if last in ("code", "codes"):
        return before in _SECRET_CODES
    if last == "tokens":
        return before in _SECRET_TOKENS
    if last == "pass":
        return before in _PASS_OF
    if (before, last) in _PAIRS:
        return True
    return _runs_together(last)


def _runs_together(word: str) -> bool:
    for qualifier in _RUN_ON_QUALIFIERS:
        if word.endswith(qualifier) and len(word) > len(qualifier):
            word = word.removesuffix(qualifier)
            break
    if not word.endswith(_ENDINGS) or word.endswith(_HARMLESS_ENDINGS):
        return False
    # One letter in front is the escape of a line end, or the x of a header.
    return len(word) > 5 and not (word[1:] in _ENDINGS and word[0] != "x")


# In a query the name alone says it of more: Google's `key`, what OAuth, SAML and signed links carry.
_QUERY_NAMES: Final = _set("""
    key code jwt sig sign signature auth session sessionid sid ticket assertion hmac otp samlresponse samlrequest
    jsessionid phpsessid hapikey devicecode usercode codeverifier oauthverifier csrf xsrf magiclink
    """)


def names_a_secret_in_a_query(name: str) -> bool:
    """The same for a parameter of a query or of a path: `key`, `code` and `session` are secrets there."""
    words = words_of(name)
    if not words:
        return False
    return "".join(words) in _QUERY_NAMES or words[-1] in ("signature", "jwt") or names_a_secret(name)


def _one_of(words: Iterable[str]) -> str:
    return "(?:" + "|".join(sorted(words, key=len, reverse=True)) + ")"


# How words end that may name a secret once their separators are gone, for RE2: the quick look searches for these. It
# finds every name that `names_a_secret` tells, and some more.
ENDINGS: Final = (
    _one_of(
        (
            _one_of((*_NOUNS, *_ENDINGS, *map(" ?".join, _PAIRS))),
            _one_of(_SECRET_KEYS) + " ?keys?",
            _one_of(_SECRET_CODES) + " ?codes?",
            _one_of(_SECRET_TOKENS) + " ?tokens",
            _one_of(_PASS_OF) + " ?pass",
        )
    )
    + "(?: ?"
    + _one_of((*_QUALIFIERS, "[0-9]"))
    + ")*"
)
QUERY_ENDINGS: Final = _one_of((ENDINGS, *_QUERY_NAMES, "signature"))
