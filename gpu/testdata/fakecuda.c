// A CUDA driver with one device in host memory, whose faults are asked for in
// the environment: FAKE_CUDA_INIT, FAKE_CUDA_ALLOC, … are results to return.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int setting(const char *name, int otherwise) {
	const char *v = getenv(name);
	return v ? atoi(v) : otherwise;
}

int cuInit(unsigned flags) { return setting("FAKE_CUDA_INIT", 0); }
int cuDriverGetVersion(int *v) {
	*v = setting("FAKE_CUDA_VERSION", 12040);
	return 0;
}
int cuDeviceGetCount(int *n) {
	*n = setting("FAKE_CUDA_COUNT", 1);
	return 0;
}
int cuDeviceGet(int *d, int i) {
	*d = i;
	return 0;
}
int cuDeviceGetName(char *name, int n, int d) {
	snprintf(name, n, "Fake GPU");
	return 0;
}
int cuDeviceGetUuid(unsigned char *uuid, int d) {
	for (int i = 0; i < 16; i++) uuid[i] = i + 1 + d;
	return 0;
}
int cuDeviceGetAttribute(int *v, int attribute, int d) {
	*v = attribute == 75 ? 9 : 0;
	return 0;
}
int cuDevicePrimaryCtxRetain(void **c, int d) {
	*c = (void *)1;
	return setting("FAKE_CUDA_CONTEXT", 0);
}
int cuDevicePrimaryCtxRelease(int d) { return 0; }
int cuCtxSetCurrent(void *c) { return 0; }
int cuMemGetInfo_v2(size_t *free, size_t *total) {
	*free = 14ull << 30;
	*total = 16ull << 30;
	return 0;
}
int cuMemAlloc_v2(unsigned long long *p, size_t n) {
	*p = (unsigned long long)(size_t)malloc(n);
	return setting("FAKE_CUDA_ALLOC", 0);
}
int cuMemsetD8_v2(unsigned long long p, unsigned char with, size_t n) {
	if (!getenv("FAKE_CUDA_FORGETS")) memset((void *)(size_t)p, with, n);
	return 0;
}
int cuMemcpyDtoH_v2(void *to, unsigned long long from, size_t n) {
	memcpy(to, (void *)(size_t)from, n);
	return 0;
}
int cuMemFree_v2(unsigned long long p) {
	free((void *)(size_t)p);
	return 0;
}
int cuGetErrorName(int r, const char **name) {
	*name = r == 802 ? "CUDA_ERROR_SYSTEM_NOT_READY" : "CUDA_ERROR_FAKE";
	return 0;
}
