# METADATA
# title: Rules about arguments
# description: >-
#   Which arguments of a use are in order. A list asks without arguments, so these rules never hide a tool. For the
#   file server, and for any tool tagged `path-limited`, every path must lie in the demo folder.
package portcullis.arguments

proved if input.request.operation == "tools/list"

proved if input.target.kind != "tool"

proved if {
	input.tool.server != "files"
	every tag in input.tool.tags { tag != "path-limited" }
}

proved if {
	every name, value in input.arguments { proved_one(name, value) }
}

# Both sides are always there: this negation cannot be true for want of something.
proved_one(name, _) if not name in {"path", "paths", "source", "destination"}

proved_one(name, value) if {
	name in {"path", "source", "destination"}
	in_demo(value)
}

proved_one("paths", value) if {
	every path in value { in_demo(path) }
}

# Not `..` anywhere, and not `~`, which the file server takes for the home folder. A relative path begins in the demo
# folder, the only one that the server has; an absolute one must name it. Whether it is the right one, the server checks.
in_demo(path) if {
	contains(path, "\\") == false
	segments := split(path, "/")
	every segment in segments { segment != ".." }
	begins_in_demo(segments)
}

begins_in_demo(segments) if {
	segments[0] != ""
	startswith(segments[0], "~") == false
}

begins_in_demo(segments) if {
	segments[0] == ""
	"demo" in segments
}
