package portcullis

# Roles, tool globs, rules about arguments, time windows and obligations, over a thousand users, three hundred tools and
# fifty roles: what a company writes in its first year. All of it in built-ins that every engine has.

default decision := {"allow": false, "reasons": ["no rule allows this"], "obligations": {}}

decision := {"allow": true, "reasons": sort(reasons), "obligations": obligations} if {
	allowed
	not denied
}

decision := {"allow": false, "reasons": sort(denials), "obligations": {}} if denied

user := data.authz.users[input.principal.id]

tool := data.authz.tools[input.target.name]

held contains role if some role in user.roles

held contains role if some role in input.principal.roles

# a role grants by permission, by exact name or by glob
granting contains role if {
	some role in held
	some permission in data.authz.roles[role].permissions
	permission in input.tool.permissions
}

granting contains role if {
	some role in held
	input.target.name in data.authz.roles[role].tools
}

granting contains role if {
	some role in held
	some pattern in data.authz.roles[role].globs
	glob.match(pattern, ["/"], input.target.name)
}

allowed if {
	count(granting) > 0
	user.tenant == input.principal.tenant
	tool.tenants[_] == user.tenant
	in_window
	fits
}

reasons contains concat(" ", ["holds", role]) if some role in granting

# a tool may be used within hours and on days
hour := to_number(substring(input.request.time, 11, 2))

in_window if not tool.window

in_window if {
	hour >= tool.window.from
	hour < tool.window.to
}

in_window if "on-call" in held

fits if input.request.operation == "tools/list"

fits if {
	input.request.operation == "tools/call"
	count(misfits) == 0
}

misfits contains name if {
	some name, rule in tool.arguments
	not fitting(rule, object.get(input.arguments, name, null))
}

fitting(rule, value) if {
	rule.kind == "max"
	value <= rule.value
}

fitting(rule, value) if {
	rule.kind == "one_of"
	value in rule.value
}

fitting(rule, value) if {
	rule.kind == "prefix"
	startswith(value, rule.value)
	not contains(value, "..")
}

fitting(rule, value) if {
	rule.kind == "matches"
	regex.match(rule.value, value)
}

fitting(rule, value) if {
	rule.kind == "length"
	count(value) <= rule.value
}

# what nobody may do, whoever grants it
denied if count(denials) > 0

denials contains "the user is suspended" if user.suspended == true

denials contains "the tool is retired" if tool.retired == true

denials contains "agents may not destroy" if {
	input.principal.kind == "agent"
	input.tool.annotations.destructiveHint == true
	not "operator" in held
}

denials contains concat(" ", ["not for", tag]) if {
	some tag in input.tool.tags
	tag in data.authz.forbidden[user.tenant]
}

obligations := {"redact": redactions, "limits": limits, "max_result_bytes": bytes}

redactions := [{"pattern": "email"}] if "pii" in input.tool.tags

else := []

limits := ["gold"] if "gold" in held

else := ["standard"]

bytes := 1048576 if "bulk" in held

else := 65536
