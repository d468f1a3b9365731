#include "npz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the runner reads little-endian files in place"
#endif

uint32_t crc32_of(const uint8_t *bytes, size_t size) {
  static uint32_t table[256];
  uint32_t crc = 0xFFFFFFFFu;
  if (table[1] == 0) {
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
      table[i] = c;
    }
  }
  for (size_t i = 0; i < size; ++i) crc = table[(crc ^ bytes[i]) & 0xFF] ^ (crc >> 8);
  return crc ^ 0xFFFFFFFFu;
}

static uint32_t u16(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8; }
static uint32_t u32(const uint8_t *p) { return u16(p) | u16(p + 2) << 16; }

static const char *read_whole(const char *path, npz_file *file) {
  FILE *f = fopen(path, "rb");
  long size;
  if (f == NULL) return "it can't be opened";
  if (fseek(f, 0, SEEK_END) || (size = ftell(f)) < 0 || fseek(f, 0, SEEK_SET)) {
    fclose(f);
    return "it can't be read";
  }
  file->size = (size_t)size;
  file->bytes = malloc(file->size ? file->size : 1);
  if (file->bytes == NULL) {
    fclose(f);
    return "it doesn't fit into the memory";
  }
  if (fread(file->bytes, 1, file->size, f) != file->size) {
    fclose(f);
    return "it can't be read";
  }
  fclose(f);
  return "";
}

/* The header of an .npy file: a Python dictionary of which numpy writes the keys in a fixed way. */
static const char *parse_npy(const uint8_t *bytes, size_t size, npz_array *array) {
  size_t head, start;
  char text[400];
  const char *at;
  if (size < 12 || memcmp(bytes, "\x93NUMPY", 6) != 0) return "it holds something that is no array";
  head = bytes[6] == 1 ? u16(bytes + 8) : u32(bytes + 8);
  start = bytes[6] == 1 ? 10 : 12;
  if (head >= sizeof text || head > size - start) return "the header of an array is damaged";
  memcpy(text, bytes + start, head);
  text[head] = 0;
  at = strstr(text, "'descr': '");
  if (at == NULL || strlen(at) < 14) return "the header of an array is damaged";
  memcpy(array->type, at + 10, 3);
  array->type[3] = 0;
  if (strstr(text, "'fortran_order': False") == NULL) return "an array lies column by column: use numpy.ascontiguousarray";
  at = strstr(text, "'shape': (");
  if (at == NULL) return "the header of an array is damaged";
  at += 10;
  array->rank = 0;
  array->elements = 1;
  while (*at >= '0' && *at <= '9') {
    char *end;
    int64_t dim = strtoll(at, &end, 10);
    if (array->rank == DRIVER_MOST_DIMS || dim < 0 || dim > (int64_t)1 << 31) return "an array has too many or too large sizes";
    array->dims[array->rank++] = dim;
    if (dim > 0 && array->elements > ((size_t)-1) / 16 / (size_t)dim) return "an array is too large";
    array->elements *= (size_t)dim;
    at = end;
    while (*at == ',' || *at == ' ') ++at;
  }
  array->data = bytes + start + head;
  if (array->elements > (size - start - head) / (size_t)(array->type[2] - '0' > 0 ? array->type[2] - '0' : 1))
    return "an array is cut off";
  return "";
}

const char *npz_open(const char *path, npz_file *file) {
  const char *wrong;
  size_t end, at, count, base;
  memset(file, 0, sizeof *file);
  wrong = read_whole(path, file);
  if (*wrong) return wrong;
  if (file->size < 22) return "it is no .npz file";
  for (end = file->size - 22; u32(file->bytes + end) != 0x06054B50u; --end)
    if (end == 0 || file->size - end > 66000) return "it is no .npz file, or cut off";
  count = u16(file->bytes + end + 10);
  at = u32(file->bytes + end + 16);
  /* What lies before the archive (a program, say) is not counted in its offsets. */
  base = end - u32(file->bytes + end + 12) - at;
  if (base > end) return "its directory is damaged";
  at += base;
  file->arrays = calloc(count ? count : 1, sizeof *file->arrays);
  if (file->arrays == NULL) return "it doesn't fit into the memory";
  for (size_t i = 0; i < count; ++i) {
    const uint8_t *entry = file->bytes + at;
    npz_array *array = &file->arrays[i];
    size_t size, name, from;
    if (at + 46 > end || u32(entry) != 0x02014B50u) return "its directory is damaged";
    size = u32(entry + 24);
    name = u16(entry + 28);
    from = u32(entry + 42) + base;
    if (at + 46 + name > end) return "its directory is damaged";
    if (u16(entry + 10) != 0) return "it is compressed: write it with numpy.savez, not savez_compressed";
    if (name < 5 || name - 4 >= sizeof array->name || memcmp(entry + 46 + name - 4, ".npy", 4) != 0)
      return "it holds something that is no array";
    memcpy(array->name, entry + 46, name - 4);
    if (from + 30 > file->size || u32(file->bytes + from) != 0x04034B50u) return "its directory is damaged";
    from += 30 + u16(file->bytes + from + 26) + u16(file->bytes + from + 28);
    if (from > file->size || size > file->size - from) return "it is cut off";
    if (crc32_of(file->bytes + from, size) != u32(entry + 16)) return "it is damaged: a checksum differs";
    wrong = parse_npy(file->bytes + from, size, array);
    if (*wrong) return wrong;
    file->count = i + 1;
    at += 46 + name + u16(entry + 30) + u16(entry + 32);
  }
  return "";
}

void npz_close(npz_file *file) {
  free(file->bytes);
  free(file->arrays);
}

const npz_array *npz_find(const npz_file *file, const char *name) {
  for (size_t i = 0; i < file->count; ++i)
    if (strcmp(file->arrays[i].name, name) == 0) return &file->arrays[i];
  return NULL;
}

static int whole(const npz_array *a, size_t i, int64_t *out) {
  int32_t four;
  switch (a->type[1] == 'b' ? 'u' : a->type[1]) {
    case 'i':
      if (a->type[2] == '8') {
        memcpy(out, a->data + 8 * i, 8);
        return 1;
      }
      if (a->type[2] == '1') {
        *out = (int8_t)a->data[i];
        return 1;
      }
      memcpy(&four, a->data + 4 * i, 4);
      *out = four;
      return a->type[2] == '4';
    case 'u':
      *out = a->data[i];
      return a->type[2] == '1';
    default:
      return 0;
  }
}

const char *npz_convert(const npz_array *a, char type, void *out) {
  static const char wrong_type[] = "an array has a type that the model doesn't take";
  for (size_t i = 0; i < a->elements; ++i) {
    int64_t value = 0;
    if (type == 'f') {
      if (a->type[1] == 'f' && a->type[2] == '4') {
        memcpy((float *)out + i, a->data + 4 * i, 4);
      } else if (a->type[1] == 'f' && a->type[2] == '8') {
        double eight;
        memcpy(&eight, a->data + 8 * i, 8);
        ((float *)out)[i] = (float)eight;
      } else if (whole(a, i, &value)) {
        ((float *)out)[i] = (float)value;
      } else {
        return wrong_type;
      }
      continue;
    }
    if (!whole(a, i, &value)) return wrong_type;
    if (type == 'i') {
      if (value < INT32_MIN || value > INT32_MAX) return "an integer is too large";
      ((int32_t *)out)[i] = (int32_t)value;
    } else if (type == 'u') {
      if (value < 0 || value > 255) return "an integer is too large";
      ((uint8_t *)out)[i] = (uint8_t)value;
    } else {
      if (value < -128 || value > 127) return "an integer is too large";
      ((int8_t *)out)[i] = (int8_t)value;
    }
  }
  return "";
}
