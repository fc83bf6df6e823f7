# METADATA
# title: Whose it is
# description: >-
#   A tool that belongs to one tenant or more says so by its tags, `tenant:acme`; one that every tenant shares is
#   tagged `tenant:any`. A tool without such a tag is nobody's.
package portcullis.lib.tenants

# METADATA
# title: The principal is of one of these tenants
one_of(tenants) if input.principal.tenant in tenants

# METADATA
# title: The tool is the principal's tenant's, or shared by all
# scope: document
owns_tool if concat(":", ["tenant", input.principal.tenant]) in input.tool.tags

owns_tool if "tenant:any" in input.tool.tags

# METADATA
# title: The named argument is the principal's own tenant
# description: A list has no arguments, so there it holds.
# scope: document
own_argument(_) if input.request.operation == "tools/list"

own_argument(name) if input.arguments[name] == input.principal.tenant
