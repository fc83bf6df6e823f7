package portcullis_test

import data.portcullis

use(principal_permissions, tool_permissions) := {
	"request": {"operation": "tools/call"},
	"principal": {"id": "alice", "permissions": principal_permissions},
	"target": {"kind": "tool", "name": "notes__read"},
	"tool": {"server": "notes", "permissions": tool_permissions, "tags": []},
	"arguments": {},
}

operation(principal_permissions, target) := {
	"request": {"operation": "audit/query"},
	"principal": {"id": "alice", "permissions": principal_permissions},
	"target": target,
}

test_a_permission_of_the_tool_allows if {
	decision := portcullis.decision with input as use(["a:use", "notes:read"], ["notes:read", "notes:write"])
	decision == {"allow": true, "reasons": ["holds notes:read"], "obligations": {}}
}

test_another_permission_does_not if {
	decision := portcullis.decision with input as use(["files:read"], ["notes:read"])
	decision == {"allow": false, "reasons": ["no rule allows this"], "obligations": {}}
}

test_a_permission_is_matched_exactly if {
	every held in ["notes", "notes:*", "*", "notes:rea", "notes:read ", "NOTES:READ", ""] {
		portcullis.decision.allow == false with input as use([held], ["notes:read"])
	}
}

test_an_empty_list_is_nobody if {
	portcullis.decision.allow == false with input as use(["notes:read"], [])
	portcullis.decision.allow == false with input as use([], [])
	portcullis.decision.allow == false with input as use([], ["notes:read"])
}

test_an_operation_takes_the_permission_of_its_target if {
	target := {"kind": "calls", "name": "calls", "permissions": ["audit:read"]}
	decision := portcullis.decision with input as operation(["audit:read"], target)
	decision == {"allow": true, "reasons": ["holds audit:read"], "obligations": {"rows": "all"}}
	portcullis.decision.allow == false with input as operation(["files:read"], target)
}

test_a_tool_cannot_be_reached_by_permissions_on_its_target if {
	question := object.union(
		use(["x:y"], ["notes:read"]),
		{"target": {"kind": "tool", "name": "notes__read", "permissions": ["x:y"]}},
	)
	portcullis.decision.allow == false with input as question
}

test_what_is_missing_denies if {
	question := use(["notes:read"], ["notes:read"])
	every key in ["principal", "target", "tool"] {
		portcullis.decision.allow == false with input as object.remove(question, [key])
	}
	portcullis.decision.allow == false with input as {}
	portcullis.decision.allow == false with input as operation(["audit:read"], {"kind": "calls"})
	portcullis.decision.allow == false with input as operation(["audit:read"], {"permissions": ["audit:read"]})
}

test_what_has_another_shape_denies if {
	portcullis.decision.allow == false with input as use("notes:read", ["notes:read"])
	portcullis.decision.allow == false with input as use(["notes:read"], "notes:read")
	portcullis.decision.allow == false with input as use(["notes:read"], null)
}
