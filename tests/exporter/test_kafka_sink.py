"""What the Kafka sink adds to the contract of all sinks: which topic and which key a message has."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from events import event
from exporter.sink import Batch
from mapping.event import ACTION, LOG

pytest.importorskip("confluent_kafka", reason="the Kafka sink's library is an extra")

from confluent_kafka import Consumer, TopicPartition

from exporter.sinks import kafka
from sink_kafka import Kafka


def messages(brokers: list[str], topic: str) -> list[tuple[bytes | None, str]]:
    """Key and event type of each."""
    consumer = Consumer(
        {"bootstrap.servers": ",".join(brokers), "group.id": "test", "log_level": 0, "enable.partition.eof": True}
    )
    partitions = consumer.list_topics(topic, timeout=60).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    found, ended = [], 0
    while ended < len(partitions):
        message = consumer.poll(10)
        assert message is not None
        if message.error():
            ended += 1
        else:
            found.append((message.key(), json.loads(message.value() or b"")["event_type"]))
    consumer.close()
    return found


def test_each_type_of_event_can_have_a_topic_and_messages_are_keyed(tmp_path: Path) -> None:
    call = event(user_id="user-1")
    rows = [call, event(event_type=LOG), event(event_type=ACTION, action_name="a"), event(user_id="")]

    async def go(cluster: Kafka) -> None:
        settings = kafka.Settings(
            name="sink",
            brokers=cluster.brokers,
            topic="calls",
            log_topic="logs",
            action_topic="actions",
            key="user_id",
            timeout_s=60,
        )
        sink = kafka.create(settings)
        await sink.open()
        await sink.write(Batch(1, rows), in_doubt=False)
        await sink.close()

    cluster = Kafka(tmp_path)
    asyncio.run(cluster.start())
    asyncio.run(go(cluster))
    assert set(messages(cluster.brokers, "calls")) == {(b"user-1", "api_call"), (None, "api_call")}
    assert [kind for _, kind in messages(cluster.brokers, "logs")] == ["log"]
    assert [kind for _, kind in messages(cluster.brokers, "actions")] == ["action"]
    asyncio.run(cluster.stop())
