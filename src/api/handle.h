/* handle.h: the things of the core that a script can hold.
 *
 * Glossary: a handle is a userdata that points at something of the core for as long as one hook
 * call runs. It is created closed, attached when a hook begins (its epoch is set to the running
 * one) and dead when the hook returns, because the epoch has moved on: nothing has to be walked. A
 * handle is never reused for another stream or another role. Every full userdata that a script can
 * reach starts with struct wr_handle: the check reads its type, no table. To add a type: an enum
 * value, a struct, one file l_<type>.c with its metatable, a line in wr_handle_open. All functions
 * that take a lua_State run inside a protected call. */
#ifndef WR_API_HANDLE_H
#define WR_API_HANDLE_H

#include <lua.h>

#include "api/budget.h"
#include "base/span.h"
#include "mem/view.h"
#include "relay/event.h"
#include "relay/hooks.h"

enum wr_handle_type {
  WR_HANDLE_VIEW = 0x7e110001,
  WR_HANDLE_EVENT,
  WR_HANDLE_REQUEST,
  WR_HANDLE_SESSION,
  WR_HANDLE_RECORD,
  WR_HANDLE_WINDOW, /* names a metatable: the handle itself is a view with WR_VIEW_IS_WINDOW */
  WR_HANDLE_OTHER /* of policy/: what the loader gives to conf.lua */
};

/* Flags of a view. */
#define WR_VIEW_IS_WINDOW 0x77u
#define WR_VIEW_IS_PIN 0x70u
struct wr_handle {
  uint32_t type;
  uint32_t flags;
  uint64_t epoch; /* of the hook call in which it may be used */
};

/* A view's bytes may lie in a string that the userdata's user value holds. */
struct wr_lview {
  struct wr_handle h;
  const char *ptr; /* borrowed: for the epoch, or the pin's */
  size_t len;
};

/* A window is a view of its text, and knows a little more. */
struct wr_lwindow {
  struct wr_lview v;
  uint32_t index;
  uint8_t kind;
  bool last;
};

/* User values of an event: one view a role. */
enum wr_event_role { WR_ROLE_TEXT = 1, WR_ROLE_RAW, WR_ROLE_DATA, WR_ROLES_END };
struct wr_levent {
  struct wr_handle h;
  const struct wr_event *ev; /* borrowed: for the epoch */
  const struct wr_view *raw; /* borrowed: for the epoch */
  struct wr_span text;       /* borrowed: decoded, once asked for */
  bool text_ready;
};

struct wr_lrequest {
  struct wr_handle h;
  const struct wr_hook_request *rq; /* borrowed: for the epoch */
};

/* User values of a session. */
enum wr_session_value {
  WR_SESSION_CTX = 1,
  WR_SESSION_EVENT,
  WR_SESSION_KEY,
  WR_SESSION_WINDOW,
  WR_SESSION_VALUES_END
};
struct wr_lsession {
  struct wr_handle h;
  struct wr_hook_stream *s; /* borrowed: for the epoch */
  int ref;                  /* in the registry, until the stream ends */
  bool has_event;           /* the event's handle exists: pushing it allocates nothing */
  bool has_window;          /* the same for the window's */
  struct wr_pins *pins;     /* owned: what its hooks have retained; NULL: nothing yet */
  char *headers;            /* owned: lines for the answer's head; NULL: none */
};

/* Makes the metatables. Once a VM. */
void wr_handle_open(lua_State *L);
/* Pushes a new handle of a type with `values` user values; its epoch is the running one. */
void *wr_handle_new(lua_State *L, enum wr_handle_type type, size_t bytes, int values);
/* The handle at arg, alive; raises when it is something else or dead. */
void *wr_handle_check(lua_State *L, int arg, enum wr_handle_type type);
/* NULL when the value is no handle of that type; says nothing of its life. */
void *wr_handle_peek(lua_State *L, int arg, enum wr_handle_type type);
/* Pushes a function's error; as luaL_error, with the words of the contract. */
int wr_handle_expired(lua_State *L, enum wr_handle_type type);

/* Each pushes its metatable. */
void wr_view_open(lua_State *L);
void wr_event_open(lua_State *L);
void wr_request_open(lua_State *L);
void wr_session_open(lua_State *L);
void wr_window_open(lua_State *L);
void wr_record_open(lua_State *L);

/* A fresh view of bytes that stay for this hook call. */
struct wr_lview *wr_lview_push(lua_State *L, struct wr_span bytes);
/* Pushes the view in user value n of the handle at index at; made on first use, then only pointed
 * elsewhere. */
void wr_lview_role(lua_State *L, int at, int n, struct wr_span bytes);

/* Pushes what a path finds in a JSON document: see the contract, 2.3. Number of results. */
int wr_ljson_push(lua_State *L, struct wr_span doc, int arg_path);

/* Pushes the event handle of the session at index `session`, attached to this event. Allocates only
 * the first time. */
void wr_levent_push(lua_State *L, int session, const struct wr_event *ev,
                    const struct wr_view *raw);
/* The same for the window's. */
void wr_lwindow_push(lua_State *L, int session, const struct wr_hook_window *win);
void wr_lrequest_push(lua_State *L, const struct wr_hook_request *rq);
/* Pushes the session handle of a stream, attached; made and registered on first use (s->policy),
 * then allocating nothing. */
void wr_lsession_push(lua_State *L, struct wr_hook_stream *s);
/* Lets go of it; allocates nothing, so it may run outside a protected call. s->policy is NULL
 * afterwards. */
void wr_lsession_end(lua_State *L, struct wr_hook_stream *s);
/* Pushes the table that on_end gets as `fin`. */
void wr_lend_push(lua_State *L, const struct wr_hook_stream *s, enum wr_outcome outcome);

/* Push what the other hooks get. */
void wr_lresponse_push(lua_State *L, const struct wr_hook_response *rs);
void wr_lslow_push(lua_State *L, const struct wr_hook_slow *q);
void wr_lerror_push(lua_State *L, const struct wr_hook_error *er);
void wr_lpressure_push(lua_State *L, const struct wr_hook_pressure *p);

#endif
