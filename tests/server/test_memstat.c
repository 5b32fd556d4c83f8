/* What the system's files say, read from a folder that stands in for the root. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/memstat.h"

static char root[64];

/* Makes the folders too. */
static void put(const char *name, const char *text) {
  char path[512];
  snprintf(path, sizeof path, "%s%s", root, name);
  for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')) != NULL; p++) {
    *p = '\0';
    (void)mkdir(path, 0700);
    *p = '/';
  }
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs(text, f);
  fclose(f);
}

static int fresh(void **state) {
  (void)state;
  snprintf(root, sizeof root, "/tmp/weir-memstat-XXXXXX");
  assert_non_null(mkdtemp(root));
  put("/proc/meminfo", "MemTotal:        1000 kB\nMemFree: 1 kB\n");
  put("/proc/self/status", "Name:\tweir\nVmPeak:\t  900 kB\nVmRSS:\t     250 kB\n");
  return 0;
}

static int gone(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", root);
  return system(command);
}

static void of_the_machine(void **state) {
  (void)state;
  struct wr_memstat m;
  wr_memstat_init(&m, root, 0);
  assert_int_equal(wr_memstat_share(&m), 250000);
  assert_int_equal(wr_memstat_stall(&m), 0); /* this kernel has no PSI */
  wr_memstat_init(&m, root, 500 * 1024);
  assert_int_equal(wr_memstat_share(&m), 500000);
  wr_memstat_init(&m, root, 1024);
  assert_int_equal(wr_memstat_share(&m), 1000000); /* never more than all */
  wr_memstat_init(&m, "/nowhere", 0);
  assert_int_equal(wr_memstat_share(&m), 0);
}

static void of_a_group(void **state) {
  (void)state;
  struct wr_memstat m;
  put("/proc/self/cgroup", "0::/slice/weir\n");
  put("/sys/fs/cgroup/slice/weir/memory.max", "max\n");
  put("/sys/fs/cgroup/slice/memory.max", "409600\n");
  put("/sys/fs/cgroup/slice/memory.current", "204800\n");
  put("/sys/fs/cgroup/slice/memory.stat",
      "anon 1\nfile 102400\ninactive_file 61440\nactive_file 40960\n");
  put("/sys/fs/cgroup/slice/memory.pressure",
      "some avg10=12.34 avg60=0.00 avg300=0.00 total=0\nfull avg10=99.00 avg60=0.00\n");
  wr_memstat_init(&m, root, 0);
  assert_int_equal(m.limit_bytes, 409600); /* the parent's is the tightest */
  assert_int_equal(wr_memstat_share(&m), 250000); /* pages of files don't count */
  assert_int_equal(wr_memstat_stall(&m), 123400);
  put("/sys/fs/cgroup/slice/memory.pressure", "some avg10=100.00 avg60=0\n");
  assert_int_equal(wr_memstat_stall(&m), 1000000);
  put("/sys/fs/cgroup/slice/memory.pressure", "nonsense\n");
  assert_int_equal(wr_memstat_stall(&m), 0);
}

static void of_a_group_of_version_1(void **state) {
  (void)state;
  struct wr_memstat m;
  put("/proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/job/7\n0::/\n");
  put("/sys/fs/cgroup/memory/job/7/memory.limit_in_bytes", "819200\n");
  put("/sys/fs/cgroup/memory/job/7/memory.usage_in_bytes", "614400\n");
  put("/sys/fs/cgroup/memory/job/7/memory.stat",
      "active_file 7\ntotal_active_file 204800\ntotal_inactive_file 0\n");
  put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  put("/proc/pressure/memory", "some avg10=0.05 avg60=0.00 avg300=0.00 total=0\n");
  wr_memstat_init(&m, root, 0);
  assert_true(m.v1);
  assert_int_equal(wr_memstat_share(&m), 500000);
  assert_int_equal(wr_memstat_stall(&m), 500);
  /* No limit there: the machine's. */
  put("/sys/fs/cgroup/memory/job/7/memory.limit_in_bytes", "9223372036854771712\n");
  wr_memstat_init(&m, root, 0);
  assert_int_equal(wr_memstat_share(&m), 250000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(of_the_machine, fresh, gone),
    cmocka_unit_test_setup_teardown(of_a_group, fresh, gone),
    cmocka_unit_test_setup_teardown(of_a_group_of_version_1, fresh, gone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
