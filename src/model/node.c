/* SPDX-License-Identifier: Apache-2.0 */
#include "model/node.h"

#include "model/equal.h"

#include <openssl/evp.h>
#include <stdlib.h>

void node_free(struct node **node)
{
	if (!*node)
		return;
	free((*node)->name);
	labels_free(&(*node)->labels);
	free((*node)->others);
	free(*node);
	*node = NULL;
}

static bool same_addresses(const struct node *a, const struct node *b)
{
	for (int f = 0; f < FAMILY_COUNT; f++) {
		if (!prefix_equal(&a->address[f], &b->address[f]) || !addr_equal(&a->vxlan_addr[f], &b->vxlan_addr[f]) ||
			!mac_equal(&a->vxlan_mac[f], &b->vxlan_mac[f]) || !prefix_equal(&a->pod_cidr[f], &b->pod_cidr[f]))
			return false;
	}
	return addr_equal(&a->ipip_addr, &b->ipip_addr) && addrs_equal(a->others, a->other_count, b->others, b->other_count);
}

bool node_equal(const struct node *a, const struct node *b)
{
	return text_equal(a->name, b->name) && a->as_number == b->as_number &&
	       addr_equal(&a->cluster_id, &b->cluster_id) && a->exclude_from_balancers == b->exclude_from_balancers &&
	       same_addresses(a, b) && labels_equal(a->labels, b->labels);
}

struct mac node_derive_vxlan_mac(const char *name, int family_index)
{
	static const char suffix[] = "-v6";
	unsigned char digest[EVP_MAX_MD_SIZE] = {0};
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	struct mac mac = {{0x66}};

	if (ctx && EVP_DigestInit_ex(ctx, EVP_sha1(), NULL)) {
		EVP_DigestUpdate(ctx, name, strlen(name));
		EVP_DigestUpdate(ctx, suffix, family_index == FAMILY_6 ? strlen(suffix) : 0);
		EVP_DigestFinal_ex(ctx, digest, NULL);
	}
	EVP_MD_CTX_free(ctx);
	memcpy(mac.b + 1, digest, 5);
	return mac;
}

const char *node_name_hash(const char *name, char hash[static NODE_NAME_HASH_MAX])
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	unsigned char digest[EVP_MAX_MD_SIZE] = {0};

	if (!EVP_Digest(name, strlen(name), digest, NULL, EVP_sha3_256(), NULL))
		abort();
	for (unsigned i = 0; i < NODE_NAME_HASH_MAX - 1; i++) {
		unsigned bit = i * 5, pair = (unsigned)digest[bit / 8] << 8 | digest[bit / 8 + 1];

		hash[i] = digits[pair >> (11 - bit % 8) & 31];
	}
	hash[NODE_NAME_HASH_MAX - 1] = '\0';
	return hash;
}
