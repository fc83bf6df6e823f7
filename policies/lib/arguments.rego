# METADATA
# title: What is asked for
# description: >-
#   Proofs about one argument of a use. An argument that is missing or of another type proves nothing. A list has no
#   arguments, so there all of them hold: a rule about arguments never hides a tool.
package portcullis.lib.arguments

# METADATA
# title: A list is asked for, which has no arguments
listing if input.request.operation == "tools/list"

# METADATA
# title: There are no other arguments than these
# scope: document
only(_) if listing

only(names) if {
	every name, _ in input.arguments { name in names }
}

# METADATA
# title: The argument is one of these values
# scope: document
one_of(_, _) if listing

one_of(name, values) if input.arguments[name] in values

# METADATA
# title: The argument is a number from least to most
# scope: document
between(_, _, _) if listing

between(name, least, most) if {
	is_number(input.arguments[name])
	input.arguments[name] >= least
	input.arguments[name] <= most
}

# METADATA
# title: The argument is a text of at most so many characters
# scope: document
at_most(_, _) if listing

at_most(name, characters) if {
	is_string(input.arguments[name])
	count(input.arguments[name]) <= characters
}

# METADATA
# title: The whole argument matches the regular expression
# scope: document
matches(_, _) if listing

matches(name, pattern) if regex.match(concat("", [`\A(?:`, pattern, `)\z`]), input.arguments[name])

# METADATA
# title: The argument is a path in this folder, or a list of such paths
# description: Absolute, with `/`, and without `..`. Links are the server's to judge.
# scope: document
within(_, _) if listing

within(name, folder) if is_within(input.arguments[name], folder)

within(name, folder) if {
	is_array(input.arguments[name])
	count(input.arguments[name]) > 0
	every path in input.arguments[name] { is_within(path, folder) }
}

# METADATA
# title: The path lies in the folder, or is it
is_within(path, folder) if {
	contains(path, `\`) == false
	segments := split(path, "/")
	every segment in segments { segment != ".." }
	beginning := split(trim_suffix(folder, "/"), "/")
	array.slice(segments, 0, count(beginning)) == beginning
}

# METADATA
# title: The argument is an https URL of one of these hosts
# description: Without a name or password in it. A port may follow the host.
# scope: document
host_in(_, _) if listing

host_in(name, hosts) if {
	url := `\Ahttps://([a-z0-9.-]+)(?::[0-9]+)?(?:[/?#][^\\]*)?\z`
	[[_, host]] := regex.find_all_string_submatch_n(url, lower(input.arguments[name]), 1)
	host in hosts
}
