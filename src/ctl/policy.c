/* SPDX-License-Identifier: Apache-2.0
 *
 * tullectl policy: who may reach whom, and why, without an agent and without root, or by what the agent knows.
 */
#include "ctl/policy.h"

#include <string.h>

static const char usage[] =
	"usage: tullectl policy eval [--out=DIR] [--compare] FILE..., "
	"tullectl policy explain FROM TO PROTOCOL[/PORT] [--file=CASE|--directory=PATH], or tullectl policy lint FILE...";

bool policy_flag(const struct ctl *ctl, int *at, const char *flag, const char **ret)
{
	const char *word = ctl->argv[*at];
	size_t len = strlen(flag);

	if (strncmp(word, flag, len) != 0 || (word[len] && word[len] != '='))
		return false;
	*ret = word[len] ? word + len + 1 : *at + 1 < ctl->argc ? ctl->argv[++*at] : "";
	return true;
}

int ctl_policy(const struct ctl *ctl)
{
	const char *word = ctl->argc ? ctl->argv[0] : "";

	if (strcmp(word, "eval") == 0)
		return policy_eval(ctl);
	if (strcmp(word, "explain") == 0)
		return policy_explain(ctl);
	if (strcmp(word, "lint") == 0)
		return policy_lint(ctl);
	return ctl_fail(CTL_USAGE, "%s", usage);
}
