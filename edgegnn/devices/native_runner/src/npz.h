/* Arrays of an .npz file as numpy.savez writes it (not compressed), each with its checksum compared. */
#ifndef EDGEGNN_NPZ_H
#define EDGEGNN_NPZ_H

#include "driver.h"

typedef struct {
  char name[120]; /* without .npy */
  char type[4];   /* numpy's: "<f4", "<i8" */
  int rank;
  int64_t dims[DRIVER_MOST_DIMS];
  size_t elements;
  const uint8_t *data;
} npz_array;

typedef struct {
  uint8_t *bytes;
  size_t size;
  npz_array *arrays;
  size_t count;
} npz_file;

/* Read a file; "" or what is wrong with it, in one line. */
const char *npz_open(const char *path, npz_file *file);
void npz_close(npz_file *file);
const npz_array *npz_find(const npz_file *file, const char *name);
/* Copy the elements as another type (f or i or u or s); what is wrong, or "". */
const char *npz_convert(const npz_array *array, char type, void *out);
uint32_t crc32_of(const uint8_t *bytes, size_t size);

#endif
