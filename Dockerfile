# Built in two stages: the second has neither pip's leftovers nor a compiler.
#
#   docker build -t draftline .
#   docker run --network host -v draftline-data:/data draftline
#   docker run --network host -e DRAFTLINE_DATABASE_URL=postgresql://... draftline migrate
#
# Without TLS and keys to know callers by, the service listens on loopback alone, hence --network host.
ARG PYTHON=3.11-slim

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/draftline
WORKDIR /src
COPY requirements/server.txt requirements/server.txt
RUN /opt/draftline/bin/python -m pip install --require-hashes -r requirements/server.txt
COPY . .
RUN /opt/draftline/bin/python -m pip install --no-deps --no-build-isolation ./client . \
 && /opt/draftline/bin/python -m pip uninstall --yes pip setuptools

FROM python:${PYTHON}
COPY --from=build /opt/draftline /opt/draftline
RUN useradd --system --user-group --no-create-home draftline && install -d -o draftline -g draftline -m 700 /data
ENV PATH=/opt/draftline/bin:$PATH PYTHONUNBUFFERED=1 DRAFTLINE_DATA_DIR=/data DRAFTLINE_LOG_FORMAT=json
USER draftline
VOLUME /data
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["draftline", "health", "--timeout", "4"]
ENTRYPOINT ["draftline"]
CMD ["serve"]
