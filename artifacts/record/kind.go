package record

import "slices"

// Kind is the stable, documented class of a failure. It appears in a record as
// failure.kind and decides the process's exit code; see docs/exit-codes.md.
type Kind string

// The failure classes. Names and codes never change once released.
const (
	Internal Kind = "internal"
	Usage    Kind = "usage"

	BadInput      Kind = "bad-input"
	MissingTool   Kind = "missing-tool"
	BadWorkspace  Kind = "bad-workspace"
	DiskFull      Kind = "disk-full"
	InstallFailed Kind = "install-failed"
	Busy          Kind = "busy"
	NotRun        Kind = "not-run"
	Incomplete    Kind = "incomplete"

	NoGPU           Kind = "no-gpu"
	NoDriver        Kind = "no-driver"
	GPUPermission   Kind = "gpu-permission"
	GPUInsufficient Kind = "gpu-insufficient"
	GPUBroken       Kind = "gpu-broken"

	CloneFailed      Kind = "clone-failed"
	CloneAuth        Kind = "clone-auth"
	RepoNotFound     Kind = "repo-not-found"
	RevisionNotFound Kind = "revision-not-found"
	CloneIncomplete  Kind = "clone-incomplete"

	FetchFailed      Kind = "fetch-failed"
	FetchAuth        Kind = "fetch-auth"
	FetchNotFound    Kind = "fetch-not-found"
	ChecksumMismatch Kind = "checksum-mismatch"
	DatasetInvalid   Kind = "dataset-invalid"

	NotebookMissing Kind = "notebook-missing"
	NotebookInvalid Kind = "notebook-invalid"
	NotebookFailed  Kind = "notebook-failed"
	EarlyExit       Kind = "early-exit"
	KernelDied      Kind = "kernel-died"
	OutOfMemory     Kind = "out-of-memory"
	MissingModule   Kind = "missing-module"
	CellInterrupted Kind = "cell-interrupted"
	CellsUnrun      Kind = "cells-unrun"
	PatchMismatch   Kind = "patch-mismatch"

	ConvertFailed Kind = "convert-failed"

	TestsFailed    Kind = "tests-failed"
	NoTests        Kind = "no-tests"
	TestsCrashed   Kind = "tests-crashed"
	TestsSkipped   Kind = "tests-all-skipped"
	TestEnvFailed  Kind = "test-env-failed"
	TestsUntrusted Kind = "tests-untrusted"

	ArtifactMissing Kind = "artifact-missing"
	ArtifactInvalid Kind = "artifact-invalid"
	PublishFailed   Kind = "publish-failed"
	SecretLeaked    Kind = "secret-leaked"

	TimedOut Kind = "timed-out"
	Killed   Kind = "killed"
	Signaled Kind = "signaled"
)

// Class documents one Kind: the exit code it leads to, what it means, and the
// first thing to try.
type Class struct {
	Kind    Kind
	Exit    int
	Meaning string
	Hint    string
}

var classes = []Class{
	{Internal, 1, "a fault that step-runner has no class for", "read the step's log; if step-runner itself is at fault, report it with the record"},
	{Usage, 2, "the command line, a variable or the config file is wrong", "see `step-runner COMMAND --help` and `step-runner config`"},

	{BadInput, 10, "an input file or value cannot be used", "correct the value that the message names"},
	{MissingTool, 11, "a program or Python package that the step needs is not there", "use an image that has it, or let setup install it: `setup --install`, `run --setup-install`"},
	{BadWorkspace, 12, "the workspace cannot be used: not there, read-only, not ours", "mount a writable volume; on Kubernetes set fsGroup to the task's group"},
	{DiskFull, 13, "no space or no inodes left", "free space or enlarge the volume; old runs are under runs/ in the workspace"},
	{InstallFailed, 14, "Python tools could not be installed", "check the package index and the constraints file; the step's log has pip's own words"},
	{Busy, 15, "another process is running this step of this run", "wait for it, or use another --run"},
	{NotRun, 16, "the step did not run because one that it needs did not succeed", "mend the step that the message names"},
	{Incomplete, 17, "no step failed, but not all eight have run", "run the missing steps, or use `step-runner run --resume`; in a pipeline look at how the pods of the steps before have ended"},

	{NoGPU, 20, "the driver is there but shows no GPU", "ask for nvidia.com/gpu in the step's limits, or docker run --gpus all; check CUDA_VISIBLE_DEVICES"},
	{NoDriver, 21, "no NVIDIA driver library in this container", "run on a GPU node with the NVIDIA container runtime, or use --gpu optional"},
	{GPUPermission, 22, "the GPU is there but may not be used", "check the device permissions, the cgroup and the security context"},
	{GPUInsufficient, 23, "fewer or smaller GPUs than asked for", "lower --min-count or --min-memory, or use a larger node"},
	{GPUBroken, 24, "the GPU or its driver reports an error", "have the node drained and its GPU reset; see the message for the driver's words"},

	{CloneFailed, 30, "the repository could not be fetched", "check the URL, the network and the proxy; the log has every attempt"},
	{CloneAuth, 31, "the server refused the credentials", "check that the token is valid, not expired, and may read this repository (\"contents: read\")"},
	{RepoNotFound, 32, "no such repository, or the token may not see it", "check the URL; for a private repository give --token-file"},
	{RevisionNotFound, 33, "the repository has no such branch, tag or commit", "check the revision; a commit must have been pushed"},
	{CloneIncomplete, 34, "the clone lacks something that was required of it", "check --require and the revision; for LFS pointers run git lfs pull"},

	{FetchFailed, 35, "a dataset could not be fetched: no connection, a server's error, a download that stalls or breaks off", "check the URL, the network and the proxy; what has arrived is kept, and the next try goes on from there"},
	{FetchAuth, 36, "the server refused to give the dataset (401, 403)", "give --token-file, and --token-host when there are several hosts; a signed URL may have expired"},
	{FetchNotFound, 37, "the server has no such dataset (404, 410)", "check the URL"},
	{ChecksumMismatch, 38, "a dataset does not have the digest that it should have", "compare the sha256 with what the dataset's publisher says; nothing was put in its place"},
	{DatasetInvalid, 39, "a dataset is not what its name says, is damaged, or its archive is unsafe to unpack", "look at the file in a browser: servers also answer with pages; a larger archive needs --max-unpacked, --max-ratio or --max-entries"},

	{NotebookMissing, 40, "the notebook is not there", "check NOTEBOOK_RELATIVED_DIR, NOTEBOOK_FILENAME and the revision"},
	{NotebookInvalid, 41, "the file is no notebook that can be run", "open it in Jupyter and save it again; for an LFS pointer run git lfs pull"},
	{NotebookFailed, 42, "a cell raised an error", "read the traceback in the output notebook or its HTML"},
	{EarlyExit, 43, "the notebook ended itself before its last cell", "remove the exit, or give --allow-early-exit if it is meant"},
	{KernelDied, 44, "the kernel's process died", "look for a crash of native code in the log; run the cell alone"},
	{OutOfMemory, 45, "host or GPU memory ran out", "use --variant lite, or raise the memory limit"},
	{MissingModule, 46, "the notebook imports a module that the image lacks", "install it in the image, or correct the import"},
	{CellInterrupted, 47, "a cell raised KeyboardInterrupt or was interrupted", "find what interrupts the cell; step-runner did not"},
	{CellsUnrun, 48, "papermill reports success but cells have not run", "look at the first cell without an execution in the output notebook"},
	{PatchMismatch, 49, "a patch, a parameter or --subsample does not fit the notebook", "compare it with the notebook at this revision"},

	{ConvertFailed, 50, "nbconvert failed or wrote no whole page", "read jupyter_nbconvert.log"},

	{TestsFailed, 60, "tests failed or errored", "read the failures in the summary or the HTML report"},
	{NoTests, 61, "no test was collected", "check --markers and the test repository's testpaths"},
	{TestsCrashed, 62, "pytest ended abnormally or left no whole report", "read pytest_output.log"},
	{TestsSkipped, 63, "every test was skipped", "make the tests run here, or give --allow-all-skipped if it is meant"},
	{TestEnvFailed, 64, "the tests' Python environment could not be built", "read pytest_output.log; check pyproject.toml, the lock file and the index"},
	{TestsUntrusted, 65, "pytest's exit code and its report contradict each other", "look for a plugin or conftest that changes exit codes or reports"},

	{ArtifactMissing, 70, "a required artifact is not there", "see which step should have written it; everything else was published"},
	{ArtifactInvalid, 71, "an artifact is not what it should be, or changed since its step wrote it", "run the step that writes it again"},
	{PublishFailed, 72, "the results could not be put in the workspace", "check that the workspace is writable and not full"},
	{SecretLeaked, 73, "a file of the run holds a token", "revoke the token, then find what printed it; the file was not published"},

	{TimedOut, 124, "a time limit of ours ran out", "raise --timeout, or find what hangs in the step's log"},
	{Killed, 137, "the step was killed and could write no result", "look for an OOM kill (kubectl describe pod), a lost node or a deleted pod; then run it again, or go on with `step-runner run --resume`"},
	{Signaled, 128, "the step was told to stop by a signal (exit code 128 + signal)", "find who stopped it: a cancelled run, a deleted or evicted pod, a node that was drained; then run it again, or go on with `step-runner run --resume`"},
}

// Classes returns the documented failure classes in the order of their codes.
func Classes() []Class { return slices.Clone(classes) }

func classOf(k Kind) Class {
	i := slices.IndexFunc(classes, func(c Class) bool { return c.Kind == k })
	if i < 0 {
		return classes[0]
	}
	return classes[i]
}
