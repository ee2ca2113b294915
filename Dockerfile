# The bridge with its embedded store. Build: docker build -t weighbridge .   Run: see compose.yaml or README.md.
# Debian, not Alpine: the store engine is built against glibc; its x86-64 build needs a CPU with AVX2.

FROM python:3.13-slim AS build
RUN python -m venv /opt/weighbridge
ENV PATH=/opt/weighbridge/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
# The engine first: half a gigabyte that changes only with its pin. Its metadata asks for pandas and pyarrow, which
# nothing here imports.
COPY constraints.txt ./
RUN pip install --constraint constraints.txt --no-deps chdb-core
COPY pyproject.toml README.md LICENSE ./
COPY config ./config
COPY receiver ./receiver
COPY mapping ./mapping
COPY exporter ./exporter
COPY weighbridge ./weighbridge
RUN pip install --constraint constraints.txt '.[demo]'

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /var/lib/weighbridge weighbridge \
    && install -d -o weighbridge -g weighbridge -m 0700 /var/lib/weighbridge
COPY --from=build /opt/weighbridge /opt/weighbridge
ENV PATH=/opt/weighbridge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WEIGHBRIDGE_CONFIG=/opt/weighbridge/share/weighbridge/container.yaml
USER 10001
WORKDIR /var/lib/weighbridge
# Spool, store and dead letters: everything that a 200 promises. Keep it on a disk of its own.
VOLUME /var/lib/weighbridge
EXPOSE 4318
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1:13133', timeout=2); c.request('GET', '/healthz'); exit(c.getresponse().status != 200)"]
ENTRYPOINT ["weighbridge"]
CMD ["serve"]
