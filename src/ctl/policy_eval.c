/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl policy eval: plays cases (tests/netpol/README.md) through the verdict engine, and says for every probe whether it
 * would connect; or, with --compare, where that is not what the file expects.
 */
#include "ctl/policy.h"

#include "base/cleanup.h"
#include "base/file.h"

#include <stdio.h>
#include <string.h>

#define OUT_MAX ((size_t)1 << 30)

static const char usage[] = "usage: tullectl policy eval [--out=DIR] [--compare] FILE...";

struct run {
	const char *out; /* null: stdout */
	bool compare;
	char **files;
	int file_count;
	size_t probes, differences;
};

/* -- one probe -- */

static void compare_side(struct run *run, const char *path, const struct netpol_step *step, const struct netpol_probe *probe,
	enum netpol_side side, bool allow)
{
	static const char *const words[] = {"-", "allow", "deny"};
	enum netpol_word found = allow ? NETPOL_ALLOW : NETPOL_DENY;

	if (probe->expected[side] == NETPOL_UNSAID || probe->expected[side] == found)
		return;
	run->differences++;
	printf("%s: step %zu, probe %lld, %s -> %s, protocol %u port %u: %s is %s, expected %s\n", path, step->number,
		(long long)probe->id, probe->from->name, probe->to->name, probe->protocol, probe->dport,
		netpol_side_names[side], words[found], words[probe->expected[side]]);
}

/* The tables, which the kernel reads, and the rules themselves, which explain walks, must come to the same. */
static void compare_why(struct run *run, const char *path, const struct policy_engine *engine, const struct netpol_step *step,
	const struct netpol_probe *probe, enum netpol_side side, bool allow)
{
	struct verdict_why why;

	if (!policy_engine_why(engine, probe, side, &why) || why.allow == allow)
		return;
	run->differences++;
	printf("%s: step %zu, probe %lld: %s by tables is %s, by rules %s\n", path, step->number, (long long)probe->id,
		netpol_side_names[side], allow ? "allow" : "deny", why.allow ? "allow" : "deny");
}

static bool judge(struct run *run, const char *path, const struct policy_engine *engine, const struct netpol_step *step,
	const struct netpol_probe *probe)
{
	bool allow[NETPOL_SIDE_COUNT];

	allow[NETPOL_EGRESS] = policy_engine_allow(engine, probe, NETPOL_EGRESS);
	allow[NETPOL_INGRESS] = policy_engine_allow(engine, probe, NETPOL_INGRESS);
	allow[NETPOL_BOTH] = allow[NETPOL_EGRESS] && allow[NETPOL_INGRESS];
	run->probes++;
	for (int side = 0; run->compare && side < NETPOL_SIDE_COUNT; side++)
		compare_side(run, path, step, probe, side, allow[side]);
	for (int side = 0; run->compare && side < NETPOL_BOTH; side++)
		compare_why(run, path, engine, step, probe, side, allow[side]);
	return allow[NETPOL_BOTH];
}

/* -- one file -- */

static void judge_step(struct run *run, const char *path, const struct policy_engine *engine, const struct netpol_step *step,
	struct buf *out)
{
	for (size_t i = 0; i < step->probe_count; i++) {
		const struct netpol_probe *probe = &step->probes[i];
		bool connected = judge(run, path, engine, step, probe);

		buf_printf(out, "%s{\"step\":%zu,\"id\":%lld,\"connected\":%s}", out->data[out->len - 1] == '[' ? "\n" : ",\n",
			step->number, (long long)probe->id, connected ? "true" : "false");
	}
}

static int judge_steps(struct run *run, const char *path, const struct netpol_case *file, struct endpoint_pool *pool,
	struct buf *out)
{
	_cleanup_(netpol_step_free) struct netpol_step *step = NULL;
	struct policy_engine *engine = NULL;
	struct err err = ERR_INIT;
	int rc = policy_engine_new(&engine);

	for (size_t i = 0; rc == 0 && i < netpol_case_step_count(file); i++) {
		struct netpol_step *next = NULL;

		rc = netpol_case_step(file, i, pool, &policy_remarks_on_stderr, &next, &err);
		if (rc < 0)
			break;
		rc = policy_engine_load(engine, next->world, &err);
		if (rc == 0)
			judge_step(run, path, engine, next, out);
		netpol_step_free(&step);
		step = next;
	}
	policy_engine_free(engine);
	return rc < 0 ? ctl_fail(CTL_USAGE, "%s", err_text(&err)) : CTL_OK;
}

static int write_out(const struct run *run, const char *path, const struct buf *out)
{
	const char *slash = strrchr(path, '/');
	char name[4096];
	struct err err = ERR_INIT;

	if (run->compare && !run->out)
		return CTL_OK;
	if (!run->out)
		return fwrite(out->data, out->len, 1, stdout) == 1 ? CTL_OK : ctl_fail(CTL_FAILED, "stdout: cannot be written");
	if ((size_t)snprintf(name, sizeof(name), "%s/%s", run->out, slash ? slash + 1 : path) >= sizeof(name))
		return ctl_fail(CTL_FAILED, "%s: the path is too long", path);
	if (file_write_atomic(name, out->data, out->len, 0644, false, &err) < 0)
		return ctl_fail(CTL_FAILED, "%s", err_text(&err));
	return CTL_OK;
}

static int eval_file(struct run *run, const char *path)
{
	_cleanup_(netpol_case_free) struct netpol_case *file = NULL;
	_cleanup_(buf_free) struct buf out = BUF_INIT(OUT_MAX);
	struct endpoint_pool *pool;
	int status = policy_read_case(path, &file);

	if (status != CTL_OK)
		return status;
	buf_add_str(&out, "{\"results\":[");
	pool = endpoint_pool_new();
	if (!pool || out.error) {
		endpoint_pool_free(pool);
		return ctl_fail(CTL_FAILED, "out of memory");
	}
	status = judge_steps(run, path, file, pool, &out);
	endpoint_pool_free(pool);
	buf_add_str(&out, "\n]}\n");
	if (out.error)
		return ctl_fail(CTL_FAILED, "%s: the answer is too large", path);
	return status == CTL_OK ? write_out(run, path, &out) : status;
}

/* -- all of them -- */

static int parse(const struct ctl *ctl, struct run *run)
{
	run->files = ctl->argv; /* what is no flag moves to the front */
	for (int i = 1; i < ctl->argc; i++) {
		if (policy_flag(ctl, &i, "--out", &run->out)) {
			if (!run->out[0])
				return ctl_fail(CTL_USAGE, "--out: the value is \"\", expected a directory");
			continue;
		}
		if (strcmp(ctl->argv[i], "--compare") == 0)
			run->compare = true;
		else if (ctl->argv[i][0] == '-')
			return ctl_fail(CTL_USAGE, "policy eval: \"%s\" is none of its flags; %s", ctl->argv[i], usage);
		else
			run->files[run->file_count++] = ctl->argv[i];
	}
	if (run->file_count == 0)
		return ctl_fail(CTL_USAGE, "%s", usage);
	if (run->file_count > 1 && !run->out && !run->compare)
		return ctl_fail(CTL_USAGE, "policy eval: %d files, expected --out=DIR with more than one", run->file_count);
	return CTL_OK;
}

int policy_eval(const struct ctl *ctl)
{
	struct run run = {0};
	struct err err = ERR_INIT;
	int worst = parse(ctl, &run);

	if (worst != CTL_OK)
		return worst;
	if (run.out && file_make_dirs(run.out, 0755, &err) < 0)
		return ctl_fail(CTL_FAILED, "%s", err_text(&err));
	for (int i = 0; i < run.file_count; i++) {
		int status = eval_file(&run, run.files[i]);

		worst = status > worst ? status : worst;
	}
	if (run.compare && worst == CTL_OK)
		printf("%zu probes, %zu differences\n", run.probes, run.differences);
	return worst == CTL_OK && run.differences ? CTL_FAILED : worst;
}
