/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the API server is and who we are there, as a plain struct: from a kubeconfig file, from a list of URLs, or from
 * what a pod finds in its environment. Used by kube_client.c; kube_config_parse is pure.
 */
#pragma once

#include "client/kube_file.h"

#include <jansson.h>

#define KUBE_SERVERS_MAX 16
#define KUBE_POD_DIRECTORY "/var/run/secrets/kubernetes.io/serviceaccount"

struct kube_endpoint {
	char *url;        /* "https://10.0.0.1:6443/prefix", for messages and, without a server name of TLS, for requests */
	char *request;    /* what requests begin with */
	char *connect_to; /* CURLOPT_CONNECT_TO; null without a server name of TLS, as is host */
	char *host;       /* "Host: 10.0.0.1:6443" */
	bool tls;
};

/* A credential plugin. */
struct kube_exec_config {
	char *where;       /* "kubeconfig /path: user \"bob\": exec", for messages */
	char *api_version; /* "client.authentication.k8s.io/v1" */
	char **argv;       /* null at the end */
	char **env;        /* "NAME=value", null at the end */
	char *hint;        /* how to install it; or null */
	json_t *cluster;   /* what the plugin is told of the cluster; null: nothing */
};

struct kube_config {
	struct kube_endpoint servers[KUBE_SERVERS_MAX];
	unsigned server_count;
	char *tls_server_name;
	char *proxy; /* null: none, whatever the environment says */
	bool insecure;
	struct kube_file ca, cert, key, token;
	struct kube_exec_config *exec; /* null: none */
};

/* text: of a kubeconfig at path. servers: see kube_config_add_servers; null or "": the kubeconfig's. Files that it names
 * are not read. */
int kube_config_parse(struct kube_config *config, const char *text, size_t len, const char *path, const char *servers,
	struct err *err);
/* A comma list of URLs. what: for messages. */
int kube_config_add_servers(struct kube_config *config, const char *list, const char *what, struct err *err);
/* Inside a pod, host and port from its environment. directory: KUBE_POD_DIRECTORY. */
int kube_config_pod(struct kube_config *config, const char *host, const char *port, const char *directory, struct err *err);
/* Reads the files for the first time. */
int kube_config_read(struct kube_config *config, struct err *err);
void kube_config_done(struct kube_config *config);
