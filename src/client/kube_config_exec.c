/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kube_config_exec.h"

#include "base/cleanup.h"
#include "base/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 1024

static void words_free(char **words)
{
	for (size_t i = 0; words && words[i]; i++)
		kube_secret_free(&words[i]);
	free(words);
}

void kube_config_exec_free(struct kube_exec_config *exec)
{
	if (!exec)
		return;
	words_free(exec->argv);
	words_free(exec->env);
	free(exec->where);
	free(exec->api_version);
	free(exec->hint);
	json_decref(exec->cluster);
	free(exec);
}

static int copy(char **ret, const char *text, const char *where, struct err *err)
{
	*ret = strdup(text);
	return *ret ? 0 : err_set(err, -ENOMEM, "%s: no memory", where);
}

static int parse_version(struct kube_exec_config *exec, const json_t *json, struct err *err)
{
	const char *version = "", *mode = "";
	int rc = json_get_string(json, exec->where, "apiVersion", &version, err);

	if (rc < 0)
		return rc;
	if (strcmp(version, "client.authentication.k8s.io/v1") != 0 &&
		strcmp(version, "client.authentication.k8s.io/v1beta1") != 0)
		return err_set(err, -EINVAL, "%s: key \"apiVersion\" is \"%.100s\", expected client.authentication.k8s.io/v1 or "
			"client.authentication.k8s.io/v1beta1", exec->where, version);
	rc = json_get_string(json, exec->where, "interactiveMode", &mode, err);
	if (rc < 0)
		return rc;
	if (strcmp(mode, "Always") == 0)
		return err_set(err, -EINVAL, "%s: key \"interactiveMode\" is \"Always\", expected Never or IfAvailable: there is "
			"nobody to ask", exec->where);
	return copy(&exec->api_version, version, exec->where, err);
}

/* A path is taken from the kubeconfig's directory, a bare name is searched for. */
static int parse_command(struct kube_exec_config *exec, const json_t *json, const char *directory, struct err *err)
{
	const char *command = "";
	int rc = json_get_string(json, exec->where, "command", &command, err);

	if (rc < 0)
		return rc;
	if (!*command)
		return err_set(err, -EINVAL, "%s: key \"command\" is missing, expected the plugin's program", exec->where);
	if (*command == '/' || !strchr(command, '/'))
		return copy(&exec->argv[0], command, exec->where, err);
	if (asprintf(&exec->argv[0], "%s/%s", directory, command) < 0) {
		exec->argv[0] = NULL;
		return err_set(err, -ENOMEM, "%s: no memory", exec->where);
	}
	return 0;
}

static int parse_args(struct kube_exec_config *exec, const json_t *json, const char *directory, struct err *err)
{
	json_t *args = NULL, *arg;
	size_t i;
	int rc = json_get_array(json, exec->where, "args", &args, err);

	if (rc < 0)
		return rc;
	if (json_array_size(args) > WORDS_MAX)
		return err_set(err, -EINVAL, "%s: key \"args\" has more than %d words", exec->where, WORDS_MAX);
	exec->argv = calloc(json_array_size(args) + 2, sizeof(*exec->argv));
	if (!exec->argv)
		return err_set(err, -ENOMEM, "%s: no memory", exec->where);
	rc = parse_command(exec, json, directory, err);
	json_array_foreach(args, i, arg) {
		if (rc == 0 && (!json_is_string(arg) || strlen(json_string_value(arg)) != json_string_length(arg)))
			rc = err_set(err, -EINVAL, "%s: key \"args\": word %zu is no text", exec->where, i + 1);
		if (rc == 0)
			rc = copy(&exec->argv[i + 1], json_string_value(arg), exec->where, err);
	}
	return rc;
}

static int parse_variable(struct kube_exec_config *exec, const json_t *json, char **ret, struct err *err)
{
	const char *name = "", *value = "";
	int rc;

	if (!json_is_object(json))
		return err_set(err, -EINVAL, "%s: key \"env\" holds something else than name and value", exec->where);
	rc = json_get_string(json, exec->where, "name", &name, err);
	if (rc >= 0)
		rc = json_get_string(json, exec->where, "value", &value, err);
	if (rc < 0)
		return rc;
	if (!*name || strchr(name, '='))
		return err_set(err, -EINVAL, "%s: key \"env\": the name \"%.100s\", expected that of a variable", exec->where, name);
	if (asprintf(ret, "%s=%s", name, value) < 0) {
		*ret = NULL;
		return err_set(err, -ENOMEM, "%s: no memory", exec->where);
	}
	return 0;
}

static int parse_env(struct kube_exec_config *exec, const json_t *json, struct err *err)
{
	json_t *env = NULL, *one;
	size_t i;
	int rc = json_get_array(json, exec->where, "env", &env, err);

	if (rc < 0)
		return rc;
	if (json_array_size(env) > WORDS_MAX)
		return err_set(err, -EINVAL, "%s: key \"env\" has more than %d variables", exec->where, WORDS_MAX);
	exec->env = calloc(json_array_size(env) + 1, sizeof(*exec->env));
	if (!exec->env)
		return err_set(err, -ENOMEM, "%s: no memory", exec->where);
	rc = 0;
	json_array_foreach(env, i, one)
		if (rc == 0)
			rc = parse_variable(exec, one, &exec->env[i], err);
	return rc;
}

static int parse_rest(struct kube_exec_config *exec, const json_t *json, json_t *cluster, struct err *err)
{
	const char *hint = NULL;
	bool wanted = false;
	int rc = json_get_string(json, exec->where, "installHint", &hint, err);

	if (rc > 0)
		rc = copy(&exec->hint, hint, exec->where, err);
	if (rc >= 0)
		rc = json_get_bool(json, exec->where, "provideClusterInfo", &wanted, err);
	if (wanted)
		exec->cluster = json_incref(cluster);
	return rc < 0 ? rc : 0;
}

int kube_config_exec_parse(const json_t *json, const char *where, const char *directory, json_t *cluster,
	struct kube_exec_config **ret, struct err *err)
{
	struct kube_exec_config *exec = calloc(1, sizeof(*exec));
	int rc;

	if (!exec || asprintf(&exec->where, "%s: exec", where) < 0) {
		free(exec);
		return err_set(err, -ENOMEM, "%s: no memory", where);
	}
	rc = parse_version(exec, json, err);
	if (rc == 0)
		rc = parse_args(exec, json, directory, err);
	if (rc == 0)
		rc = parse_env(exec, json, err);
	if (rc == 0)
		rc = parse_rest(exec, json, cluster, err);
	if (rc < 0) {
		kube_config_exec_free(exec);
		return rc;
	}
	*ret = exec;
	return 0;
}
