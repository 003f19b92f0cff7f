/* SPDX-License-Identifier: Apache-2.0 */
#include "client/kube_auth.h"

#include "client/kube_exec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A plugin runs again when a tenth of its answer's time is left, within these bounds. */
#define MARGIN_MIN_S 2
#define MARGIN_MAX_S 60

struct kube_auth {
	struct kube_config *config;
	struct event_base *base;
	void (*ready)(void *ctx);
	void *ctx;
	struct kube_exec *running;
	struct kube_exec_answer answer;
	int64_t since;       /* seconds since 1970: when answer came */
	struct err failure;  /* of the last run; code 0: none */
	bool rejected;       /* answer is worth nothing any more */
	unsigned generation;
};

int kube_auth_new(struct kube_config *config, struct event_base *base, void (*ready)(void *ctx), void *ctx,
	struct kube_auth **ret, struct err *err)
{
	struct kube_auth *auth = calloc(1, sizeof(*auth));

	if (!auth)
		return err_set(err, -ENOMEM, "Kubernetes credentials: no memory");
	auth->config = config;
	auth->base = base;
	auth->ready = ready;
	auth->ctx = ctx;
	*ret = auth;
	return 0;
}

void kube_auth_free(struct kube_auth *auth)
{
	if (!auth)
		return;
	kube_exec_cancel(auth->running);
	kube_exec_answer_free(&auth->answer);
	free(auth);
}

/* -- plugins -- */

static bool has_answer(const struct kube_auth *auth)
{
	return !auth->rejected && (auth->answer.token || auth->answer.cert);
}

static bool is_due(const struct kube_auth *auth)
{
	const struct kube_exec_answer *answer = &auth->answer;
	int64_t margin = (answer->expires - auth->since) / 10;

	if (!has_answer(auth))
		return true;
	if (margin > MARGIN_MAX_S)
		margin = MARGIN_MAX_S;
	if (margin < MARGIN_MIN_S)
		margin = MARGIN_MIN_S;
	return answer->expires && (int64_t)time(NULL) >= answer->expires - margin;
}

static void take_answer(void *ctx, struct kube_exec_answer *answer, const struct err *err)
{
	struct kube_auth *auth = ctx;

	auth->running = NULL;
	auth->failure = *err;
	if (answer) {
		kube_exec_answer_free(&auth->answer);
		auth->answer = *answer;
		*answer = (struct kube_exec_answer){0};
		auth->since = (int64_t)time(NULL);
		auth->rejected = false;
		auth->generation++;
	}
	auth->ready(auth->ctx);
}

static int from_plugin(struct kube_auth *auth, bool fresh, struct kube_identity *ret, struct err *err)
{
	int rc = 0;

	if (!fresh && is_due(auth)) {
		if (!auth->running)
			rc = kube_exec_new(auth->config->exec, auth->base, take_answer, auth, &auth->running, &auth->failure);
		if (rc == 0)
			return -EINPROGRESS;
	}
	/* After a failure, what the plugin said before may still do. */
	if (!has_answer(auth) || (auth->failure.code && (int64_t)time(NULL) >= auth->answer.expires && auth->answer.expires)) {
		if (err)
			*err = auth->failure;
		return auth->failure.code ? auth->failure.code : -EACCES;
	}
	ret->token = auth->answer.token;
	ret->cert = auth->answer.cert;
	ret->key = auth->answer.key;
	return 0;
}

/* -- files -- */

/* A file that cannot be read while it is being replaced leaves what there was. */
static void from_files(struct kube_auth *auth, struct kube_identity *ret)
{
	struct kube_config *config = auth->config;
	struct kube_file *files[] = {&config->ca, &config->cert, &config->key};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		kube_file_refresh(files[i], false, NULL);
	kube_file_refresh(&config->token, true, NULL);
	ret->ca = config->ca.text;
	ret->cert = config->cert.text;
	ret->key = config->key.text;
	ret->token = config->token.text;
}

int kube_auth_get(struct kube_auth *auth, bool fresh, struct kube_identity *ret, struct err *err)
{
	struct kube_identity identity = {0};
	int rc;

	from_files(auth, &identity);
	if (auth->config->exec) {
		rc = from_plugin(auth, fresh, &identity, err);
		if (rc < 0)
			return rc;
	}
	identity.generation = auth->generation;
	*ret = identity;
	return 0;
}

void kube_auth_rejected(struct kube_auth *auth, unsigned generation)
{
	auth->config->token.read_ms = 0;
	auth->config->cert.read_ms = 0;
	auth->config->key.read_ms = 0;
	if (generation == auth->generation)
		auth->rejected = true;
}
