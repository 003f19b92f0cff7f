/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "base/cleanup.h"
#include "flannel/flannel.h"

/* Networks are printed only beside a subnet. */
static void round_trip(struct flannel_env *env)
{
	_cleanup_(buf_free) struct buf buf = {0};
	struct flannel_env again;

	for (int f = 0; f < FAMILY_COUNT; f++)
		if (!prefix_is_set(&env->subnet[f]) || !prefix_is_set(&env->network[f]) ||
			env->subnet[f].len + 1u >= prefix_max_len(&env->subnet[f]))
			env->network[f] = env->subnet[f] = (struct prefix){0};
	flannel_env_format(env, &buf);
	FUZZ_CHECK(buf.error == 0 && flannel_env_parse(buf.data, buf.len, &again, NULL) == 0);
	for (int f = 0; f < FAMILY_COUNT; f++) {
		FUZZ_CHECK(prefix_equal(&env->network[f], &again.network[f]));
		FUZZ_CHECK(prefix_equal(&env->subnet[f], &again.subnet[f]));
	}
	FUZZ_CHECK(env->mtu == again.mtu && env->ip_masq == again.ip_masq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	struct flannel_env env;

	if (flannel_env_parse((const char *)data, size, &env, &err) < 0)
		FUZZ_CHECK(err.code < 0 && err.text[0]);
	else
		round_trip(&env);
	return 0;
}
