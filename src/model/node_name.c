/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows from a node's name alone.
 */
#include "model/node.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

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
