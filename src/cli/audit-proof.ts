/** `audit proof`: a record and what shows that a checkpoint covers it, to be checked with or without Portcullis. On files. */
import { signedBy } from "../audit/checkpoint.ts";
import { holds, parseProof, proveCall as prove, textOfProof } from "../audit/proof.ts";
import type { Proof } from "../audit/proof.ts";
import { parseSpan } from "../audit/span.ts";
import { whyUnreadable } from "../config-expand.ts";
import { outsideNotes, pinsOf, trailOf } from "./audit-keys.ts";
import { CommandFault, flag, printable, printJson } from "./io.ts";
import type { Invocation } from "./io.ts";

const WHY = {
  "no record": "the trail has no such record",
  "no checkpoint": "no checkpoint that a known key signed covers the record: yet, if it is seconds old",
  "another trail": "the record is not among those that the checkpoint covers: see `portcullis audit verify`",
} as const;

/** Prints the proof, or checks one. 1 where there is none, or it does not hold. */
export async function proveCall(invocation: Invocation): Promise<number> {
  if (flag(invocation, "check") !== null) return await checkProof(invocation);
  const { operands, flags, io } = invocation;
  const [call, folder] = operands;
  if (call === undefined) throw new CommandFault("audit proof takes a call's id, or --check FILE", 2);
  const trail = await trailOf(invocation, folder);
  const pins = await pinsOf(invocation, trail);
  const outside = await outsideNotes(invocation);
  const proof = await prove(trail, { call, intent: flags["intent"] === true, pins, outside }).catch(
    (fault: unknown) => {
      throw new CommandFault(`${trail}: ${whyUnreadable(fault)}`, 2);
    },
  );
  if (typeof proof === "string") throw new CommandFault(WHY[proof], 1);
  if (invocation.json) printJson(invocation, said(proof, pins));
  else io.stdout(textOfProof(proof));
  return 0;
}

async function checkProof(invocation: Invocation): Promise<number> {
  const { io, operands } = invocation;
  const file = flag(invocation, "check") ?? "-";
  const text = file === "-" ? await readAll(io.stdin) : await readFile(invocation, file);
  const proof = parseProof(text);
  if (proof === null) throw new CommandFault(`${file} is no proof`, 2);
  const pins = await pinsOf(invocation, await trailOf(invocation, operands[0]));
  if (pins === null) throw new CommandFault("no key is at hand: name the one to believe with --key", 2);
  const by = signedBy(proof.signed, pins);
  if (by === null) throw new CommandFault("none of the known keys signed the checkpoint", 1);
  if (!holds(proof)) throw new CommandFault("the record is not among those that the checkpoint covers", 1);
  if (invocation.json) printJson(invocation, said(proof, pins));
  else {
    const { chain, range, time } = proof.signed.checkpoint;
    io.stderr(
      printable(`Record ${proof.index + 1} of ${chain} is among the ${range.size} that ${by} signed on ${time}.\n`),
    );
    io.stdout(`${proof.line}\n`);
  }
  return 0;
}

function said({ line, index, path, signed }: Proof, pins: readonly string[] | null): object {
  const span = parseSpan(line);
  const { chain, range, root, time } = signed.checkpoint;
  return {
    call: span?.attributes.get("portcullis.call.id") ?? null,
    record: span === null ? null : { name: span.name, ...Object.fromEntries(span.attributes) },
    line,
    index,
    path: path.map((hash) => hash.toString("base64")),
    checkpoint: { chain, size: range.size, root, time, note: signed.note },
    key: pins === null ? null : signedBy(signed, pins),
  };
}

async function readFile({ io }: Invocation, file: string): Promise<string> {
  return await io.ports.disk.readFile(file, "utf8").catch((fault: unknown) => {
    throw new CommandFault(`${file}: ${whyUnreadable(fault)}`, 2);
  });
}

async function readAll(stdin: Invocation["io"]["stdin"]): Promise<string> {
  let text = "";
  for await (const chunk of stdin) {
    text += String(chunk);
    if (text.length > PROOF_CHARACTERS_MAX) throw new CommandFault("that is too long for a proof", 2);
  }
  return text;
}

const PROOF_CHARACTERS_MAX = 4 * 1024 * 1024;
