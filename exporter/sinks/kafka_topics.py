"""What a Kafka sink would find: the brokers' topics, asked with the sink's own credentials and making none."""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException, Producer

from exporter.sinks.kafka import Settings
from exporter.sinks.kafka_producer import connection_options, error_of_kafka


def topics(settings: Settings, timeout_s: float) -> set[str]:
    """Names of all topics that these credentials may see. Raises SinkError when no broker lets us in."""
    told: list[KafkaError] = []
    producer = Producer({**connection_options(settings), "log_level": 0, "error_cb": told.append})
    try:
        return set(producer.list_topics(timeout=timeout_s).topics)
    except KafkaException as error:
        producer.poll(0)  # what went wrong on the connections; the question itself only says that it had no answer
        raise error_of_kafka(next(iter(told), error.args[0])) from error
