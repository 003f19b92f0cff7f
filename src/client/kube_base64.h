/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 (RFC 4648 section 4), in which kubeconfig files carry certificates and keys. Pure.
 */
#pragma once

/* A text; line ends in base64 are passed over. Null: it is no base64, or holds a NUL byte. To be freed. */
char *kube_base64_decode(const char *text);
/* Null without memory. To be freed. */
char *kube_base64_encode(const char *text);
