package portcullis.lib.arguments_test

import data.portcullis.lib.arguments

use(values) := {"request": {"operation": "tools/call"}, "arguments": values}

test_a_list_has_no_arguments if {
	question := {"request": {"operation": "tools/list"}}
	arguments.only(set()) with input as question
	arguments.one_of("x", {1}) with input as question
	arguments.between("x", 1, 2) with input as question
	arguments.at_most("x", 1) with input as question
	arguments.matches("x", "a") with input as question
	arguments.within("x", "/srv") with input as question
	arguments.host_in("x", {"a"}) with input as question
}

test_a_missing_argument_proves_nothing if {
	every question in [use({}), use({"x": null}), use({"x": {"y": 1}}), {"request": {"operation": "tools/call"}}] {
		not arguments.one_of("x", {1}) with input as question
		not arguments.between("x", 1, 2) with input as question
		not arguments.at_most("x", 1) with input as question
		not arguments.matches("x", "a") with input as question
		not arguments.within("x", "/srv") with input as question
		not arguments.host_in("x", {"a"}) with input as question
	}
	not arguments.only(set()) with input as {"request": {"operation": "tools/call"}}
}

test_only_these_arguments if {
	arguments.only({"a", "b"}) with input as use({"a": 1})
	arguments.only(set()) with input as use({})
	not arguments.only({"a"}) with input as use({"a": 1, "b": 2})
}

test_one_of_these_values if {
	arguments.one_of("x", {"read", 7}) with input as use({"x": 7})
	not arguments.one_of("x", {"read"}) with input as use({"x": "READ"})
}

test_a_number_between if {
	every value in [1, 1.5, 2] {
		arguments.between("x", 1, 2) with input as use({"x": value})
	}
	every value in [0.99, 2.01, "1", [1], true] {
		not arguments.between("x", 1, 2) with input as use({"x": value})
	}
}

test_a_text_of_at_most_so_many_characters if {
	arguments.at_most("x", 3) with input as use({"x": "äöü"})
	not arguments.at_most("x", 3) with input as use({"x": "abcd"})
	not arguments.at_most("x", 3) with input as use({"x": ["a"]})
}

test_a_pattern_matches_all_of_it if {
	arguments.matches("x", "a|b+") with input as use({"x": "bb"})
	every value in ["ab", "a\n", "\na", "c", "a\nb", 7] {
		not arguments.matches("x", "a|b+") with input as use({"x": value})
	}
}

test_a_path_is_in_the_folder if {
	every path in ["/srv/demo", "/srv/demo/", "/srv/demo/a/b", ["/srv/demo/a", "/srv/demo/b"]] {
		arguments.within("x", "/srv/demo") with input as use({"x": path})
		arguments.within("x", "/srv/demo/") with input as use({"x": path})
	}
	every path in [
		"/srv/demolition", "/srv", "/", "", "srv/demo/a", "/srv/demo/../a", "/srv/demo/..", `/srv/demo/..\a`,
		[], ["/srv/demo/a", "/etc"], [["/srv/demo"]], {"a": "/srv/demo"}, 7,
	] {
		not arguments.within("x", "/srv/demo") with input as use({"x": path})
	}
}

test_a_url_is_of_a_host if {
	every url in ["https://a.example", "https://A.example/x?y#z", "https://a.example:8443/"] {
		arguments.host_in("x", {"a.example"}) with input as use({"x": url})
	}
	every url in [
		"http://a.example", "https://b.example", "https://a.example.evil", "https://a.example@evil",
		"https://evil/a.example", "https://evil#a.example", `https://a.example\@evil`, `https://evil\.a.example`,
		"//a.example", "https://a.example\n", " https://a.example", "https://a.example:80@evil", 7, ["https://a.example"],
	] {
		not arguments.host_in("x", {"a.example"}) with input as use({"x": url})
	}
}
