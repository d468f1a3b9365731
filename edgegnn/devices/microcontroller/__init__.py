"""Microcontrollers, emulated here: the C form, linked with a harness, run by qemu.

boards      processor, memory, compiler and emulator of each
build       compile and link; what of the program is the model
emulate     run it on graphs: outputs, executed instructions, depth of the stack
src/        the harness: reads graphs and writes results through semihosting
"""

from __future__ import annotations
