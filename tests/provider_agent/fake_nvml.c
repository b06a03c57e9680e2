/* A libnvidia-ml.so.1 that tells what a file says, so that the real binding is exercised where there is no GPU.
 *
 * The file (FAKE_NVML) is read at each call; its lines are `key value`:
 *   driver 570.1   init 0   count 2   missing_memory 1   lost 1   mig 0   busy 37   hide NAME
 * init: the code of nvmlInit; lost: the index of a device that fell off the bus; mig: the index of one in MIG mode;
 * missing_memory: of one that does not tell its memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void *Device;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilization;
typedef struct {
    char busIdLegacy[16];
    unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} Pci;

enum { SUCCESS = 0, NOT_SUPPORTED = 3, GPU_IS_LOST = 15 };

static int setting(const char *key, char *text, int otherwise) {
    char name[64], value[128];
    FILE *file = fopen(getenv("FAKE_NVML"), "r");
    if (!file) return otherwise;
    while (fscanf(file, "%63s %127s", name, value) == 2)
        if (!strcmp(name, key)) {
            if (text) strcpy(text, value);
            fclose(file);
            return atoi(value);
        }
    fclose(file);
    return otherwise;
}

static long index_of(Device device) { return (long)device - 1; }
static int gone(Device device) { return setting("lost", NULL, -1) == index_of(device); }

int nvmlInitWithFlags(unsigned int flags) { (void)flags; return setting("init", NULL, 0); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "an error"; }

int nvmlSystemGetDriverVersion(char *text, unsigned int length) {
    (void)length;
    setting("driver", text, 0);
    return SUCCESS;
}
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = setting("count", NULL, 0); return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, Device *device) {
    *device = (Device)(long)(index + 1);
    return gone(*device) ? GPU_IS_LOST : SUCCESS;
}
int nvmlDeviceGetName(Device device, char *text, unsigned int length) {
    (void)device;
    snprintf(text, length, "NVIDIA H100 80GB HBM3");
    return SUCCESS;
}
int nvmlDeviceGetUUID(Device device, char *text, unsigned int length) {
    snprintf(text, length, "GPU-5c9e0000-0000-0000-0000-00000000000%ld", index_of(device));
    return gone(device) ? GPU_IS_LOST : SUCCESS;
}
int nvmlDeviceGetMemoryInfo(Device device, Memory *memory) {
    memory->total = 85520809984ULL;
    return setting("missing_memory", NULL, -1) == index_of(device) ? NOT_SUPPORTED : SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) {
    (void)device;
    *major = 9, *minor = 0;
    return setting("no_capability", NULL, 0) ? NOT_SUPPORTED : SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(Device device, Pci *pci) {
    snprintf(pci->busId, sizeof pci->busId, "00000000:0%ld:00.0", index_of(device));
    return SUCCESS;
}
int nvmlDeviceGetMigMode(Device device, unsigned int *now, unsigned int *pending) {
    *now = *pending = setting("mig", NULL, -1) == index_of(device);
    return SUCCESS;
}
int nvmlDeviceGetUtilizationRates(Device device, Utilization *rates) {
    rates->gpu = setting("busy", NULL, 0), rates->memory = 0;
    return gone(device) ? GPU_IS_LOST : SUCCESS;
}
int nvmlDeviceGetMinorNumber(Device device, unsigned int *minor) { *minor = index_of(device) + 190; return SUCCESS; }
/* nvmlDeviceGetEnforcedPowerLimit is left out on purpose: an older driver lacks symbols, and the field stays empty. */
