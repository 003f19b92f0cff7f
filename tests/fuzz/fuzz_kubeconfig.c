/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "client/kube_config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct kube_config config = {0};
	struct err err = ERR_INIT;

	if (kube_config_parse(&config, (const char *)data, size, "/etc/kubeconfig", NULL, &err) < 0)
		FUZZ_CHECK(err.code < 0 && err.text[0]);
	else
		FUZZ_CHECK(config.server_count == 1 && config.servers[0].url);
	kube_config_done(&config);
	return 0;
}
