package portcullis.lib.labels_test

import data.portcullis.lib.labels

use(roles, tags) := {"principal": {"roles": roles}, "tool": {"tags": tags}}

test_a_label_is_a_tag if {
	labels.carries("pii") with input as use([], ["data:pii"])
	not labels.carries("pii") with input as use([], ["pii", "data:piid"])
	not labels.carries("pii") with input as {}
}

test_a_principal_sees_up_to_its_clearance if {
	confidential := ["clearance:confidential"]
	every level in ["public", "internal", "confidential"] {
		labels.cleared with input as use(confidential, [concat(":", ["data", level])])
	}
	not labels.cleared with input as use(confidential, ["data:restricted"])
	not labels.cleared with input as use(["clearance:internal"], ["data:confidential"])
}

test_the_highest_label_counts if {
	not labels.cleared with input as use(["clearance:internal"], ["data:public", "data:restricted"])
	labels.cleared with input as use(["clearance:internal", "clearance:restricted"], ["data:public", "data:restricted"])
}

test_what_says_nothing_is_restricted if {
	not labels.cleared with input as use(["clearance:confidential"], [])
	not labels.cleared with input as use(["clearance:confidential"], ["data:pii"])
	labels.cleared with input as use(["clearance:restricted"], [])
	not labels.cleared with input as {"principal": {"roles": ["clearance:restricted"]}}
}

test_who_has_no_clearance_sees_what_is_public if {
	labels.cleared with input as use([], ["data:public"])
	not labels.cleared with input as use([], ["data:internal"])
	not labels.cleared with input as {"tool": {"tags": ["data:public"]}}
}

test_personal_data_is_redacted if {
	count(labels.redactions) == 5 with input as use([], ["data:public", "data:pii"])
	labels.redactions == [] with input as use([], ["data:public"])
	count(labels.redactions) == 5 with input as {}
	count(labels.redactions) == 5 with input as use([], "data:pii")
}
