"""Sink: a Kafka topic, one message an event: the JSON of `weighbridge map`, with its ids also as headers.

Delivery: acknowledged by all in-sync replicas, in order per key (idempotent producer). A batch that was on its way when
the process died, or that the brokers left unconfirmed for `timeout_s`, is sent again: consumers drop repeats by the
header `transaction_id`.
Rights needed: to write the topic; IDEMPOTENT_WRITE on clusters before Kafka 3.0.
"""

from __future__ import annotations

import importlib.util
import re
from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from exporter.settings import SinkSettings
from exporter.sink import Sink

# Among librdkafka's options: sasl.password, ssl.key.pem, sasl.oauthbearer.client.secret and their kind.
_SECRET = re.compile(r"password|secret|pem$|oauthbearer\.config|jaas", re.IGNORECASE)


class Settings(SinkSettings):
    """A Kafka topic."""

    type: Literal["kafka"] = "kafka"
    brokers: list[str] = Field(min_length=1, description="host:port of some brokers.")
    topic: str = Field(min_length=1, max_length=249, description="Topic of all events.")
    log_topic: str = Field("", description="Topic of log events; empty: the same topic.")
    action_topic: str = Field("", description="Topic of actions; empty: the same topic.")
    key: Literal["trace_id", "user_id", "company_id", "none"] = Field(
        "trace_id", description="Field that decides the partition; messages of one key keep their order."
    )
    compression: Literal["zstd", "lz4", "gzip", "snappy", "none"] = Field(
        "zstd", description="Compression of messages."
    )
    max_message_bytes: int = Field(1_000_000, ge=1000, description="Largest message; must not exceed the topic's.")
    timeout_s: float = Field(60.0, gt=0, description="Seconds to wait for the brokers to confirm a batch.")
    options: dict[str, str | int | bool | SecretStr] = Field(
        default_factory=dict, description="Further librdkafka options, such as security.protocol."
    )

    @field_validator("options")
    @classmethod
    def _hides_secrets(
        cls, options: dict[str, str | int | bool | SecretStr]
    ) -> dict[str, SecretStr | str | int | bool]:
        return {
            name: SecretStr(value) if isinstance(value, str) and _SECRET.search(name) else value
            for name, value in options.items()
        }

    @model_validator(mode="after")
    def _library_is_there(self) -> Self:
        if importlib.util.find_spec("confluent_kafka") is None:
            raise ValueError("sink type `kafka` needs the Python package `confluent-kafka`, which is not installed")
        return self

    def topic_of(self, event_type: str) -> str:
        own = {"log": self.log_topic, "action": self.action_topic}
        return own.get(event_type) or self.topic


def create(settings: Settings) -> Sink:
    from exporter.sinks.kafka_producer import KafkaSink

    return KafkaSink(settings)
