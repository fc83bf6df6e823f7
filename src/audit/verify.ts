/**
 * Whether the spool is as it was written: each line carries its number and the SHA-256 of the line before, across the
 * files of a chain; and each checkpoint's root is that of the lines. What surprises: a chain by itself proves nothing about its own
 * end, and whoever holds the key can sign another history: only checkpoints kept elsewhere tell. Lines that a note
 * beside the files says are with another gatherer are not missed, but named: whoever checks must look there.
 */
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { collectClaims } from "./claims.ts";
import type { Claim, Claims, ClaimOptions } from "./claims.ts";
import { readGaps } from "./elsewhere.ts";
import type { Gap } from "./elsewhere.ts";
import { GENESIS, digestOf, linkOf } from "./link.ts";
import { append, emptyRange, leafOf, rootOf } from "./merkle.ts";
import type { Range } from "./merkle.ts";
import { linesFrom } from "./lines.ts";
import { LINE_BYTES_MAX, NOTES } from "./segments.ts";
import { parseSpan } from "./span.ts";

export type BadLine = {
  readonly file: string;
  /** From 1; 0 for the file itself. */
  readonly line: number;
  /** What the chain expected there. */
  readonly sequence: number;
  readonly reason: string;
};
export type Verification = {
  readonly ok: boolean;
  readonly records: number;
  readonly chains: number;
  /** The first broken link in order of age. */
  readonly firstBad: BadLine | null;
  /** Files whose last line was torn by a crash: no record, since nobody was answered. */
  readonly tornTail: readonly string[];
  /** Lines of these chains that another gatherer has. */
  readonly elsewhere: readonly (Gap & { readonly chain: string })[];
  readonly signed: Coverage;
};
export type Coverage = {
  /** Checkpoints held against the lines. */
  readonly checkpoints: number;
  /** Records that the newest of each chain covers, and its time; null where there is none. */
  readonly records: number;
  readonly newest: string | null;
  /** Records that are said to have been removed for their age. */
  readonly removed: number;
  /** Checkpoints of lines that are not here: removed, or with another gatherer. */
  readonly unchecked: number;
};
export type VerifyOptions = Partial<ClaimOptions> & {
  /** The chains of the gateway whose disk this is; what a note says is with one of them is missing. */
  readonly here?: ReadonlySet<string>;
  /** False of a writer's own trail: no line of it may be with a gatherer instead. */
  readonly gaps?: boolean;
};

/** Reads every segment once. @throws Error if the directory cannot be read */
export async function verify(
  directory: string,
  { here = new Set(), gaps: allowed = true, pins = null, outside = [], ...whose }: VerifyOptions = {},
): Promise<Verification> {
  const { chains, torn } = await collectClaims(directory, { pins, outside, ...whose });
  const seen: Seen = { torn: [...torn], checkpoints: 0, covered: 0, removed: 0, unchecked: 0, newest: null };
  let records = 0;
  let firstBad: BadLine | null = null;
  const elsewhere: Verification["elsewhere"][number][] = [];
  for (const said of chains) {
    const { chain } = said.files;
    const gaps = allowed ? (await readGaps(directory, chain)).filter(({ keeper }) => !here.has(keeper)) : [];
    const range = said.claims.length === 0 ? null : emptyRange();
    const link: Link = {
      ...GENESIS,
      last: Buffer.alloc(0),
      records: 0,
      gaps,
      passed: [],
      here: said.here,
      range,
      claims: [...said.claims],
      good: 0,
    };
    const bad = await verifyChain(directory, said, link, seen);
    records += link.records;
    elsewhere.push(...link.passed.map((gap) => ({ chain, ...gap })));
    firstBad ??= bad;
  }
  const { checkpoints, covered, newest, removed, unchecked, torn: tornTail } = seen;
  const signed = { checkpoints, records: covered, newest, removed, unchecked };
  const count = chains.filter(({ files }) => files.segments.length > 0).length;
  return { ok: firstBad === null, records, chains: count, firstBad, tornTail, elsewhere, signed };
}

type Seen = {
  readonly torn: string[];
  checkpoints: number;
  covered: number;
  removed: number;
  unchecked: number;
  newest: string | null;
};

/** The last good line of the chain so far, what of the chain stands elsewhere, and what is claimed of it. */
type Link = {
  sequence: number;
  hash: string;
  last: Buffer;
  records: number;
  readonly gaps: readonly Gap[];
  readonly passed: Gap[];
  /** So many lines were signed here: none of them can be elsewhere instead. */
  readonly here: number;
  /** null where nothing is claimed, or lines before are not here. */
  range: Range | null;
  /** By size, those not yet reached. */
  readonly claims: Claim[];
  /** The size up to which the last claim held. */
  good: number;
};

async function verifyChain(directory: string, said: Claims, link: Link, seen: Seen): Promise<BadLine | null> {
  const { files, forged } = said;
  const of = `${files.chain}${NOTES}`;
  if (forged !== null)
    return { file: forged.file, line: 0, sequence: forged.size, reason: "a checkpoint that no known key signed" };
  let next = 1;
  for (const { file, number } of files.segments) {
    const elsewhere = link.gaps.some(({ after }) => after === link.sequence);
    if (number !== next && !elsewhere && !(next === 1 && startLater(link, said, await firstOf(join(directory, file)))))
      return { file, line: 0, sequence: link.sequence + 1, reason: `segment ${next} is missing` };
    if (next === 1) seen.removed += link.sequence;
    next = number + 1;
    const bad = await verifyFile(join(directory, file), file, link, seen);
    if (bad !== null) return bad;
  }
  const file = files.segments.at(-1)?.file ?? of;
  return verifyEnd(said, link, seen, file);
}

/** What came before was removed: a checkpoint says with what line the rest begins, and that it was meant. */
function startLater(link: Link, { claims, first }: Claims, sequence: number): boolean {
  const start = claims.find(({ size, checkpoint }) => size === sequence - 1 && checkpoint !== null)?.checkpoint ?? null;
  if (start === null || first < sequence) return false;
  const { size, peaks } = start.range;
  Object.assign(link, { sequence: size, hash: start.head, range: { size, peaks: [...peaks] }, good: size });
  return true;
}

async function firstOf(path: string): Promise<number> {
  for await (const { text } of linesFrom(path, 0)) return linkOf(Buffer.from(text, "latin1"))?.sequence ?? 0;
  return 0;
}

/** No line after it vouches for the last one: a checkpoint does, or at least it must be a record. */
function verifyEnd({ files, first }: Claims, link: Link, seen: Seen, file: string): BadLine | null {
  const { sequence, records } = link;
  if (records > 0 && parseSpan(link.last.toString("latin1")) === null)
    return { file, line: 0, sequence, reason: "the last line is not a record" };
  if (link.range === null) {
    seen.unchecked += link.claims.length;
    return null;
  }
  const last = link.claims.at(-1);
  if (last === undefined) return null;
  if (files.segments.length === 0 && first > last.size) {
    seen.removed += last.size;
    seen.unchecked += link.claims.length;
    return null;
  }
  const reason = `${last.by} has ${last.size} records, the trail ends after ${sequence}`;
  return { file, line: 0, sequence: sequence + 1, reason };
}

/** Each that ends with this line. */
function holdClaims(link: Link, range: Range, seen: Seen): string | null {
  const { claims, good } = link;
  const due = claims.findIndex(({ size }) => size > range.size);
  for (const claim of claims.splice(0, due === -1 ? claims.length : due)) {
    if (claim.size < range.size) {
      seen.unchecked++;
      continue;
    }
    if (rootOf(range).toString("base64") !== claim.root) {
      link.good = good;
      return `records ${good + 1} to ${claim.size} are not those of ${claim.by}`;
    }
    seen.checkpoints++;
    if (claim.checkpoint === null) continue;
    seen.covered += claim.size - link.good;
    link.good = claim.size;
    seen.newest = [seen.newest ?? "", claim.checkpoint.time].toSorted().at(-1) ?? null;
  }
  return null;
}

async function verifyFile(path: string, file: string, link: Link, seen: Seen): Promise<BadLine | null> {
  let rest: Buffer = Buffer.alloc(0);
  let line = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES }) as AsyncIterable<Buffer>) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let from = 0;
    for (let to = bytes.indexOf(NEWLINE); to !== -1; to = bytes.indexOf(NEWLINE, from)) {
      line++;
      const reason = verifyLine(bytes.subarray(from, to), link);
      if (reason !== null) return { file, line, sequence: link.sequence + 1, reason };
      const denied = link.range === null ? null : holdClaims(link, link.range, seen);
      if (denied !== null) return { file, line, sequence: link.good + 1, reason: denied };
      from = to + 1;
    }
    rest = bytes.subarray(from);
    if (rest.length > LINE_BYTES_MAX)
      return { file, line: line + 1, sequence: link.sequence + 1, reason: "not a record" };
  }
  if (rest.length > 0) seen.torn.push(file);
  return null;
}

const CHUNK_BYTES = 1024 * 1024;
const NEWLINE = 0x0a;

function verifyLine(bytes: Buffer, link: Link): string | null {
  const found = linkOf(bytes);
  if (found === null) return "not a record";
  const { sequence, previous } = found;
  const gap = link.gaps.find((one) => one.after === link.sequence && one.sequence === sequence - 1);
  if (gap !== undefined && gap.hash === previous) {
    if (link.sequence < link.here)
      return `said to be elsewhere up to record ${gap.sequence}, and a checkpoint has ${link.here} records here`;
    link.passed.push(gap);
    link.range = null;
    Object.assign(link, { sequence: gap.sequence, hash: gap.hash });
  }
  if (sequence !== link.sequence + 1) return `numbered ${sequence}, expected ${link.sequence + 1}`;
  if (previous !== link.hash) return "the line before is not the one this line was chained to";
  link.sequence++;
  link.records++;
  link.hash = digestOf(bytes);
  link.last = bytes;
  if (link.range !== null) append(link.range, leafOf(link.hash));
  return null;
}
