/* A libnvidia-ml.so.1 that tells what a file says, so that the real binding is exercised where there is no GPU.
 *
 * The file (FAKE_NVML) is read at each call. Its lines are `key value`, a value without spaces:
 *   count 2, driver 570.1, xid 79      of the machine
 *   *.temperature 60                   of every GPU
 *   1.temperature 91                   of GPU 1; it goes before the line of every GPU
 *   1.temperature NA                   GPU 1 answers "not supported" to that
 *   0.fail.nvmlDeviceGetPowerUsage 15  that function answers this code for GPU 0; `*.` for all, no prefix for the rest
 *   fail.nvmlDeviceGetCount_v2 hang    that function never returns
 *   0.lost 1                           everything about GPU 0, and about its slices, answers "GPU is lost"
 *   0.mig 1, 0.slices 2                GPU 0 is cut into two slices, 0/0 and 0/1, of which the driver tells little
 *   0/1.profile 2g.20gb                a figure of the second one (1g.10gb if nothing is said); `#.` is of every slice
 * An event (`event 1`, `event.gpu 0`, `event.xid 79`) is told once for each new value of `event`.
 * Built with -DOLD_DRIVER it lacks the symbols that came later; nvmlDeviceGetEncoderUtilization is never there. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void *Device;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned int gpu, memory; } Utilization;
typedef struct {
    char busIdLegacy[16];
    unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} Pci;
typedef struct { unsigned int pid; unsigned long long used; unsigned int gpuInstance, computeInstance; } Process;
typedef struct {
    unsigned int multiprocessors, copies, decoders, encoders, jpegs, ofas, gpuSlices, computeSlices;
    unsigned long long megabytes;
} Attributes;
typedef struct {
    Device device;
    unsigned long long type, data;
    unsigned int gpuInstance, computeInstance;
} Event;
typedef struct {
    uint32_t field, scope;
    int64_t timestamp, latency;
    unsigned int type, code;
    union { unsigned int ui; unsigned long long ull; } value;
} Field;

enum {
    SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, GPU_IS_LOST = 15,
    XID = 8, MEMORY_TEMPERATURE = 82
};

/* The value of a key, as a fresh read of the file has it; 0 if there is none. */
static int told(const char *key, char *value, size_t size) {
    static __thread char text[16384];
    int file = open(getenv("FAKE_NVML"), O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    if (length < 0) return 0;
    text[length] = 0;
    size_t wanted = strlen(key);
    for (char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
        if (!strncmp(line, key, wanted) && line[wanted] == ' ') {
            size_t end = strcspn(line + wanted + 1, "\n");
            snprintf(value, size, "%.*s", (int)end, line + wanted + 1);
            return 1;
        }
    return 0;
}

/* A card's handle is its number and 1; a slice's is that of its card and SLICE for each slice up to it. */
#define SLICE 1000
static long index_of(Device device) { return (long)device % SLICE - 1; }
static long slice_of(Device device) { return (long)device / SLICE - 1; }
static int is_slice(Device device) { return slice_of(device) >= 0; }
static Device card_of(Device device) { return (Device)(index_of(device) + 1); }

static int told_of(Device device, const char *key, char *value, size_t size) {
    char name[96];
    if (is_slice(device))
        snprintf(name, sizeof name, "%ld/%ld.%s", index_of(device), slice_of(device), key);
    else
        snprintf(name, sizeof name, "%ld.%s", index_of(device), key);
    if (told(name, value, size)) return 1;
    snprintf(name, sizeof name, "%s.%s", is_slice(device) ? "#" : "*", key);
    return told(name, value, size);
}

static int answer(const char *code) {
    if (!strcmp(code, "hang")) for (;;) pause();
    return atoi(code);
}

static int machine(const char *function) {
    char key[96], code[16];
    snprintf(key, sizeof key, "fail.%s", function);
    return told(key, code, sizeof code) ? answer(code) : SUCCESS;
}

/* What a slice is told of; all else is told of its card. */
static const char *OF_SLICES[] = {
    "nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetMemoryInfo", "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetGpuInstanceId", "nvmlDeviceGetComputeInstanceId", "nvmlDeviceGetAttributes_v2", NULL
};
static int slices_tell(const char *function) {
    for (const char **name = OF_SLICES; *name; name++) if (!strcmp(*name, function)) return 1;
    return 0;
}

static int device_code(Device device, const char *function) {
    char key[96], code[16];
    if (told_of(card_of(device), "lost", code, sizeof code) && atoi(code)) return GPU_IS_LOST;
    if (is_slice(device) && !slices_tell(function)) return NOT_SUPPORTED;
    snprintf(key, sizeof key, "fail.%s", function);
    return told_of(device, key, code, sizeof code) ? answer(code) : SUCCESS;
}

static int number(Device device, const char *key, unsigned long long otherwise, unsigned long long *value) {
    char text[32];
    *value = otherwise;
    if (!told_of(device, key, text, sizeof text)) return SUCCESS;
    if (!strcmp(text, "NA")) return NOT_SUPPORTED;
    *value = strtoull(text, NULL, 0);
    return SUCCESS;
}

#define MACHINE() do { int code = machine(__func__); if (code) return code; } while (0)
#define DEVICE() do { int code = device_code(device, __func__); if (code) return code; } while (0)
#define TELL(target, key, otherwise) do { \
        unsigned long long told_value; \
        int code = number(device, key, otherwise, &told_value); \
        if (code) return code; \
        (target) = told_value; \
    } while (0)
/* A function with one figure of a device as its only result. */
#define FIGURE(function, type, key, otherwise) \
    int function(Device device, type *value) { DEVICE(); TELL(*value, key, otherwise); return SUCCESS; }

int nvmlInitWithFlags(unsigned int flags) { (void)flags; MACHINE(); return SUCCESS; }
int nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == 9 ? "Driver Not Loaded" : "an error"; }

int nvmlSystemGetDriverVersion(char *text, unsigned int length) {
    MACHINE();
    if (!told("driver", text, length)) snprintf(text, length, "570.124.06");
    return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    char text[16];
    MACHINE();
    *version = told("cuda", text, sizeof text) ? atoi(text) : 12080;
    return SUCCESS;
}
int nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

static unsigned int count(void) {
    char text[16];
    return told("count", text, sizeof text) ? (unsigned int)atoi(text) : 0;
}
int nvmlDeviceGetCount_v2(unsigned int *found) { MACHINE(); *found = count(); return SUCCESS; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, Device *device_out) {
    Device device = (Device)(long)(index + 1);
    if (index >= count()) return INVALID_ARGUMENT;
    DEVICE();
    *device_out = device;
    return SUCCESS;
}
static void profile_of(Device slice, char *text, size_t size) {
    if (!told_of(slice, "profile", text, size)) snprintf(text, size, "1g.10gb");
}
/* How much of its card a slice has, by its profile: 1c.3g.20gb is one of three compute slices with 20 GB. */
static void parts_of(Device slice, unsigned int *compute, unsigned int *slices, unsigned int *gigabytes) {
    char profile[32];
    profile_of(slice, profile, sizeof profile);
    if (sscanf(profile, "%uc.%ug.%ugb", compute, slices, gigabytes) == 3) return;
    sscanf(profile, "%ug.%ugb", slices, gigabytes);
    *compute = *slices;
}
int nvmlDeviceGetName(Device device, char *text, unsigned int length) {
    char name[64], profile[32];
    DEVICE();
    if (!told_of(card_of(device), "name", name, sizeof name)) snprintf(name, sizeof name, "NVIDIA_H100_80GB_HBM3");
    for (char *at = name; *at; at++) if (*at == '_') *at = ' ';
    if (is_slice(device)) {
        profile_of(device, profile, sizeof profile);
        snprintf(text, length, "%s MIG %s", name, profile);
    } else
        snprintf(text, length, "%s", name);
    return SUCCESS;
}
int nvmlDeviceGetUUID(Device device, char *text, unsigned int length) {
    char uuid[64];
    DEVICE();
    if (told_of(device, "uuid", uuid, sizeof uuid)) {
        if (!strcmp(uuid, "NA")) return NOT_SUPPORTED;
        snprintf(text, length, "%s", uuid);
    } else if (is_slice(device))
        snprintf(text, length, "MIG-5c9e0000-0000-0000-000%ld-00000000000%ld", index_of(device), slice_of(device));
    else
        snprintf(text, length, "GPU-5c9e0000-0000-0000-0000-00000000000%ld", index_of(device));
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(Device device, Memory *memory) {
    unsigned int compute, slices, gigabytes = 0;
    DEVICE();
    if (is_slice(device)) parts_of(device, &compute, &slices, &gigabytes);
    TELL(memory->total, "memory", gigabytes ? gigabytes * 1000000000ULL : 85520809984ULL);
    TELL(memory->used, "memory_used", 0);
    memory->free = memory->total - memory->used;
    return SUCCESS;
}
int nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) {
    DEVICE();
    TELL(*major, "capability", 9);
    *minor = 0;
    return SUCCESS;
}
int nvmlDeviceGetPciInfo_v3(Device device, Pci *pci) {
    DEVICE();
    memset(pci, 0, sizeof *pci);
    TELL(pci->pciDeviceId, "pci_device", 0x233010DE);
    snprintf(pci->busId, sizeof pci->busId, "00000000:0%ld:00.0", index_of(device));
    return SUCCESS;
}
int nvmlDeviceGetUtilizationRates(Device device, Utilization *rates) {
    DEVICE();
    TELL(rates->gpu, "busy", 0);
    TELL(rates->memory, "memory_busy", 0);
    return SUCCESS;
}
int nvmlDeviceGetTemperature(Device device, unsigned int sensor, unsigned int *value) {
    (void)sensor;
    DEVICE();
    TELL(*value, "temperature", 40);
    return SUCCESS;
}
int nvmlDeviceGetTemperatureThreshold(Device device, unsigned int which, unsigned int *value) {
    DEVICE();
    TELL(*value, which == 0 ? "shutdown_at" : "slowdown_at", which == 0 ? 92 : 87);
    return SUCCESS;
}
int nvmlDeviceGetClockInfo(Device device, unsigned int which, unsigned int *value) {
    DEVICE();
    TELL(*value, which == 2 ? "memory_clock" : "sm_clock", which == 2 ? 2619 : 1980);
    return SUCCESS;
}
int nvmlDeviceGetMigMode(Device device, unsigned int *now, unsigned int *pending) {
    DEVICE();
    TELL(*now, "mig", 0);
    *pending = *now;
    return SUCCESS;
}
#ifndef OLD_DRIVER
int nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned int *most) {
    unsigned int cut;
    DEVICE();
    TELL(cut, "mig", 0);
    *most = cut ? 7 : 0;
    return SUCCESS;
}
int nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned int index, Device *slice) {
    unsigned int slices;
    DEVICE();
    TELL(slices, "slices", 0);
    if (index >= slices) return NOT_FOUND;
    *slice = (Device)((long)device + (index + 1L) * SLICE);
    return SUCCESS;
}
int nvmlDeviceGetGpuInstanceId(Device device, unsigned int *instance) {
    DEVICE();
    TELL(*instance, "instance", slice_of(device) + 1);
    return SUCCESS;
}
int nvmlDeviceGetComputeInstanceId(Device device, unsigned int *instance) { DEVICE(); *instance = 0; return SUCCESS; }
int nvmlDeviceGetAttributes_v2(Device device, Attributes *parts) {
    unsigned int gigabytes;
    DEVICE();
    memset(parts, 0, sizeof *parts);
    parts_of(device, &parts->computeSlices, &parts->gpuSlices, &gigabytes);
    parts->megabytes = gigabytes * 1000ULL * 950 / 1049;
    return SUCCESS;
}
#endif
int nvmlDeviceGetEccMode(Device device, unsigned int *now, unsigned int *pending) {
    DEVICE();
    TELL(*now, "ecc", 1);
    *pending = *now;
    return SUCCESS;
}
int nvmlDeviceGetTotalEccErrors(Device device, unsigned int type, unsigned int counter, unsigned long long *value) {
    (void)counter;
    DEVICE();
    TELL(*value, type == 0 ? "ecc_corrected" : "ecc_uncorrected", 0);
    return SUCCESS;
}
int nvmlDeviceGetNvLinkState(Device device, unsigned int link, unsigned int *active) {
    unsigned int links, down;
    DEVICE();
    TELL(links, "nvlinks", 18);
    TELL(down, "nvlinks_down", 0);
    if (link >= links) return NOT_SUPPORTED;
    *active = link >= down;
    return SUCCESS;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Device device, unsigned int *found, Process *processes) {
    unsigned int pid;
    DEVICE();
    TELL(pid, "process", 0);
    if (!pid) { *found = 0; return SUCCESS; }
    if (*found < 1 || !processes) { *found = 1; return INSUFFICIENT_SIZE; }
    *found = 1;
    processes[0] = (Process){pid, 1 << 30, 0, 0};
    return SUCCESS;
}
int nvmlDeviceGetFieldValues(Device device, int length, Field *fields) {
    DEVICE();
    for (int at = 0; at < length; at++) {
        unsigned long long value = 0;
        fields[at].code = fields[at].field == MEMORY_TEMPERATURE ? number(device, "memory_temperature", 50, &value)
                                                                 : NOT_SUPPORTED;
        fields[at].type = 1;
        fields[at].value.ull = value;
    }
    return SUCCESS;
}

FIGURE(nvmlDeviceGetPowerUsage, unsigned int, "power", 100000)
FIGURE(nvmlDeviceGetPowerManagementDefaultLimit, unsigned int, "power_limit_default", 700000)
FIGURE(nvmlDeviceGetTotalEnergyConsumption, unsigned long long, "energy", 1000000)
FIGURE(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, "throttle", 0)
FIGURE(nvmlDeviceGetCurrPcieLinkWidth, unsigned int, "pcie_width", 16)
FIGURE(nvmlDeviceGetMaxPcieLinkWidth, unsigned int, "pcie_width_max", 16)
FIGURE(nvmlDeviceGetPcieReplayCounter, unsigned int, "pcie_replays", 0)
FIGURE(nvmlDeviceGetRetiredPagesPendingStatus, unsigned int, "retirement_pending", 0)

int nvmlDeviceGetMinorNumber(Device device, unsigned int *minor) {
    DEVICE();
    *minor = index_of(device) + 190;
    return SUCCESS;
}

int nvmlEventSetCreate(void **set) { MACHINE(); *set = (void *)1; return SUCCESS; }
int nvmlEventSetFree(void *set) { (void)set; return SUCCESS; }
int nvmlDeviceRegisterEvents(Device device, unsigned long long types, void *set) {
    (void)types, (void)set;
    DEVICE();
    return SUCCESS;
}
int nvmlEventSetWait_v2(void *set, Event *event, unsigned int timeout_ms) {
    static char last[16];
    char now[16], text[16];
    (void)set, (void)timeout_ms;
    MACHINE();
    if (!told("event", now, sizeof now) || !strcmp(now, last)) return TIMEOUT;
    strcpy(last, now);
    memset(event, 0, sizeof *event);
    event->device = (Device)(told("event.gpu", text, sizeof text) ? atol(text) + 1 : 1);
    event->type = XID;
    event->data = told("event.xid", text, sizeof text) ? strtoull(text, NULL, 0) : 0;
    event->gpuInstance = told("event.instance", text, sizeof text) ? (unsigned int)atoi(text) : 0xFFFFFFFF;
    return SUCCESS;
}

#ifndef OLD_DRIVER
FIGURE(nvmlDeviceGetEnforcedPowerLimit, unsigned int, "power_limit", 700000)
FIGURE(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, "throttle", 0)

int nvmlDeviceGetRemappedRows(Device device, unsigned int *corrected, unsigned int *uncorrected, unsigned int *pending,
                              unsigned int *failed) {
    DEVICE();
    TELL(*corrected, "rows_corrected", 0);
    TELL(*uncorrected, "rows_uncorrected", 0);
    TELL(*pending, "rows_pending", 0);
    TELL(*failed, "rows_failed", 0);
    return SUCCESS;
}
#endif
