package portcullis.lib.roles_test

import data.portcullis.lib.roles

alice := {"principal": {
	"id": "alice",
	"kind": "user",
	"roles": ["analyst", "oncall"],
	"permissions": ["files:read"],
	"onBehalfOf": null,
}}

planner := {"principal": {"id": "planner", "kind": "agent", "roles": [], "permissions": [], "onBehalfOf": "alice"}}

test_a_role_is_matched_exactly if {
	roles.held("analyst") with input as alice
	every other in ["Analyst", "analyst ", "anal", "*", ""] {
		not roles.held(other) with input as alice
	}
	not roles.held("analyst") with input as planner
}

test_any_of_needs_one if {
	roles.any_of({"operator", "oncall"}) with input as alice
	not roles.any_of({"operator"}) with input as alice
	not roles.any_of(set()) with input as alice
}

test_all_of_needs_all_and_at_least_one if {
	roles.all_of({"analyst", "oncall"}) with input as alice
	not roles.all_of({"analyst", "operator"}) with input as alice
	not roles.all_of(set()) with input as alice
}

test_a_permission_is_held if {
	roles.permitted("files:read") with input as alice
	not roles.permitted("files:write") with input as alice
}

test_agents_act_for_users if {
	roles.is_user with input as alice
	not roles.is_user with input as planner
	roles.acts_for("alice") with input as planner
	not roles.acts_for("bob") with input as planner
	not roles.acts_for(null) with input as alice
}

test_nobody_has_nothing if {
	not roles.held("analyst") with input as {}
	not roles.all_of({"analyst"}) with input as {}
	not roles.is_user with input as {}
}
