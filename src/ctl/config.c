/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl config check: says whether the agent would take a file, without an agent and without root.
 */
#include "ctl/ctl.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "cni_server/cni_server.h"
#include "flannel/flannel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CONFIG_MAX ((size_t)2 << 20)

static void print_network(const char *where, const struct network *network)
{
	char text[FAMILY_COUNT][PREFIX_TEXT_MAX];

	printf("%s: good network configuration: backend %s", where, network->backend);
	for (int f = 0; f < FAMILY_COUNT; f++)
		if (network_has(network, f))
			printf(", %s in blocks of /%u", prefix_format(&network->pool[f].cidr, text[f]),
				network->pool[f].block_len);
	printf("\n");
}

static int check_network(const char *where, const char *text, size_t len, struct err *err)
{
	struct network network;
	int rc = flannel_network_parse(text, len, where, &network, err);

	if (rc == 0)
		print_network(where, &network);
	return rc;
}

static int check_cni(const char *where, const char *text, size_t len, struct err *err)
{
	int rc = cni_conf_check(text, len, where, err);

	if (rc == 0)
		printf("%s: good CNI configuration\n", where);
	return rc;
}

static int check_manifest(const char *path, const char *text, size_t len, struct err *err)
{
	_cleanup_free_ char *net = NULL;
	_cleanup_free_ char *cni = NULL;
	char where[512];
	int rc = flannel_manifest_parse(text, len, path, &net, &cni, err);

	if (rc == 0 && net) {
		snprintf(where, sizeof(where), "%s net-conf.json", path);
		rc = check_network(where, net, strlen(net), err);
	}
	if (rc == 0 && cni) {
		snprintf(where, sizeof(where), "%s cni-conf.json", path);
		rc = check_cni(where, cni, strlen(cni), err);
	}
	return rc;
}

/* A CNI configuration has "type" or "plugins"; a manifest has "kind"; everything else in JSON is a net-conf. */
static int check_file(const char *path, struct err *err)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(CONFIG_MAX);
	_cleanup_(json_cleanup) json_t *json = NULL;
	int rc = file_read(path, &text, err);
	const char *dot = strrchr(path, '.');
	bool yaml = dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);

	if (rc < 0)
		return rc;
	if (yaml)
		return check_manifest(path, buf_text(&text), text.len, err);
	rc = json_parse(buf_text(&text), text.len, path, &json, err);
	if (rc < 0)
		return rc;
	if (json_find(json, "kind"))
		return check_manifest(path, buf_text(&text), text.len, err);
	if (json_find(json, "plugins") || json_find(json, "type"))
		return check_cni(path, buf_text(&text), text.len, err);
	return check_network(path, buf_text(&text), text.len, err);
}

int ctl_config(const struct ctl *ctl)
{
	int status = CTL_OK;

	if (ctl->argc < 2 || strcmp(ctl->argv[0], "check") != 0)
		return ctl_fail(CTL_USAGE, "usage: tullectl config check FILE...");
	for (int i = 1; i < ctl->argc; i++) {
		struct err err = ERR_INIT;

		if (check_file(ctl->argv[i], &err) < 0)
			status = ctl_fail(CTL_FAILED, "%s", err_text(&err));
	}
	return status;
}
