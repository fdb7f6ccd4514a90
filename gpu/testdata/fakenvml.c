// A driver's NVML with one device and few functions, whose faults are asked for
// in the environment: the loader, a crash and a hang are real.
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int setting(const char *name, int otherwise) {
	const char *v = getenv(name);
	return v ? atoi(v) : otherwise;
}

static int text(char *to, unsigned n, const char *from) {
	snprintf(to, n, "%s", from);
	return 0;
}

#ifndef WITHOUT_INIT
int nvmlInit_v2(void) {
	if (getenv("FAKE_NVML_SEGV")) raise(SIGSEGV);
	if (getenv("FAKE_NVML_KILL")) raise(SIGKILL);
	if (getenv("FAKE_NVML_HANG")) sleep(1000);
	return setting("FAKE_NVML_INIT", 0);
}
#endif

int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int r) { return r == 18 ? "Driver/library version mismatch" : r == 999 ? "Unknown Error" : "an error"; }
int nvmlSystemGetDriverVersion(char *v, unsigned n) { return text(v, n, "550.54.15"); }
int nvmlDeviceGetCount_v2(unsigned *n) {
	*n = setting("FAKE_NVML_COUNT", 1);
	return 0;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) {
	*d = (void *)(size_t)(i + 1);
	return 0;
}
int nvmlDeviceGetName(void *d, char *v, unsigned n) { return text(v, n, "Fake GPU"); }
int nvmlDeviceGetUUID(void *d, char *v, unsigned n) { return text(v, n, "GPU-01020304-0506-0708-090a-0b0c0d0e0f10"); }

// The second version is not there, as in drivers before 510.
int nvmlDeviceGetMemoryInfo(void *d, unsigned long long *m) {
	// A watch asks again and again: these faults come in the middle of it.
	static int asked;
	if (++asked == 4) {
		if (getenv("FAKE_NVML_LATE_ABORT")) _exit(127);
		if (getenv("FAKE_NVML_LATE_SEGV")) raise(SIGSEGV);
		if (getenv("FAKE_NVML_LATE_HANG")) sleep(1000);
	}
	m[0] = 16ull << 30;
	m[1] = 15ull << 30;
	m[2] = 1ull << 30;
	return 0;
}
