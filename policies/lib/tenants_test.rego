package portcullis.lib.tenants_test

import data.portcullis.lib.tenants

use(tenant, tags, arguments) := {
	"request": {"operation": "tools/call"},
	"principal": {"tenant": tenant},
	"tool": {"tags": tags},
	"arguments": arguments,
}

test_a_tenant_is_one_of_these if {
	tenants.one_of({"acme", "globex"}) with input as use("acme", [], {})
	not tenants.one_of({"globex"}) with input as use("acme", [], {})
	not tenants.one_of({"acme"}) with input as {}
}

test_a_tool_is_of_the_tenant_that_its_tag_names if {
	tenants.owns_tool with input as use("acme", ["tenant:acme"], {})
	tenants.owns_tool with input as use("acme", ["tenant:globex", "tenant:any"], {})
	not tenants.owns_tool with input as use("acme", ["tenant:globex", "tenant:acme2"], {})
	not tenants.owns_tool with input as use("acme", [], {})
	not tenants.owns_tool with input as {}
}

test_an_argument_names_the_own_tenant if {
	tenants.own_argument("tenant") with input as use("acme", [], {"tenant": "acme"})
	not tenants.own_argument("tenant") with input as use("acme", [], {"tenant": "globex"})
	not tenants.own_argument("tenant") with input as use("acme", [], {})
	tenants.own_argument("tenant") with input as {"request": {"operation": "tools/list"}}
}
