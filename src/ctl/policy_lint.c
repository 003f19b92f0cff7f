/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl policy lint: what is written in policies and means nothing, or not what it seems to.
 */
#include "ctl/policy_lint.h"

#include "base/cleanup.h"
#include "base/file.h"
#include "base/json.h"
#include "objects/manifest.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define LINT_FILE_MAX ((size_t)256 << 20)

/* -- findings -- */

static void add_finding(struct lint *lint, const char *file, const char *object, const char *place, const char *kind,
	const char *text)
{
	json_array_append_new(lint->findings, json_pack("{s:s, s:s, s:s*, s:s, s:s}", "file", file, "object", object,
		"place", place, "kind", kind, "text", text));
}

void lint_tell(struct lint *lint, const char *file, const struct policy *policy, const char *place, const char *kind,
	const char *fmt, ...)
{
	_cleanup_(buf_free) struct buf name = BUF_INIT(1024);
	_cleanup_(buf_free) struct buf text = BUF_INIT(1 << 20);
	va_list ap;

	policy_words_name(policy, &name);
	va_start(ap, fmt);
	buf_vprintf(&text, fmt, ap);
	va_end(ap);
	add_finding(lint, file, buf_text(&name), place, kind, buf_text(&text));
}

/* What a parser left out: "NetworkPolicy x: ...". */
static void take_remark(void *ctx, const char *text)
{
	struct lint *lint = ctx;
	const char *colon = strstr(text, ": ");
	_cleanup_free_ char *object = strndup(text, colon ? (size_t)(colon - text) : strlen(text));

	if (object)
		add_finding(lint, lint->file, object, NULL, "no-effect", colon ? colon + 2 : text);
}

/* -- ports without protocol: only the object itself still shows them -- */

static void lint_ports(struct lint *lint, const json_t *spec, const struct policy *policy, const char *key)
{
	const json_t *rule, *port;
	char place[64];
	size_t i, j;

	json_array_foreach(json_object_get(spec, key), i, rule) {
		json_array_foreach(json_object_get(rule, "ports"), j, port) {
			if (!json_is_object(port) || json_object_get(port, "protocol"))
				continue;
			snprintf(place, sizeof(place), "%s[%zu].ports[%zu]", key, i, j);
			lint_tell(lint, lint->file, policy, place, "port-without-protocol",
				json_object_get(port, "port") ? "has no protocol: it is TCP's, and not that of UDP or SCTP"
							      : "says neither port nor protocol: it is every port of TCP, and nothing else");
		}
	}
}

/* -- files -- */

static int add_object(struct lint *lint, const json_t *object, struct err *err)
{
	const struct calico_remarks remarks = {.remark = take_remark, .ctx = lint};
	struct policy_world *world = lint->world;
	size_t before = world->policy_count;
	char **origin;
	int rc = policy_world_add(world, object, &remarks, err);

	if (rc < 0 || world->policy_count == before)
		return rc;
	origin = reallocarray(lint->origin, world->policy_count, sizeof(*origin));
	if (!origin)
		return err_set(err, -ENOMEM, "out of memory");
	lint->origin = origin;
	origin[before] = (char *)lint->file;
	if (strcmp(world->policies[before]->kind, "NetworkPolicy") == 0) {
		lint_ports(lint, json_object_get(object, "spec"), world->policies[before], "ingress");
		lint_ports(lint, json_object_get(object, "spec"), world->policies[before], "egress");
	}
	return 0;
}

static int read_file(struct lint *lint, const char *path, struct err *err)
{
	_cleanup_(buf_free) struct buf text = BUF_INIT(LINT_FILE_MAX);
	struct manifest manifest = {0};
	int rc = file_read(path, &text, err);

	lint->file = path;
	if (rc == 0)
		rc = manifest_parse(buf_text(&text), text.len, path, &manifest, err);
	for (size_t i = 0; rc >= 0 && i < manifest.count; i++) {
		rc = add_object(lint, manifest.objects[i].object, err);
		if (rc < 0)
			err_wrap(err, "%s", path);
	}
	for (size_t i = 0; rc >= 0 && i < manifest.staged_count; i++)
		add_finding(lint, path, manifest.staged[i], NULL, "staged", "is staged: not enforced");
	manifest_free(&manifest);
	return rc < 0 ? rc : 0;
}

static void look(struct lint *lint)
{
	for (size_t i = 0; i < lint->world->policy_count; i++) {
		const struct policy *policy = lint->world->policies[i];

		if (policy->trouble)
			lint_tell(lint, lint->origin[i], policy, NULL, "trouble", "%s; so it denies", policy->trouble);
		lint_selectors(lint, i);
		lint_rules(lint, i);
	}
	lint_pairs(lint);
}

/* -- showing -- */

static const char *member(const json_t *json, const char *key)
{
	const char *text = json_string_value(json_object_get(json, key));

	return text ? text : "";
}

static int show(const struct ctl *ctl, const struct lint *lint)
{
	const json_t *finding;
	size_t i;

	if (ctl->json) {
		_cleanup_(json_cleanup) json_t *whole = json_pack("{s:O}", "findings", lint->findings);

		json_dumpf(whole, stdout, JSON_INDENT(2));
		putchar('\n');
	} else {
		json_array_foreach(lint->findings, i, finding)
			printf("%s: %s%s%s: %s\n", member(finding, "file"), member(finding, "object"),
				*member(finding, "place") ? ", " : "", member(finding, "place"), member(finding, "text"));
	}
	return json_array_size(lint->findings) ? CTL_FAILED : CTL_OK;
}

static void close_lint(struct lint *lint)
{
	struct endpoint_pool *pool = lint->world ? lint->world->pool : NULL;

	policy_world_free(&lint->world);
	endpoint_pool_free(pool);
	free(lint->origin);
	json_decref(lint->findings);
}

static int open_lint(struct lint *lint)
{
	struct endpoint_pool *pool = endpoint_pool_new();

	lint->findings = json_array();
	if (pool && lint->findings && policy_world_new(pool, &lint->world) == 0)
		return CTL_OK;
	endpoint_pool_free(pool);
	return ctl_fail(CTL_FAILED, "out of memory");
}

int policy_lint(const struct ctl *ctl)
{
	_cleanup_(close_lint) struct lint lint = {0};
	struct err err = ERR_INIT;
	int status = CTL_OK;

	if (ctl->argc < 2)
		return ctl_fail(CTL_USAGE, "usage: tullectl policy lint FILE...");
	status = open_lint(&lint);
	for (int i = 1; status == CTL_OK && i < ctl->argc; i++)
		if (ctl->argv[i][0] == '-')
			status = ctl_fail(CTL_USAGE, "policy lint: \"%s\" is no flag; usage: tullectl policy lint FILE...", ctl->argv[i]);
		else if (read_file(&lint, ctl->argv[i], &err) < 0)
			status = ctl_fail(CTL_USAGE, "%s", err_text(&err));
	if (status == CTL_OK && policy_world_finish(lint.world, &err) < 0)
		status = ctl_fail(CTL_USAGE, "%s", err_text(&err));
	if (status != CTL_OK)
		return status;
	look(&lint);
	return show(ctl, &lint);
}
