/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/json.h"
#include "client/kube_exec.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void kube_exec_answer_free(struct kube_exec_answer *answer)
{
	kube_secret_free(&answer->token);
	kube_secret_free(&answer->cert);
	kube_secret_free(&answer->key);
}

/* RFC 3339; fractions of a second are passed over. */
static int parse_time(const char *text, int64_t *ret)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	int sign, hours, minutes;

	if (!rest)
		return -EINVAL;
	if (*rest == '.')
		for (rest++; isdigit((unsigned char)*rest); rest++)
			continue;
	*ret = (int64_t)timegm(&tm);
	if (strcmp(rest, "Z") == 0)
		return 0;
	if (strlen(rest) != 6 || (*rest != '+' && *rest != '-') || rest[3] != ':' || strspn(rest + 1, "0123456789") != 2 ||
		strspn(rest + 4, "0123456789") != 2)
		return -EINVAL;
	sign = *rest == '-' ? 1 : -1;
	hours = atoi(rest + 1);
	minutes = atoi(rest + 4);
	*ret += sign * (hours * 3600 + minutes * 60);
	return 0;
}

static int take_text(const json_t *status, const char *where, const char *key, char **ret, struct err *err)
{
	const char *text = "";
	int rc = json_get_string(status, where, key, &text, err);

	if (rc < 0 || !*text)
		return rc < 0 ? rc : 0;
	*ret = strdup(text);
	return *ret ? 0 : err_set(err, -ENOMEM, "%s: no memory", where);
}

static int take_expiry(const json_t *status, const char *where, int64_t *ret, struct err *err)
{
	const char *text = "";
	int rc = json_get_string(status, where, "expirationTimestamp", &text, err);

	if (rc < 0 || !*text)
		return rc < 0 ? rc : 0;
	if (parse_time(text, ret) < 0)
		return err_set(err, -EINVAL, "%s: key \"expirationTimestamp\" is \"%.60s\", expected a time such as "
			"2026-01-31T12:00:00Z", where, text);
	return 0;
}

static int take_status(const json_t *status, const char *where, struct kube_exec_answer *answer, struct err *err)
{
	int rc = take_text(status, where, "token", &answer->token, err);

	if (rc == 0)
		rc = take_text(status, where, "clientCertificateData", &answer->cert, err);
	if (rc == 0)
		rc = take_text(status, where, "clientKeyData", &answer->key, err);
	if (rc == 0)
		rc = take_expiry(status, where, &answer->expires, err);
	if (rc < 0)
		return rc;
	if (!answer->cert != !answer->key)
		return err_set(err, -EINVAL, "%s: clientCertificateData and clientKeyData come only together", where);
	if (!answer->token && !answer->cert)
		return err_set(err, -EINVAL, "%s: neither token nor clientCertificateData is there", where);
	if (answer->token && !kube_token_valid(answer->token))
		return err_set(err, -EINVAL, "%s: key \"token\" has white space or control characters inside", where);
	if (answer->cert && (!strstr(answer->cert, "-----BEGIN ") || !strstr(answer->key, "-----BEGIN ")))
		return err_set(err, -EINVAL, "%s: clientCertificateData and clientKeyData are no PEM text", where);
	return 0;
}

int kube_exec_parse(const struct kube_exec_config *config, const char *text, size_t len, struct kube_exec_answer *ret,
	struct err *err)
{
	_cleanup_(json_cleanup) json_t *json = NULL;
	struct kube_exec_answer answer = {0};
	const char *kind = "", *version = "";
	json_t *status = NULL;
	int rc = json_parse(text, len, "its answer", &json, err);

	if (rc == 0 && !json_is_object(json))
		rc = err_set(err, -EINVAL, "its answer is no object");
	if (rc >= 0)
		rc = json_get_string(json, "its answer", "kind", &kind, err);
	if (rc >= 0)
		rc = json_get_string(json, "its answer", "apiVersion", &version, err);
	if (rc >= 0 && (strcmp(kind, "ExecCredential") != 0 || strcmp(version, config->api_version) != 0))
		rc = err_set(err, -EINVAL, "its answer has kind \"%.60s\" and apiVersion \"%.60s\", expected ExecCredential and %s",
			kind, version, config->api_version);
	if (rc >= 0)
		rc = json_get_object(json, "its answer", "status", &status, err);
	if (rc >= 0)
		rc = take_status(status, "its answer: status", &answer, err);
	if (rc < 0) {
		kube_exec_answer_free(&answer);
		return err_wrap(err, "%s: %s", config->where, config->argv[0]);
	}
	*ret = answer;
	return 0;
}
