/** `keys issue · list · revoke · rotate`. A key's text is printed once, alone on stdout, for a script to catch. */
import { ask } from "./client.ts";
import { CommandFault, flag, printJson, printTable } from "./io.ts";
import type { Invocation } from "./io.ts";

type Issued = { readonly id: string; readonly text: string; readonly pins: readonly string[] };

export async function issueKey(invocation: Invocation): Promise<number> {
  const wish = wishOf(invocation);
  return tellIssued(invocation, await ask(invocation, (client) => client.keys.issue.mutate(wish)));
}

export async function rotateKey(invocation: Invocation): Promise<number> {
  const [id = ""] = invocation.operands;
  return tellIssued(invocation, await ask(invocation, (client) => client.keys.rotate.mutate({ id })));
}

export async function revokeKey(invocation: Invocation): Promise<number> {
  const [id = ""] = invocation.operands;
  const revoked = await ask(invocation, (client) => client.keys.revoke.mutate({ id }));
  if (invocation.json) printJson(invocation, revoked);
  else invocation.io.stderr(`Revoked ${revoked.id}.\n`);
  return 0;
}

export async function listKeys(invocation: Invocation): Promise<number> {
  const keys = await ask(invocation, (client) => client.keys.list.query());
  if (invocation.json) printJson(invocation, keys);
  else {
    const rows = keys.map((key) => [
      key.id,
      key.principal,
      key.kind,
      key.onBehalfOf ?? "-",
      key.origin,
      key.createdAt ?? "-",
      key.revokedAt ?? "-",
    ]);
    printTable(invocation, [["ID", "PRINCIPAL", "KIND", "FOR", "ORIGIN", "CREATED", "REVOKED"], ...rows]);
  }
  return 0;
}

function wishOf(invocation: Invocation) {
  const principal = flag(invocation, "principal");
  const agent = flag(invocation, "agent");
  const onBehalfOf = flag(invocation, "for");
  const sidecar = flag(invocation, "sidecar");
  if (sidecar !== null) {
    if (principal !== null || agent !== null || onBehalfOf !== null)
      throw new CommandFault("--sidecar NAME goes alone", 2);
    return { sidecar };
  }
  if ((principal === null) === (agent === null))
    throw new CommandFault("name either --principal ID, --agent NAME or --sidecar NAME", 2);
  if (principal !== null && onBehalfOf !== null) throw new CommandFault("--for goes with --agent", 2);
  return principal === null ? { agent: agent ?? "", onBehalfOf } : { principal };
}

function tellIssued(invocation: Invocation, issued: Issued): number {
  if (invocation.json) printJson(invocation, issued);
  else {
    invocation.io.stdout([issued.text, ...issued.pins].map((line) => `${line}\n`).join(""));
    invocation.io.stderr("This is the only time that the key is shown.\n");
  }
  return 0;
}
