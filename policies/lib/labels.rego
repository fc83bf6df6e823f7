# METADATA
# title: What data it may show
# description: >-
#   A tool says by its tags which data it may show: `data:public`, `data:internal`, `data:confidential` or
#   `data:restricted`, and `data:pii` beside them. A principal is cleared up to a level by its role, as in
#   `clearance:confidential`. A tool without a level counts as restricted, a principal without one sees what is public.
package portcullis.lib.labels

# METADATA
# title: The levels, from what all may see
levels := ["public", "internal", "confidential", "restricted"]

# METADATA
# title: The tool carries this label
carries(label) if concat(":", ["data", label]) in input.tool.tags

# METADATA
# title: How high the tool's data stands
tool_level := max(ranks) if {
	input.tool.tags
	ranks := [rank | some rank, level in levels; carries(level)]
	count(ranks) > 0
} else := count(levels) - 1 if input.tool.tags

# METADATA
# title: How high the principal may see
clearance := max(array.concat([0], ranks)) if {
	ranks := [rank |
		some rank, level in levels
		concat(":", ["clearance", level]) in input.principal.roles
	]
	input.principal.roles
}

# METADATA
# title: The tool shows nothing above what the principal is cleared for
cleared if tool_level <= clearance

# METADATA
# title: What to redact in what a tool shows, by its labels
# description: For the obligation `redact`. A tool whose tags are not known is redacted.
# scope: document
default redactions := [{"pattern": name} | some name in ["email", "phone", "ssn", "iban", "card"]]

redactions := [] if {
	is_array(input.tool.tags)
	every tag in input.tool.tags { tag != "data:pii" }
}
