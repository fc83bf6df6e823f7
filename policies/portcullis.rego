# METADATA
# title: The shipped policy
# description: >-
#   A principal may do what it holds a permission for, matched exactly. Written as proofs: no rule grants because
#   another one is absent, so a part of the input that is missing, or a built-in that fails, can only deny.
package portcullis

import data.portcullis.arguments

default decision := {"allow": false, "reasons": ["no rule allows this"], "obligations": {}}

decision := {"allow": true, "reasons": [reason], "obligations": obligations} if {
	count(held) > 0
	arguments.proved
	reason := concat(" ", ["holds", concat(", ", held)])
} else := {"allow": false, "reasons": ["an argument is not allowed"], "obligations": {}} if count(held) > 0

# What the principal holds of what is needed. Nothing needed is nothing held: an empty list is nobody.
held contains permission if {
	some permission in needed
	permission in input.principal.permissions
}

needed := input.tool.permissions if input.target.kind == "tool"

# An operation that is not on a tool: the gateway says which permission it takes.
needed := input.target.permissions if input.target.kind != "tool"

# Who may read the audit trail reads all of it: `own`, `tenant` or `all`. Without `rows`, the gateway shows nobody anything.
default obligations := {}

obligations := {"rows": "all"} if input.target.kind == "calls"
