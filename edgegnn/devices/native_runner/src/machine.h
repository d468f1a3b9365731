/* Clocks, memory and facts of the machine. Linux. */
#ifndef EDGEGNN_MACHINE_H
#define EDGEGNN_MACHINE_H

#include <stdint.h>

int64_t clock_ns(void);     /* monotonic */
int64_t cpu_ns(void);       /* of this process */
int64_t memory_bytes(const char *key); /* VmRSS, VmHWM of /proc/self/status; -1 where it can't be read */
void say_facts(void);       /* "fact NAME TEXT" lines */
void say_state(const char *when); /* temperature, frequency */
int cores(void);
/* Whether whoever reads our output is gone. */
int left_alone(void);

#endif
