/* SPDX-License-Identifier: Apache-2.0 */
#include "model/auto_hosts.h"

#include "base/cleanup.h"
#include "model/equal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CREATED_BY "projectcalico.org/created-by"
#define CREATOR "calico-kube-controllers"

void auto_hosts_free(struct auto_hosts **at)
{
	struct auto_hosts *hosts = *at;

	if (!hosts)
		return;
	for (size_t i = 0; i < hosts->template_count; i++) {
		free(hosts->templates[i].name);
		selector_free(&hosts->templates[i].nodes);
		free(hosts->templates[i].nets);
		labels_free(&hosts->templates[i].labels);
	}
	free(hosts->templates);
	free(hosts->trouble);
	free(hosts);
	*at = NULL;
}

static bool same_template(const struct host_template *a, const struct host_template *b)
{
	return strcmp(a->name, b->name) == 0 && selector_equal_or_none(a->nodes, b->nodes) &&
	       prefixes_equal(a->nets, a->net_count, b->nets, b->net_count) && labels_equal(a->labels, b->labels);
}

bool auto_hosts_equal(const struct auto_hosts *a, const struct auto_hosts *b)
{
	if (a->on != b->on || a->common != b->common || a->template_count != b->template_count || !text_equal(a->trouble, b->trouble))
		return false;
	for (size_t i = 0; i < a->template_count; i++)
		if (!same_template(&a->templates[i], &b->templates[i]))
			return false;
	return true;
}

/* -- one endpoint -- */

static int by_addr(const void *a, const void *b)
{
	return addr_compare(a, b);
}

static bool is_wanted(const struct host_template *template, const struct addr *addr)
{
	for (size_t i = 0; template && i < template->net_count; i++)
		if (prefix_contains(&template->nets[i], addr))
			return true;
	return !template;
}

static int take_addrs(struct host_endpoint *host, const struct auto_host_node *node, const struct host_template *template)
{
	size_t kept = 0;

	host->addrs = calloc(node->count + 1, sizeof(*host->addrs));
	if (!host->addrs)
		return -ENOMEM;
	for (size_t i = 0; i < node->count; i++)
		if (is_wanted(template, &node->addrs[i]))
			host->addrs[host->addr_count++] = node->addrs[i];
	if (host->addr_count)
		qsort(host->addrs, host->addr_count, sizeof(*host->addrs), by_addr);
	for (size_t i = 0; i < host->addr_count; i++)
		if (!kept || !addr_equal(&host->addrs[kept - 1], &host->addrs[i]))
			host->addrs[kept++] = host->addrs[i];
	host->addr_count = kept;
	return 0;
}

static int add_labels(struct labels *labels, const struct labels *more)
{
	int rc = 0;

	for (size_t i = 0; more && rc == 0 && i < more->count; i++)
		rc = labels_set(labels, more->items[i].key, more->items[i].value);
	return rc;
}

static int name_it(struct host_endpoint *host, const char *node, const struct host_template *template)
{
	int len = template ? asprintf(&host->name, "%s-%s-auto-hep", node, template->name) : asprintf(&host->name, "%s-auto-hep", node);

	if (len < 0)
		host->name = NULL;
	host->node = strdup(node);
	if (!template)
		host->interface = strdup(HOST_ENDPOINT_ALL);
	host->labels = labels_new();
	return host->name && host->node && host->labels && (template || host->interface) ? 0 : -ENOMEM;
}

/* template null: the one of all interfaces. */
static int make(const struct auto_host_node *node, const struct host_template *template, struct host_endpoint **ret)
{
	_cleanup_(host_endpoint_free) struct host_endpoint *host = calloc(1, sizeof(*host));
	int rc = host ? name_it(host, node->name, template) : -ENOMEM;

	if (rc == 0)
		rc = take_addrs(host, node, template);
	if (rc == 0)
		rc = add_labels(host->labels, node->labels);
	if (rc == 0 && template)
		rc = add_labels(host->labels, template->labels);
	if (rc == 0)
		rc = labels_set(host->labels, CREATED_BY, CREATOR);
	if (rc < 0)
		return -ENOMEM;
	host->open = true; /* profile projectcalico-default-allow */
	*ret = TAKE_PTR(host);
	return 0;
}

/* -- all of a node -- */

static int append(const struct auto_host_node *node, const struct host_template *template, struct host_endpoint ***list, size_t *count)
{
	struct host_endpoint **more = reallocarray(*list, *count + 1, sizeof(*more)), *host = NULL;
	int rc;

	if (!more)
		return -ENOMEM;
	*list = more;
	rc = make(node, template, &host);
	if (rc < 0)
		return rc;
	if (template && !host->addr_count)
		host_endpoint_free(&host);
	else
		more[(*count)++] = host;
	return 0;
}

int auto_hosts_make(const struct auto_hosts *hosts, const struct auto_host_node *node, struct host_endpoint ***list, size_t *count)
{
	int rc = 0;

	if (!hosts || !hosts->on)
		return 0;
	if (hosts->common)
		rc = append(node, NULL, list, count);
	for (size_t i = 0; rc == 0 && i < hosts->template_count; i++)
		if (!hosts->templates[i].nodes || selector_matches_labels(hosts->templates[i].nodes, node->labels))
			rc = append(node, &hosts->templates[i], list, count);
	return rc;
}
