/* What the harness needs of an emulated board. */
#ifndef EDGEGNN_BOARD_H
#define EDGEGNN_BOARD_H

#include <stddef.h>
#include <stdint.h>

/* A call to the emulator (ARM's semihosting). */
long semihost(long operation, const void *argument);
void start_counter(void);
/* Ticks since start_counter; 0xFFFFFFFF when there were too many. */
uint32_t read_counter(void);
/* Execute two instructions, this many times. */
void two_instructions(uint32_t times);

extern uint8_t board_heap[], board_heap_end[], board_stack_low[], board_stack_top[];

#endif
