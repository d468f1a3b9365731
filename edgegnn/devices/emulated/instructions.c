/* QEMU plugin (ABI 1, declared here): counts executed guest instructions.
 *
 * The guest's prctl(0x45444745, tag) prints "mark <tag> <instructions so far>" on stderr. One guest thread.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t id;
typedef uint64_t word;
struct qemu_plugin_tb;

extern void qemu_plugin_register_vcpu_tb_trans_cb(id, void (*)(id, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int op, void *counter, uint64_t add);
extern void qemu_plugin_register_vcpu_syscall_cb(id, void (*)(id, unsigned, int64_t, word, word, word, word, word, word,
                                                              word, word));

__attribute__((visibility("default"))) int qemu_plugin_version = 1;
static uint64_t executed;

static void translated(id plugin, struct qemu_plugin_tb *block) {
    (void)plugin;
    qemu_plugin_register_vcpu_tb_exec_inline(block, 0, &executed, qemu_plugin_tb_n_insns(block));
}

static void system_call(id plugin, unsigned cpu, int64_t number, word a, word b, word c, word d, word e, word f, word g,
                        word h) {
    (void)plugin, (void)cpu, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number == 167 && (uint32_t)a == 0x45444745u)  /* 167: prctl on arm64 */
        fprintf(stderr, "mark %lu %lu\n", (unsigned long)b, (unsigned long)executed);
}

__attribute__((visibility("default"))) int qemu_plugin_install(id plugin, const void *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(plugin, translated);
    qemu_plugin_register_vcpu_syscall_cb(plugin, system_call);
    return 0;
}
