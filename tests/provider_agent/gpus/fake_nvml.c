/* A libnvidia-ml.so.1 that tells what a file says, so that the real binding is exercised where there is no GPU.
 *
 * The file (FAKE_NVML) is read at each call. Its lines are `key value`, a value without spaces:
 *   count 2, driver 570.1, xid 79      of the machine
 *   *.temperature 60                   of every GPU
 *   1.temperature 91                   of GPU 1; it goes before the line of every GPU
 *   1.temperature NA                   GPU 1 answers "not supported" to that
 *   0.fail.nvmlDeviceGetPowerUsage 15  that function answers this code for GPU 0; `*.` for all, no prefix for the rest
 *   fail.nvmlDeviceGetCount_v2 hang    that function never returns
 *   0.lost 1                           everything about GPU 0 answers "GPU is lost"
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
    SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, GPU_IS_LOST = 15,
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

static long index_of(Device device) { return (long)device - 1; }

static int told_of(Device device, const char *key, char *value, size_t size) {
    char name[96];
    snprintf(name, sizeof name, "%ld.%s", index_of(device), key);
    if (told(name, value, size)) return 1;
    snprintf(name, sizeof name, "*.%s", key);
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

static int device_code(Device device, const char *function) {
    char key[96], code[16];
    if (told_of(device, "lost", code, sizeof code) && atoi(code)) return GPU_IS_LOST;
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
int nvmlDeviceGetName(Device device, char *text, unsigned int length) {
    char name[64];
    DEVICE();
    if (!told_of(device, "name", name, sizeof name)) snprintf(name, sizeof name, "NVIDIA_H100_80GB_HBM3");
    for (char *at = name; *at; at++) if (*at == '_') *at = ' ';
    snprintf(text, length, "%s", name);
    return SUCCESS;
}
int nvmlDeviceGetUUID(Device device, char *text, unsigned int length) {
    char uuid[64];
    DEVICE();
    if (told_of(device, "uuid", uuid, sizeof uuid)) {
        if (!strcmp(uuid, "NA")) return NOT_SUPPORTED;
        snprintf(text, length, "%s", uuid);
    } else
        snprintf(text, length, "GPU-5c9e0000-0000-0000-0000-00000000000%ld", index_of(device));
    return SUCCESS;
}
int nvmlDeviceGetMemoryInfo(Device device, Memory *memory) {
    DEVICE();
    TELL(memory->total, "memory", 85520809984ULL);
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
