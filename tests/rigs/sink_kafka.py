"""A Kafka destination for the sinks' contract."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from exporter.sink import Sink
from exporter.sinks import kafka


class Kafka:
    """librdkafka's own mock cluster of three brokers; down: another address."""

    exact = False
    has_credentials = False

    def __init__(self, folder: Path) -> None:
        self._down = False

    async def start(self) -> None:
        self._cluster = Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 3, "log_level": 0})
        brokers = self._cluster.list_topics(timeout=60).brokers.values()
        self.brokers = [f"{broker.host}:{broker.port}" for broker in brokers]

    def sink(self, *, wrong_credentials: bool = False) -> Sink:
        return _KafkaThatMoves(self)

    def settings(self) -> kafka.Settings:
        brokers = ["127.0.0.1:1"] if self._down else self.brokers
        return kafka.Settings(name="sink", brokers=brokers, topic="events", timeout_s=2 if self._down else 60)

    def stored(self) -> list[str]:
        consumer = Consumer(
            {"bootstrap.servers": ",".join(self.brokers), "group.id": str(time.time_ns()), "log_level": 0,
             "auto.offset.reset": "earliest", "enable.partition.eof": True}
        )  # fmt: skip
        found: list[str] = []
        try:
            with contextlib.suppress(TimeoutError):
                self._read(consumer, found)
        finally:
            consumer.close()
        return found

    def _read(self, consumer: Consumer, found: list[str]) -> None:
        partitions = consumer.list_topics("events", timeout=60).topics["events"].partitions
        consumer.assign([TopicPartition("events", number, 0) for number in partitions])
        ended: set[int] = set()
        while len(ended) < len(partitions):
            message = consumer.poll(10)
            if message is None:
                raise TimeoutError
            if message.error():
                ended.add(int(message.partition() or 0))
                continue
            value = json.loads(message.value() or b"")
            assert dict(message.headers() or [])["transaction_id"] == value["transaction_id"].encode()
            found.append(value["transaction_id"])

    def go_down(self) -> None:
        self._down = True

    def come_back(self) -> None:
        self._down = False

    async def stop(self) -> None:
        self._cluster.flush(1)


class _KafkaThatMoves(Sink):
    """A new sink for every write while the test moves the brokers' address; otherwise the sink itself."""

    name = "sink"

    def __init__(self, cluster: Kafka) -> None:
        self._cluster = cluster
        self._settings = cluster.settings()
        self._sink = kafka.create(self._settings)

    async def _current(self) -> Sink:
        settings = self._cluster.settings()
        if settings != self._settings:
            await self._sink.close()
            self._settings, self._sink = settings, kafka.create(settings)
        return self._sink

    async def open(self) -> None:
        await (await self._current()).open()

    async def write(self, batch: Any, *, in_doubt: bool) -> Any:
        return await (await self._current()).write(batch, in_doubt=in_doubt)

    async def existing(self, events: Any, not_in: Any) -> set[str]:
        return await self._sink.existing(events, not_in)

    async def close(self) -> None:
        await self._sink.close()
