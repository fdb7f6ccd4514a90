# Targets that scripts depend on: build, test, lint, demo. The rest is for people.
SHELL := /bin/bash
.DELETE_ON_ERROR:

VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || echo v0.0.0-dev)
COMMIT ?= $(shell git rev-parse HEAD 2>/dev/null)
# NVML is called through cgo. Its symbols must bind lazily, which is not every
# linker's default: a driver that lacks one would end the program when it starts.
export CGO_ENABLED ?= 1
LAZY = -extldflags=-Wl,-z,lazy
export GOFLAGS += -ldflags=$(LAZY)
# go-nvml wraps what its own header calls deprecated.
export CGO_CFLAGS ?= -O2 -g -Wno-deprecated-declarations
LDFLAGS = -X main.buildVersion=$(VERSION) -X main.buildCommit=$(COMMIT) $(LAZY)

TOOLS_DIR ?= .cache/tools
DEMO_WORKSPACE ?= .cache/demo

.PHONY: build test test-manifests test-gpu test-pythons e2e lint fuzz-smoke bench docs tools tools-lock demo

BINARY ?= bin/step-runner
build: ## bin/step-runner
	go build -trimpath -ldflags '$(LDFLAGS)' -o '$(BINARY)' ./cmd/step-runner

test: tools test-manifests ## every test
	go test -timeout 30m ./...

test-manifests: ## manifests/ as Tekton's webhooks see them, and against the commands
	cd manifests && go vet ./... && go vet -tags e2e ./e2e && go test ./...

test-gpu: ## the tests that need a GPU, on this machine
	go test -tags gpu -count 1 -v -run '^TestGPU' ./gpu ./cmd/step-runner

# The same as programs, to be carried with this directory to a machine that has a GPU
# and no Go, and to be run in the package's directory: -test.v -test.run '^TestGPU'
bin/gpu.test: FORCE
	go test -tags gpu -c -o $@ ./gpu
bin/step-runner.test: FORCE
	go test -tags gpu -c -o $@ ./cmd/step-runner
FORCE:

# Versions or paths.
PYTHONS ?= 3.10 3.11 3.12 3.13
test-pythons: tools ## what runs inside the kernel, on each of PYTHONS; the cutting program on old and new anndata
	@set -e; for p in $(PYTHONS); do \
		$(TOOLS_DIR)/bin/uv run --quiet --no-project --python $$p --with pytest python -m pytest -q steps/inject/tests; \
	done
	@set -e; grep -v '^#' steps/subsample/tests/pythons.txt | while read -r p with; do \
		echo "$$p $$with"; \
		$(TOOLS_DIR)/bin/uv run --quiet --no-project --no-build --python $$p --with pytest --with hypothesis $$(printf ' --with %s' $$with) \
			python -B -W ignore -m pytest -q -W ignore -p no:cacheprovider steps/subsample/tests </dev/null; \
	done

E2E_FLAGS ?=
e2e: ## the Pipelines on the cluster of the current kube context; manifests/README.md has the settings
	cd manifests && go test -tags e2e -count 1 -timeout 120m -parallel 2 -v $(E2E_FLAGS) ./e2e

LINTER = .cache/bin/golangci-lint-v2.15.0
$(LINTER):
	GOBIN='$(abspath .cache/bin)' go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
	mv .cache/bin/golangci-lint $@

lint: $(LINTER) ## what .golangci.yml asks for
	$(LINTER) run ./...

FUZZTIME ?= 10s
fuzz-smoke: ## every fuzz target for FUZZTIME
	@set -e; for file in $$(git grep -l '^func Fuzz' -- '*_test.go'); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			echo "$$file $$name"; \
			go test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) ./$$(dirname $$file); \
		done; \
	done

bench: ## every benchmark
	go test -run '^$$' -bench . -benchmem ./...

docs: ## the generated files in docs
	go test ./cmd/step-runner -run '^TestDocs$$' -update

tools: ## the pinned Python tools, in TOOLS_DIR
	testdata/tools/install.sh $(TOOLS_DIR)

tools-lock: tools ## requirements.txt anew from requirements.in
	cd testdata/tools && $(abspath $(TOOLS_DIR))/bin/uv pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest \
		--generate-hashes --custom-compile-command 'make tools-lock' --output-file requirements.txt requirements.in

demo: build tools ## the whole lite workflow on real tools, no GPU, no account
	go build -trimpath -o bin/demo ./cmd/demo
	bin/demo --workspace '$(DEMO_WORKSPACE)' --tools '$(TOOLS_DIR)'
