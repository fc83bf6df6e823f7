/** `audit verify`: is the trail on disk as it was written? On files, without a gateway. */
import { join } from "node:path";
import { verify } from "../audit/verify.ts";
import { whyUnreadable } from "../config-expand.ts";
import { folderOf } from "./folder.ts";
import { CommandFault, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";

/** 1 on the first broken link. */
export async function verifyAudit(invocation: Invocation): Promise<number> {
  const { io, json, operands } = invocation;
  const folder = operands[0] ?? join(await folderOf(invocation, "data"), "audit");
  const found = await verify(folder).catch((fault: unknown) => {
    throw new CommandFault(`${folder}: ${whyUnreadable(fault)}`, 2);
  });
  const { ok, records, chains, firstBad, tornTail } = found;
  if (json) printJson(invocation, found);
  else {
    for (const file of tornTail)
      io.stderr(`note: the last line of ${join(folder, file)} was cut short by a crash; it is no record\n`);
    if (firstBad !== null)
      io.stdout(`${join(folder, firstBad.file)}:${firstBad.line}: record ${firstBad.sequence}: ${firstBad.reason}\n`);
    else io.stderr(`${records} records in ${chains} ${chains === 1 ? "chain" : "chains"}: every link holds.\n`);
  }
  return ok ? 0 : 1;
}
