"""The producer behind the Kafka sink; the only file that imports its library. What is promised: kafka.py."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer
from pydantic import SecretStr

from exporter.errors import Retryable, SinkError, TooLarge, Unauthorised
from exporter.sink import Batch, Sink
from exporter.sinks.json_line import dumps, encode_all, event_dict
from exporter.sinks.kafka import Settings
from exporter.threads import in_thread
from mapping.event import Event

_UNAUTHORISED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
_ROWS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError._BAD_MSG,
        KafkaError._INVALID_ARG,
    }
)


def connection_options(settings: Settings) -> dict[str, str | int | bool]:
    """librdkafka's options for reaching the brokers, with the credentials in clear."""
    options = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in settings.options.items()
    }
    return {"bootstrap.servers": ",".join(settings.brokers), **options}


Told = Callable[[KafkaError | None, object], None]  # what became of a message


class _Message(NamedTuple):
    """An event as it is sent."""

    topic: str
    value: bytes
    key: bytes | None
    headers: Mapping[str, bytes]

    @property
    def least_bytes(self) -> int:
        """What it takes at least; librdkafka adds a few bytes of its own."""
        return len(self.value) + len(self.key or b"") + sum(map(len, self.headers.values()))


class KafkaSink(Sink):
    """One producer. A batch counts when every one of its messages is confirmed by all in-sync replicas."""

    def __init__(self, settings: Settings) -> None:
        self.name = settings.name
        self._settings = settings
        self._producer: Producer | None = None

    async def open(self) -> None:
        await self._run_in_thread(self._connect)

    async def write(self, batch: Batch, *, in_doubt: bool) -> Sequence[Event]:
        await self._run_in_thread(lambda: self._send(batch.events))
        return ()

    async def close(self) -> None:
        await self._run_in_thread(self._drop)

    async def _run_in_thread(self, call: Callable[[], None]) -> None:
        running = asyncio.ensure_future(in_thread(call))
        try:
            await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])  # at most timeout_s; two calls must not share the producer
            with contextlib.suppress(Exception):
                running.result()
            raise
        except KafkaException as error:
            raise error_of_kafka(error.args[0]) from error

    # -- below: in a thread, one call at a time ------------------------------------------------------------

    def _connect(self) -> None:
        """Raises KafkaException when no broker answers."""
        settings = self._settings
        if self._producer is None:
            self._producer = Producer(
                {
                    "enable.idempotence": True,
                    "acks": "all",
                    "compression.type": settings.compression,
                    "message.max.bytes": settings.max_message_bytes,
                    "delivery.timeout.ms": int(settings.timeout_s * 1000),
                    "linger.ms": 5,
                    "log_level": 2,  # what goes wrong reaches the log as the sink's error, at the pipeline's pace
                    "queue.buffering.max.messages": 200_000,
                    **connection_options(settings),
                },
            )
        self._producer.list_topics(settings.topic, timeout=min(settings.timeout_s, 10.0))

    def _send(self, events: Sequence[Event]) -> None:
        messages = encode_all(events, self._message)
        if self._producer is None:
            self._connect()
        producer = self._producer
        if producer is None:
            raise Retryable("not connected")
        confirmed = 0
        failures: list[KafkaError] = []

        def told(error: KafkaError | None, _message: object) -> None:
            nonlocal confirmed
            if error is None:
                confirmed += 1
            else:
                failures.append(error)

        try:
            for message in messages:
                self._produce(producer, message, told)
            producer.flush(self._settings.timeout_s)
        except KafkaException as error:
            failures.append(error.args[0])
        except Exception:  # the client's own TypeError, or its queue is full for good
            self._drop()
            raise
        if confirmed < len(events):
            self._drop()  # what is still queued must not arrive after the batch has been sent anew
            raise error_of_kafka(failures[0]) if failures else Retryable("the brokers did not confirm in time")

    def _message(self, event: Event) -> _Message:
        """Raises TooLarge and whatever an event that cannot be encoded brings about."""
        settings = self._settings
        key = "" if settings.key == "none" else str(getattr(event, settings.key))
        value = dumps(event_dict(event))
        headers = {name: str(getattr(event, name)).encode() for name in ("transaction_id", "event_type", "tenant")}
        message = _Message(settings.topic_of(event.event_type), value, key.encode() or None, headers)
        if (size := message.least_bytes) > settings.max_message_bytes:
            raise TooLarge(f"a message of {size} bytes exceeds max_message_bytes")
        return message

    def _produce(self, producer: Producer, message: _Message, told: Told) -> None:
        deadline = time.monotonic() + self._settings.timeout_s
        while True:
            try:
                producer.produce(
                    message.topic, message.value, message.key, headers={**message.headers}, on_delivery=told
                )
            except BufferError:  # librdkafka's queue is full: let it work
                if time.monotonic() > deadline:
                    raise Retryable("the brokers do not take messages") from None
                producer.poll(0.1)
            else:
                producer.poll(0)
                return

    def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(1.0)


def error_of_kafka(error: KafkaError) -> SinkError:
    """The pipeline's exception. librdkafka's texts name brokers and topics, never messages."""
    code = error.code()
    if code in _UNAUTHORISED:
        return Unauthorised(error.str())
    if code in _ROWS:
        return TooLarge(error.str())
    return Retryable(error.str())
