# Two images:
#   docker build -t step-runner .                     the binary and the Python tools
#   docker build -t step-runner:runner --target runner .   the binary alone
# Neither has RAPIDS: for the GPU put the binary into a RAPIDS image, by
# `step-runner install DIR` or COPY --from.
ARG GO_IMAGE=golang:1.26-bookworm
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
ARG RUNNER_IMAGE=debian:bookworm-slim

# NVML needs cgo, so the binary is bound to this image's glibc or a newer one.
FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=v0.0.0-dev
ARG COMMIT=
RUN make build VERSION="$VERSION" COMMIT="$COMMIT"

FROM ${PYTHON_IMAGE} AS tools
COPY testdata/tools /tmp/tools
# Compiled here, since the user of the image cannot write byte code there.
RUN UV_COMPILE_BYTECODE=1 /tmp/tools/install.sh /opt/tools \
 && /opt/tools/bin/python -c 'import papermill, nbconvert, scanpy, pytest'

FROM ${RUNNER_IMAGE} AS runner
# Slim images trust nobody, and clone speaks HTTPS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/bin/step-runner /usr/local/bin/step-runner
RUN mkdir -m 1777 /workspace
ENV STEP_RUNNER_WORKSPACE=/workspace
USER 1001:1001
ENTRYPOINT ["step-runner"]

FROM ${PYTHON_IMAGE} AS full
RUN useradd --uid 1001 --create-home step-runner && mkdir -m 1777 /workspace
COPY --from=tools /opt/tools /opt/tools
COPY --from=build /src/bin/step-runner /usr/local/bin/step-runner
ENV PATH=/opt/tools/bin:$PATH STEP_RUNNER_WORKSPACE=/workspace
USER 1001:1001
WORKDIR /workspace
ENTRYPOINT ["step-runner"]
