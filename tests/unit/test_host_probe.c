/* test_host_probe.c: what a host offers, and the line for what it does not. */
#include "host_support.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "sim/host/kernel.h"

static char line[MR_HOST_LINE];

/* A host that has everything; the tests take something away. */
static struct mr_host_probe complete(void)
{
	struct mr_host_probe probe = {
		.kernel = "6.18.0",
		.page_size = mr_host_kind_page_size(MR_HOST_ANONYMOUS),
		.opening = MR_HOST_DEVICE,
		.features = 0x1ffff,
		.scan = true,
	};

	for (unsigned i = 0; i < MR_HOST_KIND_COUNT; i++)
		probe.kinds[i] = (struct mr_host_kind_probe){.missing_ioctls = 0x1fc, .protect_ioctls = 0x1fc};
	for (unsigned i = MR_HOST_HUGE_2M; i < MR_HOST_KIND_COUNT; i++)
		probe.pools[i] = (struct mr_host_pool){mr_host_kind_page_size((enum mr_host_kind)i), 4, 4, 0};
	return probe;
}

static void has(const struct mr_host_probe *probe, enum mr_host_want want, enum mr_host_kind kind)
{
	memset(line, 0, sizeof(line));
	if (!mr_host_has(probe, want, kind, line))
		fail_msg("want %d of %s: %s", (int)want, mr_host_kind_name(kind), line);
	assert_string_equal(line, "");
}

static void has_not(const struct mr_host_probe *probe, enum mr_host_want want, enum mr_host_kind kind,
		    const char *expected)
{
	assert_false(mr_host_has(probe, want, kind, line));
	if (!strstr(line, expected))
		fail_msg("expected \"%s\" in: %s", expected, line);
	assert_null(strchr(line, '\n'));
	assert_false(mr_host_has(probe, want, kind, NULL));
}

/* keeps HST-001 HST-002 HST-003 */
static void test_complete(void **state)
{
	const struct mr_host_probe probe = complete();

	(void)state;
	for (unsigned want = 0; want < MR_HOST_WANT_COUNT; want++)
		for (unsigned kind = 0; kind < MR_HOST_KIND_COUNT; kind++)
			has(&probe, (enum mr_host_want)want, (enum mr_host_kind)kind);
}

/* breaks HST-001 */
static void test_no_userfaultfd(void **state)
{
	struct mr_host_probe probe = complete();

	(void)state;
	probe.open_error = ENOSYS;
	has_not(&probe, MR_HOST_WANT_POSTCOPY, MR_HOST_ANONYMOUS, "CONFIG_USERFAULTFD");
	probe.open_error = EPERM;
	has_not(&probe, MR_HOST_WANT_POSTCOPY, MR_HOST_SHARED, "vm.unprivileged_userfaultfd");
	has_not(&probe, MR_HOST_WANT_DIRTY_SCAN, MR_HOST_SHARED, "/dev/userfaultfd");
	has_not(&probe, MR_HOST_WANT_THREADS, MR_HOST_SHARED, "/dev/userfaultfd");
	has_not(&probe, MR_HOST_WANT_KERNEL_FAULTS, MR_HOST_SHARED, "/dev/userfaultfd");
	has(&probe, MR_HOST_WANT_MEMORY, MR_HOST_SHARED);
	probe.open_error = EMFILE;
	has_not(&probe, MR_HOST_WANT_ZERO_PAGE, MR_HOST_SHARED, strerrordesc_np(EMFILE));
}

/* breaks HST-002: faults of user code alone leave out those of virtual processors */
static void test_user_mode(void **state)
{
	struct mr_host_probe probe = complete();

	(void)state;
	probe.opening = MR_HOST_USER_MODE;
	has_not(&probe, MR_HOST_WANT_KERNEL_FAULTS, MR_HOST_ANONYMOUS, "system calls");
	has(&probe, MR_HOST_WANT_POSTCOPY, MR_HOST_ANONYMOUS);
}

static void test_no_huge_pages(void **state)
{
	struct mr_host_probe probe = complete();

	(void)state;
	probe.kinds[MR_HOST_HUGE_2M].allocate_error = ENOMEM;
	probe.pools[MR_HOST_HUGE_2M] = (struct mr_host_pool){2 << 20, 7, 3, 2};
	has_not(&probe, MR_HOST_WANT_POSTCOPY, MR_HOST_HUGE_2M, "1 of 7 huge pages free");
	has_not(&probe, MR_HOST_WANT_MEMORY, MR_HOST_HUGE_2M, "hugepages-2048kB/nr_hugepages");
	probe.kinds[MR_HOST_HUGE_1G].allocate_error = ENODEV;
	probe.pools[MR_HOST_HUGE_1G].page_size = 0;
	has_not(&probe, MR_HOST_WANT_MEMORY, MR_HOST_HUGE_1G, "no huge pages of 1048576 KiB");
	probe.kinds[MR_HOST_SHARED].allocate_error = EMFILE;
	has_not(&probe, MR_HOST_WANT_MEMORY, MR_HOST_SHARED, strerrordesc_np(EMFILE));
}

/* breaks HST-003 */
static void test_old_kernel(void **state)
{
	struct mr_host_probe probe = complete();

	(void)state;
	probe.scan = false;
	has_not(&probe, MR_HOST_WANT_DIRTY_SCAN, MR_HOST_SHARED, "PAGEMAP_SCAN");
	probe = complete();
	probe.features &= ~(uint64_t)UFFD_FEATURE_WP_ASYNC;
	has_not(&probe, MR_HOST_WANT_DIRTY_SCAN, MR_HOST_SHARED, "6.7");
	has(&probe, MR_HOST_WANT_DIRTY_FAULTS, MR_HOST_SHARED);
	probe.features = 0;
	has_not(&probe, MR_HOST_WANT_DIRTY_FAULTS, MR_HOST_SHARED, "5.19");
	has_not(&probe, MR_HOST_WANT_THREADS, MR_HOST_SHARED, "4.14");
	probe.kinds[MR_HOST_SHARED].missing_error = EINVAL;
	has_not(&probe, MR_HOST_WANT_POSTCOPY, MR_HOST_SHARED, "4.11");
	has_not(&probe, MR_HOST_WANT_ZERO_PAGE, MR_HOST_SHARED, "4.11");
}

static void test_ioctls(void **state)
{
	struct mr_host_probe probe = complete();

	(void)state;
	probe.kinds[MR_HOST_HUGE_2M].missing_ioctls &= ~(UINT64_C(1) << _UFFDIO_ZEROPAGE);
	has_not(&probe, MR_HOST_WANT_ZERO_PAGE, MR_HOST_HUGE_2M, "copies of zeros");
	has(&probe, MR_HOST_WANT_POSTCOPY, MR_HOST_HUGE_2M);
	probe.kinds[MR_HOST_HUGE_2M].missing_ioctls &= ~(UINT64_C(1) << _UFFDIO_COPY);
	has_not(&probe, MR_HOST_WANT_POSTCOPY, MR_HOST_HUGE_2M, "huge-2m");
	probe.kinds[MR_HOST_SHARED].protect_error = EINVAL;
	has_not(&probe, MR_HOST_WANT_DIRTY_FAULTS, MR_HOST_SHARED, "cannot be caught");
	has_not(&probe, MR_HOST_WANT_COUNT, MR_HOST_SHARED, "nothing of the number");
}

/* The host at hand: what it says fits together, and probing leaves no descriptor open. */
static void test_here(void **state)
{
	struct mr_host_probe probe;
	const int before = dup(0);
	int after;

	(void)state;
	close(before);
	mr_host_probe(&probe);
	after = dup(0);
	close(after);
	assert_int_equal(before, after);
	assert_true(strlen(probe.kernel) > 0);
	assert_int_equal(probe.page_size, sysconf(_SC_PAGESIZE));
	assert_int_equal(probe.kinds[MR_HOST_ANONYMOUS].allocate_error, 0);
	assert_int_equal(probe.kinds[MR_HOST_SHARED].allocate_error, 0);
	assert_int_equal(probe.open_error == 0, probe.opening != MR_HOST_CLOSED);
	for (unsigned want = 0; want < MR_HOST_WANT_COUNT; want++)
		for (unsigned kind = 0; kind < MR_HOST_KIND_COUNT; kind++) {
			bool there;

			memset(line, 0, sizeof(line));
			there = mr_host_has(&probe, (enum mr_host_want)want, (enum mr_host_kind)kind, line);
			assert_int_equal(there, line[0] == '\0');
		}
}

/* What was seen of the kernel: WAKE and COPY everywhere, ZEROPAGE not for huge pages of a pool. */
static void test_kernel(void **state)
{
	const struct mr_host_probe *probe = host_probed();

	(void)state;
	host_need(MR_HOST_WANT_POSTCOPY, MR_HOST_ANONYMOUS);
	has(probe, MR_HOST_WANT_ZERO_PAGE, MR_HOST_ANONYMOUS);
	has(probe, MR_HOST_WANT_ZERO_PAGE, MR_HOST_SHARED);
	for (unsigned kind = MR_HOST_HUGE_2M; kind < MR_HOST_KIND_COUNT; kind++) {
		if (probe->kinds[kind].allocate_error)
			continue;
		has(probe, MR_HOST_WANT_POSTCOPY, (enum mr_host_kind)kind);
		has_not(probe, MR_HOST_WANT_ZERO_PAGE, (enum mr_host_kind)kind, "copies of zeros");
	}
}

/* A feature that no kernel has. */
static void test_unknown_feature(void **state)
{
	struct mr_host_descriptor descriptor;
	struct mr_host_problem problem;

	(void)state;
	host_need(MR_HOST_WANT_POSTCOPY, MR_HOST_ANONYMOUS);
	assert_int_equal(mr_host_descriptor_open(&descriptor, UINT64_C(1) << 62, 0, &problem), -EOPNOTSUPP);
	assert_non_null(strstr(problem.text, "0x4000000000000000"));
	assert_int_equal(descriptor.file, -1);
	assert_int_equal(mr_host_descriptor_open(&descriptor, 0, UINT64_C(1) << 62, &problem), 0);
	assert_int_equal(descriptor.features, 0);
	assert_string_not_equal(mr_host_opening_name(descriptor.opening), mr_host_opening_name(MR_HOST_CLOSED));
	close(descriptor.file);
}

static void test_pool(void **state)
{
	struct mr_host_pool pool;

	(void)state;
	assert_int_equal(mr_host_pool_read(4096, &pool), -ENOENT);
	if (mr_host_pool_read(mr_host_kind_page_size(MR_HOST_HUGE_2M), &pool) != 0) {
		print_message("skipped: the kernel has no huge pages of 2 MiB\n");
		skip();
	}
	assert_int_equal(pool.page_size, 2 << 20);
	assert_true(pool.free <= pool.total && pool.reserved <= pool.free);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_complete),
		cmocka_unit_test(test_no_userfaultfd),
		cmocka_unit_test(test_user_mode),
		cmocka_unit_test(test_no_huge_pages),
		cmocka_unit_test(test_old_kernel),
		cmocka_unit_test(test_ioctls),
		cmocka_unit_test(test_here),
		cmocka_unit_test(test_kernel),
		cmocka_unit_test(test_unknown_feature),
		cmocka_unit_test(test_pool),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
