#define _GNU_SOURCE
#include "machine.h"

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static int64_t now(clockid_t which) {
  struct timespec t;
  clock_gettime(which, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t clock_ns(void) { return now(CLOCK_MONOTONIC); }
int64_t cpu_ns(void) { return now(CLOCK_PROCESS_CPUTIME_ID); }

/* The first line of a file, or the value behind `key` in it. */
static int first_line(const char *path, const char *key, char *out, size_t size) {
  char line[512];
  FILE *f = fopen(path, "r");
  out[0] = 0;
  if (f == NULL) return 0;
  while (fgets(line, sizeof line, f)) {
    char *value = line;
    if (key != NULL) {
      size_t n = strlen(key);
      if (strncmp(line, key, n) != 0) continue;
      value = line + n;
      value += strspn(value, " \t:=\"");
    }
    value[strcspn(value, "\r\n\"")] = 0;
    snprintf(out, size, "%s", value);
    break;
  }
  fclose(f);
  return out[0] != 0;
}

int64_t memory_bytes(const char *key) {
  char text[100];
  return first_line("/proc/self/status", key, text, sizeof text) ? (int64_t)atoll(text) * 1024 : -1;
}

int cores(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

static void fact(const char *name, const char *text) { printf("fact %s %s\n", name, text); }

void say_facts(void) {
  char text[300];
  struct utsname u;
  int64_t pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  uname(&u);
  if (first_line("/proc/device-tree/model", NULL, text, sizeof text) ||
      first_line("/proc/cpuinfo", "model name", text, sizeof text) ||
      first_line("/proc/cpuinfo", "uarch", text, sizeof text) || first_line("/proc/cpuinfo", "isa", text, sizeof text))
    fact("model", text);
  else
    fact("model", u.machine);
  fact("machine", u.machine);
  fact("kernel", u.release);
  fact("os", first_line("/etc/os-release", "PRETTY_NAME", text, sizeof text) ? text : u.sysname);
  first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", NULL, text, sizeof text);
  fact("governor", text);
  if (first_line("/proc/loadavg", NULL, text, sizeof text)) {
    text[strcspn(text, " ")] = 0;
    fact("load", text);
  }
  printf("fact cores %d\nfact memory %lld\nfact time %lld\n", cores(), (long long)(pages * page), (long long)time(NULL));
}

void say_state(const char *when) {
  char text[100];
  if (first_line("/sys/class/thermal/thermal_zone0/temp", NULL, text, sizeof text))
    printf("fact temperature_%s %s\n", when, text);
  if (first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", NULL, text, sizeof text))
    printf("fact frequency_%s %s\n", when, text);
}

int left_alone(void) {
  struct pollfd in = {0, POLLIN, 0};
  char byte;
  if (poll(&in, 1, 0) <= 0) return 0;
  if (in.revents & POLLIN) return read(0, &byte, 1) <= 0;
  return (in.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}
