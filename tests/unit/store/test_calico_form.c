/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cleanup.h"
#include "base/json.h"
#include "objects/calico_form.h"
#include "objects/manifest.h"
#include "objects/private.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Texts of JSON with ' for ", for the eye's sake. */
static json_t *J(const char *text)
{
	_cleanup_free_ char *copy = strdup(text);
	json_error_t problem;
	json_t *json;

	for (char *p = copy; *p; p++)
		if (*p == '\'')
			*p = '"';
	json = json_loads(copy, JSON_DECODE_ANY, &problem);
	if (!json)
		fail_msg("%s: %s", problem.text, copy);
	return json;
}

/* Takes both. */
static void assert_json(json_t *got, json_t *wanted)
{
	if (!json_equal(got, wanted)) {
		_cleanup_free_ char *a = json_dumps(got, JSON_INDENT(1) | JSON_SORT_KEYS);
		_cleanup_free_ char *b = json_dumps(wanted, JSON_INDENT(1) | JSON_SORT_KEYS);

		fail_msg("got %s\nwanted %s", a, b);
	}
	json_decref(got);
	json_decref(wanted);
}

static void to_v1(enum kind kind, const char *neutral, const char *v1)
{
	_cleanup_(json_cleanup) json_t *object = J(neutral), *before = J(neutral);

	assert_json(calico_to_v1(kind, object), J(v1));
	assert_true(json_equal(object, before)); /* untouched */
}

static void from_v1(enum kind kind, const char *v1, const char *neutral)
{
	_cleanup_(json_cleanup) json_t *object = J(v1), *before = J(v1);

	assert_json(calico_from_v1(kind, object), J(neutral));
	assert_true(json_equal(object, before));
}

/* -- reference/calico.md 2.15 -- */

#define BLOCK_SPEC "'cidr':'10.65.1.64/26','affinity':'host:node-a','affinityClaimTime':'2026-08-01T10:00:00Z'," \
	"'allocations':[0,1,null,null],'unallocated':[2,3]," \
	"'attributes':[{'handle_id':'vxlan-tunnel-addr-node-a','secondary':{'node':'node-a','type':'vxlanTunnelAddress'}}," \
	"{'handle_id':'k8s-pod-network.0123','secondary':{'namespace':'ns1','node':'node-a','pod':'web-0'," \
	"'timestamp':'2026-08-01 10:00:01.2 +0000 UTC'}}]," \
	"'sequenceNumber':1754042400000000005,'sequenceNumberForAllocation':{'0':1754042400000000000,'1':1754042400000000003}," \
	"'strictAffinity':false,'deleted':false"

#define LABELS "'labels':{'projectcalico.org/hostname-hash':'PY3TQE2E3XMTETLM2MJO3UITKPFB27YUJ4T4E5XGPEJON3SM4QAA'," \
	"'projectcalico.org/affinity-type':'host','projectcalico.org/ip-version':'4'}"

static void v1_ipam_kinds(void **state)
{
	static const struct { enum kind kind; const char *v1, *neutral; } cases[] = {
		{KIND_IPAM_BLOCK,
			"{'apiVersion':'crd.projectcalico.org/v1','kind':'IPAMBlock','metadata':{'name':'10-65-1-64-26',"
			"'resourceVersion':'7','uid':'6fa6a5a3-5f53-4f4e-b7c1-28af18ba87a2'},'spec':{" BLOCK_SPEC "}}",
			"{'apiVersion':'projectcalico.org/v3','kind':'IPAMBlock','metadata':{'name':'10-65-1-64-26',"
			"'resourceVersion':'7','uid':'6fa6a5a3-5f53-4f4e-b7c1-28af18ba87a2'},'spec':{" BLOCK_SPEC "}}"},
		{KIND_BLOCK_AFFINITY,
			"{'apiVersion':'crd.projectcalico.org/v1','kind':'BlockAffinity','metadata':{'name':'node-a-10-65-1-64-26'," LABELS
			"},'spec':{'state':'confirmed','node':'node-a','type':'host','cidr':'10.65.1.64/26','deleted':'false'}}",
			"{'apiVersion':'projectcalico.org/v3','kind':'BlockAffinity','metadata':{'name':'node-a-10-65-1-64-26'," LABELS
			"},'spec':{'state':'confirmed','node':'node-a','type':'host','cidr':'10.65.1.64/26','deleted':false}}"},
		{KIND_BLOCK_AFFINITY,
			"{'apiVersion':'crd.projectcalico.org/v1','kind':'BlockAffinity','metadata':{'name':'x'},"
			"'spec':{'deleted':'true','later':[null]}}",
			"{'apiVersion':'projectcalico.org/v3','kind':'BlockAffinity','metadata':{'name':'x'},"
			"'spec':{'deleted':true,'later':[null]}}"},
		{KIND_IPAM_HANDLE,
			"{'apiVersion':'crd.projectcalico.org/v1','kind':'IPAMHandle','metadata':{'name':'upper'},"
			"'spec':{'handleID':'UPPER','block':{'10.65.1.64/26':1},'deleted':false}}",
			"{'apiVersion':'projectcalico.org/v3','kind':'IPAMHandle','metadata':{'name':'upper'},"
			"'spec':{'handleID':'UPPER','block':{'10.65.1.64/26':1},'deleted':false}}"},
		{KIND_IPAM_CONFIG,
			"{'apiVersion':'crd.projectcalico.org/v1','kind':'IPAMConfig','metadata':{'name':'default'},"
			"'spec':{'strictAffinity':true,'autoAllocateBlocks':true,'maxBlocksPerHost':4}}",
			"{'apiVersion':'projectcalico.org/v3','kind':'IPAMConfiguration','metadata':{'name':'default'},"
			"'spec':{'strictAffinity':true,'autoAllocateBlocks':true,'maxBlocksPerHost':4}}"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		from_v1(cases[i].kind, cases[i].v1, cases[i].neutral);
		to_v1(cases[i].kind, cases[i].neutral, cases[i].v1);
	}
}

/* What v1's definitions require and v3's fill in. */
static void v1_required_members(void **state)
{
	to_v1(KIND_BLOCK_AFFINITY, "{'metadata':{'name':'x'},'spec':{}}",
		"{'metadata':{'name':'x'},'spec':{'deleted':'false'},'apiVersion':'crd.projectcalico.org/v1','kind':'BlockAffinity'}");
	to_v1(KIND_IPAM_BLOCK, "{'metadata':{'name':'x'},'spec':{'deleted':true}}", "{'metadata':{'name':'x'},"
		"'spec':{'deleted':true,'strictAffinity':false},'apiVersion':'crd.projectcalico.org/v1','kind':'IPAMBlock'}");
	to_v1(KIND_IPAM_CONFIG, "{'metadata':{'name':'x'},'spec':{}}", "{'metadata':{'name':'x'},'spec':{'strictAffinity':false,"
		"'autoAllocateBlocks':true},'apiVersion':'crd.projectcalico.org/v1','kind':'IPAMConfig'}");
	to_v1(KIND_NODE, "{'metadata':{'name':'x'}}", "{'metadata':{'name':'x'}}");
}

/* -- 1.4 -- */

static void v1_wraps_metadata(void **state)
{
	to_v1(KIND_IPPOOL,
		"{'apiVersion':'projectcalico.org/v3','kind':'IPPool','metadata':{'name':'one','resourceVersion':'7',"
		"'uid':'f665a5c5-faca-4f72-b783-14f5185de145','creationTimestamp':'2026-08-01T10:00:00Z',"
		"'labels':{'a':'b','projectcalico.org/x':'y'},'annotations':{'n':'1','operator.tigera.io/o':'2'},"
		"'finalizers':['f']},'spec':{'cidr':'10.0.0.0/8'},'later':1}",
		"{'apiVersion':'crd.projectcalico.org/v1','kind':'IPPool','metadata':{'name':'one','resourceVersion':'7',"
		"'uid':'6fa6a5a3-5f53-4f4e-b7c1-28af18ba87a2','creationTimestamp':'2026-08-01T10:00:00Z',"
		"'labels':{'projectcalico.org/x':'y'},'annotations':{'operator.tigera.io/o':'2','projectcalico.org/metadata':"
		"'{\\'creationTimestamp\\':\\'2026-08-01T10:00:00Z\\',\\'labels\\':{\\'a\\':\\'b\\',\\'projectcalico.org/x\\':\\'y\\'},"
		"\\'annotations\\':{\\'n\\':\\'1\\',\\'operator.tigera.io/o\\':\\'2\\'}}'},"
		"'finalizers':['f']},'spec':{'cidr':'10.0.0.0/8'},'later':1}");
	to_v1(KIND_IPPOOL, "{'metadata':{'name':'one'}}",
		"{'metadata':{'name':'one','annotations':{'projectcalico.org/metadata':'{\\'creationTimestamp\\':null}'}},"
		"'apiVersion':'crd.projectcalico.org/v1','kind':'IPPool'}");
}

static void v1_unwraps_metadata(void **state)
{
	from_v1(KIND_IPPOOL,
		"{'metadata':{'name':'one','uid':'6fa6a5a3-5f53-4f4e-b7c1-28af18ba87a2','labels':{'a':'own','c':'own'},"
		"'annotations':{'projectcalico.org/metadata':'{\\'labels\\':{\\'a\\':\\'wrapped\\'},\\'annotations\\':{\\'n\\':\\'1\\'},"
		"\\'creationTimestamp\\':null}'}},'spec':{}}",
		"{'metadata':{'name':'one','uid':'f665a5c5-faca-4f72-b783-14f5185de145','labels':{'a':'wrapped','c':'own'},"
		"'annotations':{'n':'1'}},'spec':{},'apiVersion':'projectcalico.org/v3','kind':'IPPool'}");
	/* Neither an annotation nor sense in it: what is there stays. */
	from_v1(KIND_IPPOOL, "{'metadata':{'name':'one','labels':{'a':'b'}}}",
		"{'metadata':{'name':'one','labels':{'a':'b'}},'apiVersion':'projectcalico.org/v3','kind':'IPPool'}");
	from_v1(KIND_IPPOOL, "{'metadata':{'name':'one','annotations':{'projectcalico.org/metadata':'[broken'}}}",
		"{'metadata':{'name':'one'},'apiVersion':'projectcalico.org/v3','kind':'IPPool'}");
}

static void v1_owners(void **state)
{
	static const char neutral[] = "{'metadata':{'name':'o','ownerReferences':[{'apiVersion':'projectcalico.org/v3',"
		"'kind':'IPPool','name':'p','uid':'6fa6a5a3-5f53-4f4e-b7c1-28af18ba87a2'},{'apiVersion':'v1','kind':'Node','uid':'u'}]}}";
	_cleanup_(json_cleanup) json_t *object = J(neutral), *v1 = calico_to_v1(KIND_IPPOOL, object);
	_cleanup_(json_cleanup) json_t *back = calico_from_v1(KIND_IPPOOL, v1);
	json_t *metadata = json_object_get(v1, "metadata");

	assert_json(json_incref(json_object_get(metadata, "ownerReferences")), J("[{'apiVersion':'crd.projectcalico.org/v1',"
		"'kind':'IPPool','name':'p','uid':'f665a5c5-faca-4f72-b783-14f5185de145'},{'apiVersion':'v1','kind':'Node','uid':'u'}]"));
	assert_json(json_incref(json_object_get(json_object_get(back, "metadata"), "ownerReferences")),
		json_incref(json_object_get(json_object_get(object, "metadata"), "ownerReferences")));
	/* Somebody else's v1 object, without the annotation. */
	json_object_del(metadata, "annotations");
	assert_json(calico_from_v1(KIND_IPPOOL, v1), J("{'metadata':{'name':'o','ownerReferences':[{'apiVersion':"
		"'projectcalico.org/v3','kind':'IPPool','name':'p','uid':'6fa6a5a3-5f53-4f4e-b7c1-28af18ba87a2'},{'apiVersion':'v1',"
		"'kind':'Node','uid':'u'}]},'apiVersion':'projectcalico.org/v3','kind':'IPPool'}"));
}

/* Items of lists need not say their kind. */
static void v1_policy_names(void **state)
{
	static const struct { const char *metadata, *spec, *name; } cases[] = {
		{"'name':'default.allow'", "", "allow"},
		{"'name':'default.allow'", "'tier':'default'", "allow"},
		{"'name':'default.allow'", "'tier':'security'", "default.allow"},
		{"'name':'security.allow'", "'tier':'security'", "security.allow"},
		{"'name':'allow'", "", "allow"},
		{"'name':'default.allow','annotations':{'projectcalico.org/metadata':'{\\'name\\':\\'default.allow\\'}'}", "",
			"default.allow"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(json_cleanup) json_t *object = NULL, *neutral = NULL;
		char text[512];

		snprintf(text, sizeof(text), "{'metadata':{%s},'spec':{%s}}", cases[i].metadata, cases[i].spec);
		object = J(text);
		neutral = calico_from_v1(i % 2 ? KIND_GLOBAL_NETWORK_POLICY : KIND_CALICO_NETWORK_POLICY, object);
		assert_string_equal(object_name(neutral), cases[i].name);
	}
	from_v1(KIND_TIER, "{'metadata':{'name':'default.tier'}}",
		"{'kind':'Tier','metadata':{'name':'default.tier'},'apiVersion':'projectcalico.org/v3'}");
	from_v1(KIND_NETWORK_POLICY, "{'metadata':{'name':'default.allow'}}",
		"{'kind':'NetworkPolicy','metadata':{'name':'default.allow'},'apiVersion':'networking.k8s.io/v1'}");
	from_v1(KIND_IPPOOL, "{'kind':'IPPool','metadata':{'name':'default.pool'}}",
		"{'kind':'IPPool','metadata':{'name':'default.pool'},'apiVersion':'projectcalico.org/v3'}");
}

static void uids(void **state)
{
	static const char *const pairs[][2] = {
		{"6fa6a5a3-5f53-4f4e-b7c1-28af18ba87a2", "f665a5c5-faca-4f72-b783-14f5185de145"},
		{"00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000080"},
		{"01020304-0506-0708-090a-0b0c0d0e0f10", "8040c020-a060-0710-0950-d030b070f008"},
		{"not-a-uuid", "not-a-uuid"}, {"", ""}, {"6fa6a5a3-5f53-4f4e-b7c1-28af18ba87aX", "6fa6a5a3-5f53-4f4e-b7c1-28af18ba87aX"},
	};
	char turned[64];

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		calico_turn_uid(pairs[i][0], turned);
		assert_string_equal(turned, pairs[i][1]);
		calico_turn_uid(turned, turned);
		assert_string_equal(turned, pairs[i][0]);
	}
}

/* -- 1.5 -- */

static const struct {
	enum kind kind;
	const char *key, *value, *neutral;
} stored[] = {
	{KIND_IPPOOL, "/calico/resources/v3/projectcalico.org/ippools/one",
		"{'apiVersion':'projectcalico.org/v3','kind':'IPPool','metadata':{'name':'one','uid':'u','labels':{'a':'b'}},"
		"'spec':{'cidr':'10.0.0.0/8'}}",
		"{'apiVersion':'projectcalico.org/v3','kind':'IPPool','metadata':{'name':'one','uid':'u','labels':{'a':'b'},"
		"'resourceVersion':'42'},'spec':{'cidr':'10.0.0.0/8'}}"},
	{KIND_IPAM_BLOCK, "/calico/ipam/v2/assignment/ipv4/block/10.65.1.64-26",
		"{'cidr':'10.65.1.64/26','affinity':'host:node-a','affinity_claim_time':'2026-08-01T10:00:00Z','hostAffinity':null,"
		"'sequenceNumber':1754042400000000005,'later':[1]}",
		"{'apiVersion':'projectcalico.org/v3','kind':'IPAMBlock','metadata':{'name':'10-65-1-64-26','resourceVersion':'42'},"
		"'spec':{'cidr':'10.65.1.64/26','affinity':'host:node-a','affinityClaimTime':'2026-08-01T10:00:00Z',"
		"'hostAffinity':null,'sequenceNumber':1754042400000000005,'later':[1]}}"},
	{KIND_IPAM_BLOCK, "/calico/ipam/v2/assignment/ipv6/block/fd00::40-122", "{'cidr':'fd00::40/122'}",
		"{'apiVersion':'projectcalico.org/v3','kind':'IPAMBlock','metadata':{'name':'fd00--40-122','resourceVersion':'42'},"
		"'spec':{'cidr':'fd00::40/122'}}"},
	{KIND_BLOCK_AFFINITY, "/calico/ipam/v2/host/node-a/ipv4/block/10.65.1.64-26", "{'state':'confirmed','deleted':false}",
		"{'apiVersion':'projectcalico.org/v3','kind':'BlockAffinity','metadata':{'name':'node-a-10-65-1-64-26',"
		LABELS ",'resourceVersion':'42'},'spec':{'node':'node-a','type':'host','cidr':'10.65.1.64/26','state':'confirmed',"
		"'deleted':false}}"},
	{KIND_IPAM_HANDLE, "/calico/ipam/v2/handle/UPPER", "{'block':{'10.0.0.0/26':1},'deleted':false}",
		"{'apiVersion':'projectcalico.org/v3','kind':'IPAMHandle','metadata':{'name':'upper','resourceVersion':'42'},"
		"'spec':{'handleID':'UPPER','block':{'10.0.0.0/26':1},'deleted':false}}"},
	{KIND_IPAM_CONFIG, "/calico/ipam/v2/config", "{'strict_affinity':true,'auto_allocate_blocks':false,'maxBlocksPerHost':3}",
		"{'apiVersion':'projectcalico.org/v3','kind':'IPAMConfiguration','metadata':{'name':'default','resourceVersion':'42'},"
		"'spec':{'strictAffinity':true,'autoAllocateBlocks':false,'maxBlocksPerHost':3}}"},
	{KIND_NODE, "/calico/resources/v3/projectcalico.org/nodes/node-a",
		"{'apiVersion':'projectcalico.org/v3','kind':'Node','metadata':{'name':'node-a'},"
		"'spec':{'bgp':{'ipv4Address':'192.0.2.1/24','asNumber':64999},'ipv6VXLANTunnelAddr':'fd00::1'}}",
		"{'apiVersion':'v1','kind':'Node','metadata':{'name':'node-a','resourceVersion':'42','annotations':{"
		"'projectcalico.org/IPv4Address':'192.0.2.1/24','projectcalico.org/ASNumber':'64999',"
		"'projectcalico.org/IPv6VXLANTunnelAddr':'fd00::1'}},'spec':{}}"},
	{KIND_POD, "/tulle/resources/pods/shop/web-0",
		"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'web-0','namespace':'shop'}}",
		"{'apiVersion':'v1','kind':'Pod','metadata':{'name':'web-0','namespace':'shop','resourceVersion':'42'}}"},
	{KIND_CALICO_NETWORK_POLICY, "/calico/resources/v3/projectcalico.org/networkpolicies/web/knp.default.allow",
		"{'apiVersion':'projectcalico.org/v3','kind':'NetworkPolicy','metadata':{'name':'knp.default.allow','namespace':'web'},"
		"'spec':{'order':1000}}",
		"{'apiVersion':'projectcalico.org/v3','kind':'NetworkPolicy','metadata':{'name':'knp.default.allow','namespace':'web',"
		"'resourceVersion':'42'},'spec':{'order':1000}}"},
	{KIND_NETWORK_POLICY, "/tulle/resources/networkpolicies/web/allow",
		"{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{'name':'allow','namespace':'web'},'spec':{}}",
		"{'apiVersion':'networking.k8s.io/v1','kind':'NetworkPolicy','metadata':{'name':'allow','namespace':'web',"
		"'resourceVersion':'42'},'spec':{}}"},
	{KIND_TIER, "/calico/resources/v3/projectcalico.org/tiers/security",
		"{'apiVersion':'projectcalico.org/v3','kind':'Tier','metadata':{'name':'security'},'spec':{'order':5}}",
		"{'apiVersion':'projectcalico.org/v3','kind':'Tier','metadata':{'name':'security','resourceVersion':'42'},"
		"'spec':{'order':5}}"},
};

static void etcd_there_and_back(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(stored); i++) {
		_cleanup_(json_cleanup) json_t *value = J(stored[i].value);
		_cleanup_free_ char *text = json_dumps(value, 0);
		struct err err = ERR_INIT;
		char key[CALICO_KEY_MAX];
		json_t *object = NULL;

		if (calico_from_etcd(stored[i].kind, stored[i].key, text, strlen(text), 42, &object, &err) < 0)
			fail_msg("%s", err_text(&err));
		assert_int_equal(calico_etcd_key(stored[i].kind, object, key, NULL), 0);
		assert_string_equal(key, stored[i].key);
		assert_json(calico_to_etcd(stored[i].kind, object), json_incref(value));
		assert_json(object, J(stored[i].neutral));
	}
}

static void etcd_ranges(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(stored); i++) {
		char prefix[CALICO_KEY_MAX], end[CALICO_KEY_MAX];

		calico_etcd_range(stored[i].kind, prefix, end);
		assert_true(strcmp(prefix, stored[i].key) <= 0 && strcmp(stored[i].key, end) < 0);
		/* And the object can be found by its name alone. */
		_cleanup_(json_cleanup) json_t *object = calico_etcd_key_object(stored[i].kind, stored[i].key);
		const struct object_key key = {stored[i].kind, object_namespace(object), object_name(object)};
		char keys[CALICO_KEYS_MAX][CALICO_KEY_MAX];
		size_t n = calico_etcd_keys(&key, keys);

		if (stored[i].kind != KIND_IPAM_HANDLE) {
			assert_int_equal(n, 1);
			assert_string_equal(keys[0], stored[i].key);
		}
	}
}

static void etcd_foreign_keys(void **state)
{
	static const struct { enum kind kind; const char *key; } cases[] = {
		{KIND_IPPOOL, "/calico/resources/v3/projectcalico.org/ippools/"},
		{KIND_IPPOOL, "/calico/resources/v3/projectcalico.org/ippools/a/b"},
		{KIND_IPPOOL, "/calico/resources/v3/projectcalico.org/bgppeers/a"},
		{KIND_IPAM_BLOCK, "/calico/ipam/v2/assignment/ipv4/block/10.0.0.0"},
		{KIND_IPAM_BLOCK, "/calico/ipam/v2/assignment/ipv4/block/fd00::-122"},
		{KIND_IPAM_BLOCK, "/calico/ipam/v2/assignment/ipv6/block/10.0.0.0-26"},
		{KIND_BLOCK_AFFINITY, "/calico/ipam/v2/host/node-a"},
		{KIND_BLOCK_AFFINITY, "/calico/ipam/v2/host/node-a/ipv4/block/x-26"},
		{KIND_BLOCK_AFFINITY, "/calico/ipam/v2/other/node-a/ipv4/block/10.0.0.0-26"},
		{KIND_IPAM_HANDLE, "/calico/ipam/v2/handle/"},
		{KIND_IPAM_CONFIG, "/calico/ipam/v2/config/x"},
		{KIND_POD, "/tulle/resources/pods/web-0"},
	};
	json_t *object = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(calico_from_etcd(cases[i].kind, cases[i].key, "{}", 2, 1, &object, NULL), -ENOENT);
	assert_int_equal(calico_from_etcd(KIND_IPPOOL, stored[0].key, "[]", 2, 1, &object, NULL), -EINVAL);
	assert_int_equal(calico_from_etcd(KIND_IPPOOL, stored[0].key, "{", 1, 1, &object, NULL), -EINVAL);
	assert_int_equal(calico_from_etcd(KIND_IPAM_BLOCK, stored[1].key, "{\"cidr\":\"10.0.0.0/26\"}", 22, 1, &object, NULL), -EINVAL);
	assert_null(object);
}

static void etcd_bad_objects(void **state)
{
	static const struct { enum kind kind; const char *object, *part; } cases[] = {
		{KIND_IPAM_BLOCK, "{'metadata':{'name':'x'},'spec':{'cidr':'10.0.0.0'}}", "spec.cidr is \"10.0.0.0\""},
		{KIND_IPAM_BLOCK, "{'metadata':{'name':'x'}}", "spec.cidr"},
		{KIND_BLOCK_AFFINITY, "{'metadata':{'name':'x'},'spec':{'cidr':'10.0.0.0/26'}}", "spec.node"},
		{KIND_BLOCK_AFFINITY, "{'metadata':{'name':'x'},'spec':{'cidr':'10.0.0.0/26','node':'../x'}}", "spec.node"},
		{KIND_IPAM_CONFIG, "{'metadata':{'name':'x'},'spec':{}}", "default"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(json_cleanup) json_t *object = J(cases[i].object);
		struct err err = ERR_INIT;
		char key[CALICO_KEY_MAX];

		assert_int_equal(calico_etcd_key(cases[i].kind, object, key, &err), -EINVAL);
		assert_non_null(strstr(err_text(&err), cases[i].part));
	}
}

/* -- selectors -- */

static void selectors(void **state)
{
	static const struct { const char *selector; bool match; } labels[] = {
		{"", true}, {"a=b", true}, {"a==b", true}, {"a=c", false}, {"a!=c", true}, {"a!=b", false}, {"x!=b", true}, {"a", true},
		{"x", false}, {"!x", true}, {"!a", false}, {"a=b, p.org/t=1", true}, {"a=b,p.org/t=2", false}, {"e=", true},
	}, fields[] = {
		{"metadata.name=one", true}, {"metadata.name=two", false}, {"spec.nodeName=n", true}, {"spec.nodeName!=n", false},
		{"spec.other=", true}, {"metadata.name=one,spec.nodeName=n", true},
	};
	_cleanup_(json_cleanup) json_t *object =
		J("{'metadata':{'name':'one','labels':{'a':'b','p.org/t':'1','e':''}},'spec':{'nodeName':'n'}}");

	for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
		assert_int_equal(objects_label_check(labels[i].selector, NULL), 0);
		assert_int_equal(objects_label_match(labels[i].selector, object), labels[i].match);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		assert_int_equal(objects_field_check(fields[i].selector, NULL), 0);
		assert_int_equal(objects_field_match(fields[i].selector, object), fields[i].match);
	}
	assert_true(objects_label_match(NULL, object) && objects_field_match(NULL, object));
	assert_int_equal(objects_label_check("a in (b)", NULL), -EINVAL);
	assert_int_equal(objects_label_check("=b", NULL), -EINVAL);
	assert_int_equal(objects_label_check(",", NULL), -EINVAL);
	assert_int_equal(objects_field_check("metadata.name", NULL), -EINVAL);
}

/* -- manifests -- */

static void yaml_means_the_same(void **state)
{
	static const char *const values[] = {
		"'true'", "'Yes'", "'null'", "'~'", "''", "'12'", "'1.5'", "'0x1f'", "' leading'", "'trailing '", "'a: b'", "'#c'",
		"'two\\nlines\\n'", "'\\ttab'", "'quote \\\" quote'", "'\\u00e4'", "'-'", "'2026-08-01T10:00:00Z'", "true", "null", "0", "-5",
		"9223372036854775807", "1.25", "[]", "{}", "[1,[2,[]],{'a':null}]", "{'a':{'b':['c']},'12':'x','':1}",
		("'a very long text of many words that an emitter would like to fold over several lines, which must stay one text, "
		"whatever its width is'"),
	};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		_cleanup_(buf_free) struct buf text = BUF_INIT(65536);
		_cleanup_(json_cleanup) json_t *object =
			J("{'apiVersion':'projectcalico.org/v3','kind':'IPPool','metadata':{'name':'x'}}");
		struct manifest manifest = {0};
		struct err err = ERR_INIT;

		json_object_set_new(object, "spec", json_pack("{s:o}", "value", J(values[i])));
		assert_int_equal(manifest_format(object, true, &text), 0);
		if (manifest_parse(buf_text(&text), text.len, "x.yaml", &manifest, &err) < 0)
			fail_msg("%s\n%s", err_text(&err), buf_text(&text));
		assert_int_equal(manifest.count, 1);
		assert_json(json_incref(manifest.objects[0].object), json_incref(object));
		manifest_free(&manifest);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(v1_ipam_kinds), cmocka_unit_test(v1_required_members), cmocka_unit_test(v1_wraps_metadata),
		cmocka_unit_test(v1_unwraps_metadata), cmocka_unit_test(v1_owners), cmocka_unit_test(v1_policy_names),
		cmocka_unit_test(uids), cmocka_unit_test(etcd_there_and_back), cmocka_unit_test(etcd_ranges),
		cmocka_unit_test(etcd_foreign_keys), cmocka_unit_test(etcd_bad_objects), cmocka_unit_test(selectors),
		cmocka_unit_test(yaml_means_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
