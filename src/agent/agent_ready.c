/* SPDX-License-Identifier: Apache-2.0
 *
 * What the node sees of us, in this order: subnet.env (reference/flannel.md 3.6), what the container
 * runtime reads (agent_install.c), readiness.
 */
#include "agent/agent.h"

#include "agent/notify.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "flannel/flannel.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static int make_parent(const char *path, struct err *err)
{
	char dir[PATH_MAX];
	char *slash;

	if (snprintf(dir, sizeof(dir), "%s", path) >= (int)sizeof(dir))
		return err_set(err, -ENAMETOOLONG, "%s: the path is too long", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = 0;
	return file_make_dirs(dir, 0755, err);
}

static bool buf_same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

int agent_write_changed(const char *path, const struct buf *text, struct buf *last, struct err *err)
{
	struct stat st;
	int rc;

	if (buf_same(text, last) && stat(path, &st) == 0)
		return 0;
	rc = make_parent(path, err);
	if (rc == 0)
		rc = file_write_atomic(path, text->data, text->len, 0644, false, err);
	if (rc < 0)
		return rc;
	buf_reset(last);
	rc = buf_add(last, text->data, text->len);
	return rc < 0 ? err_set(err, rc, "%s: %s", path, strerror(-rc)) : 1;
}

static int write_subnet_env(struct agent *agent, struct err *err)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(4096);
	struct flannel_env env = {
		.mtu = network_pod_mtu(&agent->network, agent->uplink.mtu),
		.ip_masq = agent->options.ip_masq,
	};
	int rc;

	for (int f = 0; f < FAMILY_COUNT; f++) {
		env.network[f] = agent->network.pool[f].cidr;
		env.subnet[f] = agent->own.subnet[f];
	}
	flannel_env_format(&env, &text);
	rc = agent_write_changed(agent->options.subnet_file, &text, &agent->subnet_env, err);
	return rc < 0 ? rc : 0;
}

int agent_publish(struct agent *agent, struct err *err)
{
	int rc = agent->calico ? 0 : write_subnet_env(agent, err); /* it says what one network and one block are */

	if (rc == 0)
		rc = agent_install(agent, err);
	if (rc == 0 && !agent->ready) {
		rc = notify_send("READY=1");
		if (rc < 0)
			log_warning("NOTIFY_SOCKET: %s", strerror(-rc));
		rc = 0;
	}
	return rc;
}

const char *agent_not_ready(void *ctx)
{
	struct agent *agent = ctx;
	/* leases are nobody's concern before the configuration is there: any story of the store is about it */
	const char *store = agent->have_network ? problems_text(agent->problems, "store") :
						  problems_any(agent->problems, "store");
	const char *start = problems_text(agent->problems, "start");

	if (agent->calico)
		return calico_not_ready(agent->calico);
	if (agent->ready)
		return NULL;
	if (!agent->have_network)
		snprintf(agent->not_ready, sizeof(agent->not_ready), "no network configuration yet%s%.400s",
			store ? ": " : "", store ? store : "");
	else if (!agent->have_own)
		snprintf(agent->not_ready, sizeof(agent->not_ready), "no lease yet%s%.400s", store ? ": " : "",
			store ? store : "");
	else
		snprintf(agent->not_ready, sizeof(agent->not_ready), "%.500s", start ? start : "the kernel is being set up");
	return agent->not_ready;
}
