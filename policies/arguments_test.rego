package portcullis.arguments_test

import data.portcullis

use(arguments) := {
	"request": {"operation": "tools/call"},
	"principal": {"id": "alice", "permissions": ["files:read"]},
	"target": {"kind": "tool", "name": "files__read_file"},
	"tool": {"server": "files", "permissions": ["files:read"], "tags": []},
	"arguments": arguments,
}

tagged(tags, arguments) := object.union(
	use(arguments),
	{"tool": {"server": "notes", "permissions": ["files:read"], "tags": tags}},
)

allows(question) if portcullis.decision.allow == true with input as question

refuses(question) if {
	portcullis.decision == {
		"allow": false,
		"reasons": ["an argument is not allowed"],
		"obligations": {},
	} with input as question
}

test_paths_in_the_demo_folder_are_allowed if {
	every path in [".", "a.txt", "b/c", "./a", "/srv/portcullis/demo/a.txt", "..a"] {
		allows(use({"path": path}))
	}
	allows(use({"source": "demo/a", "destination": "demo/b", "dryRun": true}))
	allows(use({"paths": ["demo/a", "demo/b"], "head": 3}))
	allows(use({}))
}

test_paths_elsewhere_are_refused if {
	every path in ["", "/", "/etc/passwd", "/demolition/a", "~", "~/demo/a", "~root/a"] {
		refuses(use({"path": path}))
	}
}

test_a_path_cannot_climb if {
	every path in ["demo/..", "demo/../etc", "../demo/a", "/x/demo/../../etc", `demo\..\etc`, "demo/./../x"] {
		refuses(use({"path": path}))
	}
}

test_every_path_argument_is_judged if {
	refuses(use({"source": "demo/a", "destination": "/etc/a"}))
	refuses(use({"source": "/etc/a", "destination": "demo/a"}))
	refuses(use({"paths": ["demo/a", "/etc/passwd"]}))
	refuses(use({"path": "demo/a", "paths": ["/etc/passwd"]}))
}

test_a_path_of_another_type_is_refused if {
	every path in [null, true, 7, ["demo"], {"demo": "demo"}] { refuses(use({"path": path})) }
	every paths in ["demo/a", "/etc/passwd", [7], [null], null] { refuses(use({"paths": paths})) }
	every arguments in ["demo", null, 7] { refuses(use(arguments)) }
}

test_a_use_without_arguments_is_refused if refuses(object.remove(use({}), ["arguments"]))

test_a_list_does_not_ask_about_arguments if {
	listed := object.union(object.remove(use({}), ["arguments"]), {"request": {"operation": "tools/list"}})
	allows(listed)
}

test_a_tag_limits_any_tool if {
	refuses(tagged(["path-limited"], {"path": "/etc/passwd"}))
	allows(tagged(["path-limited"], {"path": "demo/a"}))
	allows(tagged(["other"], {"path": "/etc/passwd"}))
}

test_a_tool_whose_server_or_tags_are_unknown_is_judged if {
	question := tagged([], {"path": "/etc/passwd"})
	every key in ["server", "tags"] {
		refuses(object.union(object.remove(question, ["tool"]), {"tool": object.remove(question.tool, [key])}))
	}
}
