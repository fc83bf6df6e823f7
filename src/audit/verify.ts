/**
 * Whether the spool is as it was written: each line carries its number and the SHA-256 of the line before, across the
 * files of a chain. What surprises: a chain proves nothing about its own end. Lines cut off the tail, a change to the
 * very last line, and a chain removed whole are invisible until signed checkpoints are kept elsewhere. Lines that a note
 * beside the files says are with another gatherer are not missed, but named: whoever checks must look there.
 */
import { createReadStream } from "node:fs";
import { join } from "node:path";
import { readGaps } from "./elsewhere.ts";
import type { Gap } from "./elsewhere.ts";
import { GENESIS, digestOf, linkOf } from "./link.ts";
import { LINE_BYTES_MAX, listSegments } from "./segments.ts";
import type { SegmentName } from "./segments.ts";
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
};

/**
 * Reads every segment once. `here`: the chains of the gateway whose disk this is; what a note says is with one of them is missing.
 * @throws Error if the directory cannot be read
 */
export async function verify(directory: string, here: ReadonlySet<string> = new Set()): Promise<Verification> {
  const torn: string[] = [];
  let records = 0;
  let firstBad: BadLine | null = null;
  const elsewhere: Verification["elsewhere"][number][] = [];
  const chains = Map.groupBy(await listSegments(directory), ({ chain }) => chain);
  for (const [chain, segments] of chains) {
    const gaps = (await readGaps(directory, chain)).filter(({ keeper }) => !here.has(keeper));
    const link: Link = { ...GENESIS, last: "", records: 0, gaps, passed: [] };
    const bad = await verifyChain(directory, segments, link, torn);
    records += link.records;
    elsewhere.push(...link.passed.map((gap) => ({ chain, ...gap })));
    firstBad ??= bad;
  }
  return { ok: firstBad === null, records, chains: chains.size, firstBad, tornTail: torn, elsewhere };
}

/** The last good line of the chain so far, and what of the chain stands elsewhere. */
type Link = {
  sequence: number;
  hash: string;
  last: string;
  records: number;
  readonly gaps: readonly Gap[];
  readonly passed: Gap[];
};

async function verifyChain(
  directory: string,
  segments: readonly SegmentName[],
  link: Link,
  torn: string[],
): Promise<BadLine | null> {
  let next = 1;
  for (const { file, number } of segments) {
    const elsewhere = link.gaps.some(({ after }) => after === link.sequence);
    if (number !== next && !elsewhere)
      return { file, line: 0, sequence: link.sequence + 1, reason: `segment ${next} is missing` };
    next = number + 1;
    const bad = await verifyFile(join(directory, file), file, link, torn);
    if (bad !== null) return bad;
  }
  const file = segments.at(-1)?.file ?? "";
  // no line after it vouches for the last one: at least it must be a record
  const whole = link.records === 0 || parseSpan(link.last) !== null;
  return whole ? null : { file, line: 0, sequence: link.sequence, reason: "the last line is not a record" };
}

async function verifyFile(path: string, file: string, link: Link, torn: string[]): Promise<BadLine | null> {
  let rest: Buffer = Buffer.alloc(0);
  let line = 0;
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES }) as AsyncIterable<Buffer>) {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let from = 0;
    for (let to = bytes.indexOf(NEWLINE); to !== -1; to = bytes.indexOf(NEWLINE, from)) {
      line++;
      const reason = verifyLine(bytes.subarray(from, to), link);
      if (reason !== null) return { file, line, sequence: link.sequence + 1, reason };
      from = to + 1;
    }
    rest = bytes.subarray(from);
    if (rest.length > LINE_BYTES_MAX)
      return { file, line: line + 1, sequence: link.sequence + 1, reason: "not a record" };
  }
  if (rest.length > 0) torn.push(file);
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
    link.passed.push(gap);
    Object.assign(link, { sequence: gap.sequence, hash: gap.hash });
  }
  if (sequence !== link.sequence + 1) return `numbered ${sequence}, expected ${link.sequence + 1}`;
  if (previous !== link.hash) return "the line before is not the one this line was chained to";
  link.sequence++;
  link.records++;
  link.hash = digestOf(bytes);
  link.last = bytes.toString("latin1");
  return null;
}
