# Two stages, so that the image has neither pip's cache nor a compiler.
#
#   docker build -t draftline .
#   docker run --init --network host -v draftline-data:/data draftline
#   docker run --network host -e DRAFTLINE_DATABASE_URL=postgresql://... draftline migrate
#
# Without authentication and TLS, the service listens only on loopback, hence --network host. To run it together with
# PostgreSQL, see deploy/compose.yaml; for Kubernetes, deploy/kubernetes.yaml.
# To pin the base image by digest: --build-arg PYTHON=3.11.14-slim-bookworm@sha256:...
ARG PYTHON=3.11.14-slim-bookworm

FROM python:${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/draftline
WORKDIR /src
COPY requirements/image.txt requirements/image.txt
# The service with its extra `traces`. Install only wheels, because there is no compiler.
RUN /opt/draftline/bin/python -m pip install --require-hashes --only-binary :all: -r requirements/image.txt
COPY . .
RUN /opt/draftline/bin/python -m pip install --no-deps --no-build-isolation ./client . \
 && /opt/draftline/bin/python -m pip uninstall --yes pip setuptools

FROM python:${PYTHON}
COPY --from=build /opt/draftline /opt/draftline
RUN groupadd --gid 10001 draftline \
 && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin draftline \
 && install -d -o draftline -g draftline -m 700 /data
ENV PATH=/opt/draftline/bin:$PATH PYTHONUNBUFFERED=1 DRAFTLINE_DATA_DIR=/data DRAFTLINE_LOG_FORMAT=json
# Use the numeric id, so that Kubernetes can verify that it is not root.
USER 10001:10001
VOLUME /data
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["draftline", "health", "--timeout", "5"]
ENTRYPOINT ["draftline"]
CMD ["serve"]
