/** `policy why · who · what · unused`: why was it decided so, and who may do what? */
import { ask } from "./client.ts";
import { CommandFault, flag, printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";

/** OPA's evaluator is loaded, and the policy of that revision compiled. */
const DEADLINE_MS = 120_000;

export async function explainCall(invocation: Invocation): Promise<number> {
  const { io, operands, json } = invocation;
  const [callId = ""] = operands;
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(callId))
    throw new CommandFault("name a call by its id, as the answer, the log and the audit have it", 2);
  const told = await ask(invocation, (client) => client.policies.why.query({ callId }), { deadlineMs: DEADLINE_MS });
  if (json) {
    printJson(invocation, told);
    return 0;
  }
  const { principal, operation, tool, decision, reasons, revision, time, rules, values, nearest, missing } = told;
  const say = (text: string): void => io.stdout(printable(`${text}\n`));
  say(`${decision}: ${principal} ${operation} ${tool ?? ""}`.trimEnd() + ` (${reasons.join("; ")})`);
  say(`    ${time}, policy ${revision}`);
  for (const { path, file, row, held, failedAt } of rules)
    say(`${held ? "held  " : "failed"} ${file}:${failedAt ?? row}: ${path.replace(/^data\./, "")}`);
  for (const { path, value } of values) say(`${path} = ${value ?? "(nothing)"}`);
  if (Object.values(told.obligations).some((one) => one !== null && !(Array.isArray(one) && one.length === 0)))
    say(`obligations: ${JSON.stringify(told.obligations)}`);
  for (const { change, name } of nearest) say(`${decision === "deny" ? "allowed" : "refused"} ${TURNS[change](name)}`);
  for (const one of missing) io.stderr(printable(`${one}\n`));
  return 0;
}

const TURNS = {
  permission: (name: string) => `with the permission ${name}`,
  role: (name: string) => `with the role ${name}`,
  without_permission: (name: string) => `without the permission ${name}`,
  without_role: (name: string) => `without the role ${name}`,
  without_argument: (name: string) => `without the argument ${name}`,
} as const;

export async function whoMayCall(invocation: Invocation): Promise<number> {
  const [tool = ""] = invocation.operands;
  const version = flag(invocation, "version");
  const after = flag(invocation, "after");
  const told = await ask(invocation, (client) => client.policies.who.query({ tool, version, after }));
  if (invocation.json) printJson(invocation, told);
  else
    for (const { id, onBehalfOf, tenant } of told.principals)
      invocation.io.stdout(printable(`${id}${onBehalfOf === null ? "" : ` for ${onBehalfOf}`} (${tenant})\n`));
  tellMore(invocation, told.endCursor);
  return 0;
}

export async function whatMayBeCalled(invocation: Invocation): Promise<number> {
  const [principal = ""] = invocation.operands;
  const asked = { principal, onBehalfOf: flag(invocation, "for"), after: flag(invocation, "after") };
  const told = await ask(invocation, (client) => client.policies.what.query(asked));
  if (invocation.json) printJson(invocation, told);
  else for (const { id } of told.tools) invocation.io.stdout(printable(`${id}\n`));
  tellMore(invocation, told.endCursor);
  return 0;
}

function tellMore({ io, json }: Invocation, endCursor: string | null): void {
  if (endCursor !== null && !json) io.stderr(printable(`There are more: --after ${endCursor}\n`));
}

/** 1 if there is a rule that never held. */
export async function unusedRules(invocation: Invocation): Promise<number> {
  const { io, json } = invocation;
  const told = await ask(invocation, (client) => client.policies.unused.query(), { deadlineMs: DEADLINE_MS });
  if (json) printJson(invocation, told);
  else {
    for (const { path, file, row } of told.rules) io.stdout(printable(`${file}:${row}: ${path} never holds\n`));
    io.stderr(`${told.questions} questions were asked${told.complete ? "" : ", and not all that there are"}.\n`);
  }
  return told.rules.length === 0 ? 0 : 1;
}
