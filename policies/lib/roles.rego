# METADATA
# title: Who is asking
# description: Roles, permissions and agents. Everything here is always part of a question, so its negation is safe.
package portcullis.lib.roles

# METADATA
# title: The principal has this role
held(role) if role in input.principal.roles

# METADATA
# title: The principal has at least one of these roles
any_of(roles) if {
	some role in roles
	role in input.principal.roles
}

# METADATA
# title: The principal has all of these roles, of which there is at least one
all_of(roles) if {
	count(roles) > 0
	every role in roles { role in input.principal.roles }
}

# METADATA
# title: The principal holds this permission, matched exactly
permitted(permission) if permission in input.principal.permissions

# METADATA
# title: The principal is a person
is_user if input.principal.kind == "user"

# METADATA
# title: The principal is an agent that acts for this user
acts_for(user) if {
	input.principal.kind == "agent"
	input.principal.onBehalfOf == user
}
