# The bridge. With its embedded store:           docker build -t weighbridge .
# Without it, for a ClickHouse server or others: docker build -t weighbridge:small --target small .
# Run: see compose.yaml, README.md and docs/operations.md.
# Debian, not Alpine: the store engine is built against glibc; its x86-64 build needs a CPU with AVX2.

FROM python:3.13-slim AS base
RUN python -m venv /opt/weighbridge
ENV PATH=/opt/weighbridge/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY constraints.txt ./

# Half a gigabyte that changes only with its pin: a layer of its own. Its metadata asks for pandas and pyarrow, which
# nothing here imports.
FROM base AS engine
RUN pip install --constraint constraints.txt --no-deps chdb-core

FROM base AS build
COPY pyproject.toml README.md LICENSE ./
COPY config ./config
COPY receiver ./receiver
COPY mapping ./mapping
COPY exporter ./exporter
COPY weighbridge ./weighbridge
RUN pip install --constraint constraints.txt '.[demo,kafka,compression]'

FROM python:3.13-slim AS small
LABEL org.opencontainers.image.title="weighbridge" \
    org.opencontainers.image.description="OpenTelemetry in, API analytics out" \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.base.name="docker.io/library/python:3.13-slim"
RUN useradd --system --uid 10001 --home-dir /var/lib/weighbridge weighbridge \
    && install -d -o weighbridge -g weighbridge -m 0700 /var/lib/weighbridge
COPY --from=build /opt/weighbridge /opt/weighbridge
# Own settings (WEIGHBRIDGE_CONFIG, or weighbridge.yaml on the volume) are laid over the defaults of the image: what they
# do not name keeps listening on all interfaces of the container and writing to the volume.
ENV PATH=/opt/weighbridge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WEIGHBRIDGE_DEFAULTS=/opt/weighbridge/share/weighbridge/container.yaml
USER 10001
WORKDIR /var/lib/weighbridge
# Spool, store and dead letters: everything that a 200 promises. Keep it on a disk of its own.
VOLUME /var/lib/weighbridge
# OTLP/HTTP, and the admin port for probes and Prometheus; the second is not for the open network.
EXPOSE 4318 13133
STOPSIGNAL SIGTERM
# By the address that others use: settings that listen on 127.0.0.1 inside the container are not healthy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-P", "-m", "weighbridge.healthcheck", "4318", "13133"]
ENTRYPOINT ["weighbridge"]
CMD ["serve"]

# The default target.
FROM small AS embedded
COPY --from=engine /opt/weighbridge /opt/weighbridge
