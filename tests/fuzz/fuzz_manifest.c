/* SPDX-License-Identifier: Apache-2.0 */
#include "fuzz.h"

#include "flannel/flannel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *net = NULL, *cni = NULL;
	struct err err = ERR_INIT;

	if (flannel_manifest_parse((const char *)data, size, "manifest", &net, &cni, &err) < 0)
		FUZZ_CHECK(err.code < 0 && err.text[0] && !net && !cni);
	else
		FUZZ_CHECK(net || cni);
	free(net);
	free(cni);
	return 0;
}
