// Sends spans and log records to a receiver: node send.mjs <base URL> <json|proto> <none|gzip> <count>
// Prints what the exporters reported, as JSON.
import { context, trace } from "@opentelemetry/api";
import { BatchLogRecordProcessor, LoggerProvider } from "@opentelemetry/sdk-logs";
import { BasicTracerProvider, BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";

const [url, encoding, compression, count] = process.argv.slice(2);
const suffix = encoding === "json" ? "http" : "proto";
const { OTLPTraceExporter } = await import(`@opentelemetry/exporter-trace-otlp-${suffix}`);
const { OTLPLogExporter } = await import(`@opentelemetry/exporter-logs-otlp-${suffix}`);

const codes = [];
const watched = (exporter) => {
  const send = exporter.export.bind(exporter);
  exporter.export = (items, done) => send(items, (result) => {
    codes.push(result.code === 0 ? "ok" : String(result.error));
    done(result);
  });
  return exporter;
};

const attributes = {
  text: "grüße 🚚", yes: true, whole: 42, large: 9007199254740991, half: 0.5, nan: NaN, infinite: Infinity,
  texts: ["a", "b"], numbers: [1, 2.5], empty: "", "http.request.method": "GET", "http.response.status_code": 503,
};
const traces = new BasicTracerProvider({
  spanProcessors: [new BatchSpanProcessor(watched(new OTLPTraceExporter({ url: `${url}/v1/traces`, compression })))],
});
const logs = new LoggerProvider({
  processors: [new BatchLogRecordProcessor({
    exporter: watched(new OTLPLogExporter({ url: `${url}/v1/logs`, compression })),
  })],
});
const tracer = traces.getTracer("send", "1.0");
const logger = logs.getLogger("send", "1.0");
for (let number = 0; number < Number(count); number++) {
  const span = tracer.startSpan("GET /items", { kind: 1, attributes });
  span.addEvent("exception", { "exception.message": "boom" });
  span.setStatus({ code: 2, message: "boom" });
  logger.emit({
    body: { order: number, nested: { list: [1, "two", null] } },
    severityNumber: 9, severityText: "INFO", attributes, eventName: "order.placed",
    context: trace.setSpan(context.active(), span),
  });
  span.end();
}
await traces.forceFlush();
await logs.forceFlush();
await traces.shutdown();
await logs.shutdown();
console.log(JSON.stringify(codes));
