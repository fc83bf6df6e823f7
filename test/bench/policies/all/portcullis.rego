package portcullis

default decision := {"allow": false, "reasons": ["no rule allows this"], "obligations": {}}

decision := {"allow": true, "reasons": [reason], "obligations": obligations} if {
	count(held) > 0
	in_order
	reason := concat(" ", ["holds", concat(", ", held)])
} else := {"allow": false, "reasons": ["an argument is not allowed"], "obligations": {}} if count(held) > 0

held contains permission if {
	some permission in input.tool.permissions
	permission in input.principal.permissions
}

in_order if input.request.operation == "tools/list"

in_order if {
	input.request.operation == "tools/call"
	input.principal.tenant == "default"
	count(input.arguments.text) <= 1024
	every word in split(input.arguments.text, " ") { allowed(word) }
}

allowed(word) if startswith(word, "<script") == false

obligations := {"limits": ["gold"]} if "gold" in input.principal.roles

else := {}
