/** `audit verify`: is the trail on disk as it was written? On files, without a gateway. */
import { basename, dirname, join } from "node:path";
import { GATHERED } from "../audit/gather.ts";
import { listSegments } from "../audit/segments.ts";
import { verify } from "../audit/verify.ts";
import type { Verification } from "../audit/verify.ts";
import { whyUnreadable } from "../config-expand.ts";
import { folderOf } from "./folder.ts";
import { CommandFault, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";

/** The trail of the folder, and those that were gathered from sidecars. 1 on the first broken link. */
export async function verifyAudit(invocation: Invocation): Promise<number> {
  const { io, json, operands } = invocation;
  const own = operands[0] ?? join(await folderOf(invocation, "data"), "audit");
  const gathered = join(own, GATHERED);
  const names = await io.ports.disk.readdir(gathered).catch(() => []);
  const trails = [];
  const here = await chainsOf(own);
  for (const folder of [own, ...names.toSorted().map((name) => join(gathered, name))]) {
    const found = await verify(folder, here).catch((fault: unknown) => {
      throw new CommandFault(`${folder}: ${whyUnreadable(fault)}`, 2);
    });
    trails.push({ folder, found });
  }
  const [first, ...others] = trails;
  if (json) {
    const sidecars = Object.fromEntries(others.map(({ folder, found }) => [basename(folder), found]));
    printJson(invocation, others.length === 0 ? first?.found : { ...first?.found, sidecars });
  } else for (const { folder, found } of trails) tell(io, folder, found);
  return trails.every(({ found }) => found.ok) ? 0 : 1;
}

/** Under which names this gateway keeps what it gathers. */
async function chainsOf(own: string): Promise<ReadonlySet<string>> {
  const segments = await listSegments(own).catch(() => []);
  return new Set(segments.map(({ chain }) => chain));
}

function tell(io: Invocation["io"], folder: string, { records, chains, firstBad, ...notes }: Verification): void {
  for (const { chain, after, sequence, keeper } of notes.elsewhere)
    io.stderr(
      `note: records ${after + 1} to ${sequence} of ${chain} are not here: the last is with the gateway of ${keeper}\n`,
    );
  for (const file of notes.tornTail)
    io.stderr(`note: the last line of ${join(folder, file)} was cut short by a crash; it is no record\n`);
  if (firstBad !== null)
    io.stdout(`${join(folder, firstBad.file)}:${firstBad.line}: record ${firstBad.sequence}: ${firstBad.reason}\n`);
  else {
    const whose = basename(dirname(folder)) === GATHERED ? ` of ${basename(folder)}` : "";
    io.stderr(`${records} records${whose} in ${chains} ${chains === 1 ? "chain" : "chains"}: every link holds.\n`);
  }
}
