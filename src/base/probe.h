/* probe.h: USDT probes, for bpftrace, perf and SystemTap, or nothing.
 *
 * Where <sys/sdt.h> is installed at build time (`make deps` does it on Debian) a probe is one nop
 * and a note in the binary; its arguments are looked at only while somebody traces.
 * docs/performance.md lists the probes with their arguments; .ci/hardening compares that list with
 * the notes. WR_NO_PROBES leaves them out. */
#ifndef WR_BASE_PROBE_H
#define WR_BASE_PROBE_H

#if !defined(WR_NO_PROBES) && defined(__has_include)
#if __has_include(<sys/sdt.h>)
#include <sys/sdt.h>
#define WR_PROBE2(name, a, b) DTRACE_PROBE2(weir, name, a, b)
#define WR_PROBE3(name, a, b, c) DTRACE_PROBE3(weir, name, a, b, c)
#endif
#endif

#ifndef WR_PROBE2
#define WR_PROBE2(name, a, b) ((void)sizeof(a), (void)sizeof(b))
#define WR_PROBE3(name, a, b, c) ((void)sizeof(a), (void)sizeof(b), (void)sizeof(c))
#endif

#endif
