/* SPDX-License-Identifier: Apache-2.0
 *
 * Addresses from a source instead of this node's block (Calico's pools): under which serial they are taken and given back,
 * and what the next start knows of them.
 */
#include "attach_lab.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct source {
	uint64_t taken, given; /* serials */
	struct addr next, back;
	bool used;
	int backs;
};

static struct addr A(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(text, &addr), 0);
	return addr;
}

static bool serves(void *ctx, const struct attach_request *request, int f)
{
	return f == FAMILY_4;
}

static int take(void *ctx, const struct attach_request *request, int f, const struct addr *wish, struct attachment *to,
	struct err *err)
{
	struct source *source = ctx;

	source->taken = to->serial;
	to->addr[f] = source->next;
	to->wished[f] = true;
	return 0;
}

static void give_back(void *ctx, const struct attachment *attachment, bool used)
{
	struct source *source = ctx;

	source->given = attachment->serial;
	source->back = attachment->addr[FAMILY_4];
	assert_true(attachment->wished[FAMILY_4]);
	source->used = used;
	source->backs++;
}

static void set_source(struct lab *lab, struct source *source)
{
	struct attach_pools pools = {.families = {[FAMILY_4] = true}, .mtu = 1450,
		.source = {serves, take, give_back, source}};

	assert_int_equal(attach_set_pools(lab->attacher, &pools), 0);
}

static void see_one(void *ctx, const struct attachment *attachment)
{
	struct attachment *ret = ctx;

	assert_int_equal(ret->serial, 0);
	*ret = *attachment;
}

static void see_resting(void *ctx, const struct addr *addr, int64_t until)
{
	struct addr *ret = ctx;

	assert_in_range(until, attach_now() + 1, attach_now() + 60000);
	assert_false(addr_is_set(ret));
	*ret = *addr;
}

static void taken_and_given_back(void **state)
{
	struct lab *lab = *state;
	struct source source = {.next = A("10.7.0.9")};
	struct attach_request request = lab_request(lab, 0);
	struct attachment a, kept = {.mtu = 0};
	struct addr rests = {{0}};

	lab->cooldown_s = 60;
	lab_stop(lab);
	lab_start(lab);
	set_source(lab, &source);
	request.pod_namespace = "shop";
	request.pod_name = "cart";
	assert_int_equal(attach_add(lab->attacher, &request, &a, NULL), 0);
	assert_int_not_equal(a.serial, 0);
	assert_int_equal(a.serial, source.taken);
	assert_true(attach_lives_at(lab->attacher, &source.next));
	lab_stop(lab);
	lab_start(lab);
	attach_each(lab->attacher, see_one, &kept);
	assert_int_equal(kept.serial, source.taken);
	assert_string_equal(kept.pod_namespace, "shop");
	assert_string_equal(kept.pod_name, "cart");
	set_source(lab, &source);
	lab_del(lab, 0);
	assert_int_equal(source.backs, 1);
	assert_int_equal(source.given, source.taken);
	assert_true(source.used && addr_equal(&source.back, &source.next));
	lab_turn(lab, 3000);
	assert_false(attach_lives_at(lab->attacher, &source.next));
	lab_stop(lab);
	lab_start(lab);
	attach_each_resting(lab->attacher, see_resting, &rests);
	assert_true(addr_equal(&rests, &source.next));
}

static int fail_at_last(void *ctx, const char *name)
{
	return strcmp(name, "attached") == 0 ? -EIO : 0;
}

static void given_back_unused(void **state)
{
	struct lab *lab = *state;
	struct source source = {.next = A("10.7.0.9")};
	struct attach_request request = lab_request(lab, 0);
	struct attachment a;

	set_source(lab, &source);
	lab->attacher->step = fail_at_last;
	assert_int_equal(attach_add(lab->attacher, &request, &a, NULL), -EIO);
	assert_int_equal(source.backs, 1);
	assert_int_equal(source.given, source.taken);
	assert_false(source.used);
	assert_false(attach_lives_at(lab->attacher, &source.next));
}

/* A pod of a plugin of others: there is a route to it, and no attachment. */
static void others_live(void **state)
{
	struct lab *lab = *state;
	struct addr theirs = A("10.7.0.77");

	assert_false(attach_lives_at(lab->attacher, &theirs));
	assert_int_equal(lab_run(-1, "ip link add cali0 type veth peer name cali1"), 0);
	assert_int_equal(lab_run(-1, "ip link set cali0 up"), 0);
	assert_int_equal(lab_run(-1, "ip route add 10.7.0.77 dev cali0 scope link"), 0);
	assert_true(attach_lives_at(lab->attacher, &theirs));
	assert_int_equal(lab_run(-1, "ip link delete cali0"), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, lab_setup, lab_teardown)
	const struct CMUnitTest tests[] = {T(taken_and_given_back), T(given_back_unused), T(others_live)};

	lab_enter();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
