/**
 * What is really asked? Not the author's rule but one around it, generated and compiled with the bundle. It makes
 * the law of lists mechanical: a use is `listed` only if the same policy, asked as a list asks (the operation is
 * "tools/list", there are no arguments), allows the tool. A list asks for many tools in one evaluation, each with the
 * very same document. Whatever is undefined on the way is not listed.
 */
export const PACKAGE = "portcullis_gateway";
export const OWNER = `(generated)/${PACKAGE}.rego`;
export const DECISION = `${PACKAGE}/decision`;
/** The author's own answer to a use, for one of which it is known already whether it is listed. */
export const USE = `${PACKAGE}/use`;
export const LIST = `${PACKAGE}/list`;
/** What is not to be logged, by the bundle's own rules: compiled apart. */
export const MASK = `${PACKAGE}/mask`;
/** Where authors may define neither rules nor data: our package, and the map of roles that the gateway loads. */
export const RESERVED_PATHS = [PACKAGE, "portcullis.roles"] as const;
export const REQUIRED_RULES = ["portcullis.decision"] as const;

export const WRAPPER = `# METADATA
# schemas:
#   - input: schema.question
package ${PACKAGE}

decision := {"decision": data.portcullis.decision, "listed": listed}

use := data.portcullis.decision

default listed := false

listed if input.request.operation != "tools/call"

listed if {
	input.request.operation == "tools/call"
	request := object.union(input.request, {"operation": "tools/list"})
	allowed(request, input.target, input.tool)
}

list := [i |
	some i, item in input.tools
	allowed(input.request, item.target, item.tool)
]

allowed(request, target, tool) if {
	document := {"request": request, "principal": input.principal, "target": target, "tool": tool}
	data.portcullis.decision.allow == true with input as document
}
`;

export const MASK_WRAPPER = `package ${PACKAGE}

mask := data.system.log.mask
`;
