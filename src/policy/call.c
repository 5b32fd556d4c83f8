/* call.c: the only protected call, and what is said when it fails. */
#include <lauxlib.h>
#include <lua.h>

#include "api/budget.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/probe.h"
#include "base/text.h"
#include "obs/trace.h"
#include "policy/vm.h"
#include "policy/vm_int.h"

static void put_limit(const struct wr_vm *vm, struct wr_buf *b) {
  const struct wr_script *s = &vm->script;
  wr_buf_put(b, wr_span_str(s->where));
  wr_buf_put(b, WR_SPAN("over the limit: "));
  switch ((enum wr_limit)s->limit) {
    case WR_LIMIT_INSTRUCTIONS:
      wr_buf_u64(b, s->instructions);
      wr_buf_put(b, WR_SPAN(" instructions"));
      break;
    case WR_LIMIT_TIME:
      wr_buf_u64(b, s->wall_ms);
      wr_buf_put(b, WR_SPAN(" ms"));
      break;
    case WR_LIMIT_MEMORY:
    case WR_LIMIT_NONE:
      wr_text_put_size(b, vm->cap_bytes);
      wr_buf_put(b, WR_SPAN(" of memory ("));
      wr_text_put_size(b, vm->value_bytes);
      wr_buf_put(b, WR_SPAN(" in one value)"));
      break;
  }
}

/* The error value at the stack's top. Nothing here may allocate: a number is not turned into a
 * string by Lua. */
static void put_value(lua_State *L, struct wr_buf *b) {
  size_t len = 0;
  switch (lua_type(L, -1)) {
    case LUA_TSTRING: {
      const char *text = lua_tolstring(L, -1, &len);
      size_t room = wr_buf_room(b);
      wr_buf_put(b, wr_span_make(text, len < room / 2 + 200 ? len : room / 2));
      break;
    }
    case LUA_TNUMBER: wr_buf_printf(b, "%.14g", lua_tonumber(L, -1)); break;
    default:
      wr_buf_put(b, WR_SPAN("the error is a "));
      wr_buf_put(b, wr_span_str(luaL_typename(L, -1)));
      wr_buf_put(b, WR_SPAN(" value"));
      break;
  }
}

static void put_call(const struct wr_vm_call *call, struct wr_buf *b) {
  if (!call || !call->named || !call->hook) return;
  wr_buf_put(b, WR_SPAN(" ["));
  wr_buf_put(b, wr_span_str(call->hook));
  if (call->plugin) {
    wr_buf_put(b, WR_SPAN(" of '"));
    wr_buf_put(b, wr_span_str(call->plugin));
    wr_buf_char(b, '\'');
  }
  if (call->stream) {
    wr_buf_put(b, WR_SPAN(", stream "));
    wr_buf_hex(b, call->stream, 0);
  }
  wr_buf_char(b, ']');
}

static enum wr_vm_end end_of(const struct wr_vm *vm, int rc) {
  switch ((enum wr_limit)vm->script.limit) {
    case WR_LIMIT_INSTRUCTIONS: return WR_VM_INSTRUCTIONS;
    case WR_LIMIT_TIME: return WR_VM_TIME;
    case WR_LIMIT_MEMORY: return WR_VM_MEMORY;
    case WR_LIMIT_NONE: break;
  }
  if (rc == LUA_OK) return WR_VM_OK;
  return rc == LUA_ERRMEM ? WR_VM_MEMORY : WR_VM_ERROR;
}

enum wr_vm_end wr_vm_pcall(struct wr_vm *vm, const struct wr_vm_call *call, int nargs,
                           int nresults) {
  lua_State *L = vm->L;
  struct wr_script *s = &vm->script;
  bool outermost = !s->armed;
  int base = lua_gettop(L) - nargs - 1;
  WR_DCHECK(base >= 0);
  if (outermost) {
    uint32_t instructions = call && call->instructions ? call->instructions : vm->instructions;
    uint32_t wall_ms = call && call->wall_ms ? call->wall_ms : vm->wall_ms;
    vm->failed_bytes = 0;
    vm->emergencies = 0;
    s->hook = call ? call->hook : NULL;
    s->plugin = call ? call->plugin : NULL;
    wr_budget_arm(L, instructions, wall_ms);
  }
  uint64_t began_ns = wr_tracing() ? wr_trace_now_ns() : 0;
  int rc = lua_pcall(L, nargs, nresults, 0);
  WR_PROBE2(lua, call ? call->hook : NULL, rc);
  if (wr_tracing())
    wr_trace_put(WR_TRACE_LUA, call && call->hook ? call->hook : "lua", 0, began_ns, 0);
  enum wr_vm_end end = end_of(vm, rc);
  if (outermost) wr_budget_disarm(L);
  if (end == WR_VM_OK) return end;
  struct wr_buf b;
  wr_buf_init(&b, vm->error, sizeof vm->error);
  if (end != WR_VM_ERROR) put_limit(vm, &b);
  else put_value(L, &b);
  put_call(call, &b);
  vm->error_len = b.len;
  lua_settop(L, base);
  return end;
}

struct wr_span wr_vm_error(const struct wr_vm *vm) {
  return wr_span_make(vm->error, vm->error_len);
}

void wr_vm_compile(lua_State *L, struct wr_span text, const char *name) {
  const char *chunk = lua_pushfstring(L, "@%s", name);
  /* Some editors begin a file with a byte order mark; Lua's own reader of files skips it, too. */
  if (text.len >= 3 && memcmp(text.ptr, "\xEF\xBB\xBF", 3) == 0)
    text = wr_span_make(text.ptr + 3, text.len - 3);
  if (luaL_loadbufferx(L, text.ptr ? text.ptr : "", text.len, chunk, "t") != LUA_OK) lua_error(L);
  lua_remove(L, -2);
}
