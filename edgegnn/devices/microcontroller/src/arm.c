/* Cortex-M: vector table, semihosting, SysTick. */
#include "board.h"

int harness(void);

#define REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

long semihost(long operation, const void *argument) {
  register long r0 __asm__("r0") = operation;
  register const void *r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

static void leave(long reason) {
  for (;;) semihost(0x18, (const void *)reason);
}

static void fault(void) { leave(0x20023); }

static void reset(void) {
#if defined(__ARM_FP)
  REGISTER(0xE000ED88) |= 0xFu << 20;
  __asm__ volatile("dsb\n\tisb");
#endif
  leave(harness() == 0 ? 0x20026 : 0x20023);
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    board_stack_top, (const void *)reset, (const void *)fault, (const void *)fault, (const void *)fault,
    (const void *)fault, (const void *)fault, (const void *)fault, 0, 0, 0, (const void *)fault,
    (const void *)fault, 0, (const void *)fault, (const void *)fault};

void start_counter(void) {
  REGISTER(0xE000E010) = 0;
  REGISTER(0xE000E014) = 0xFFFFFF;
  REGISTER(0xE000E018) = 0;
  REGISTER(0xE000E010) = 5;
}

uint32_t read_counter(void) {
  uint32_t left = REGISTER(0xE000E018);
  return REGISTER(0xE000E010) >> 16 & 1 ? 0xFFFFFFFFu : 0xFFFFFFu - left;
}

void two_instructions(uint32_t times) {
  __asm__ volatile(".syntax unified\n1: subs %0, #1\n\tbne 1b" : "+l"(times) : : "cc");
}
