/* vm_int.h: the inside of a VM, for the files of policy/ that make it up (vm, call, sandbox). */
#ifndef WR_POLICY_VM_INT_H
#define WR_POLICY_VM_INT_H

#include <lua.h>

#include "policy/vm.h"

#define WR_VM_MAGIC 0x1a0a5e1fu
#define WR_VM_ERROR_BYTES 640

struct wr_vm {
  uint32_t magic;
  lua_State *L; /* owned */
  struct wr_script script;
  struct wr_ledger *ledger;             /* borrowed: outlives the VM */
  size_t bytes, cap_bytes, value_bytes; /* held; the heap's cap; one value's cap */
  size_t charged_bytes;                 /* what the ledger was told */
  size_t
      failed_bytes; /* the size refused last; the same again is a refusal after a full collection */
  unsigned emergencies; /* full collections that the running call caused */
  size_t floor_bytes;   /* held after the last whole cycle */
  bool cycle;           /* a collection is under way */
  uint32_t instructions, wall_ms;
  size_t error_len;
  char error[WR_VM_ERROR_BYTES];
};

/* Inside a protected call: fills the registry's globals (policy/sandbox.c). */
void wr_sandbox_open(lua_State *L);

#endif
