"""Behind the samplers of the real OpenTelemetry SDK: counts are right, or the bridge says why they cannot be."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace._sampling_experimental import composable_traceid_ratio_based, composite_sampler
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision as SdkDecision
from opentelemetry.sdk.trace.sampling import Sampler as SdkSampler
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from mapping.event import Decision
from mapping.sampling.sampler import Sampler
from mapping.sampling.settings import SamplingSettings

TRACES = 3000


@pytest.fixture(autouse=True)
def _same_ids_every_time() -> None:
    random.seed(1)  # the SDK draws its ids from this generator


class Collected(SpanExporter):
    def __init__(self) -> None:
        self.spans: list[tuple[bytes, str]] = []  # trace id, tracestate as OTLP carries it

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            context = span.get_span_context()
            assert context is not None
            self.spans.append((context.trace_id.to_bytes(16, "big"), context.trace_state.to_header()))
        return SpanExportResult.SUCCESS


def sampled_by(sampler: SdkSampler, traces: int) -> list[tuple[bytes, str]]:
    """Root spans with one child each, as this SDK sampler lets them through."""
    collected = Collected()
    provider = TracerProvider(sampler=sampler)
    provider.add_span_processor(SimpleSpanProcessor(collected))
    tracer = provider.get_tracer("test")
    for _ in range(traces):
        with tracer.start_as_current_span("entry"), tracer.start_as_current_span("inner"):
            pass
    provider.shutdown()
    return collected.spans


def decisions(sampler: Sampler, spans: list[tuple[bytes, str]]) -> list[Decision]:
    return [
        sampler.span(trace_id, state, lambda path: "checkout" if path == "service" else None)
        for trace_id, state in spans
    ]


@pytest.mark.parametrize("rate", ["100", "50", "10"])
def test_spans_of_a_consistent_sampler_count_what_there_was(rate: str) -> None:
    spans = sampled_by(composite_sampler(composable_traceid_ratio_based(0.25)), TRACES)
    assert 0.2 < len(spans) / (2 * TRACES) < 0.3
    decided = decisions(Sampler(SamplingSettings(rate=rate)), spans)
    assert {d.upstream for d in decided} == {"th"}
    kept_traces = sum(d.keep for d in decided) / 2
    error = 4 / kept_traces**0.5  # four standard errors, relative
    assert sum(d.adjusted_count for d in decided) == pytest.approx(2 * TRACES, rel=error)
    assert sum(d.weight for d in decided) == pytest.approx(2 * TRACES, rel=error)


def test_spans_of_an_old_ratio_sampler_raise_the_alarm() -> None:
    """At 0.5 % of the id space no rule of 50 % would keep what it should; the alarm names the service."""
    old = TraceIdRatioBased(0.005)
    sampler = Sampler(SamplingSettings(rate="50"))
    spans: list[tuple[bytes, str]] = []
    provider = TracerProvider()
    while len(spans) < 12_000:
        trace_id = provider.id_generator.generate_trace_id()
        # What the SDK's rule lets through is uniform below its bound: put the id there, to save 2.4 million draws.
        trace_id = (trace_id >> 64 << 64) | (trace_id & (1 << 64) - 1) % old.bound
        assert old.should_sample(None, trace_id, "span").decision is SdkDecision.RECORD_AND_SAMPLE
        spans.append((trace_id.to_bytes(16, "big"), ""))
    decisions(sampler, spans)
    assert list(sampler.watch.alarms) == ["checkout"]
    sampler.tick(1)
    decided = decisions(sampler, spans)
    assert sum(d.weight for d in decided) == pytest.approx(len(spans), rel=0.05)
