# Images, by --target:
#   runner   the binary alone
#   full     the binary and the Python tools; the default
#   rapids   the binary in a RAPIDS image, for the GPU
#   demo     serves repositories in a cluster; for `make e2e` only
# A base is pinned by giving it as NAME@sha256:DIGEST; README.md, "docker", has how.
ARG GO_IMAGE=golang:1.26-bookworm
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
ARG RUNNER_IMAGE=debian:bookworm-slim
ARG RAPIDS_IMAGE=nvcr.io/nvidia/rapidsai/notebooks:25.04-cuda12.8-py3.12

# NVML needs cgo, so the binary is bound to this image's glibc or a newer one.
FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=v0.0.0-dev
ARG COMMIT=
RUN make build VERSION="$VERSION" COMMIT="$COMMIT"

FROM ${RUNNER_IMAGE} AS runner
# Slim images trust nobody, and clone speaks HTTPS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/bin/step-runner /usr/local/bin/step-runner
RUN mkdir -m 1777 /workspace
ARG VERSION=v0.0.0-dev
ARG COMMIT=
LABEL org.opencontainers.image.title="step-runner" \
      org.opencontainers.image.description="Runs a GPU notebook workflow of eight steps" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
ENV STEP_RUNNER_WORKSPACE=/workspace
HEALTHCHECK NONE
USER 1001:1001
WORKDIR /workspace
ENTRYPOINT ["step-runner"]

FROM ${PYTHON_IMAGE} AS tools
COPY testdata/tools /tmp/tools
# Compiled here, since the user of the image cannot write byte code there.
RUN UV_COMPILE_BYTECODE=1 /tmp/tools/install.sh /opt/tools \
 && /opt/tools/bin/python -c 'import papermill, nbconvert, scanpy, pytest'

FROM ${PYTHON_IMAGE} AS full
RUN useradd --uid 1001 --create-home step-runner && mkdir -m 1777 /workspace
COPY --from=tools /opt/tools /opt/tools
COPY --from=build /src/bin/step-runner /usr/local/bin/step-runner
ARG VERSION=v0.0.0-dev
ARG COMMIT=
LABEL org.opencontainers.image.title="step-runner" \
      org.opencontainers.image.description="Runs a GPU notebook workflow of eight steps; with the Python tools" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
ENV PATH=/opt/tools/bin:$PATH STEP_RUNNER_WORKSPACE=/workspace
HEALTHCHECK NONE
USER 1001:1001
WORKDIR /workspace
ENTRYPOINT ["step-runner"]

# The image's own Python and tools are used as they are.
FROM ${RAPIDS_IMAGE} AS rapids
USER root
COPY --from=build /src/bin/step-runner /usr/local/bin/step-runner
RUN mkdir -m 1777 /workspace
ARG VERSION=v0.0.0-dev
ARG COMMIT=
LABEL org.opencontainers.image.title="step-runner" \
      org.opencontainers.image.description="Runs a GPU notebook workflow of eight steps; in a RAPIDS image" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$COMMIT"
ENV STEP_RUNNER_WORKSPACE=/workspace
HEALTHCHECK NONE
USER 1001:1001
WORKDIR /workspace
ENTRYPOINT ["step-runner"]

FROM build AS build-demo
RUN go build -trimpath -o bin/demo ./cmd/demo

# Based on the Go image, since it has git.
FROM ${GO_IMAGE} AS demo
COPY --from=build-demo /src/bin/demo /usr/local/bin/demo
HEALTHCHECK NONE
USER 1001:1001
WORKDIR /tmp
ENTRYPOINT ["demo"]

# The last one is the default.
FROM full
