# Built in two stages: the second has neither pip's leftovers nor a compiler.
#
#   docker build -t draftline .
#   docker run --init --network host -v draftline-data:/data draftline
#   docker run --network host -e DRAFTLINE_DATABASE_URL=postgresql://... draftline migrate
#
# Without TLS and keys to know callers by, the service listens on loopback alone, hence --network host. For a PostgreSQL
# beside it, see deploy/compose.yaml; for Kubernetes, deploy/kubernetes.yaml.
# To pin the base to the byte: --build-arg PYTHON=3.11.14-slim-bookworm@sha256:...
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/draftline
WORKDIR /src
COPY requirements/server.txt requirements/server.txt
# Wheels alone: there is nothing to compile with.
RUN /opt/draftline/bin/python -m pip install --require-hashes --only-binary :all: -r requirements/server.txt
COPY . .
RUN /opt/draftline/bin/python -m pip install --no-deps --no-build-isolation ./client . \
 && /opt/draftline/bin/python -m pip uninstall --yes pip setuptools

FROM python:${PYTHON}
COPY --from=build /opt/draftline /opt/draftline
RUN groupadd --gid 10001 draftline \
 && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin draftline \
 && install -d -o draftline -g draftline -m 700 /data
ENV PATH=/opt/draftline/bin:$PATH PYTHONUNBUFFERED=1 DRAFTLINE_DATA_DIR=/data DRAFTLINE_LOG_FORMAT=json
# By number, so that it can be seen not to be root.
USER 10001:10001
VOLUME /data
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["draftline", "health", "--timeout", "5"]
ENTRYPOINT ["draftline"]
CMD ["serve"]
