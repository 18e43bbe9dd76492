# LocalPay as one image: `serve` (default), `work`, `migrate` and every other command.
FROM python:3.11-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

WORKDIR /app

# Dependencies first: they change seldom, and their layer is then kept.
COPY requirements.lock ./
RUN pip install --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY commons commons
COPY marketplace marketplace
COPY clearing clearing
COPY crawler crawler
COPY api api
COPY demo demo
RUN pip install --no-deps --no-build-isolation . \
    && useradd --system --no-create-home --uid 10001 localpay \
    && install --directory --owner=localpay --group=localpay /data

ENV LOCALPAY_DATA_DIR=/data
VOLUME /data
USER localpay
EXPOSE 8080

# It asks the database and the index, so it tells more than an open port.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=4 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/health', timeout=4)"]

ENTRYPOINT ["localpay"]
CMD ["serve", "--host", "0.0.0.0"]
