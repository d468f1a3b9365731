/* All that the C form takes from <math.h>: compilers for bare metal often come without one. */
#ifndef EDGEGNN_MATH_H
#define EDGEGNN_MATH_H
#define INFINITY (__builtin_inff())
#define NAN (__builtin_nanf(""))
#endif
