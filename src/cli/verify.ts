/** `audit verify`: is the trail on disk as it was written? On files, without a gateway. */
import { basename, dirname, join, resolve } from "node:path";
import type { OutsideNote } from "../audit/claims.ts";
import { GATHERED } from "../audit/gather.ts";
import { listSegments, signedName } from "../audit/segments.ts";
import { placeOf } from "../audit/sinks.ts";
import { verify } from "../audit/verify.ts";
import type { Verification } from "../audit/verify.ts";
import { whyUnreadable } from "../config-expand.ts";
import { outsideNotes, pinsOf, trailOf } from "./audit-keys.ts";
import { sectionOf } from "./folder.ts";
import { CommandFault, flag, printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";

/** The trail of the folder, and those that were gathered from sidecars. 1 on the first broken link. */
export async function verifyAudit(invocation: Invocation): Promise<number> {
  const { io, json, operands } = invocation;
  const own = await trailOf(invocation, operands[0]);
  const gathered = join(own, GATHERED);
  const names = await io.ports.disk.readdir(gathered).catch(() => []);
  const folders = [
    { folder: own, writer: flag(invocation, "writer") ?? (operands[0] === undefined ? null : gatheredFrom(own)) },
    ...names.toSorted().map((name) => ({ folder: join(gathered, name), writer: name })),
  ];
  const pins = await pinsOf(invocation, own);
  const outside = await sorted(folders, (await outsideNotes(invocation)) ?? []);
  const here = await chainsOf(own);
  const trails: { readonly folder: string; readonly found: Verification }[] = [];
  for (const { folder, writer } of folders) {
    const options = { here, pins, gaps: folder !== own, outside: outside.get(folder) ?? [], writer };
    const found = await verify(folder, options).catch((fault: unknown) => {
      throw new CommandFault(`${folder}: ${whyUnreadable(fault)}`, 2);
    });
    trails.push({ folder, found });
  }
  const anchored = await anchorsOf(invocation);
  if (json) printAll(invocation, trails, anchored);
  else
    for (const { folder, found } of trails) {
      tell(io, folder, found);
      tellSigned(io, found, pins);
    }
  if (!json) tellAnchored(io, anchored);
  return trails.every(({ found }) => found.ok) ? 0 : 1;
}

/**
 * Each note to the folder that has its chain; what no folder has is missing in the first. A sidecar's own name no writer: of
 * several folders with such a chain each must hold it, or a copy of one would vouch for another that was cut. Chains are called
 * by chance: a sidecar whose chain has another's name is found out too.
 */
async function sorted(
  folders: readonly { readonly folder: string; readonly writer: string | null }[],
  notes: readonly OutsideNote[],
): Promise<ReadonlyMap<string, readonly OutsideNote[]>> {
  const own = folders[0]?.folder ?? "";
  const homes = new Map<string, readonly string[]>();
  for (const { folder, writer } of folders)
    for (const chain of await chainsOf(folder)) {
      homes.set(chain, [...(homes.get(chain) ?? []), folder]);
      if (writer !== null) homes.set(signedName(chain, writer), [folder]);
    }
  const placed = notes.flatMap((note) =>
    (homes.get(note.checkpoint.chain) ?? [own]).map((folder) => ({ folder, note })),
  );
  const byFolder = Map.groupBy(placed, ({ folder }) => folder);
  return new Map([...byFolder].map(([folder, some]) => [folder, some.map(({ note }) => note)]));
}

/** The writer whose records alone are looked at; null where the folder is a gateway's own. */
function gatheredFrom(folder: string): string | null {
  const path = resolve(folder);
  return basename(dirname(path)) === GATHERED ? basename(path) : null;
}

/** Under which names this gateway keeps what it gathers. */
async function chainsOf(own: string): Promise<ReadonlySet<string>> {
  const segments = await listSegments(own).catch(() => []);
  return new Set(segments.map(({ chain }) => chain));
}

/** Where checkpoints are that were held against the trail, or else where the configuration sends them. */
async function anchorsOf(invocation: Invocation): Promise<readonly string[]> {
  const place = flag(invocation, "checkpoints");
  if (place !== null) return [place];
  if (invocation.operands[0] !== undefined) return [];
  const section = await sectionOf(invocation, "audit").catch(() => null);
  return (section?.checkpoints.to ?? []).map(placeOf);
}

type Trails = readonly { readonly folder: string; readonly found: Verification }[];

function printAll(invocation: Invocation, [first, ...others]: Trails, anchored: readonly string[]): void {
  const sidecars = Object.fromEntries(others.map(({ folder, found }) => [basename(folder), found]));
  printJson(invocation, { ...first?.found, anchored, ...(others.length === 0 ? {} : { sidecars }) });
}

function tell(io: Invocation["io"], folder: string, { records, chains, firstBad, ...notes }: Verification): void {
  for (const { chain, after, sequence, keeper } of notes.elsewhere)
    io.stderr(
      printable(
        `note: records ${after + 1} to ${sequence} of ${chain} are not here: the last is with the gateway of ${keeper}\n`,
      ),
    );
  for (const file of notes.tornTail)
    io.stderr(`note: the last line of ${join(folder, file)} was cut short by a crash; it is no record\n`);
  if (firstBad !== null)
    io.stdout(
      printable(`${join(folder, firstBad.file)}:${firstBad.line}: record ${firstBad.sequence}: ${firstBad.reason}\n`),
    );
  else {
    const whose = basename(dirname(folder)) === GATHERED ? ` of ${basename(folder)}` : "";
    io.stderr(`${records} records${whose} in ${chains} ${chains === 1 ? "chain" : "chains"}: every link holds.\n`);
  }
}

function tellSigned(io: Invocation["io"], { signed, ok }: Verification, pins: readonly string[] | null): void {
  const { checkpoints, records, newest, removed, unchecked } = signed;
  const by = pins === null ? "no key is at hand to check their signatures" : "signed with a key of the keyring";
  if (ok) {
    const until = newest === null ? "" : `, the newest of ${newest}`;
    io.stderr(printable(`${records} of them are under ${checkpoints} checkpoints${until}; ${by}.\n`));
  }
  if (removed > 0) io.stderr(`note: ${removed} records before these were removed for their age.\n`);
  if (unchecked > 0) io.stderr(`note: ${unchecked} checkpoints are of records that are not here any more.\n`);
}

function tellAnchored(io: Invocation["io"], anchored: readonly string[]): void {
  const nowhere = "nowhere outside this host: who holds its key could have written all of it anew";
  io.stderr(`Anchored ${anchored.length === 0 ? nowhere : `at ${anchored.join(", ")}`}.\n`);
}
