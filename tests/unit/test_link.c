/* test_link.c: bytes get through once and in order, no faster than the link, and no more of them than buffers hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "random.h"
#include "sim/world/link.h"

enum { CONNECTIONS = 5, ARRIVALS_MAX = 4096, PIECE_MAX = 1 << 20 };
enum { DEPART = 1, ARRIVE, RETRY };

struct arrival {
	uint64_t time;
	unsigned direction;
	uint32_t connection;
	uint64_t arrived;
};

struct net {
	struct mr_scenario_link config;
	struct mr_agenda agenda;
	struct mr_link link;
	uint64_t now;
	struct arrival arrivals[ARRIVALS_MAX];
	size_t count;
};

static uint8_t buffer[PIECE_MAX];

/* A byte a nanosecond, and no wait but a microsecond's. */
static const struct mr_scenario_link plain = {
	.bandwidth = 1000000000,
	.latency = 1000,
	.send_buffer = 1 << 20,
	.receive_buffer = 1 << 20,
	.return_buffer = 1 << 20,
	.fair = true,
	.quantum = 1500,
};

static struct net *net_new(const struct mr_scenario_link *config, uint64_t seed)
{
	struct net *net = calloc(1, sizeof(*net));

	assert_non_null(net);
	net->config = *config;
	assert_int_equal(mr_link_init(&net->link, &net->config, seed, CONNECTIONS, &net->agenda, DEPART, ARRIVE, RETRY),
			 0);
	return net;
}

static void net_free(struct net *net)
{
	mr_link_clear(&net->link);
	mr_agenda_clear(&net->agenda);
	free(net);
}

static struct mr_pipe *pipe_of(struct net *net, unsigned direction, uint32_t connection)
{
	return &net->link.pipes[direction][connection];
}

/* ---- Bytes that tell their place ---- */

static uint8_t byte_at(unsigned direction, uint32_t connection, uint64_t offset)
{
	return (uint8_t)mr_mix(offset / 8 * 16 + direction * 8 + connection);
}

static void send_bytes(struct net *net, unsigned direction, uint32_t connection, size_t length)
{
	const uint64_t from = pipe_of(net, direction, connection)->written;

	assert_true(length <= PIECE_MAX);
	for (size_t i = 0; i < length; i++)
		buffer[i] = byte_at(direction, connection, from + i);
	assert_int_equal(mr_link_write(&net->link, direction, connection, net->now, (struct mr_bytes){buffer, length}),
			 0);
}

static void look_at_window(struct net *net, unsigned direction, uint32_t connection)
{
	const struct mr_bytes window = mr_link_window(&net->link, direction, connection);
	const struct mr_pipe *pipe = pipe_of(net, direction, connection);

	assert_int_equal(window.length, pipe->arrived - pipe->consumed);
	for (size_t i = 0; i < window.length; i++)
		if (window.data[i] != byte_at(direction, connection, pipe->consumed + i))
			fail_msg("byte %zu of the window is not what was sent", i);
}

static void read_bytes(struct net *net, unsigned direction, uint32_t connection, uint64_t length)
{
	mr_link_consume(&net->link, direction, connection, net->now,
			pipe_of(net, direction, connection)->consumed + length);
}

/* ---- Time ---- */

static void arrive(struct net *net, const struct mr_moment *moment)
{
	const unsigned direction = moment->index % 2;
	const uint32_t connection = moment->index / 2;
	const uint64_t before = pipe_of(net, direction, connection)->arrived;

	if (!mr_link_arrived(&net->link, direction, connection, net->now, moment->value))
		return;
	assert_true(pipe_of(net, direction, connection)->arrived >= before);
	if (pipe_of(net, direction, connection)->arrived == before)
		return;
	assert_true(net->count < ARRIVALS_MAX);
	net->arrivals[net->count++] =
		(struct arrival){net->now, direction, connection, pipe_of(net, direction, connection)->arrived};
}

/* The next moment, if it is not later than `limit`. */
static bool go_on(struct net *net, uint64_t limit)
{
	struct mr_moment moment;

	if (mr_agenda_all(&net->agenda) == 0 || mr_agenda_next(&net->agenda) > limit)
		return false;
	assert_true(mr_agenda_take(&net->agenda, &moment));
	assert_true(moment.time >= net->now);
	net->now = moment.time;
	if (moment.kind == DEPART)
		mr_link_departed(&net->link, moment.index, net->now);
	else if (moment.kind == ARRIVE)
		arrive(net, &moment);
	else
		mr_link_retry(&net->link, moment.index % 2, net->now);
	return true;
}

static void run(struct net *net)
{
	while (go_on(net, UINT64_MAX))
		continue;
}

static void run_until(struct net *net, uint64_t time)
{
	while (go_on(net, time))
		continue;
	net->now = time;
}

static void expect_arrivals(struct net *net, const struct arrival *expected, size_t count)
{
	assert_int_equal(net->count, count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(net->arrivals[i].time, expected[i].time);
		assert_int_equal(net->arrivals[i].direction, expected[i].direction);
		assert_int_equal(net->arrivals[i].connection, expected[i].connection);
		assert_int_equal(net->arrivals[i].arrived, expected[i].arrived);
	}
	net->count = 0;
}

#define EXPECT(net, ...)                                                                                               \
	do {                                                                                                           \
		const struct arrival expected[] = {__VA_ARGS__};                                                       \
		expect_arrivals(net, expected, sizeof(expected) / sizeof(expected[0]));                                \
	} while (0)

/* ---- Bandwidth ---- */

static void takes_its_bytes_and_the_latency(void **state)
{
	struct net *net = net_new(&plain, 1);

	(void)state;
	send_bytes(net, 0, 0, 1000);
	run(net);
	EXPECT(net, {2000, 0, 0, 1000});
	/* in turns, one behind the other */
	send_bytes(net, 0, 0, 4000);
	run(net);
	EXPECT(net, {4500, 0, 0, 2500}, {6000, 0, 0, 4000}, {7000, 0, 0, 5000});
	look_at_window(net, 0, 0);
	net_free(net);
}

static void times_are_rounded_up(void **state)
{
	struct mr_scenario_link config = plain;
	struct net *net;

	(void)state;
	config.bandwidth = 3;
	config.latency = 0;
	net = net_new(&config, 1);
	send_bytes(net, 0, 0, 1);
	run(net);
	EXPECT(net, {333333334, 0, 0, 1});
	net_free(net);
}

static void the_slowest_link_overflows_nothing(void **state)
{
	struct mr_scenario_link config = plain;
	struct net *net;

	(void)state;
	config.bandwidth = 1;
	config.latency = UINT64_C(10000000000);
	config.quantum = 1 << 20;
	config.receive_buffer = 2 << 20;
	net = net_new(&config, 1);
	mr_link_hinder(&net->link, 0, 0, UINT64_MAX, 1);
	send_bytes(net, 0, 0, 1 << 20);
	send_bytes(net, 0, 0, 1);
	run(net);
	EXPECT(net, {UINT64_C(1048576) * 1000000000 + UINT64_C(10000000000), 0, 0, 1 << 20},
	       {UINT64_C(104857600) * 1000000000 + 1000000000 + UINT64_C(10000000000), 0, 0, (1 << 20) + 1});
	net_free(net);
}

static void directions_do_not_share(void **state)
{
	struct net *net = net_new(&plain, 1);

	(void)state;
	send_bytes(net, 0, 1, 1500);
	send_bytes(net, 1, 1, 1500);
	run(net);
	EXPECT(net, {2500, 0, 1, 1500}, {2500, 1, 1, 1500});
	look_at_window(net, 0, 1);
	look_at_window(net, 1, 1);
	net_free(net);
}

static void a_fair_link_takes_turns(void **state)
{
	struct net *net = net_new(&plain, 1);

	(void)state;
	send_bytes(net, 0, 0, 4500);
	send_bytes(net, 0, 1, 3000);
	run_until(net, 100);
	send_bytes(net, 0, 2, 1500);
	run(net);
	EXPECT(net, {2500, 0, 0, 1500}, {4000, 0, 1, 1500}, {5500, 0, 2, 1500}, {7000, 0, 0, 3000}, {8500, 0, 1, 3000},
	       {10000, 0, 0, 4500});
	net_free(net);
}

/* Whoever writes while the link is busy with it does not lose its place, nor get another. */
static void an_unfair_link_takes_the_order_of_sending(void **state)
{
	struct mr_scenario_link config = plain;
	struct net *net;

	(void)state;
	config.fair = false;
	net = net_new(&config, 1);
	send_bytes(net, 0, 0, 3000);
	send_bytes(net, 0, 1, 1000);
	run_until(net, 100);
	send_bytes(net, 0, 0, 1500);
	send_bytes(net, 0, 0, 100);
	send_bytes(net, 0, 2, 10);
	send_bytes(net, 0, 1, 20);
	run(net);
	EXPECT(net, {2500, 0, 0, 1500}, {4000, 0, 0, 3000}, {5000, 0, 1, 1000}, {6500, 0, 0, 4500}, {6600, 0, 0, 4600},
	       {6610, 0, 2, 10}, {6630, 0, 1, 1020});
	net_free(net);
}

static void an_unfair_link_passes_those_by_that_may_not_send(void **state)
{
	struct mr_scenario_link config = plain;
	struct net *net;

	(void)state;
	config.fair = false;
	config.receive_buffer = 1000;
	net = net_new(&config, 1);
	send_bytes(net, 0, 0, 1500);
	send_bytes(net, 0, 1, 200);
	send_bytes(net, 0, 0, 300);
	run(net);
	EXPECT(net, {2000, 0, 0, 1000}, {2200, 0, 1, 200});
	read_bytes(net, 0, 0, 600);
	run(net);
	EXPECT(net, {2200 + 1500, 0, 0, 1500}, {2200 + 1600, 0, 0, 1600});
	net_free(net);
}

/* ---- Latency ---- */

static void jitter_changes_no_order(void **state)
{
	struct mr_scenario_link config = plain;
	bool differs = false, waits_for_earlier = false;

	(void)state;
	config.jitter = 5000;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		struct net *net = net_new(&config, seed), *again = net_new(&config, seed),
			   *other = net_new(&config, 99);

		send_bytes(net, 0, 0, 30000);
		send_bytes(again, 0, 0, 30000);
		send_bytes(other, 0, 0, 30000);
		run(net);
		run(again);
		run(other);
		assert_int_equal(pipe_of(net, 0, 0)->arrived, 30000);
		for (size_t i = 0; i < net->count; i++) {
			assert_in_range(net->arrivals[i].time, net->arrivals[i].arrived + 1000,
					net->arrivals[i].arrived + 6000 + (i ? 6000 : 0));
			differs |= net->arrivals[i].time != other->arrivals[i].time;
			if (i)
				assert_true(net->arrivals[i].time >= net->arrivals[i - 1].time);
			waits_for_earlier |= i && net->arrivals[i].time == net->arrivals[i - 1].time;
		}
		expect_arrivals(again, net->arrivals, net->count);
		net_free(net);
		net_free(again);
		net_free(other);
	}
	assert_true(differs);
	assert_true(waits_for_earlier);
}

/* ---- Buffers ---- */

static void the_window_holds_back(void **state)
{
	struct mr_scenario_link config = plain;
	struct net *net;

	(void)state;
	config.receive_buffer = 4000;
	net = net_new(&config, 1);
	send_bytes(net, 0, 0, 20000);
	run(net);
	assert_int_equal(pipe_of(net, 0, 0)->arrived, 4000);
	assert_int_equal(pipe_of(net, 0, 0)->departed, 4000);
	/* what is read makes room, at once */
	net->count = 0;
	read_bytes(net, 0, 0, 100);
	assert_int_equal(net->now, 5000);
	run(net);
	EXPECT(net, {6100, 0, 0, 4100});
	/* what the reader wants at once does not count */
	mr_link_want(&net->link, 0, 0, net->now, 10000);
	run(net);
	assert_int_equal(pipe_of(net, 0, 0)->arrived, 14100);
	mr_link_want(&net->link, 0, 0, net->now, 0);
	read_bytes(net, 0, 0, 9000);
	run(net);
	assert_int_equal(pipe_of(net, 0, 0)->arrived, 14100);
	read_bytes(net, 0, 0, 5000);
	run(net);
	assert_int_equal(pipe_of(net, 0, 0)->arrived, 18100);
	look_at_window(net, 0, 0);
	net_free(net);
}

static void each_direction_has_its_buffer(void **state)
{
	struct mr_scenario_link config = plain;
	struct net *net;

	(void)state;
	config.receive_buffer = 4000;
	config.return_buffer = 700;
	config.send_buffer = 1000;
	net = net_new(&config, 1);
	send_bytes(net, 1, 3, 701);
	assert_false(mr_link_has_room(&net->link, 1, 3));
	run(net);
	assert_int_equal(pipe_of(net, 1, 3)->arrived, 700);
	assert_true(mr_link_has_room(&net->link, 1, 3));
	send_bytes(net, 1, 3, 700);
	assert_false(mr_link_has_room(&net->link, 1, 3));
	send_bytes(net, 0, 3, 1000);
	assert_true(mr_link_has_room(&net->link, 0, 3));
	send_bytes(net, 0, 3, 1);
	assert_false(mr_link_has_room(&net->link, 0, 3));
	net_free(net);
}

/* A packet of 500 bytes a time leaves. */
static void who_had_to_wait_goes_on_when_a_third_is_free(void **state)
{
	struct mr_scenario_link config = plain;
	struct net *net;

	(void)state;
	config.send_buffer = 3000;
	config.quantum = 500;
	net = net_new(&config, 1);
	send_bytes(net, 0, 0, 3001);
	assert_false(mr_link_has_room(&net->link, 0, 0));
	/* 2501, then 2001 bytes are left: some are free, but not a third */
	run_until(net, 1000);
	assert_int_equal(pipe_of(net, 0, 0)->departed, 1000);
	assert_false(mr_link_has_room(&net->link, 0, 0));
	run_until(net, 1500);
	assert_true(mr_link_has_room(&net->link, 0, 0));
	/* who did not have to wait may fill it up, again and again */
	send_bytes(net, 0, 0, 1499);
	assert_true(mr_link_has_room(&net->link, 0, 0));
	send_bytes(net, 0, 0, 1);
	assert_int_equal(pipe_of(net, 0, 0)->written - pipe_of(net, 0, 0)->departed, 3001);
	assert_false(mr_link_has_room(&net->link, 0, 0));
	/* exactly two thirds of what is waited for */
	run_until(net, 2000);
	assert_false(mr_link_has_room(&net->link, 0, 0));
	send_bytes(net, 0, 0, 499);
	run_until(net, 3000);
	assert_int_equal(pipe_of(net, 0, 0)->written - pipe_of(net, 0, 0)->departed, 2000);
	assert_true(mr_link_has_room(&net->link, 0, 0));
	net_free(net);
}

/* Room is worth a word when the sender has nothing else to wait for, and a turn or half of the buffer is free. */
static void room_is_told_by_turns(void **state)
{
	struct mr_scenario_link config = plain;
	struct net *net;

	(void)state;
	config.receive_buffer = 4000;
	net = net_new(&config, 1);
	assert_false(mr_link_awaits_room(&net->link, 0, 0, 0));
	send_bytes(net, 0, 0, 4000);
	run(net);
	/* the sender has nothing more */
	assert_false(mr_link_awaits_room(&net->link, 0, 0, 4000));
	send_bytes(net, 0, 0, 10000);
	assert_false(mr_link_awaits_room(&net->link, 0, 0, 1499));
	assert_true(mr_link_awaits_room(&net->link, 0, 0, 1500));
	read_bytes(net, 0, 0, 1500);
	/* they are on their way */
	assert_false(mr_link_awaits_room(&net->link, 0, 0, 4000));
	run(net);
	assert_int_equal(pipe_of(net, 0, 0)->arrived, 5500);
	/* it counts from what was told, never back */
	assert_false(mr_link_awaits_room(&net->link, 0, 0, 2999));
	assert_false(mr_link_awaits_room(&net->link, 0, 0, 0));
	assert_true(mr_link_awaits_room(&net->link, 0, 0, 3000));
	/* a turn that is larger than the buffer */
	net->config.quantum = 1 << 20;
	assert_false(mr_link_awaits_room(&net->link, 0, 0, 3499));
	assert_true(mr_link_awaits_room(&net->link, 0, 0, 3500));
	mr_link_break(&net->link, 0);
	assert_false(mr_link_awaits_room(&net->link, 0, 0, 3500));
	net_free(net);
}

/* A sender's buffer of nothing: the sender waits for each of its bytes. */
static void no_send_buffer_at_all(void **state)
{
	struct mr_scenario_link config = plain;
	struct net *net;

	(void)state;
	config.send_buffer = 0;
	net = net_new(&config, 1);
	assert_true(mr_link_has_room(&net->link, 0, 0));
	send_bytes(net, 0, 0, 2000);
	assert_false(mr_link_has_room(&net->link, 0, 0));
	run_until(net, 1999);
	assert_false(mr_link_has_room(&net->link, 0, 0));
	run_until(net, 2000);
	assert_true(mr_link_has_room(&net->link, 0, 0));
	net_free(net);
}

/* ---- The end ---- */

static void an_end_comes_behind_the_bytes(void **state)
{
	struct net *net = net_new(&plain, 1);

	(void)state;
	send_bytes(net, 0, 0, 2000);
	assert_false(mr_link_is_at_end(&net->link, 0, 0));
	pipe_of(net, 0, 0)->closed = true;
	assert_false(mr_link_is_at_end(&net->link, 0, 0));
	/* what is written behind the end goes nowhere */
	assert_int_equal(mr_link_write(&net->link, 0, 0, net->now, (struct mr_bytes){buffer, 500}), 0);
	run_until(net, 2999);
	assert_false(mr_link_is_at_end(&net->link, 0, 0));
	run(net);
	assert_int_equal(net->now, 3000);
	assert_true(mr_link_is_at_end(&net->link, 0, 0));
	assert_false(mr_link_is_at_end(&net->link, 1, 0));
	assert_int_equal(pipe_of(net, 0, 0)->arrived, 2000);
	look_at_window(net, 0, 0);
	net_free(net);
}

static void what_was_under_way_is_lost(void **state)
{
	struct net *net = net_new(&plain, 1);

	(void)state;
	send_bytes(net, 0, 0, 6000);
	send_bytes(net, 1, 0, 500);
	send_bytes(net, 0, 1, 1500);
	/* the first turn has arrived, the second is in flight, the third is on the link */
	run_until(net, 3600);
	EXPECT(net, {1500, 1, 0, 500}, {2500, 0, 0, 1500});
	mr_link_break(&net->link, 0);
	assert_true(mr_link_is_at_end(&net->link, 0, 0));
	assert_true(mr_link_is_at_end(&net->link, 1, 0));
	assert_true(mr_link_has_room(&net->link, 0, 0));
	assert_int_equal(mr_link_write(&net->link, 0, 0, net->now, (struct mr_bytes){buffer, PIECE_MAX}), 0);
	assert_true(mr_link_has_room(&net->link, 0, 0));
	look_at_window(net, 0, 0);
	run(net);
	/* nobody else was hurt, and the link is free again at the end of the turn */
	EXPECT(net, {4000, 0, 1, 1500});
	send_bytes(net, 0, 1, 100);
	run(net);
	EXPECT(net, {5600, 0, 1, 1600});
	net_free(net);
}

static void an_unfair_link_forgets_what_broke(void **state)
{
	struct mr_scenario_link config = plain;
	struct net *net;

	(void)state;
	config.fair = false;
	net = net_new(&config, 1);
	send_bytes(net, 0, 0, 1500);
	send_bytes(net, 0, 1, 1500);
	send_bytes(net, 0, 0, 1500);
	send_bytes(net, 0, 2, 1500);
	mr_link_break(&net->link, 0);
	mr_link_break(&net->link, 1);
	run(net);
	EXPECT(net, {4000, 0, 2, 1500});
	net_free(net);
}

/* ---- Trouble ---- */

static void a_slow_connection_has_its_share_only(void **state)
{
	struct net *net = net_new(&plain, 1);

	(void)state;
	/* a quarter of the link until 15000 */
	mr_link_hinder(&net->link, 0, 0, 15000, 25);
	send_bytes(net, 0, 0, 9000);
	run_until(net, 100);
	send_bytes(net, 0, 1, 3000);
	run(net);
	EXPECT(net, {2500, 0, 0, 1500}, {4000, 0, 1, 1500}, {5500, 0, 1, 3000}, {8500, 0, 0, 3000}, {14500, 0, 0, 4500},
	       {17500, 0, 0, 6000}, {19000, 0, 0, 7500}, {20500, 0, 0, 9000});
	net_free(net);
}

static void nothing_arrives_in_a_stall(void **state)
{
	struct net *net = net_new(&plain, 1);

	(void)state;
	send_bytes(net, 0, 0, 4500);
	send_bytes(net, 0, 1, 100);
	run_until(net, 2599);
	EXPECT(net, {2500, 0, 0, 1500});
	mr_link_hinder(&net->link, 0, net->now, 9000, 100);
	/* a shorter stall does not end a longer one */
	mr_link_hinder(&net->link, 0, net->now, 5000, 100);
	run_until(net, 8999);
	EXPECT(net, {2600, 0, 1, 100});
	assert_int_equal(pipe_of(net, 0, 0)->departed, 3000);
	run(net);
	EXPECT(net, {9000, 0, 0, 3000}, {11500, 0, 0, 4500});
	look_at_window(net, 0, 0);
	net_free(net);
}

/* What a stall held back is entered anew, and so comes behind what arrives at its very end. */
static void a_stall_turns_nothing_back(void **state)
{
	struct net *net = net_new(&plain, 1);

	(void)state;
	send_bytes(net, 0, 0, 2400);
	run_until(net, 2000);
	mr_link_hinder(&net->link, 0, net->now, 3400, 100);
	run(net);
	EXPECT(net, {3400, 0, 0, 2400});
	look_at_window(net, 0, 0);
	net_free(net);
}

static void a_healed_link_is_as_it_was(void **state)
{
	struct net *net = net_new(&plain, 1);

	(void)state;
	mr_link_hinder(&net->link, 1, 0, UINT64_C(1) << 50, 1);
	send_bytes(net, 0, 0, 1500);
	send_bytes(net, 0, 1, 3000);
	run_until(net, 100);
	mr_link_hinder(&net->link, 0, net->now, UINT64_C(1) << 50, 100);
	run_until(net, 20000);
	EXPECT(net, {4000, 0, 1, 1500});
	send_bytes(net, 0, 0, 1000);
	mr_link_heal(&net->link, net->now);
	run_until(net, 30000);
	EXPECT(net, {20000, 0, 0, 1500}, {22000, 0, 0, 2500}, {23500, 0, 1, 3000});
	net_free(net);
}

/* ---- At random ---- */

struct flow {
	uint64_t most_wanted;
	uint64_t broken_at; /* bytes that had arrived */
	bool broken;
};

static void check_pipe(struct net *net, unsigned direction, uint32_t connection, const struct flow *flow)
{
	const struct mr_pipe *pipe = pipe_of(net, direction, connection);
	const uint64_t buffer_size = direction ? net->config.return_buffer : net->config.receive_buffer;

	assert_true(pipe->consumed <= pipe->arrived);
	assert_true(pipe->arrived <= pipe->departed);
	assert_true(pipe->departed <= pipe->written);
	assert_true(pipe->departed - pipe->consumed <= buffer_size + flow->most_wanted);
	if (flow->broken)
		assert_int_equal(pipe->arrived, flow->broken_at);
}

static void draw_event(struct net *net, struct random *random, struct flow flows[2][CONNECTIONS])
{
	const unsigned direction = (unsigned)random_below(random, 2);
	const uint32_t connection = (uint32_t)random_below(random, CONNECTIONS);
	struct flow *flow = &flows[direction][connection];
	struct mr_pipe *pipe = pipe_of(net, direction, connection);

	switch (random_below(random, 12)) {
	case 0:
		flow->most_wanted = random_below(random, 3000) > flow->most_wanted ? 3000 : flow->most_wanted;
		mr_link_want(&net->link, direction, connection, net->now, flow->most_wanted);
		break;
	case 1:
		mr_link_hinder(&net->link, connection, net->now, net->now + random_below(random, 20000),
			       random_below(random, 2) ? 100 : 1 + (uint32_t)random_below(random, 99));
		break;
	case 2:
		if (random_below(random, 40) == 0 && !flow->broken) {
			for (unsigned i = 0; i < 2; i++)
				flows[i][connection] = (struct flow){flows[i][connection].most_wanted,
								     pipe_of(net, i, connection)->arrived, true};
			mr_link_break(&net->link, connection);
		}
		break;
	case 3:
	case 4:
	case 5:
	case 6:
		if (mr_link_has_room(&net->link, direction, connection) && !flow->broken)
			send_bytes(net, direction, connection, random_below(random, 4000));
		break;
	default:
		look_at_window(net, direction, connection);
		read_bytes(net, direction, connection, random_below(random, pipe->arrived - pipe->consumed + 1));
		break;
	}
}

/* All that was written and not lost gets through once everybody reads. */
static void read_all(struct net *net, struct flow flows[2][CONNECTIONS])
{
	for (bool any = true; any;) {
		run(net);
		net->count = 0;
		any = false;
		for (unsigned i = 0; i < 2; i++)
			for (uint32_t j = 0; j < CONNECTIONS; j++) {
				const uint64_t unread = pipe_of(net, i, j)->arrived - pipe_of(net, i, j)->consumed;

				look_at_window(net, i, j);
				read_bytes(net, i, j, unread);
				any |= unread > 0;
			}
	}
	for (unsigned i = 0; i < 2; i++)
		for (uint32_t j = 0; j < CONNECTIONS; j++)
			assert_int_equal(pipe_of(net, i, j)->consumed,
					 flows[i][j].broken ? flows[i][j].broken_at : pipe_of(net, i, j)->written);
}

static uint64_t departed_of(struct net *net, unsigned direction)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < CONNECTIONS; i++)
		bytes += pipe_of(net, direction, i)->departed;
	return bytes;
}

static void bytes_come_once_and_in_order(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		struct random random = {seed};
		struct flow flows[2][CONNECTIONS] = {0};
		const struct mr_scenario_link config = {
			.bandwidth = 1000000000,
			.latency = random_below(&random, 5000),
			.jitter = random_below(&random, 3) ? random_below(&random, 5000) : 0,
			.send_buffer = random_below(&random, 10000),
			.receive_buffer = 1 + random_below(&random, 10000),
			.return_buffer = 1 + random_below(&random, 3000),
			.fair = seed % 2,
			.quantum = 1500 + random_below(&random, 3000),
		};
		struct net *net = net_new(&config, seed);

		for (unsigned i = 0; i < 3000; i++) {
			if (random_below(&random, 3))
				draw_event(net, &random, flows);
			else
				go_on(net, UINT64_MAX);
			net->count = 0;
			for (unsigned j = 0; j < 2; j++) {
				for (uint32_t k = 0; k < CONNECTIONS; k++)
					check_pipe(net, j, k, &flows[j][k]);
				assert_true(departed_of(net, j) <= net->now);
			}
		}
		read_all(net, flows);
		net_free(net);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_its_bytes_and_the_latency),
		cmocka_unit_test(times_are_rounded_up),
		cmocka_unit_test(the_slowest_link_overflows_nothing),
		cmocka_unit_test(directions_do_not_share),
		cmocka_unit_test(a_fair_link_takes_turns),
		cmocka_unit_test(an_unfair_link_takes_the_order_of_sending),
		cmocka_unit_test(an_unfair_link_passes_those_by_that_may_not_send),
		cmocka_unit_test(jitter_changes_no_order),
		cmocka_unit_test(the_window_holds_back),
		cmocka_unit_test(each_direction_has_its_buffer),
		cmocka_unit_test(who_had_to_wait_goes_on_when_a_third_is_free),
		cmocka_unit_test(room_is_told_by_turns),
		cmocka_unit_test(no_send_buffer_at_all),
		cmocka_unit_test(an_end_comes_behind_the_bytes),
		cmocka_unit_test(what_was_under_way_is_lost),
		cmocka_unit_test(an_unfair_link_forgets_what_broke),
		cmocka_unit_test(a_slow_connection_has_its_share_only),
		cmocka_unit_test(nothing_arrives_in_a_stall),
		cmocka_unit_test(a_stall_turns_nothing_back),
		cmocka_unit_test(a_healed_link_is_as_it_was),
		cmocka_unit_test(bytes_come_once_and_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
